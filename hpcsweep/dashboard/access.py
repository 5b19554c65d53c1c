"""Who may use the dashboard: a one-time token, a cookie per browser, and the Host and Origin of each request."""

import hmac
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

TOKEN_BYTES = 32
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


def _secret() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


def _same(first: str, second: str) -> bool:
    return hmac.compare_digest(first.encode("utf-8", "replace"), second.encode("utf-8", "replace"))


@dataclass(eq=False)
class Access:
    """The secrets of one dashboard. They are in memory only, and end with the process.

    `names`: host names, besides those of the loopback interface, under which browsers reach the dashboard. `announce`:
    called with each new token, which is good for one browser.
    """

    cookie: str
    announce: Callable[[str], None]
    names: Collection[str] = ()
    _token: str = field(default_factory=_secret, repr=False)
    _sessions: dict[str, str] = field(default_factory=dict, repr=False)

    def offer(self) -> None:
        """Announce the current token."""
        self.announce(self._token)

    def redeem(self, token: str) -> str | None:
        """Return a new session for the current token, which is replaced; None: it is wrong, or was used before."""
        if not _same(token, self._token):
            return None
        session = _secret()
        self._sessions[session] = _secret()
        self._token = _secret()
        self.offer()
        return session

    def session(self, cookie_header: str) -> str | None:
        """Return the session of a request's Cookie header; None: there is none, or it is not one of ours."""
        try:
            sent = SimpleCookie(cookie_header).get(self.cookie)
        except CookieError:
            return None
        if sent is None:
            return None
        return next((session for session in self._sessions if _same(sent.value, session)), None)

    def form_token(self, session: str) -> str:
        """Return the token that every form of a session carries, which other pages cannot read."""
        return self._sessions[session]

    def form_is_ours(self, session: str, token: str) -> bool:
        """Return whether a form carries the token of its session."""
        return _same(token, self.form_token(session))

    def host_allowed(self, host: str) -> bool:
        """Return whether the dashboard may be reached under a Host header. Others are DNS names of an attacker.

        The port is free, because an SSH tunnel may have another one.
        """
        name = host_name(host)
        return name is not None and (name in LOOPBACK_NAMES or name in self.names)

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Return whether the page that sent a form is ours: of the same host and port, or of a named proxy."""
        try:
            parts = urlsplit(origin)
            name = parts.hostname
        except ValueError:
            return False
        if parts.scheme not in ("http", "https"):
            return False
        return parts.netloc.lower() == host.lower() or name in self.names


def host_name(host: str) -> str | None:
    """Return the name in a Host header in lower case, without its port; None: it cannot be a Host header."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    plain = bool(host) and parts.netloc == host and "@" not in host
    return parts.hostname if plain and host.isascii() else None
