"""#PBS lines as options of qsub, held to the limits of PBS before anything is submitted. Pure.

qsub reads directives only from an ordinary script, and an ordinary script runs below a login shell, which dies of
the first signal and takes the exit code with it. So job.sh is submitted as `qsub OPTIONS -- /bin/bash -l job.sh`,
and OPTIONS are read here from job.sh itself: the file stays the one place where they stand.
"""

import re
import shlex
from collections.abc import Callable, Mapping

from hpcsweep.errors import SpecError

PREFIX = "#PBS"

_NAME = re.compile(r"[A-Za-z0-9_.+-]{1,230}")
_ARRAY = re.compile(r"(\d+)-(\d+)(?::(\d+))?(?:%(\d+))?")
_WALLTIME = re.compile(r"\d+|(?:\d+:)?\d{1,2}:\d{1,2}")
_DEPEND = re.compile(r"(?:after|afterok|afternotok|afterany|before|beforeok|beforenotok|beforeany|on|runone)(?::\S+)?")
_PATH = re.compile(r"/[A-Za-z0-9_./+@=%^-]*")
_SUBJOB = re.compile(r"\[\d+\]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SAFE_VALUE = re.compile(r"[A-Za-z0-9_./:@%+=-]*")

_NOT_IN_PBS = {
    "exclude": "PBS cannot keep a job away from nodes: ask for a resource that only the others have (constraint)",
    "qos": "PBS has no QOS: choose a queue, or add your site's directive",
    "partition": "PBS calls it queue",
    "reservation": "a reservation of PBS is a queue: queue: R123",
    "gpu_type": "PBS has no GPU types of its own: set gpu_resource in the profile to the resource by which your site "
    "distinguishes its nodes (`hpcsweep doctor` names it, `hpcsweep init` writes it), or gpu_resource: queue where all "
    "GPUs of the queue are of this type",
    "nodelist": "PBS takes one host for a chunk: constraint: host=NAME",
}
"""Options that templates/pbs.sh.j2 writes for what a profile says and PBS has no word for: better than silence."""

_TAKES_VALUE = frozenset("aAcCehjJklmMNopPqrRSuvW")  # of qsub's usage; `e`, `o` ... with a value behind
_FLAGS = frozenset("fhIVXz")


def directives(text: str) -> list[str]:
    """The options of the #PBS lines of a script, in their order; those after the first command are not read by qsub.

    Raises SpecError for a line that is no option, or that PBS would refuse.
    """
    options: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        if "\r" in line:
            raise SpecError(
                f"line {number} of the script ends in a carriage return", hint="save it with Unix line ends"
            )
        if bare.startswith(PREFIX):
            try:
                words = shlex.split(bare.removeprefix(PREFIX))
            except ValueError as exc:
                raise SpecError(f"line {number} of the script: {exc}: {bare!r}") from exc
            options += options_of(words, number)
        elif bare and not bare.startswith("#"):
            break
    check_options(options)
    return options


def check_options(options: list[str]) -> None:
    """Raises SpecError for what qsub would refuse, or accept and then do otherwise than was meant."""
    given = list(zip(options[::2], options[1::2], strict=True))
    for option, value in given:
        check = _CHECKS.get(option)
        if check is not None:
            check(value)
    names = [option for option, _ in given]
    if "-J" in names and ("-r", "n") in given:
        raise SpecError("PBS refuses -r n for a job array", hint="leave out -r: a second start is fenced by hpcsweep")
    resources = [value for option, value in given if option == "-l"]
    selects = [value for value in resources if value.startswith(("select=", "place="))]
    loose = [value for value in resources if value.startswith(("ngpus=", "ncpus=", "mem=", "nodes="))]
    if selects and loose:
        raise SpecError(f"PBS refuses -l {loose[0]} beside -l {selects[0]}", hint="put it into select=")


def job_name(name: str) -> str:
    """`name` when PBS takes it for -N: 1 to 230 letters, digits, `_ - . +`. Raises SpecError otherwise."""
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"PBS does not take the job name {name[:60]!r}" + (f" ({len(name)} characters)" if len(name) > 230 else ""),
            hint="use 1 to 230 of: letters, digits, _ - . +",
        )
    return name


