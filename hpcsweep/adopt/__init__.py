"""Convert a user's own job script to an experiment file and a template. Pure."""
