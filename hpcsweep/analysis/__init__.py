"""L6: typed rows in, typed findings out. Pure."""
