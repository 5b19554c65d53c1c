"""Options that several commands share, and former names of options."""

import math
from collections.abc import Mapping
from typing import Any

import click

from hpcsweep.cli.output import warn
from hpcsweep.units import parse_duration_s


class CommandWithOldOptions(click.Command):
    """A command that still accepts the former names of its options, with a deprecation note on stderr."""

    def __init__(self, *args: Any, renamed: Mapping[str, str], **attributes: Any) -> None:
        """Create the command. `renamed`: former option -> option."""
        super().__init__(*args, **attributes)
        self.renamed = renamed

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments after replacing the former names of options."""
        return super().parse_args(ctx, [self._current(word) for word in args])

    def _current(self, word: str) -> str:
        option, equals, value = word.partition("=")
        if option not in self.renamed:
            return word
        warn(f"{option} is deprecated: use {self.renamed[option]}")
        return f"{self.renamed[option]}{equals}{value}"


def duration_s(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Parse an option such as `24h`, `90m` or `01:30:00` into seconds; None: not given. Raises click.BadParameter."""
    if value is None:
        return None
    try:
        seconds = parse_duration_s(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc), ctx, param) from exc
    if not 0 < seconds < math.inf:
        raise click.BadParameter(f"duration must be positive: {value!r}", ctx, param)
    return seconds
