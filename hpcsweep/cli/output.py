"""What commands print: nothing that came from a file or a host can steer or disguise the terminal."""

import click

from hpcsweep.terminal_text import printable, printable_json


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print text for a person."""
    click.echo(printable(text), err=err, nl=nl)


def note(text: str) -> None:
    """Print a line of progress to stderr: stdout has the result."""
    say(text, err=True)


def say_json(text: str | bytes) -> None:
    """Print a JSON document: the same values, with what would disguise the terminal escaped."""
    click.echo(printable_json(text if isinstance(text, str) else text.decode("utf-8", "replace")))
