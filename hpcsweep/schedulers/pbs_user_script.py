"""A user's own PBS script: what of its directives must be known to submit it once per run. Pure.

Its directives hold, as qsub reads them. But one -v on the command line replaces the script's, and the agent's clock
must know the walltime, which PBS tells no job.
"""

import re
from collections.abc import Collection, Iterator

from hpcsweep.errors import SpecError
from hpcsweep.schedulers.pbs_directives import PREFIX
from hpcsweep.units import parse_duration_s

_ARRAY = re.compile(r"(?:^|\s)-J\s*\S")
_VARIABLES = re.compile(r"""(?:^|\s)-v\s*((?:"[^"]*"|'[^']*'|[^\s"'])+)""")
_WALLTIME = re.compile(r"(?:^|\s)-l\s*(?:\S*,)?walltime=([0-9:]+)")
_ITEM = re.compile(r"""(?:"[^"]*"|'[^']*'|\\.|[^,"'\\])+""")


def user_walltime_s(text: str) -> float | None:
    """The walltime that the script asks for; None: it asks for none. Raises SpecError for a job array."""
    walltime_s = None
    for number, line in _directives(text):
        if _ARRAY.search(line):
            raise SpecError(
                f"line {number} of the script makes it a job array: {line.strip()!r}",
                hint="hpcsweep submits the script once per run: leave out -J",
            )
        for found in _WALLTIME.finditer(line):
            try:
                walltime_s = parse_duration_s(found[1])
            except ValueError as exc:
                raise SpecError(f"line {number} of the script: walltime={found[1]}: {exc}") from exc
    return walltime_s


def user_variables(text: str, taken: Collection[str]) -> list[str]:
    """What the script's own -v carries, as it stands there: `A=1`, `B="x,y"`, `HOME`; without the names in `taken`.

    Of several directives the last one holds, as for qsub.
    """
    last = ""
    for _, line in _directives(text):
        for found in _VARIABLES.finditer(line):
            last = found[1]
    return [item for item in _ITEM.findall(last) if item.partition("=")[0] not in taken]


def _directives(text: str) -> Iterator[tuple[int, str]]:
    """Number and options of each directive; those after the first command are not read."""
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        if bare.startswith(PREFIX):
            yield number, bare.removeprefix(PREFIX)
        elif bare and not bare.startswith("#"):
            return
