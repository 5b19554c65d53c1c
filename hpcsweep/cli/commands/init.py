"""`hpcsweep init`: write a commented hpcsweep.yaml for this machine or a known site, or an experiment from a recipe."""

import sys
from pathlib import Path

import click

from hpcsweep.adopt.recipe import recipe_experiment
from hpcsweep.cli.output import say
from hpcsweep.errors import SpecError
from hpcsweep.hosts.local import LocalHost
from hpcsweep.sites.proposal import site_config
from hpcsweep.sites.site import STATUS, read_site, site_text
from hpcsweep.spec.cluster import ConfigFile
from hpcsweep.spec.load import parse_experiment, parse_model
from hpcsweep.spec.unfilled import unfilled_keys
from hpcsweep.store.open import default_home
from hpcsweep.submit.machine import look_around
from hpcsweep.submit.proposal import propose
from hpcsweep.sweep.inputs import CONFIG_FILE, read_text
from hpcsweep.sweep.layout import Home
from hpcsweep.sweep.recipes import find_recipe


@click.command()
@click.argument("path", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--site", metavar="NAME", help="Write the profile of a known system (`hpcsweep sites` lists them).")
@click.option("--ssh", is_flag=True, help="With --site: the profile connects to the site's login node over SSH.")
@click.option(
    "--recipe", metavar="FILE_OR_NAME", help="Write an experiment from a recipe of vllm-project/recipes instead."
)
@click.option(
    "--gpu", metavar="TYPE", help="With --recipe: the GPU to size for, such as h200.  [default: a verified one]"
)
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
@click.option("--print", "print_only", is_flag=True, help="Print the file instead of writing it.")
@click.pass_context
def init(
    ctx: click.Context,
    path: Path | None,
    site: str | None,
    ssh: bool,
    recipe: str | None,
    gpu: str | None,
    force: bool,
    print_only: bool,
) -> None:
    """Write a commented hpcsweep.yaml for this machine.

    The file has a profile for each partition or queue with GPUs; without a scheduler, it has a commented example. With
    --site it has the profile of that system. PATH defaults to ./hpcsweep.yaml; with --recipe to ./MODEL.yaml.
    """
    if site is not None and recipe is not None:
        raise click.UsageError("--site and --recipe write different files: use one of them")
    if ssh and site is None:
        raise click.UsageError("--ssh needs --site")
    if gpu and recipe is None:
        raise click.UsageError("--gpu needs --recipe")
    if recipe is not None:
        source = find_recipe(recipe)
        name, text = recipe_experiment(read_text(source), str(source), gpu)
        parse_experiment(text, str(source), name)  # the written file must be valid
        target = path or Path(f"{name}.yaml")
        if _write(target, text, force, print_only):
            say(f"{target}: see the comments at its top")
            say(f"Next: edit it, then run hpcsweep submit {target} --dry-run")
        return
    target = path or Path(CONFIG_FILE)
    _refuse_existing(target, force, print_only)
    text = _of_machine(ctx) if site is None else _of_site(site, ssh)
    profiles = parse_model(ConfigFile, text, str(target)).clusters  # the written file must be valid
    if not _write(target, text, force, print_only):
        return
    say(f"{target}: {', '.join(profiles) or 'no cluster profile, as this machine has no scheduler'}")
    if site is None:
        say("Next: edit the file, then run hpcsweep doctor")
        return
    say(f"The profile is {STATUS}.")
    missing = ", ".join(key for cluster in profiles.values() for key in unfilled_keys(cluster))
    trust = "hpcsweep trust, then " if ssh and path is None else ""
    say(f"Next: fill in {missing}: see the comments in {target}. Then run {trust}hpcsweep doctor")


def _refuse_existing(target: Path, force: bool, print_only: bool) -> None:
    if target.exists() and not force and not print_only:
        raise SpecError(
            f"file exists: {target}", code="file_exists", hint="--force overwrites it, --print prints the new file"
        )


def _write(target: Path, text: str, force: bool, print_only: bool) -> bool:
    """Write the file, or print it. Return whether it was written. Raises SpecError when it exists."""
    _refuse_existing(target, force, print_only)
    if print_only:
        say(text, nl=False)
        return False
    LocalHost().write_text(str(target.absolute()), text)
    return True


def _of_machine(ctx: click.Context) -> str:
    home = Home(Path((ctx.obj or {}).get("home") or default_home()).absolute())
    return propose(look_around(home, engine_versions=False, profiles=False))


def _of_site(name: str, ssh: bool) -> str:
    return site_config(read_site(name), site_text(name), python=None if ssh else sys.executable, remote=ssh)
