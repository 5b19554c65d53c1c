"""Schedulers: commands to run and parsers of their output. Pure."""
