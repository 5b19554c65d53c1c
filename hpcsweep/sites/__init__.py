"""Cluster profiles of real systems, from public documentation: one YAML file each, with the source of every key."""
