"""L8: the command line: one file a command, glue only."""
