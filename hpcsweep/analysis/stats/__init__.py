"""Statistics: distributions, intervals, tests, ratios. Pure."""
