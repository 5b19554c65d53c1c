"""#SBATCH lines held to what hpcsweep relies on, before anything is submitted. Pure.

A user's own template or `directives:` may say anything to Slurm but what would make hpcsweep lose sight of the job.
"""

from hpcsweep.errors import SpecError

PREFIX = "#SBATCH"

_SET_BY_US = {"job-name": "J", "comment": "", "array": "a", "export": ""}
"""Options by which a job and its elements are found again, or its environment is kept clean -> their short form."""

_REFUSED = {
    ("clusters", "M"): "we could not ask for its state: submit on that cluster's own login node (ssh: in a profile)",
    ("wait", "W"): "sbatch would not answer before the job has ended: use `hpcsweep submit --wait`",
    ("test-only", ""): "nothing would be submitted: use `hpcsweep submit --dry-run`",
    ("wrap", ""): "the job's script is job.sh",
    ("export-file", ""): "set env in the cluster profile",
}  # fmt: skip


def check_directives(text: str) -> None:
    """Raises SpecError for a line of a script that Slurm would not read, or after which we would not find the job."""
    seen: dict[str, int] = {}
    first_command: int | None = None
    for number, line in enumerate(text.split("\n"), 1):
        if "\r" in line:
            raise SpecError(
                f"line {number} of the script ends in a carriage return", hint="save the template with Unix line ends"
            )
        if line.startswith(PREFIX):
            if first_command is not None:
                raise SpecError(
                    f"line {number} of the script, {line!r}, comes after a command (line {first_command}):"
                    " Slurm would not read it",
                    hint="put it into the block `resources` of the template, or into directives: of the profile",
                )
            _check(line.removeprefix(PREFIX).strip(), number, seen)
        elif line.strip() and not line.startswith("#"):
            first_command = first_command or number


def _check(option: str, number: int, seen: dict[str, int]) -> None:
    for names, why in _REFUSED.items():
        if _is(option, *names):
            raise SpecError(f"line {number} of the script: {option!r} cannot be used: {why}")
    for name, short in _SET_BY_US.items():
        if not _is(option, name, short):
            continue
        if name in seen:
            raise SpecError(
                f"line {number} of the script: {option!r} stands already in line {seen[name]}, set by hpcsweep",
                hint=f"hpcsweep finds its jobs by it: leave --{name} out of directives: and of your template",
            )
        seen[name] = number


def _is(option: str, name: str, short: str) -> bool:
    word = option.partition("=")[0].split(" ")[0]
    return word == f"--{name}" or (bool(short) and option.startswith(f"-{short}") and not option.startswith("--"))
