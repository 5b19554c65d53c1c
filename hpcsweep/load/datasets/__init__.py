"""Datasets: one kind of prompts a file."""
