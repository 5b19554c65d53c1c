"""Run the dashboard: bind a port, print how to open it, serve until Ctrl-C."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import uvicorn

from hpcsweep.dashboard.access import LOOPBACK_NAMES, Access
from hpcsweep.dashboard.actions import Actions
from hpcsweep.dashboard.app import Dashboard
from hpcsweep.dashboard.guard import Guard
from hpcsweep.dashboard.links import Links, root_path
from hpcsweep.dashboard.pages import Pages
from hpcsweep.dashboard.refresher import Refresher
from hpcsweep.dashboard.sources import Sources
from hpcsweep.errors import SpecError
from hpcsweep.track.refresh import Session

_SHUTDOWN_S = 1


@dataclass(frozen=True)
class Options:
    """How to serve. `allow_hosts`: names in the address that a proxy's users see. `refresh_s`: of the schedulers."""

    host: str = "127.0.0.1"
    port: int = 0
    root_path: str = ""
    allow_remote: bool = False
    allow_hosts: tuple[str, ...] = ()
    allow_actions: bool = False
    refresh_s: float = 10.0


class _Server(uvicorn.Server):
    """A server that ends the streams when it is asked to stop."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop."""
        self._closing.set()
        super().handle_exit(sig, frame)


def serve(session: Session, options: Options, say: Callable[[str], None], warn: Callable[[str], None]) -> None:
    """Serve the dashboard of a session until Ctrl-C. Raises SpecError when the address cannot be used."""
    links = Links(root_path(options.root_path))
    if not is_loopback(options.host):
        if not options.allow_remote:
            raise SpecError(
                f"--host {options.host}: other machines could connect to the dashboard",
                code="host_not_loopback",
                hint="use an SSH tunnel to 127.0.0.1, or add --allow-remote if a proxy of your site needs the port",
            )
        warn(f"the dashboard listens on {options.host}: other machines can connect, without encryption")
    with _bound(options.host, options.port) as listening:
        port = listening.getsockname()[1]
        names = {name.lower() for name in options.allow_hosts}
        if not is_loopback(options.host):
            names |= {options.host.lower(), socket.gethostname().lower()}
        addresses = _addresses(options, port, links)
        access = Access(f"hpcsweep_{port}", _Announcer(addresses, port, say), names)
        refresher = Refresher(session, options.refresh_s)
        sources = Sources(session, refresher, links)
        pages = Pages(links, actions=options.allow_actions)
        closing = asyncio.Event()
        actions = Actions(sources, pages, access) if options.allow_actions else None
        app = Dashboard(sources, pages, closing, actions).app()
        guard = Guard(app, access, links, lambda reason: pages.render("refused", reason=reason))
        config = uvicorn.Config(
            guard, http="h11", ws="none", lifespan="off", loop="asyncio", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=_SHUTDOWN_S,
        )  # fmt: skip
        refresher.start()
        sources.answers.start()
        access.offer()
        try:
            _Server(config, closing).run(sockets=[listening])
        except KeyboardInterrupt:
            say("stopped")
        finally:
            refresher.stop()


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host in LOOPBACK_NAMES


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)  # a browser that is quicker than the server waits
    except OSError as exc:
        listening.close()
        raise SpecError(
            f"port {port} of {host} cannot be used: {exc.strerror}",
            code="port_not_usable",
            hint="--port 0 chooses a free port",
        ) from exc
    return listening


def _addresses(options: Options, port: int, links: Links) -> list[str]:
    """Return the addresses of the first page, the one to use first."""
    local = options.host if is_loopback(options.host) else socket.gethostname()
    local = f"[{local}]" if ":" in local else local
    return [*(f"https://{name}{links.to()}" for name in options.allow_hosts), f"http://{local}:{port}{links.to()}"]


@dataclass
class _Announcer:
    """Prints each link, the first time with instructions."""

    addresses: list[str]
    port: int
    say: Callable[[str], None]
    first: bool = True

    def __call__(self, token: str) -> None:
        url = f"{self.addresses[0]}?token={token}"
        if not self.first:
            self.say(f"A browser has opened the dashboard. For another browser: {url}")
            return
        self.first = False
        self.say(
            f"Dashboard: {url}\n"
            f"  From a laptop, first run there: ssh -L {self.port}:127.0.0.1:{self.port} {socket.gethostname()}\n"
            f"  The link works once. Ctrl-C stops the dashboard; sweeps continue."
        )
