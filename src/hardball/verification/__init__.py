"""Re-checks an evaluation from weights, data and witnesses, on arithmetic of its own."""

from hardball.verification.notes import Finding, Verification
from hardball.verification.recheck import verify

__all__ = ["Finding", "Verification", "verify"]
