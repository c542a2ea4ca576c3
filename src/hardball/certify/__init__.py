"""Certificates: proofs that no image of ball and box is misclassified, lower bounds on accuracy."""

from hardball.certify.base import Certificate
from hardball.certify.crown import CROWNIBP
from hardball.certify.ibp import IBP
from hardball.certify.named import CERTIFICATES, named
from hardball.certify.smoothing import SmoothCertificate, certify_smooth

__all__ = [
    "CERTIFICATES",
    "CROWNIBP",
    "IBP",
    "Certificate",
    "SmoothCertificate",
    "certify_smooth",
    "named",
]
