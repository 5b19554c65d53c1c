"""Plan an experiment: runs packed into jobs, checked before submission. Pure."""
