"""L3: job.sh and job.json as text. Pure."""
