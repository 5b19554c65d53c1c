"""Status of a sweep and details of a run, for people and as JSON."""
