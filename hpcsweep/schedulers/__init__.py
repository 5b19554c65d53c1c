"""L3: schedulers: builders of argv and parsers of output. Pure: nothing here runs a command."""
