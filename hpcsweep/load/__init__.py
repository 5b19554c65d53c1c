"""N2: what is sent to a ready server, and what came back. Node side."""
