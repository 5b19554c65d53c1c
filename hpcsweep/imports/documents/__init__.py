"""Readers of documents: text, Markdown, HTML, logs, commands."""
