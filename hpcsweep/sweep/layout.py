"""What lies below HPCSWEEP_HOME, and the small files that the login side keeps there."""

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcsweep import privacy
from hpcsweep.errors import HpcsweepError, SpecError, nearest
from hpcsweep.foreign_files import DOCUMENT_LIMIT_BYTES, RECORD_LIMIT_BYTES, parse_json, read_regular

if TYPE_CHECKING:  # the models, and with them pydantic, are imported where a file is read: a status may need none
    from hpcsweep.spec.job import JobSpec, RunSpec
    from hpcsweep.sweep.submission import Submission

HOME_VARIABLE = "HPCSWEEP_HOME"
HOME_FILE = "home.json"
SWEEP_FILE = "sweep.json"
SUBMISSION_FILE = "submission.json"
_NUMBER = re.compile(r"[0-9]{1,9}")
_NUMBERED = re.compile(r"(.+)-(\d{4,})")


def is_label(label: object) -> bool:
    """Whether a run may have this label: it names a folder below `runs/`, and that is all it can do."""
    plain = isinstance(label, str) and label.isprintable() and 0 < len(label.encode("utf-8", "replace")) <= 255
    return plain and "/" not in str(label) and not str(label).startswith(".")


def current_jobs(jobs: "Iterable[tuple[JobSpec, bool]]") -> "dict[str, tuple[JobSpec, int, RunSpec]]":
    """Run label -> (job, element index, run) of the latest job that was handed over, else of the latest.

    `jobs`: each with whether it was, the oldest first. So a retry that is refused leaves a run what it was.
    """
    by_weight = [job for job, _ in sorted(jobs, key=lambda one: one[1])]
    return {run.label: (job, e.index, run) for job in by_weight for e in job.tasks for run in e.runs}


def logs_into(log_path: str, job_name: str) -> bool:
    """Whether a job that logs to `log_path` is the one that was submitted as `job_name` (SWEEP-NUMBER)."""
    sweep, _, number = job_name.rpartition("-")
    return f"/{sweep}/jobs/{number}/logs" in log_path


