"""`hpcsweep adopt`: an experiment file and a template from an existing job script."""

from pathlib import Path

import click

from hpcsweep.adopt.document import AdoptedFiles
from hpcsweep.adopt.document import adopt as adopt_text
from hpcsweep.errors import SpecError
from hpcsweep.spec.load import read_text
from hpcsweep.units import counted


@click.command()
@click.argument("script", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write NAME.yaml and templates/ into this folder.  [default: print both as one experiment file]",
)
def adopt(script: Path, output: Path | None) -> None:
    """Make an experiment file of a job script that starts a server.

    Reads the directives of SCRIPT, the command that starts vLLM, SGLang or TensorRT-LLM, and what prepares its
    environment. The result is for you to edit: what could not be taken over stands at its top, with the line.
    """
    found = adopt_text(read_text(script), script.stem)
    if output is None:
        click.echo(found.experiment, nl=False)
        if found.template:
            click.echo(f"\n# templates/{found.template_name}:\n#")
            click.echo("".join(f"# {line}".rstrip() + "\n" for line in found.template.splitlines()), nl=False)
        return
    _write(found, output)


def _write(found: AdoptedFiles, output: Path) -> None:
    files = {output / f"{found.name}.yaml": found.experiment}
    if found.template:
        files[output / "templates" / found.template_name] = found.template
    there = [str(path) for path in files if path.exists()]
    if there:
        raise SpecError(f"{', '.join(there)} exists already", hint="remove it, or choose another folder")
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise SpecError(f"{output} cannot be written: {exc}") from exc
    for path in files:
        click.echo(str(path))
    if found.unclear:
        click.echo(f"{counted(len(found.unclear), 'remark')} at the top of {found.name}.yaml", err=True)
    folder = f" --template-dir {output / 'templates'}" if found.template else ""
    click.echo(f"Look at it, then: hpcsweep submit {output / found.name}.yaml{folder} --dry-run", err=True)
