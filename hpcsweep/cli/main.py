"""Define the command line. A command is imported when it is used, so that `--help` is fast."""

import gc
import importlib
import sys

import click
from click.core import ParameterSource

import hpcsweep
from hpcsweep.errors import HpcsweepError, SpecError, nearest
from hpcsweep.spec.secret_values import has_secret
from hpcsweep.terminal_text import printable

COMMANDS: dict[str, tuple[str, str]] = {
    "submit": ("Plan an experiment and submit its runs.", "hpcsweep.cli.commands.submit"),
    "adopt": ("Convert a job script that starts a server into an experiment file.", "hpcsweep.cli.commands.adopt"),
    "status": ("Show the state of every run of a sweep.", "hpcsweep.cli.commands.status"),
    "show": ("Show one run: startup timeline, facts, samples, failure.", "hpcsweep.cli.commands.show"),
    "logs": ("Print the log of a run's server, client or job, or of a preparation.", "hpcsweep.cli.commands.logs"),
    "explain": ("Explain why a server or a job failed, from any log.", "hpcsweep.cli.commands.explain"),
    "cancel": ("Cancel a sweep, or some of its runs.", "hpcsweep.cli.commands.cancel"),
    "retry": ("Submit failed runs of a sweep again, as new attempts.", "hpcsweep.cli.commands.retry"),
    "report": ("Report a sweep: summary, recommendation, startup, effects, every run.", "hpcsweep.cli.commands.report"),
    "dashboard": ("Show the sweeps of the store live in a browser.", "hpcsweep.cli.commands.dashboard"),
    "compare": ("Compare two sweeps, variant by variant: SECOND against FIRST.", "hpcsweep.cli.commands.compare"),
    "export": ("Write a configuration for production.", "hpcsweep.cli.commands.export"),
    "import": ("Import results of other tools and recompute them.", "hpcsweep.cli.commands.import_"),
    "check": ("Check the claims of a benchmark report against its own numbers.", "hpcsweep.cli.commands.check"),
    "data": ("Fetch and check the data files of workloads.", "hpcsweep.cli.commands.data"),
    "doctor": ("Check this machine: scheduler, GPUs, engines, configuration.", "hpcsweep.cli.commands.doctor"),
    "init": ("Write a commented hpcsweep.yaml for this machine.", "hpcsweep.cli.commands.init"),
    "sites": ("List the systems that hpcsweep has a cluster profile of.", "hpcsweep.cli.commands.sites"),
    "trust": ("Trust a folder's SSH connections and templates.", "hpcsweep.cli.commands.trust"),
}
"""Name -> (first line of its help, its module). The command has the name of its module."""

_GC_THRESHOLD = 100_000
"""Allocations between garbage collections. With Python's 700, a status takes a tenth longer: its data is all live."""


class LazyGroup(click.Group):
    """A group that imports a command when it is used and prints HpcsweepError as `Error: ...` with its exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, in the order in which a new user needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name; None: unknown."""
        if cmd_name not in COMMANDS:
            return None
        module = COMMANDS[cmd_name][1]
        command: click.Command = getattr(importlib.import_module(module), module.rpartition(".")[2])
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve a command; for an unknown one, add the nearest name to the error."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            raise click.UsageError(f"{exc.message} {nearest(args[0], COMMANDS)}", ctx) from exc

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (text, _) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; print an HpcsweepError or OSError without a traceback."""
        gc.set_threshold(_GC_THRESHOLD)
        try:
            return super().invoke(ctx)
        except HpcsweepError as exc:
            click.echo(printable(f"Error: {exc}"), err=True)
            ctx.exit(exc.exit_code)
        except BrokenPipeError:  # `hpcsweep report | head`
            sys.stderr.close()
            ctx.exit(0)
        except OSError as exc:  # a full or read-only disk, a quota, no locks
            file = f"{exc.filename}: " if exc.filename else ""
            click.echo(printable(f"Error: {file}{exc.strerror or exc}"), err=True)
            ctx.exit(1)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(hpcsweep.__version__, message="hpcsweep %(version)s")
@click.option(
    "--home",
    envvar="HPCSWEEP_HOME",
    metavar="DIR",
    help="Folder for sweeps and the store, on a file system that all nodes share.  [default: ./.hpcsweep]",
)
@click.option(
    "--store",
    envvar="HPCSWEEP_STORE",
    metavar="URL",
    help="Store: a path or an SQLAlchemy URL.  [default: HOME/hpcsweep.db]",
)
@click.pass_context
def main(ctx: click.Context, home: str | None, store: str | None) -> None:
    """Sweep configurations of LLM servers on a Slurm or PBS cluster, or on this machine.

    \b
    hpcsweep submit exp_runner --grid ep,eager,len
    hpcsweep status
    hpcsweep report

    Exit codes: 0 success; 1 error; 2 usage error; 3 negative result of submit --wait, retry --wait, compare or check;
    130 interrupted.
    """
    if store and ctx.get_parameter_source("store") is ParameterSource.COMMANDLINE and has_secret(store):
        raise SpecError(
            "--store: every user of this machine can read a password in an argument",
            code="secret_in_argument",
            hint="put the URL into HPCSWEEP_STORE, or the password into ~/.pgpass",
        )
    ctx.obj = {"home": home, "store": store}


if __name__ == "__main__":
    main()
