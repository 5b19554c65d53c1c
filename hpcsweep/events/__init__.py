"""L1: what happened, as JSON lines: the only thing a compute node ever writes."""
