"""L4: where commands run and files lie: this machine, or another one over SSH."""
