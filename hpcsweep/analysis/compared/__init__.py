"""Variants against each other: differences, effects, interactions, fronts, two sweeps."""
