"""Results of other tools and claims of other reports: read, and recomputed from their own numbers. Pure."""
