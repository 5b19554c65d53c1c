"""Render findings: chapters, one file for each format, status pages."""
