"""L6: the store: SQLite (or any SQLAlchemy URL), written only on the login side."""
