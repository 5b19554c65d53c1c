"""L2: from an experiment to runs packed into jobs. Pure."""
