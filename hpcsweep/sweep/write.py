"""Write the files of a sweep, before its jobs are submitted."""

import shutil
from collections.abc import Sequence

from hpcsweep import privacy
from hpcsweep.atomic_files import write_json
from hpcsweep.errors import HostError
from hpcsweep.render.job import RenderedJob
from hpcsweep.spec.file_names import SCRIPT_FILE, TASKS_DIR
from hpcsweep.spec.job import JobSpec
from hpcsweep.sweep.layout import SWEEP_FILE, SweepFolder
from hpcsweep.sweep.prepare import Prepared, Rendered


def write_sweep(prepared: Prepared, rendered: Rendered, sweep: SweepFolder) -> None:
    """Write all files of a sweep into its folder, sweep.json last. Raises HostError."""
    try:
        (sweep.path / "data").mkdir()
        (sweep.path / "runs").mkdir()
        copy_data(prepared, sweep)
        for run in prepared.runs:
            (sweep.path / "runs" / run.label).mkdir()
        write_jobs(rendered.jobs, rendered.files, sweep)
        write_json(sweep.path / SWEEP_FILE, rendered.document.model_dump(mode="json"))
    except OSError as exc:
        raise HostError(
            f"{sweep.path} cannot be written: {exc}", code="sweep_not_writable", hint="nothing was submitted"
        ) from exc


def copy_data(prepared: Prepared, sweep: SweepFolder) -> None:
    """Copy the missing data files; the target names start with the sha256 of the content. Raises OSError."""
    for source, target in prepared.data_files:
        if not (sweep.path / "data" / target).exists():
            shutil.copyfile(source, sweep.path / "data" / target)


def write_jobs(jobs: Sequence[JobSpec], files: Sequence[RenderedJob], sweep: SweepFolder) -> None:
    """Write the folders `jobs/N/`. Raises OSError."""
    for job, rendered_job in zip(jobs, files, strict=True):
        folder = sweep.job_dir(job.job)
        (folder / "logs").mkdir(parents=True)
        (folder / TASKS_DIR).mkdir()
        for name, text in rendered_job.files.items():
            (folder / name).write_text(text, encoding="utf-8", errors="surrogateescape")
        (folder / SCRIPT_FILE).chmod(privacy.executable_mode())
