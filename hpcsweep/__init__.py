"""hpcsweep: sweep LLM-serving configurations over PBS and Slurm clusters."""

__version__ = "0.1.0"
