"""Addresses of the dashboard's pages, below the root path that a proxy gives it."""

import re
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from hpcsweep.errors import SpecError

_ROOT = re.compile(r"(/[A-Za-z0-9._~-]+)+")


def root_path(text: str) -> str:
    """Return a root path without a slash at its end; empty: none. Raises SpecError."""
    path = text.rstrip("/")
    if path and (_ROOT.fullmatch(path) is None or ".." in path.split("/")):
        raise SpecError(
            f"--root-path: not a path that starts with /: {text!r}",
            code="root_path_invalid",
            hint="behind Open OnDemand: /node/HOST/PORT",
        )
    return path


@dataclass(frozen=True)
class Links:
    """Builds addresses. `root`: the path below which a proxy serves the dashboard; empty: none."""

    root: str = ""

    def to(self, *parts: str, **query: str) -> str:
        """Return the address of a page: each part is one segment of the path, whatever characters it has."""
        path = "".join(f"/{quote(part, safe='')}" for part in parts) or "/"
        asked = {name: value for name, value in query.items() if value}
        return f"{self.root}{path}" + (f"?{urlencode(asked)}" if asked else "")

    def without_root(self, path: str) -> str:
        """Return a request's path below the root path: some proxies remove the root path, others keep it."""
        if self.root and (path == self.root or path.startswith(f"{self.root}/")):
            return path[len(self.root) :] or "/"
        return path
