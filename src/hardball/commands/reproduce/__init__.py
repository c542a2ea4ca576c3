"""The paper's tables and figures, remade: what `hardball reproduce` does."""
