"""Send a workload to a ready server and record every response. Runs on the node."""
