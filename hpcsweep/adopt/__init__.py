"""L5: a user's own job script, read: how it starts the server, and the experiment and template it amounts to. Pure."""
