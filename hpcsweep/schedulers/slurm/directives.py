"""Check #SBATCH lines, before submission, for options that hpcsweep depends on. Pure.

A user's own template or `directives:` may contain any option except those that would hide the job from hpcsweep.
"""

from hpcsweep.errors import SpecError

PREFIX = "#SBATCH"

_SET_BY_US = {"job-name": "J", "comment": "", "array": "a", "export": ""}
"""Options that identify a job and its array tasks, or keep its environment clean -> their short form."""

_REFUSED = {
    ("clusters", "M"): "its state could not be queried; submit on a login node of that cluster (ssh: in a profile)",
    ("wait", "W"): "sbatch would wait for the end of the job; use `hpcsweep submit --wait`",
    ("test-only", ""): "nothing would be submitted; use `hpcsweep submit --dry-run`",
    ("wrap", ""): "the script of the job is job.sh",
    ("export-file", ""): "set env in the cluster profile",
}  # fmt: skip


def check_directives(text: str) -> None:
    """Raise SpecError for a line that Slurm would not read, or an option that would hide the job from hpcsweep."""
    seen: dict[str, int] = {}
    first_command: int | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if "\r" in line:
            raise SpecError(
                f"line {number} of the script ends in a carriage return",
                code="carriage_return",
                hint="save the template with Unix line ends",
            )
        if line.startswith(PREFIX):
            if first_command is not None:
                raise SpecError(
                    f"line {number} of the script, {line!r}, comes after a command (line {first_command}):"
                    " Slurm would not read it",
                    code="directive_after_command",
                    hint="move it to the block `resources` of the template, or to directives: of the profile",
                )
            _check(line.removeprefix(PREFIX).strip(), number, seen)
        elif line.strip() and not line.startswith("#"):
            first_command = first_command or number


def _check(option: str, number: int, seen: dict[str, int]) -> None:
    for names, why in _REFUSED.items():
        if _is(option, *names):
            raise SpecError(
                f"line {number} of the script: {option!r} cannot be used: {why}", code="slurm_option_unsupported"
            )
    for name, short in _SET_BY_US.items():
        if not _is(option, name, short):
            continue
        if name in seen:
            raise SpecError(
                f"line {number} of the script: {option!r} is already set by hpcsweep in line {seen[name]}",
                code="slurm_option_twice",
                hint=f"remove --{name} from directives: and from your template: hpcsweep identifies its jobs by it",
            )
        seen[name] = number


def _is(option: str, name: str, short: str) -> bool:
    given = option.partition("=")[0].split(" ")[0]
    return given == f"--{name}" or (bool(short) and option.startswith(f"-{short}") and not option.startswith("--"))
