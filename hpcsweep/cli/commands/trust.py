"""`hpcsweep trust`: accept the SSH connections and templates of a project folder."""

from pathlib import Path

import click

from hpcsweep.cli.output import say
from hpcsweep.errors import SpecError
from hpcsweep.spec.cluster import ConfigFile
from hpcsweep.spec.load import parse_model
from hpcsweep.sweep.inputs import CONFIG_FILE, read_text
from hpcsweep.sweep.trust import forget, is_trusted, look_at
from hpcsweep.sweep.trust import trust as remember
from hpcsweep.terminal_text import one_line


@click.command()
@click.argument("folder", default=".", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--forget", "revoke", is_flag=True, help="Revoke the trust.")
def trust(folder: Path, yes: bool, revoke: bool) -> None:
    """Trust a folder's SSH connections and templates.

    FOLDER defaults to the current folder. The command shows the hosts that the profiles in its hpcsweep.yaml connect to
    and its templates, and asks for confirmation. When one of these files changes, the folder must be trusted again.
    """
    if revoke:
        was_trusted = forget(folder)
        say(f"{folder.resolve()} is {'no longer' if was_trusted else 'not'} trusted")
        return
    own = look_at(folder, CONFIG_FILE)
    lines = _connections(folder) if CONFIG_FILE in own.files else []
    lines += [f"template {name}: can add any command to a job script" for name in own.templates]
    if not lines:
        raise SpecError(
            f"nothing to trust: {folder.resolve()} has no profile with `ssh` and no templates", code="nothing_to_trust"
        )
    if is_trusted(own):
        say(f"{own.folder} is already trusted")
        return
    say("\n".join([f"{own.folder}:", *(f"  {line}" for line in lines)]))
    if not yes:
        click.confirm("Do you trust this folder?", abort=True)
    say(f"Trusted in its current state; recorded in {remember(own)}")


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
