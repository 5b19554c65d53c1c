"""`hpcsweep doctor`: check this machine and its configuration."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import click

from hpcsweep.cli.output import say, say_json
from hpcsweep.schedulers.base import ClusterFacts, Partition
from hpcsweep.store.open import default_home
from hpcsweep.submit.container_check import ContainerCheck
from hpcsweep.submit.machine import Machine, look_around
from hpcsweep.sweep.layout import Home
from hpcsweep.units import format_bytes, format_duration


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this machine: scheduler, GPUs, engines, configuration.

    Show the scheduler, its partitions with GPU types and limits, HPCSWEEP_HOME and the installed engines, and compare
    each cluster profile with the cluster; for containers, show runtime and image. Nothing is changed or pulled.
    """
    options = ctx.obj or {}
    machine = look_around(Home(Path(options.get("home") or default_home()).absolute()))
    if as_json:
        say_json(json.dumps(dataclasses.asdict(machine), indent=1))
        return
    for line in _lines(machine):
        say(line)


def _lines(machine: Machine) -> Iterator[str]:
    yield f"machine    {machine.host}, {machine.system}"
    yield f"hpcsweep   {machine.hpcsweep}, {machine.python}"
    yield f"GPUs       {len(machine.gpus) or 'none'}"
    yield ""
    if not machine.schedulers:
        yield "scheduler  none on this machine; the built-in profile `local` runs sweeps here"
    for name, facts in machine.schedulers.items():
        yield from _scheduler(name, facts)
    yield ""
    home = machine.home
    yield f"home       {home.path}"
    yield f"           {'not writable: ' + home.trouble if home.trouble else 'writable'}, " + (
        f"{format_bytes(home.free_bytes)} free, {home.file_system}"
    )
    if machine.schedulers and not home.shared:
        yield (
            f"           {home.file_system} is probably not a shared file system, and compute nodes need this folder; "
            "choose another with --home or HPCSWEEP_HOME"
        )
    yield ""
    for engine in machine.engines:
        where = f"{engine.executable} ({engine.version or 'version unknown'})" if engine.executable else "not installed"
        yield f"engine     {engine.name}: {where}"
    yield ""
    if not machine.profiles:
        yield "profiles   none; `hpcsweep init` writes hpcsweep.yaml"
    for name, problems in machine.profiles.items():
        yield f"profile    {name}: {'; '.join(problems) or 'no problems'}"
        for check in machine.containers.get(name, ()):
            yield from _container(check)


def _container(check: ContainerCheck) -> Iterator[str]:
    of = f" of {', '.join(check.engines)}" if check.engines else ""
    where = f"{check.executable} ({check.version or 'version unknown'})" if check.executable else "not found"
    yield f"           container{of}: {check.runtime}: {where}; image {check.image}"
    for problem in check.problems:
        yield f"           container{of}: {problem}"


def _scheduler(name: str, facts: ClusterFacts) -> Iterator[str]:
    accounting = {None: "accounting unknown", True: "accounting on", False: "accounting off"}[facts.accounting]
    size = "array size unknown" if facts.max_array_size is None else f"arrays of up to {facts.max_array_size} tasks"
    yield f"scheduler  {name} {facts.version or '(version unknown)'}: {accounting}, {size}"
    if facts.accounting is False:
        yield "           the scheduler forgets ended jobs after a while; the run folders keep the outcome of each run"
    for warning in facts.warnings:
        yield f"           warning: {warning}"
    for partition in facts.partitions:
        yield f"           {_partition(partition)}"


def _partition(partition: Partition) -> str:
    gpus = ", ".join(f"{count} {kind or 'GPUs'}" for kind, count in partition.gpus.items()) or "no GPUs"
    limit = (
        "no time limit" if partition.max_walltime_s is None else f"up to {format_duration(partition.max_walltime_s)}"
    )
    marks = "".join(
        [
            " (default)" if partition.default else "",
            f" (routes to {', '.join(partition.routes_to)})" if partition.routes_to else "",
            " (accepts jobs from a routing queue only)" if partition.only_routed else "",
            "" if partition.usable else " (accepts no jobs at present)",
        ]
    )
    size = ", ".join(
        [
            *([f"{partition.cpus} CPUs"] if partition.cpus else []),
            *([format_bytes(partition.memory_bytes)] if partition.memory_bytes else []),
        ]
    )
    free = "" if partition.gpus_free is None else f" ({partition.gpus_free} free)"
    return f"{partition.name}{marks}: {partition.nodes} nodes with {gpus}{free}{', ' + size if size else ''}; {limit}"
