"""The dashboard: a small web app over the store, for the user who started it."""
