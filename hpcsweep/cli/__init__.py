"""The command line: glue only."""
