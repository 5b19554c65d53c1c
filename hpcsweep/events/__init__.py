"""Events: what happened during an attempt, as JSON lines that the node agent writes."""
