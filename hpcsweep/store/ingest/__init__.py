"""Read run folders into the store: only what is new, idempotent."""
