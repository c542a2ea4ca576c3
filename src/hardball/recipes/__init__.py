"""The paper's settings and experiments as data, and what the commands do with them."""
