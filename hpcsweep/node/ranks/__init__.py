"""Servers on several nodes: the agent of each node, and the connection between them."""
