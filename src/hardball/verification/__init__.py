"""Re-checks an evaluation from weights, data and witnesses, on arithmetic of its own."""
