"""Many trainings at once: what `hardball sweep` does."""
