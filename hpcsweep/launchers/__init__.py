"""Launchers: the command that starts a process of ours on another node of a job. Pure."""
