"""Audit a report: recompute its figures and judge its claims against its own results. Pure."""
