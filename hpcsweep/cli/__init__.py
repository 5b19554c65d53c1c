"""The command line: parses options, calls `hpcsweep.api` and the packages below it, and prints."""
