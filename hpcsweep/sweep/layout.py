"""Folders and files below HPCSWEEP_HOME."""

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpcsweep import privacy
from hpcsweep.atomic_files import write_json
from hpcsweep.errors import HpcsweepError, SpecError, nearest
from hpcsweep.foreign_files import DOCUMENT_LIMIT_BYTES, RECORD_LIMIT_BYTES, parse_json, read_regular
from hpcsweep.spec.file_names import SPEC_FILE

if TYPE_CHECKING:  # pydantic is imported where a file is parsed: `status` of ended sweeps does not need it
    from hpcsweep.spec.job import JobSpec, RunSpec
    from hpcsweep.spec.sweep import SweepFile
    from hpcsweep.sweep.submission import Submission

HOME_VARIABLE = "HPCSWEEP_HOME"
HOME_FILE = "home.json"
SWEEP_FILE = "sweep.json"
SUBMISSION_FILE = "submission.json"
_NUMBER = re.compile(r"[0-9]{1,9}")
_NUMBERED = re.compile(r"(.+)-(\d{4,})")
_WRITTEN_ONCE = "the file is written once, by `hpcsweep submit`; restore it, or submit the experiment again"


def is_label(label: object) -> bool:
    """Return whether a run may have this label: it must be a safe name of a folder below `runs/`."""
    plain = isinstance(label, str) and label.isprintable() and 0 < len(label.encode("utf-8", "replace")) <= 255
    return plain and "/" not in str(label) and not str(label).startswith(".")


def current_jobs(jobs: "Iterable[tuple[JobSpec, bool]]") -> "dict[str, tuple[JobSpec, int, RunSpec]]":
    """Return run label -> (job, index of the array task, run), from the latest submitted job of each run.

    `jobs`: (job, whether it was submitted), by number. A run without a submitted job gets its latest job.
    """
    by_priority = [job for job, _ in sorted(jobs, key=lambda entry: entry[1])]
    return {run.label: (job, task.index, run) for job in by_priority for task in job.array_tasks for run in task.runs}


def logs_into(log_path: str, job_name: str) -> bool:
    """Return whether a job that logs to `log_path` was submitted as `job_name` (SWEEP-NUMBER)."""
    sweep, _, number = job_name.rpartition("-")
    return f"/{sweep}/jobs/{number}/logs" in log_path


