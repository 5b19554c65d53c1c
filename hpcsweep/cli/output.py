"""Print text and JSON, with escaped control characters: text from files and hosts cannot control the terminal."""

import click

from hpcsweep.terminal_text import printable, printable_json


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text for the user."""
    click.echo(printable(text), err=err, nl=nl)


def note(text: str) -> None:
    """Print a line of progress to stderr; stdout is for results."""
    say(text, err=True)


def warn(text: str) -> None:
    """Print a warning to stderr."""
    note(f"warning: {text}")


def say_json(text: str | bytes) -> None:
    """Print a JSON document with the same values, in which terminal control characters are escaped."""
    click.echo(printable_json(text if isinstance(text, str) else text.decode("utf-8", "replace")))
