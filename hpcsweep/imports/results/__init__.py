"""Readers of result files of load clients and benchmark tools."""
