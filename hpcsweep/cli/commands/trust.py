"""`hpcsweep trust`: let a project folder connect over SSH and bring templates of its own."""

from pathlib import Path

import click

from hpcsweep.cli.output import say
from hpcsweep.errors import SpecError
from hpcsweep.spec.cluster import ConfigFile
from hpcsweep.spec.load import parse_model, read_text
from hpcsweep.sweep.inputs import CONFIG_FILE
from hpcsweep.sweep.trust import forget, is_trusted, look_at
from hpcsweep.sweep.trust import trust as remember
from hpcsweep.terminal_text import one_line


@click.command()
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--forget", "take_back", is_flag=True, help="Take the trust back.")
def trust(folder: Path, yes: bool, take_back: bool) -> None:
    """Trust FOLDER to connect over SSH and to bring templates.

    Without FOLDER: the current one. Shows to which hosts the profiles of its hpcsweep.yaml connect and which templates
    it has, and asks. It is trusted as it is now: when one of these files changes, it has to be trusted again.
    """
    if take_back:
        there = forget(folder)
        say(f"{folder.resolve()} is {'no longer' if there else 'not'} trusted")
        return
    own = look_at(folder, CONFIG_FILE)
    lines = _connections(folder) if CONFIG_FILE in own.files else []
    lines += [f"template {name}: can put any command into a job script" for name in own.templates]
    if not lines:
        raise SpecError(f"{folder.resolve()} has no profile with `ssh` and no templates: there is nothing to trust")
    if is_trusted(own):
        say(f"{own.folder} is trusted already")
        return
    say("\n".join([f"{own.folder}:", *(f"  {line}" for line in lines)]))
    if not yes:
        click.confirm("Is that yours, and do you trust it?", abort=True)
    say(f"trusted, as it is now: written to {remember(own)}")


def _connections(folder: Path) -> list[str]:
    path = folder / CONFIG_FILE
    settings = parse_model(ConfigFile, read_text(path), str(path))
    lines = []
    for name, cluster in settings.clusters.items():
        ssh = cluster.ssh
        if ssh is None:
            continue
        user = f"{ssh.user}@" if ssh.user else ""
        port = f", port {ssh.port}" if ssh.port else ""
        key = f", key {ssh.key_file}" if ssh.key_file else ""
        known = f", host keys from {ssh.known_hosts}" if ssh.known_hosts else ""
        lines.append(one_line(f"profile {name}: connects to {user}{ssh.host}{port}{key}{known}, writes to {ssh.home}"))
    if settings.templates is not None:
        lines.append(one_line(f"templates: {settings.templates}"))
    return lines
