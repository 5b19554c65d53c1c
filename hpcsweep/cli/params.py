"""Callbacks of options that several commands have."""

import math

import click

from hpcsweep.units import parse_duration_s


def duration_s(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Seconds of an option such as `24h`, `90m` or `01:30:00`; None: not given. Raises click.BadParameter."""
    if value is None:
        return None
    try:
        found_s = parse_duration_s(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc), ctx, param) from exc
    if not 0 < found_s < math.inf:
        raise click.BadParameter(f"{value!r} is no time in which anything could run", ctx, param)
    return found_s
