"""What the user asks for, as validated and frozen models. Pure."""
