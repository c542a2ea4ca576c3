"""hardball."""
