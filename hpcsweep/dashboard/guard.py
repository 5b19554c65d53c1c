"""The first thing that sees a request: host, token, cookie, origin, and the headers of every response."""

from collections.abc import Callable
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hpcsweep.dashboard.access import Access
from hpcsweep.dashboard.links import Links

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
SESSION = "hpcsweep.session"
"""Key of a request's scope: the session of its cookie."""


class Guard:
    """Passes on the requests of the user's own browsers; every other one gets the page with status 403.

    `refused_page`: returns that page for a reason.
    """

    def __init__(self, app: ASGIApp, access: Access, links: Links, refused_page: Callable[[str], str]) -> None:
        self._app, self._access, self._links, self._refused_page = app, access, links, refused_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        headers = Headers(scope=scope)
        path = self._links.without_root(scope["path"])
        response = self._answer(scope["method"], path, QueryParams(scope["query_string"]), headers)
        if response is not None:
            await response(scope, receive, send_with_headers)
            return
        session = self._access.session(headers.get("cookie", ""))
        # What the proxy added is in no address of the app: `Links` adds it to every link.
        inner = {**scope, "path": path, "raw_path": path.encode(), "root_path": "", SESSION: session}
        await self._app(inner, receive, send_with_headers)

    def _answer(self, method: str, path: str, query: QueryParams, headers: Headers) -> Response | None:
        """Return the response to a request that must not reach the app; None: it may."""
        access, host = self._access, headers.get("host", "")
        if not access.host_allowed(host):
            return self._refuse(headers, "The address in the browser is not one of this dashboard.")
        if method == "GET" and path == "/" and "token" in query:
            session = access.redeem(query["token"])
            if session is None:
                return self._refuse(headers, "This link is wrong, or it was used before. A link works once.")
            response = RedirectResponse(self._links.to(), HTTPStatus.SEE_OTHER)
            response.set_cookie(access.cookie, session, path=self._links.to(), httponly=True, samesite="strict")
            return response
        if access.session(headers.get("cookie", "")) is None:
            return self._refuse(headers, "This browser has no session with this dashboard.")
        if method not in ("GET", "HEAD") and not access.origin_allowed(headers.get("origin", ""), host):
            return self._refuse(headers, "The form was sent by a page that is not of this dashboard.")
        return None

    def _refuse(self, headers: Headers, reason: str) -> Response:
        if "application/json" in headers.get("accept", ""):
            error = {"code": "no_access", "message": reason}
            return JSONResponse({"error": error}, HTTPStatus.FORBIDDEN)
        return HTMLResponse(self._refused_page(reason), HTTPStatus.FORBIDDEN)
