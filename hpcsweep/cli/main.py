"""The command line. Commands are imported when they are asked for, so that `--help` is quick."""

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
    "adopt": ("Make an experiment file of a job script that starts a server.", "hpcsweep.cli.commands.adopt"),
    "status": ("Show where every run of SWEEP stands.", "hpcsweep.cli.commands.status"),
    "show": ("Show one run: startup timeline, facts, samples, failure.", "hpcsweep.cli.commands.show"),
    "logs": ("Print the server's or the client's log of a run.", "hpcsweep.cli.commands.logs"),
    "explain": ("Say why a server or a job failed, from any log.", "hpcsweep.cli.commands.explain"),
    "cancel": ("Cancel a sweep, or runs of it.", "hpcsweep.cli.commands.cancel"),
    "retry": ("Submit runs of a sweep again, as further attempts.", "hpcsweep.cli.commands.retry"),
    "report": ("Report a sweep: summary, startup, effects, recommendation, every run.", "hpcsweep.cli.commands.report"),
    "compare": ("Compare two sweeps, variant by variant: SECOND against FIRST.", "hpcsweep.cli.commands.compare"),
    "export": ("Write a configuration as something to run in production.", "hpcsweep.cli.commands.export"),
    "import": ("Read results of other tools, and recompute them.", "hpcsweep.cli.commands.import_"),
    "check": ("Recompute the claims of somebody's report.", "hpcsweep.cli.commands.check"),
    "data": ("Fetch and check data files of workloads.", "hpcsweep.cli.commands.data"),
    "doctor": ("Say what this machine is, and what is missing on it.", "hpcsweep.cli.commands.doctor"),
    "init": ("Write a commented hpcsweep.yaml for this machine.", "hpcsweep.cli.commands.init"),
    "trust": ("Trust FOLDER to connect over SSH and to bring templates.", "hpcsweep.cli.commands.trust"),
}
"""Name -> (first line of its help, its module). The object in the module has the module's own name."""

_GC_THRESHOLD = 100_000
"""Objects made between two searches for garbage. Imports and rows stay: at Python's 700 a status is a tenth slower."""


class LazyGroup(click.Group):
    """Knows its commands by name; imports one when it is used. Turns our errors into `Error: ...`, exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; None: there is none."""
        if cmd_name not in COMMANDS:
            return None
        module = COMMANDS[cmd_name][1]
        command: click.Command = getattr(importlib.import_module(module), module.rpartition(".")[2])
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the nearest name for one that is not known."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as exc:
            raise click.UsageError(f"{exc.message} {nearest(args[0], COMMANDS)}", ctx) from exc

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (text, _) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run; an error that a person can act on is printed without a traceback."""
        gc.set_threshold(_GC_THRESHOLD)
        try:
            return super().invoke(ctx)
        except HpcsweepError as exc:
            click.echo(printable(f"Error: {exc}"), err=True)
            ctx.exit(exc.exit_code)
        except BrokenPipeError:  # `hpcsweep report | head`
            sys.stderr.close()
            ctx.exit(0)
        except OSError as exc:  # a full or read-only disk, a quota, no locks: wherever it was met
            place = f"{exc.filename}: " if exc.filename else ""
            click.echo(printable(f"Error: {place}{exc.strerror or exc}"), err=True)
            ctx.exit(1)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(hpcsweep.__version__, message="hpcsweep %(version)s")
@click.option(
    "--home",
    envvar="HPCSWEEP_HOME",
    metavar="DIR",
    help="Folder of sweeps and store, seen by login and compute nodes.  [default: ./.hpcsweep]",
)
@click.option(
    "--store",
    envvar="HPCSWEEP_STORE",
    metavar="URL",
    help="Store: a path or any SQLAlchemy URL.  [default: HOME/hpcsweep.db]",
)
@click.pass_context
def main(ctx: click.Context, home: str | None, store: str | None) -> None:
    """Sweep configurations of LLM servers over a PBS or Slurm cluster, or this machine.

    \b
    hpcsweep submit exp_runner --grid ep,eager,len
    hpcsweep status
    hpcsweep report

    Exit codes: 0 done; 1 an error that says what to do; 2 wrong usage; 3 a comparison or a wait that ended badly
    (see the command); 130 interrupted.
    """
    if store and ctx.get_parameter_source("store") is ParameterSource.COMMANDLINE and has_secret(store):
        raise SpecError(
            "--store: a password in an argument can be read by every user of this machine",
            hint="put the URL into HPCSWEEP_STORE, or leave the password to ~/.pgpass",
        )
    ctx.obj = {"home": home, "store": store}


if __name__ == "__main__":
    main()
