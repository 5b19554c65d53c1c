"""Compute the findings of a sweep from typed rows. Pure."""
