"""The local backend: a dispatcher that runs jobs on this machine."""
