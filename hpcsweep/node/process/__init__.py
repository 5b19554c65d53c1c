"""Processes of a job: start, find, signal and end them; stop reasons and the walltime."""
