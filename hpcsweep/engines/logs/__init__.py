"""Read engine logs: phases, facts, tracebacks, the cause of a failure. Pure."""
