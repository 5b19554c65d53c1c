"""Inference engines: command lines, readiness, log patterns. Pure."""
