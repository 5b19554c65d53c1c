"""The physical bound of a server: what memory bandwidth and arithmetic of the GPUs allow at best. Pure."""
