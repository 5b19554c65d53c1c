"""Who sends a workload: our own client, or another tool whose result is read into the same records."""
