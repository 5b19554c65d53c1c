"""Dataset kinds, one per module."""
