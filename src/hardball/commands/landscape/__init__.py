"""What `hardball landscape` does: one module for each of its parts."""
