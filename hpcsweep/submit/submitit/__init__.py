"""submitit executors for Slurm and PBS over the same templates and parsers."""
