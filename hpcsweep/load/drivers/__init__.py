"""Load clients: the built-in one, and other tools whose results are read into the same records."""
