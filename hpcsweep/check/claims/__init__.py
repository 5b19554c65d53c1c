"""Find and judge claims in text and tables: changes and orderings."""
