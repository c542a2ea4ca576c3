"""The trained runs, and the command where they are."""

from trained import hardball, runs

__all__ = ["hardball", "runs"]
