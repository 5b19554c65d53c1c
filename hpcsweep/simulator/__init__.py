"""The simulated engine: a server process that behaves like vLLM, configured by a profile."""
