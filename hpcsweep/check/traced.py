"""A stated speed against the details of its report: measured as such, or a whole multiple on as many GPUs."""

from collections.abc import Sequence

from hpcsweep.check.findings import Finding, Verdict
from hpcsweep.check.known import Known, gpus_of
from hpcsweep.imports.blocks import Imported, Place
from hpcsweep.imports.numbers import Number, shown

_MISPRINT = 0.01
"""A cell this near to a detail is that detail, written down wrongly."""

_MOST_REPLICAS = 16


def cell_finding(
    place: Place, about: str, claim: str, said: Number, times: str | None, known: Sequence[Known], found: Imported
) -> Finding:
    """What a stated speed is: one of the details, a multiple of one, a misprint of one, or unknown."""
    source = next((one for one in known if one.value.agrees(said) or one.value.agrees(rounded(said))), None)
    if source is not None:
        reason = f"{source.what} of {source}"
        if times:
            reason += f"; x{times} assumes that {times} replicas scale without loss"
        return Finding(place, about, claim, Verdict.CONFIRMED, reason, "cell", said.value, source.value.value)
    for one in known:
        replicas = multiple(one, said, found)
        if replicas:
            reason = f"{replicas} x {shown(one.value.value)}, {one.what} of {one}: scaled to the same number of GPUs; "
            reason += "assumes that replicas scale without loss"
            scaled = replicas * one.value.value
            return Finding(place, about, claim, Verdict.CONFIRMED, reason, "scaled_cell", said.value, scaled)
    nearest = min(known, key=lambda one: abs(one.value.value - said.value))
    reason = f"no detail gives it; the nearest is {shown(nearest.value.value)}, {nearest.what} of {nearest}"
    if abs(nearest.value.value - said.value) > _MISPRINT * said.value:
        return Finding(place, about, claim, Verdict.NOT_CHECKED, reason, "cell", said.value)
    return Finding(place, about, claim, Verdict.WRONG, reason, "cell", said.value, nearest.value.value)


def rounded(said: Number) -> Number:
    """A whole number that ends in zeros, as rounded to its last other digit: `2790` may be anything from 2785."""
    value, unit = int(said.value), 1
    if said.value != value or not value:
        return said
    while value % (10 * unit) == 0:
        unit *= 10
    return Number(said.value, max(said.tolerance, unit / 2)) if abs(value) >= 100 * unit else said


def multiple(one: Known, said: Number, found: Imported) -> int:
    """The number of replicas of a measured server that give a stated speed, on as many GPUs as another has; 0: none."""
    replicas = round(said.value / one.value.value) if one.value.value else 0
    if not 2 <= replicas <= _MOST_REPLICAS or not (one.value * Number(replicas)).agrees(said):
        return 0
    gpus = gpus_of(found)
    return replicas if one.place in gpus and gpus[one.place] * replicas in gpus.values() else 0
