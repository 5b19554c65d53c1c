"""What a profile sets in the environment of a job, apart from its `env`: proxies and the node's own disk."""

import re
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from hpcsweep.spec.base import Model

_ASSIGNED = re.compile(r"(?:^|[;&])\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=")
_LOCAL = ("localhost", "127.0.0.1", "::1")


def _with_host(url: str) -> str:
    if not urlsplit(url).hostname:
        raise ValueError(f"{url!r} is not a URL such as http://proxy.example.org:3128")
    return url


ProxyUrl = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+://[^\s'\"\\]+$"), AfterValidator(_with_host)]

NodeScratch = Annotated[str, StringConstraints(pattern=r"^(\$[A-Za-z_][A-Za-z0-9_]*|/[A-Za-z0-9_./+@=-]+)$")]
"""`$NAME`, a variable that the site sets in a job, or an absolute path."""


class Proxy(Model):
    """The proxy by which compute nodes reach other networks."""

    url: ProxyUrl = Field(description="for http, https and ftp")
    no_proxy: list[str] = Field([], description="hosts that are reached directly, besides this machine")

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables, in lower and upper case. The server of a run is on this machine: never by a proxy."""
        values = dict.fromkeys(("http_proxy", "https_proxy", "ftp_proxy"), self.url)
        values["no_proxy"] = ",".join(dict.fromkeys([*_LOCAL, *self.no_proxy]))
        return values | {name.upper(): value for name, value in values.items()}


def assigned_names(lines: Iterable[str]) -> list[str]:
    """Return the variables that shell lines assign: `export NAME=...` and `NAME=...`."""
    return [name for line in lines for name in _ASSIGNED.findall(line)]
