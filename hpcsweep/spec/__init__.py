"""Experiments, cluster profiles and jobs as validated, frozen models. Pure."""
