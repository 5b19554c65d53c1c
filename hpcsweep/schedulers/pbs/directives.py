"""Read #PBS lines as options of qsub, and check them against the limits of PBS before submission. Pure.

qsub reads directives only from an ordinary script, and an ordinary script runs below a login shell, which is killed
by the first signal and hides the exit code. So job.sh is submitted as `qsub OPTIONS -- /bin/bash -l job.sh`, with
OPTIONS read from job.sh, the only place where they are written.
"""

import re
import shlex
from collections.abc import Callable, Mapping

from hpcsweep.errors import SpecError
from hpcsweep.spec.gpu_request import PBS_HINT

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
    "exclude": "PBS cannot exclude nodes: request a resource that only the others have (constraint)",
    "qos": "PBS has no QOS: choose a queue, or add the directive of your site",
    "partition": "use `queue`",
    "reservation": "a reservation of PBS is a queue: use queue: R123",
    "gpu_type": f"PBS has no GPU types of its own: {PBS_HINT}",
    "nodelist": "PBS accepts one host per chunk: use constraint: host=NAME",
}
"""Options that templates/pbs.sh.j2 writes for profile keys that PBS has no equivalent of, so that they are errors."""

_TAKES_VALUE = frozenset("aAcCehjJklmMNopPqrRSuvW")  # of qsub's usage; `e`, `o` ... with a value behind
_FLAGS = frozenset("fhIVXz")


def directives(text: str) -> list[str]:
    """Return the options of the #PBS lines of a script, in order, up to the first command, as qsub reads them.

    Raises SpecError for a line that is not an option, or that PBS would refuse.
    """
    options: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        if "\r" in line:
            raise SpecError(
                f"line {number} of the script ends in a carriage return",
                code="carriage_return",
                hint="save the script with Unix line ends",
            )
        if bare.startswith(PREFIX):
            try:
                words = shlex.split(bare.removeprefix(PREFIX))
            except ValueError as exc:
                raise SpecError(f"line {number} of the script: {exc}: {bare!r}", code="directive_syntax") from exc
            options += options_of(words, number)
        elif bare and not bare.startswith("#"):
            break
    check_options(options)
    return options


def check_options(options: list[str]) -> None:
    """Raise SpecError for options that qsub would refuse, or accept with another effect than intended."""
    given = list(zip(options[::2], options[1::2], strict=True))
    for option, value in given:
        check = _CHECKS.get(option)
        if check is not None:
            check(value)
    names = [option for option, _ in given]
    if "-J" in names and ("-r", "n") in given:
        raise SpecError(
            "PBS refuses -r n for a job array",
            code="pbs_array_not_rerunnable",
            hint="remove -r: hpcsweep itself prevents a second start from overwriting the first",
        )
    resources = [value for option, value in given if option == "-l"]
    selects = [value for value in resources if value.startswith(("select=", "place="))]
    loose = [value for value in resources if value.startswith(("ngpus=", "ncpus=", "mem=", "nodes="))]
    if selects and loose:
        raise SpecError(
            f"PBS refuses -l {loose[0]} together with -l {selects[0]}",
            code="pbs_resource_outside_select",
            hint="put it into select=",
        )


def job_name(name: str) -> str:
    """Return `name` if PBS accepts it for -N: 1 to 230 letters, digits, `_ - . +`. Raises SpecError otherwise."""
    if not _NAME.fullmatch(name):
        raise SpecError(
            f"PBS does not accept the job name {name[:60]!r}"
            + (f" ({len(name)} characters)" if len(name) > 230 else ""),
            code="pbs_job_name",
            hint="use 1 to 230 of: letters, digits, _ - . +",
        )
    return name


def array_range(value: str) -> range:
    """Return the indexes of a -J value. Raises SpecError if PBS would refuse it: one index, a list, a limit of 0."""
    match = _ARRAY.fullmatch(value)
    indexes = range(0)
    if match is not None:
        indexes = range(int(match[1]), int(match[2]) + 1, int(match[3] or 1) or 1)
    if match is None or len(indexes) < 2 or match[3] == "0":
        raise SpecError(
            f"PBS does not accept -J {value}",
            code="pbs_array_range",
            hint="an array has two or more indexes, such as 0-9 or 0-9:3; submit one run as a plain job",
        )
    if match[4] is not None and int(match[4]) == 0:
        raise SpecError(
            f"-J {value}: with a limit of 0 nothing would start", code="pbs_array_range", hint="remove %0 for no limit"
        )
    return indexes


