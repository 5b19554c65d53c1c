"""The files of a sweep on disk, as they are before its jobs are submitted."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from hpcsweep import privacy
from hpcsweep.errors import HostError
from hpcsweep.render.job import SCRIPT_FILE, RenderedJob
from hpcsweep.spec.job import JobSpec
from hpcsweep.sweep.layout import SWEEP_FILE, SweepFolder, write_json
from hpcsweep.sweep.prepare import Prepared, Rendered


def write_sweep(prepared: Prepared, rendered: Rendered, sweep: SweepFolder) -> None:
    """Write everything of a sweep into its folder, sweep.json last. Raises HostError."""
    try:
        (sweep.path / "data").mkdir()
        (sweep.path / "runs").mkdir()
        copy_data(prepared, sweep)
        for run in prepared.runs:
            (sweep.path / "runs" / run.label).mkdir()
        write_jobs(rendered.jobs, rendered.files, sweep)
        write_json(sweep.path / SWEEP_FILE, rendered.document)
    except OSError as exc:
        raise HostError(f"{sweep.path} cannot be written: {exc}", hint="nothing was submitted") from exc


def copy_data(prepared: Prepared, sweep: SweepFolder) -> None:
    """Copy the data files that are not there yet; their names begin with their sha256. Raises OSError."""
    for source, target in prepared.data_files:
        if not (sweep.path / "data" / target).exists():
            shutil.copyfile(source, sweep.path / "data" / target)


def write_jobs(jobs: Sequence[JobSpec], files: Sequence[RenderedJob], sweep: SweepFolder) -> None:
    """Write the folders `jobs/N/`. Raises OSError."""
    for job, rendered_job in zip(jobs, files, strict=True):
        folder = sweep.job_dir(job.job)
        (folder / "logs").mkdir(parents=True)
        (folder / "tasks").mkdir()
        for name, text in rendered_job.files.items():
            _write_text(folder / name, text)
        (folder / SCRIPT_FILE).chmod(privacy.executable_mode())


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
