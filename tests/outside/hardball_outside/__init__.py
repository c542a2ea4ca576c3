"""A package outside hardball, which adds one of everything: the examples of CONTRIBUTING.md."""
