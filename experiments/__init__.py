"""Experiments that a user can run, shipped as `hpcsweep.experiments`."""
