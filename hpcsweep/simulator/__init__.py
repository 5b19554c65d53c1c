"""The simulated engine: a server process of its own that behaves like vLLM, as a profile says."""
