"""Decide where each run stands: refresh, evidence, merge, verdict."""
