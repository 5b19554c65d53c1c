"""What was measured: cells, results, startup times, costs, validity."""
