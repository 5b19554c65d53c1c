"""`hpcsweep dashboard`: show sweeps live in a browser."""

import click

from hpcsweep.cli.context import session
from hpcsweep.cli.output import say, warn
from hpcsweep.cli.params import duration_s
from hpcsweep.errors import HpcsweepError

_EXTRA = ("starlette", "uvicorn", "anyio", "h11")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on; 0: a free one.  [default: 0]"
)
@click.option("--allow-remote", is_flag=True, help="Accept a --host that other machines can connect to.")
@click.option(
    "--allow-host",
    "allow_hosts",
    multiple=True,
    metavar="NAME",
    help="Host name in the address of a proxy, such as that of Open OnDemand; may be repeated.",
)
@click.option(
    "--root-path", default="", metavar="PATH", help="Path at which a proxy serves it, such as /node/HOST/PORT."
)
@click.option("--allow-actions", is_flag=True, help="Also offer to cancel and to retry runs.")
@click.option(
    "--refresh",
    "refresh_s",
    default="10s",
    show_default=True,
    callback=duration_s,
    help="Ask the schedulers at most once in this time, and only while a page is open.",
)
@click.pass_context
def dashboard(
    ctx: click.Context,
    host: str,
    port: int,
    allow_remote: bool,
    allow_hosts: tuple[str, ...],
    root_path: str,
    allow_actions: bool,
    refresh_s: float,
) -> None:
    """Show the sweeps of the store live in a browser.

    Prints a link that works once, and the ssh command for a laptop. Nothing can be changed in the browser without
    --allow-actions. Ctrl-C stops the dashboard.
    """
    try:
        from hpcsweep.dashboard.server import Options, serve
    except ModuleNotFoundError as exc:
        if exc.name not in _EXTRA:
            raise
        raise HpcsweepError(
            f"the dashboard needs {exc.name}, which is not installed",
            code="web_extra_missing",
            hint="pip install 'hpcsweep[web]'",
        ) from exc
    options = Options(host, port, root_path, allow_remote, allow_hosts, allow_actions, refresh_s)
    with session(ctx) as opened:
        serve(opened, options, say, warn)