def array_range(value: str) -> range:
    """The indexes of a -J value. Raises SpecError where PBS would refuse it: one index, a list, a limit of 0."""
    match = _ARRAY.fullmatch(value)
    indexes = range(0)
    if match is not None:
        indexes = range(int(match[1]), int(match[2]) + 1, int(match[3] or 1) or 1)
    if match is None or len(indexes) < 2 or match[3] == "0":
        raise SpecError(
            f"PBS does not take -J {value}",
            hint="an array has two indexes or more, 0-9 or 0-9:3; one run is a plain job",
        )
    if match[4] is not None and int(match[4]) == 0:
        raise SpecError(f"-J {value}: a limit of 0 would never start anything", hint="leave it out for no limit")
    return indexes


def safe_variables(exports: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """`exports` in two: what `qsub -v` carries unchanged, and what has to go by file.

    -v drops quotes, doubles backslashes, ends a value at a comma and takes the rest for names; empty values and blanks
    come back wrong from some clients. So only letters, digits and `_ . / : @ % + = -` go by -v. Raises SpecError for a
    name that is no variable.
    """
    by_option: dict[str, str] = {}
    by_file: dict[str, str] = {}
    for name, value in exports.items():
        if not _VARIABLE.fullmatch(name):
            raise SpecError(f"{name!r} is no name of an environment variable")
        (by_option if value and _SAFE_VALUE.fullmatch(value) else by_file)[name] = value
    return by_option, by_file


def variables_option(exports: Mapping[str, str]) -> tuple[str, ...]:
    """`-v A=1,B=2` for exports that are all safe; nothing for none. Raises SpecError that names an unsafe one.

    One -v only: of several the last wins whole, and one on the command line replaces the script's.
    """
    by_option, by_file = safe_variables(exports)
    if by_file:
        name = next(iter(by_file))
        raise SpecError(
            f"qsub -v cannot carry {name}={by_file[name][:60]!r} unchanged", hint="such values go by file (ENV_FILE)"
        )
    return ("-v", ",".join(f"{name}={value}" for name, value in by_option.items())) if by_option else ()


def options_of(words: list[str], number: int) -> list[str]:
    """Return options and values one after the other: `-lselect=1` as `-l select=1`, `-h` as a flag with no value.

    `number`: the line, for the SpecError about a word that is no option of qsub.
    """
    pairs: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        letter = word[1:2]
        name, _, wanted = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in _NOT_IN_PBS:
            told = f"{name} {wanted} is asked for, which the request to PBS does not say"
            if name != "gpu_type":
                told = f"the cluster profile says {name}: {wanted}, which PBS cannot do"
            raise SpecError(told, hint=_NOT_IN_PBS[name])
        if not word.startswith("-") or letter not in _TAKES_VALUE | _FLAGS:
            raise SpecError(f"line {number} of the script: {word!r} is no option of qsub")
        if letter in _FLAGS:
            pairs += [f"-{letter}", ""]
            if word[2:]:  # flags may be written together: -hJ0-3
                rest.insert(0, f"-{word[2:]}")
            continue
        value = word[2:] or (rest.pop(0) if rest else "")
        if not value:
            raise SpecError(f"line {number} of the script: -{letter} needs a value")
        pairs += [f"-{letter}", value]
    return pairs


def _check_name(value: str) -> None:
    job_name(value)


def _check_array(value: str) -> None:
    array_range(value)


def _check_resource(value: str) -> None:
    name, _, amount = value.partition("=")
    if name == "walltime" and not _WALLTIME.fullmatch(amount):
        raise SpecError(f"PBS does not take -l {value}", hint="seconds or HH:MM:SS; days as hours: 48:00:00")


def _check_output(value: str) -> None:
    if not _PATH.fullmatch(value):
        raise SpecError(
            f"PBS cannot write the log to {value!r}", hint="an absolute path without blanks, colons, commas or quotes"
        )


def _check_more(value: str) -> None:
    name, _, amount = value.partition("=")
    if name != "depend":
        return
    for part in amount.split(","):
        if not _DEPEND.fullmatch(part) or _SUBJOB.search(part):
            raise SpecError(
                f"PBS does not take -W {value}", hint="afterok:123.server or afterany:123[].server; not one subjob"
            )


_CHECKS: dict[str, Callable[[str], None]] = {
    "-N": _check_name,
    "-J": _check_array,
    "-l": _check_resource,
    "-o": _check_output,
    "-e": _check_output,
    "-W": _check_more,
}