def safe_variables(exports: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split `exports` into those that `qsub -v` passes unchanged and those that need a file.

    -v drops quotes, doubles backslashes, and ends a value at a comma; some clients change empty values and blanks. So
    only letters, digits and `_ . / : @ % + = -` are passed by -v. Raises SpecError for an invalid name of a variable.
    """
    by_option: dict[str, str] = {}
    by_file: dict[str, str] = {}
    for name, value in exports.items():
        if not _VARIABLE.fullmatch(name):
            raise SpecError(f"{name!r} is not a valid name of an environment variable", code="variable_name")
        (by_option if value and _SAFE_VALUE.fullmatch(value) else by_file)[name] = value
    return by_option, by_file


def variables_option(exports: Mapping[str, str]) -> tuple[str, ...]:
    """Return `-v A=1,B=2` for safe exports, or nothing without any. Raises SpecError for an unsafe one.

    There must be a single -v: of several, only the last counts, and one on the command line replaces the script's.
    """
    by_option, by_file = safe_variables(exports)
    if by_file:
        name = next(iter(by_file))
        raise SpecError(
            f"qsub -v cannot pass {name}={by_file[name][:60]!r} unchanged",
            code="pbs_unsafe_value",
            hint="pass such values in a file (ENV_FILE)",
        )
    return ("-v", ",".join(f"{name}={value}" for name, value in by_option.items())) if by_option else ()


def options_of(words: list[str], number: int) -> list[str]:
    """Return options and values in turn: `-lselect=1` as `-l`, `select=1`; a flag such as `-h` with an empty value.

    `number`: the line, for the SpecError about a word that is not an option of qsub.
    """
    pairs: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        letter = word[1:2]
        name, _, wanted = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in _NOT_IN_PBS:
            message = f"the profile has {name}: {wanted}, which PBS does not support"
            if name == "gpu_type":
                message = f"{name} {wanted} is requested, but is not passed to PBS"
            raise SpecError(message, code="pbs_unsupported_key", hint=_NOT_IN_PBS[name])
        if not word.startswith("-") or letter not in _TAKES_VALUE | _FLAGS:
            raise SpecError(
                f"line {number} of the script: {word!r} is not an option of qsub", code="pbs_unknown_option"
            )
        if letter in _FLAGS:
            pairs += [f"-{letter}", ""]
            if word[2:]:  # flags may be written together: -hJ0-3
                rest.insert(0, f"-{word[2:]}")
            continue
        value = word[2:] or (rest.pop(0) if rest else "")
        if not value:
            raise SpecError(f"line {number} of the script: -{letter} needs a value", code="directive_syntax")
        pairs += [f"-{letter}", value]
    return pairs


def _check_name(value: str) -> None:
    job_name(value)


def _check_array(value: str) -> None:
    array_range(value)


def _check_resource(value: str) -> None:
    name, _, amount = value.partition("=")
    if name == "walltime" and not _WALLTIME.fullmatch(amount):
        raise SpecError(
            f"PBS does not accept -l {value}",
            code="pbs_walltime",
            hint="use seconds or HH:MM:SS, with days as hours: 48:00:00",
        )


def _check_output(value: str) -> None:
    if not _PATH.fullmatch(value):
        raise SpecError(
            f"PBS cannot write the log to {value!r}",
            code="pbs_log_path",
            hint="use an absolute path without blanks, colons, commas and quotes",
        )


def _check_more(value: str) -> None:
    name, _, amount = value.partition("=")
    if name != "depend":
        return
    for part in amount.split(","):
        if not _DEPEND.fullmatch(part) or _SUBJOB.search(part):
            raise SpecError(
                f"PBS does not accept -W {value}",
                code="pbs_dependency",
                hint="use afterok:123.server or afterany:123[].server; a single subjob is not possible",
            )


_CHECKS: dict[str, Callable[[str], None]] = {
    "-N": _check_name,
    "-J": _check_array,
    "-l": _check_resource,
    "-o": _check_output,
    "-e": _check_output,
    "-W": _check_more,
}
