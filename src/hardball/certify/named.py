"""Certificates by name."""

from collections.abc import Mapping, Sequence

from hardball import names
from hardball.certify.base import Certificate
from hardball.certify.crown import CROWNIBP
from hardball.certify.ibp import IBP

CERTIFICATES: dict[str, Certificate] = {"ibp": IBP(), "crown-ibp": CROWNIBP()}
"""name → certificate."""


def named(wanted: Sequence[str]) -> Mapping[str, Certificate]:
    """The certificates of these names: keys of `CERTIFICATES`, or "package.module:Name" of your own.

    Raises:
        UserError: a name that does not exist, or that is no certificate.
    """
    return {name: names.instance("certificate", name, CERTIFICATES, Certificate) for name in wanted}