@dataclass(frozen=True)
class Home:
    """HPCSWEEP_HOME as the login side sees it."""

    path: Path

    @property
    def sweeps_dir(self) -> Path:
        """The folder of all sweeps."""
        return self.path / "sweeps"

    @property
    def cache_dir(self) -> Path:
        """The root of the compile caches."""
        return self.path / "cache"

    def identity(self) -> str | None:
        """Return the UUID of this home, made when it has none; None: it has none and cannot be written.

        It stays with the folder when that is moved, so a store can tell two homes apart that name their sweeps alike.
        """
        path = self.path / HOME_FILE
        for _ in range(2):
            try:
                found = json.loads(path.read_bytes())
                return str(found["home_id"])
            except FileNotFoundError:
                beside = path.with_name(f".{HOME_FILE}.{os.getpid()}")
                with contextlib.suppress(OSError):
                    write_json(beside, {"home_id": str(uuid.uuid4())})
                    with contextlib.suppress(FileExistsError):  # another process was first: its UUID counts
                        os.link(beside, path)
                with contextlib.suppress(OSError):
                    beside.unlink()
            except (OSError, ValueError, KeyError, TypeError) as exc:
                raise HpcsweepError(f"{path} cannot be read: {exc}", hint="it has the identity of this home") from exc
        return None

    def sweep_names(self) -> list[str]:
        """Names of the sweeps, the oldest first."""
        found = [(path.lstat().st_mtime, path.parent.name) for path in self.sweeps_dir.glob(f"*/{SWEEP_FILE}")]
        return [name for _, name in sorted(found)]

    def sweep(self, name: str | None) -> "SweepFolder":
        """The sweep of this name; None: the latest. Raises SpecError that lists the known ones."""
        names = self.sweep_names()
        if not names:
            raise SpecError(f"{self.path} holds no sweep yet", hint="`hpcsweep submit EXPERIMENT` makes one")
        chosen = names[-1] if name is None else name
        if chosen not in names:
            raise SpecError(f"unknown sweep {chosen!r} in {self.path}", hint=nearest(chosen, names[-20:]))
        return SweepFolder(self.sweeps_dir / chosen)

    def claim(self, experiment: str, above: int = 0) -> "SweepFolder":
        """A new, empty sweep folder `EXPERIMENT-NNNN`: two submitters never get the same one.

        `above`: the highest number that another home has in the same store.
        """
        self.make()
        number = max(self.next_number(experiment), above + 1)
        while True:
            folder = self.sweeps_dir / f"{experiment}-{number:04d}"
            try:
                folder.mkdir()
                return SweepFolder(folder)
            except FileExistsError:
                number += 1
            except OSError as exc:
                raise SpecError(
                    f"{folder} cannot be made: {exc.strerror}",
                    hint=f"is HPCSWEEP_HOME {self.path} writable, and not full?",
                ) from exc

    def join(self, name: str) -> "SweepFolder":
        """The folder of a sweep of this name, made when it is not there. Raises SpecError."""
        self.make()
        folder = self.sweeps_dir / name
        try:
            folder.mkdir(exist_ok=True)
        except OSError as exc:
            raise SpecError(f"{folder} cannot be made: {exc}") from exc
        return SweepFolder(folder)

    def next_number(self, experiment: str) -> int:
        """The number that the next sweep of this experiment gets, 1 for the first."""
        numbers = [0]
        if self.sweeps_dir.is_dir():
            for entry in self.sweeps_dir.iterdir():
                match = _NUMBERED.fullmatch(entry.name)
                if match and match[1] == experiment:
                    numbers.append(int(match[2]))
        return max(numbers) + 1

    def make(self, group: str | None = None) -> None:
        """Make the folders, private to the user or shared with a Unix group. Raises SpecError when it cannot.

        A folder of the user's own that holds more than sweeps keeps its modes; the folders of hpcsweep in it do not.
        """
        try:
            if group is not None or not self.path.exists():
                privacy.make_folder(self.path, group)
            for folder in (self.sweeps_dir, self.cache_dir):
                privacy.make_folder(folder, group)
            privacy.follow(self.sweeps_dir)
            if group is not None:
                for database in self.path.glob("hpcsweep.db*"):
                    privacy.share(database, group)
        except OSError as exc:
            raise SpecError(
                f"HPCSWEEP_HOME {self.path} cannot be made: {exc}",
                hint=f"choose another with --home or {HOME_VARIABLE}; it must be writable, and seen by all nodes",
            ) from exc


