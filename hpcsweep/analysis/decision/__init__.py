"""The decision: score by the objective, choice, recommendation, command."""
