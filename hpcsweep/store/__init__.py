"""Store sweeps in SQLite or another SQLAlchemy database, on the login side only."""