@dataclass(frozen=True)
class SweepFolder:
    """One sweep's folder."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.path.name

    def job_dir(self, number: int) -> Path:
        """The folder of job `number`."""
        return self.path / "jobs" / str(number)

    def job_numbers(self) -> list[int]:
        """Numbers of the jobs that were written, in order."""
        names = [path.parent.name for path in self.path.glob("jobs/*/job.json")]
        return sorted(int(name) for name in names if _NUMBER.fullmatch(name))

    def definition_stamps(self) -> dict[str, str]:
        """Path below this folder -> inode, size and mtime of each file that says what the sweep is.

        Empty for a submission.json that is not there: that of a refused job goes away again.
        """
        stamps = {}
        paths = [self.path / SWEEP_FILE]
        for number in self.job_numbers():
            paths += [self.job_dir(number) / name for name in ("job.json", SUBMISSION_FILE)]
        for path in paths:
            try:
                stat = path.stat()
            except OSError:
                if path.name == SUBMISSION_FILE:
                    stamps[str(path.relative_to(self.path))] = ""
                continue
            stamps[str(path.relative_to(self.path))] = f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}"
        return stamps

    def read_sweep(self) -> dict[str, Any]:
        """sweep.json. Raises HpcsweepError when it is damaged."""
        path = self.path / SWEEP_FILE
        document = read_json(path)
        runs = document.get("runs") if isinstance(document, dict) else None
        if not isinstance(runs, list) or not all(isinstance(run, dict) and "label" in run for run in runs):
            raise HpcsweepError(f"{path} is damaged: it lists no runs", hint="it is written once, by submit")
        for run in runs:
            if not is_label(run["label"]):
                raise HpcsweepError(
                    f"{path} is damaged: {ascii(run['label'])[:100]} cannot be the name of a run's folder"
                )
        if not isinstance(document.get("profile"), dict):
            raise HpcsweepError(f"{path} is damaged: it has no cluster profile", hint="it is written once, by submit")
        return dict(document)

    def read_job(self, number: int) -> "JobSpec":
        """jobs/N/job.json."""
        from hpcsweep.spec.job import JobSpec

        path = self.job_dir(number) / "job.json"
        try:
            return JobSpec.model_validate_json(read_regular(path, DOCUMENT_LIMIT_BYTES))
        except (OSError, ValueError) as exc:
            raise HpcsweepError(f"{path} cannot be read: {_why(exc)}", hint="it is written once, by submit") from exc

    def read_submission(self, number: int) -> "Submission | None":
        """jobs/N/submission.json; None: the job was never handed over."""
        from hpcsweep.sweep.submission import Submission

        path = self.job_dir(number) / SUBMISSION_FILE
        try:
            return Submission.model_validate_json(read_regular(path, RECORD_LIMIT_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise HpcsweepError(f"{path} cannot be read: {_why(exc)}") from exc

    def write_submission(self, number: int, submission: "Submission") -> None:
        """Write jobs/N/submission.json, whole."""
        write_json(self.job_dir(number) / SUBMISSION_FILE, submission.model_dump())

    def forget_submission(self, number: int) -> None:
        """Remove jobs/N/submission.json: the scheduler refused the job."""
        (self.job_dir(number) / SUBMISSION_FILE).unlink(missing_ok=True)

    def current_jobs(self) -> "dict[str, tuple[JobSpec, int, RunSpec]]":
        """Run label -> (job, element index, run) of the job that counts."""
        return current_jobs((self.read_job(number), self.was_submitted(number)) for number in self.job_numbers())

    def current_tasks(self) -> dict[str, tuple[int, int]]:
        """Run label -> (job, element index) of the job that counts."""
        return {label: (job.job, index) for label, (job, index, _) in self.current_jobs().items()}

    def earlier_tasks(self, labels: "Iterable[str]") -> set[tuple[int, int]]:
        """(job, element index) of the submissions of these runs before the one that counts."""
        counting, wanted = self.current_tasks(), set(labels)
        return {
            (number, task.index)
            for number in self.job_numbers()
            if self.was_submitted(number)
            for task in self.read_job(number).tasks
            for run in task.runs
            if run.label in wanted and counting[run.label] != (number, task.index)
        }

    def was_submitted(self, number: int) -> bool:
        """Whether a scheduler took job `number`, or may have taken it."""
        return (self.job_dir(number) / SUBMISSION_FILE).exists()

    def attempts(self, label: str) -> int:
        """The highest attempt number of a run; 0: none began."""
        return max(self._attempt_numbers(label), default=0)

    def _attempt_numbers(self, label: str) -> Iterator[int]:
        for entry in (self.path / "runs" / label).glob("attempt-*"):
            number = entry.name.removeprefix("attempt-")
            if _NUMBER.fullmatch(number):
                yield int(number)


def read_json(path: Path) -> Any:
    """A JSON file of ours. Raises HpcsweepError that names it."""
    try:
        return parse_json(read_regular(path, DOCUMENT_LIMIT_BYTES))
    except (OSError, ValueError) as exc:
        raise HpcsweepError(f"{path} cannot be read: {_why(exc)}") from exc


def _why(exc: OSError | ValueError) -> str:
    """The reason in one line: an error of the operating system, of JSON, or the first one of pydantic."""
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return " ".join(str(exc).split("\n")[:3])[:300]


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole: beside, to the disk, then renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=1)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    beside.replace(path)
