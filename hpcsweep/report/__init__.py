"""L7: the findings, rendered: one format a file."""
