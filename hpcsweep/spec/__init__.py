"""L1: what the user asks for, as validated and frozen models. Pure."""
