"""`hpcsweep init`: a commented hpcsweep.yaml for this machine."""

from pathlib import Path

import click

from hpcsweep.cli.output import say
from hpcsweep.errors import SpecError
from hpcsweep.hosts.local import LocalHost
from hpcsweep.spec.cluster import ConfigFile
from hpcsweep.spec.load import parse_model
from hpcsweep.store.open import default_home
from hpcsweep.submit.local.machine import look_around
from hpcsweep.submit.local.proposal import propose
from hpcsweep.sweep.inputs import CONFIG_FILE
from hpcsweep.sweep.layout import Home


@click.command()
@click.argument("path", default=CONFIG_FILE, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@click.option("--print", "print_only", is_flag=True, help="Print the file; write nothing.")
@click.pass_context
def init(ctx: click.Context, path: Path, force: bool, print_only: bool) -> None:
    """Write a commented hpcsweep.yaml for this machine.

    A profile for each partition or queue with GPUs that its scheduler tells of; without a scheduler, one that says
    how a profile looks. PATH is ./hpcsweep.yaml where it is not given.
    """
    options = ctx.obj or {}
    if path.exists() and not force and not print_only:
        raise SpecError(f"{path} is there already", hint="--force overwrites it, --print shows what would be written")
    home = Home(Path(options.get("home") or default_home()).absolute())
    text = propose(look_around(home, engine_versions=False, profiles=False))
    names = parse_model(ConfigFile, text, str(path)).clusters  # what is written must be readable
    if print_only:
        say(text, nl=False)
        return
    LocalHost().write_text(str(path.absolute()), text)
    say(f"{path}: {', '.join(names) or 'no cluster profile: there is no scheduler here'}")
    say("Look it over, then: hpcsweep doctor")
