"""The chapters of a report as neutral blocks."""
