"""`hpcsweep init`: write a commented hpcsweep.yaml for this machine."""

from pathlib import Path

import click

from hpcsweep.cli.output import say
from hpcsweep.errors import SpecError
from hpcsweep.hosts.local import LocalHost
from hpcsweep.spec.cluster import ConfigFile
from hpcsweep.spec.load import parse_model
from hpcsweep.store.open import default_home
from hpcsweep.submit.machine import look_around
from hpcsweep.submit.proposal import propose
from hpcsweep.sweep.inputs import CONFIG_FILE
from hpcsweep.sweep.layout import Home


@click.command()
@click.argument("path", default=CONFIG_FILE, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--print", "print_only", is_flag=True, help="Print the file instead of writing it.")
@click.pass_context
def init(ctx: click.Context, path: Path, force: bool, print_only: bool) -> None:
    """Write a commented hpcsweep.yaml for this machine.

    The file has a profile for each partition or queue with GPUs; without a scheduler, it has a commented example. PATH
    defaults to ./hpcsweep.yaml.
    """
    options = ctx.obj or {}
    if path.exists() and not force and not print_only:
        raise SpecError(
            f"file exists: {path}", code="file_exists", hint="--force overwrites it, --print prints the new file"
        )
    home = Home(Path(options.get("home") or default_home()).absolute())
    text = propose(look_around(home, engine_versions=False, profiles=False))
    names = parse_model(ConfigFile, text, str(path)).clusters  # the written file must be valid
    if print_only:
        say(text, nl=False)
        return
    LocalHost().write_text(str(path.absolute()), text)
    say(f"{path}: {', '.join(names) or 'no cluster profile, as this machine has no scheduler'}")
    say("Next: edit the file, then run hpcsweep doctor")
