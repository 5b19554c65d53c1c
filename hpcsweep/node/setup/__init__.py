"""Prepare an attempt: engine, environment, cache, keys, preflight checks."""