@dataclass(frozen=True)
class Home:
    """HPCSWEEP_HOME on the login side."""

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
        """Return the UUID of this home, created on first use; None when it is missing and cannot be written.

        The UUID stays in the folder when the folder is moved, so that a store can distinguish two homes whose sweeps
        have the same names.
        """
        path = self.path / HOME_FILE
        for _ in range(2):
            try:
                return str(json.loads(path.read_bytes())["home_id"])
            except FileNotFoundError:
                temporary = path.with_name(f".{HOME_FILE}.{os.getpid()}")
                with contextlib.suppress(OSError):
                    write_json(temporary, {"home_id": str(uuid.uuid4())})
                    with contextlib.suppress(FileExistsError):  # another process was first: its UUID is used
                        os.link(temporary, path)
                with contextlib.suppress(OSError):
                    temporary.unlink()
            except (OSError, ValueError, KeyError, TypeError) as exc:
                raise HpcsweepError(
                    f"{path} cannot be read: {exc}",
                    code="home_file_unreadable",
                    hint="the file contains the identity of this home",
                ) from exc
        return None

    def sweep_names(self) -> list[str]:
        """Return the names of the sweeps, the oldest first."""
        dated = [(path.lstat().st_mtime, path.parent.name) for path in self.sweeps_dir.glob(f"*/{SWEEP_FILE}")]
        return [name for _, name in sorted(dated)]

    def sweep(self, name: str | None) -> "SweepFolder":
        """Return the sweep of this name; None: the latest. Raises SpecError that lists the known sweeps."""
        names = self.sweep_names()
        if not names:
            raise SpecError(
                f"{self.path} has no sweeps yet", code="no_sweeps", hint="`hpcsweep submit EXPERIMENT` creates a sweep"
            )
        chosen = names[-1] if name is None else name
        if chosen not in names:
            raise SpecError(
                f"unknown sweep {chosen!r} in {self.path}", code="unknown_sweep", hint=nearest(chosen, names[-20:])
            )
        return SweepFolder(self.sweeps_dir / chosen)

    def claim(self, experiment: str, above: int = 0) -> "SweepFolder":
        """Create an empty sweep folder `EXPERIMENT-NNNN`; no two processes get the same folder.

        `above`: the highest number that another home uses in the same store. Raises SpecError.
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
                    f"{folder} cannot be created: {exc.strerror}",
                    code="home_not_writable",
                    hint=f"check that HPCSWEEP_HOME {self.path} is writable and the disk is not full",
                ) from exc

    def join(self, name: str) -> "SweepFolder":
        """Return the folder of the sweep of this name; create it when it does not exist. Raises SpecError."""
        self.make()
        folder = self.sweeps_dir / name
        try:
            folder.mkdir(exist_ok=True)
        except OSError as exc:
            raise SpecError(f"{folder} cannot be created: {exc}", code="home_not_writable") from exc
        return SweepFolder(folder)

    def next_number(self, experiment: str) -> int:
        """Return the number of the next sweep of this experiment; 1 for the first."""
        numbers = [0]
        if self.sweeps_dir.is_dir():
            for entry in self.sweeps_dir.iterdir():
                match = _NUMBERED.fullmatch(entry.name)
                if match and match[1] == experiment:
                    numbers.append(int(match[2]))
        return max(numbers) + 1

    def make(self, group: str | None = None) -> None:
        """Create the folders, private to the user or shared with a Unix group. Raises SpecError when this fails.

        The permissions of an existing folder of the user are not changed; those of hpcsweep's own folders in it are.
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
                f"HPCSWEEP_HOME {self.path} cannot be created: {exc}",
                code="home_not_writable",
                hint=f"choose a writable folder that all nodes can see, with --home or {HOME_VARIABLE}",
            ) from exc


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.path.name

    def job_dir(self, number: int) -> Path:
        """Return the folder of submission `number`."""
        return self.path / "jobs" / str(number)

    def job_numbers(self) -> list[int]:
        """Return the numbers of the submissions that were written, in order."""
        names = [path.parent.name for path in self.path.glob(f"jobs/*/{SPEC_FILE}")]
        return sorted(int(name) for name in names if _NUMBER.fullmatch(name))

    def definition_stamps(self) -> dict[str, str]:
        """Return path below this folder -> inode, size and mtime of each file that defines the sweep.

        The stamp of a missing submission.json is empty: the file of a refused job is removed again.
        """
        stamps = {}
        paths = [self.path / SWEEP_FILE]
        for number in self.job_numbers():
            paths += [self.job_dir(number) / name for name in (SPEC_FILE, SUBMISSION_FILE)]
        for path in paths:
            try:
                stat = path.stat()
            except OSError:
                if path.name == SUBMISSION_FILE:
                    stamps[str(path.relative_to(self.path))] = ""
                continue
            stamps[str(path.relative_to(self.path))] = f"{stat.st_ino}-{stat.st_size}-{stat.st_mtime_ns}"
        return stamps

    def read_sweep(self) -> "SweepFile":
        """Read sweep.json. Raises HpcsweepError when it is missing or corrupt."""
        from hpcsweep.spec.sweep import SweepFile

        try:
            return SweepFile.model_validate(self._read_definition())
        except ValueError as exc:
            raise HpcsweepError(
                f"{self.path / SWEEP_FILE} is corrupt: {_why(exc)}", code="sweep_file_corrupt", hint=_WRITTEN_ONCE
            ) from exc

    def uses_ssh(self) -> bool:
        """Return whether the sweep was submitted over SSH; sweep.json is checked only as far as this needs.

        Raises HpcsweepError when sweep.json is missing or corrupt.
        """
        return self._read_definition()["profile"].get("ssh") is not None

    def _read_definition(self) -> dict[str, Any]:
        path = self.path / SWEEP_FILE
        try:
            document = parse_json(read_regular(path, DOCUMENT_LIMIT_BYTES))
        except (OSError, ValueError) as exc:
            raise HpcsweepError(
                f"{path} cannot be read: {_why(exc)}", code="sweep_file_unreadable", hint=_WRITTEN_ONCE
            ) from exc
        runs = document.get("runs") if isinstance(document, dict) else None
        if not isinstance(runs, list) or not all(isinstance(run, dict) and "label" in run for run in runs):
            raise HpcsweepError(
                f"{path} is corrupt: it has no `runs` list", code="sweep_file_corrupt", hint=_WRITTEN_ONCE
            )
        for run in runs:
            if not is_label(run["label"]):
                raise HpcsweepError(
                    f"{path} is corrupt: {ascii(run['label'])[:100]} cannot be the name of a run's folder",
                    code="sweep_file_corrupt",
                    hint=_WRITTEN_ONCE,
                )
        if not isinstance(document.get("profile"), dict):
            raise HpcsweepError(
                f"{path} is corrupt: it has no cluster profile", code="sweep_file_corrupt", hint=_WRITTEN_ONCE
            )
        return dict(document)

    def read_job(self, number: int) -> "JobSpec":
        """Read jobs/N/job.json. Raises HpcsweepError when it is missing or corrupt."""
        from hpcsweep.spec.job import JobSpec

        path = self.job_dir(number) / SPEC_FILE
        try:
            return JobSpec.model_validate_json(read_regular(path, DOCUMENT_LIMIT_BYTES))
        except (OSError, ValueError) as exc:
            raise HpcsweepError(
                f"{path} cannot be read: {_why(exc)}", code="job_file_unreadable", hint=_WRITTEN_ONCE
            ) from exc

    def read_submission(self, number: int) -> "Submission | None":
        """Read jobs/N/submission.json; None: it was never submitted. Raises HpcsweepError when it is corrupt."""
        from hpcsweep.sweep.submission import Submission

        path = self.job_dir(number) / SUBMISSION_FILE
        try:
            return Submission.model_validate_json(read_regular(path, RECORD_LIMIT_BYTES))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise HpcsweepError(f"{path} cannot be read: {_why(exc)}", code="submission_file_unreadable") from exc

    def write_submission(self, number: int, submission: "Submission") -> None:
        """Write jobs/N/submission.json. Raises OSError."""
        write_json(self.job_dir(number) / SUBMISSION_FILE, submission.model_dump())

    def forget_submission(self, number: int) -> None:
        """Remove jobs/N/submission.json, because the scheduler refused the job."""
        (self.job_dir(number) / SUBMISSION_FILE).unlink(missing_ok=True)

    def current_jobs(self) -> "dict[str, tuple[JobSpec, int, RunSpec]]":
        """Return run label -> (job, index of the array task, run) of the latest submitted job of each run."""
        return current_jobs((self.read_job(number), self.was_submitted(number)) for number in self.job_numbers())

    def current_tasks(self) -> dict[str, tuple[int, int]]:
        """Return run label -> (job number, index of the array task) of the latest submitted job of each run."""
        return {label: (job.job, index) for label, (job, index, _) in self.current_jobs().items()}

    def earlier_tasks(self, labels: "Iterable[str]") -> set[tuple[int, int]]:
        """Return (job number, index) of the array tasks of earlier submissions of these runs."""
        current, wanted = self.current_tasks(), set(labels)
        return {
            (number, task.index)
            for number in self.job_numbers()
            if self.was_submitted(number)
            for task in self.read_job(number).array_tasks
            for run in task.runs
            if run.label in wanted and current[run.label] != (number, task.index)
        }

    def was_submitted(self, number: int) -> bool:
        """Return whether a scheduler accepted job `number`, or may have accepted it."""
        return (self.job_dir(number) / SUBMISSION_FILE).exists()

    def attempts(self, label: str) -> int:
        """Return the highest attempt number of a run; 0: none began."""
        return last_attempt(self.path / "runs" / label)


def last_attempt(folder: Path) -> int:
    """Return the highest number of the attempts in the folder of a run or preparation; 0: none began."""
    names = (entry.name.removeprefix("attempt-") for entry in folder.glob("attempt-*"))
    return max((int(name) for name in names if _NUMBER.fullmatch(name)), default=0)


def _why(exc: OSError | ValueError) -> str:
    """Return the reason in one line: of the operating system, of JSON, or the first error of pydantic."""
    if isinstance(exc, OSError):
        return exc.strerror or type(exc).__name__
    return " ".join(str(exc).split("\n")[:3])[:300]
