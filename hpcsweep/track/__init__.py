"""Determine the state of each run: refresh, evidence, decision, rows for the analysis."""
