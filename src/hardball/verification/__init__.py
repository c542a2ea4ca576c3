"""Re-checks an evaluation from weights, data and witnesses, on arithmetic of its own."""

from hardball.verification.recheck import Finding, Verification, verify

__all__ = ["Finding", "Verification", "verify"]
