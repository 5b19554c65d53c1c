"""Audit a report: recompute its figures and judge its claims. Pure."""
