"""Recompute the figures of a report from its own samples and tables."""
