"""Find and judge the claims of a text: changes and orderings."""
