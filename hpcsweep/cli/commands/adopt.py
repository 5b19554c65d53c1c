"""`hpcsweep adopt`: make an experiment file and a template from an existing job script."""

from pathlib import Path

import click

from hpcsweep.adopt.document import AdoptedFiles
from hpcsweep.adopt.document import adopt as adopt_text
from hpcsweep.errors import SpecError
from hpcsweep.sweep.inputs import read_text
from hpcsweep.units import counted


@click.command()
@click.argument("script", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write NAME.yaml and templates/ to this folder.  [default: print both as one experiment file]",
)
def adopt(script: Path, output: Path | None) -> None:
    """Convert a job script that starts a server into an experiment file.

    The file contains the directives of SCRIPT, the flags of its vLLM, SGLang or TensorRT-LLM command, and the commands
    that prepare the environment. Edit the result: the comments at its top list what was not converted, with the line.
    """
    adoption = adopt_text(read_text(script), script.stem)
    if output is None:
        click.echo(adoption.experiment, nl=False)
        if adoption.template:
            click.echo(f"\n# templates/{adoption.template_name}:\n#")
            click.echo("".join(f"# {line}".rstrip() + "\n" for line in adoption.template.splitlines()), nl=False)
        return
    _write(adoption, output)


def _write(adoption: AdoptedFiles, output: Path) -> None:
    files = {output / f"{adoption.name}.yaml": adoption.experiment}
    if adoption.template:
        files[output / "templates" / adoption.template_name] = adoption.template
    existing = [str(path) for path in files if path.exists()]
    if existing:
        raise SpecError(
            f"file exists: {', '.join(existing)}", code="file_exists", hint="remove it, or choose another folder"
        )
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise SpecError(f"cannot write {output}: {exc}", code="output_not_writable") from exc
    for path in files:
        click.echo(str(path))
    if adoption.unclear:
        click.echo(f"{counted(len(adoption.unclear), 'remark')} at the top of {adoption.name}.yaml", err=True)
    folder = f" --template-dir {output / 'templates'}" if adoption.template else ""
    click.echo(f"Next: edit it, then run hpcsweep submit {output / adoption.name}.yaml{folder} --dry-run", err=True)
