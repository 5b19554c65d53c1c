"""Send the load of a workload to a ready server and record every answer. Node side."""
