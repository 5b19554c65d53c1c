"""L2: inference engines: argv, readiness, log lines to phases, facts and failures. Pure."""
