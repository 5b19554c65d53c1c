"""Render job.sh and job.json as text. Pure."""
