"""Cancel and retry in the browser: a page that asks, then the same steps as the commands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from hpcsweep.api.cancelling import cancel_chosen
from hpcsweep.api.retrying import RetryOptions, retry_chosen
from hpcsweep.dashboard.access import Access
from hpcsweep.dashboard.guard import SESSION
from hpcsweep.dashboard.pages import Pages
from hpcsweep.dashboard.sources import Sources
from hpcsweep.dashboard.status_view import group_of
from hpcsweep.submit.client import neighbours
from hpcsweep.sweep.layout import SweepFolder
from hpcsweep.units import counted

MAX_FORM_BYTES = 16 << 10
FORM_TOKEN = "form_token"
_GROUPS: Mapping[str, tuple[str, ...]] = {"cancel": ("running", "waiting"), "retry": ("failed",)}


@dataclass(frozen=True)
class Actions:
    """The two actions. They apply to sweeps of this home only."""

    sources: Sources
    pages: Pages
    access: Access

    def routes(self) -> list[Route]:
        """Return the routes: GET asks, POST acts."""
        routes = []
        for action in _GROUPS:
            path = f"/sweeps/{{name}}/{action}"
            routes.append(Route(path, self._asking(action), methods=["GET"]))
            routes.append(Route(path, self._acting(action), methods=["POST"]))
        return routes

    def _asking(self, action: str) -> Callable[[Request], Response]:
        def ask(request: Request) -> Response:
            return self._ask(action, request, request.query_params.get("run", ""))

        return ask

    def _acting(self, action: str) -> Callable[[Request], Any]:
        async def act(request: Request) -> Response:
            fields = await _fields(request)
            if not self.access.form_is_ours(request.scope[SESSION], fields.get(FORM_TOKEN, "")):
                raise HTTPException(HTTPStatus.FORBIDDEN)
            return await run_in_threadpool(self._act, action, request, fields.get("run", ""))

        return act

    def _chosen(self, request: Request, label: str) -> tuple[SweepFolder, set[str] | None]:
        name = request.path_params["name"]
        if label:
            self.sources.folder(name, label)
        return self.sources.session.home.sweep(name), {label} if label else None

    def _ask(self, action: str, request: Request, label: str) -> Response:
        sweep, labels = self._chosen(request, label)
        status, _ = self.sources.status(sweep.name)
        shared = neighbours(sweep, labels) if labels is not None and action == "cancel" else []
        affected = [
            run.run
            for run in status.runs
            if (labels is None and group_of(run) in _GROUPS[action]) or run.run in {*(labels or ()), *shared}
        ]
        page = self.pages.render(
            "confirm",
            action=action,
            sweep=sweep.name,
            label=label,
            affected=affected,
            shared=shared,
            count=counted(len(affected), "run"),
            field=FORM_TOKEN,
            token=self.access.form_token(request.scope[SESSION]),
        )
        return HTMLResponse(page)

    def _act(self, action: str, request: Request, label: str) -> Response:
        sweep, labels = self._chosen(request, label)
        notes: list[str] = []
        opened = self.sources.session
        with self.sources.refresher.lock:
            if action == "cancel":
                done = cancel_chosen(
                    opened, [(sweep, labels)], shared_too=True, on_note=notes.append, on_warning=notes.append
                )
                result = "; ".join(cancelled.sentence() for cancelled in done)
            else:
                retried = retry_chosen(
                    opened, sweep, labels, RetryOptions(), on_note=notes.append, on_warning=notes.append
                )
                result = retried.sentence()
        return HTMLResponse(self.pages.render("done", sweep=sweep.name, result=result, notes=notes))


async def _fields(request: Request) -> dict[str, str]:
    """Return the fields of a form. Raises HTTPException when it is too large."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return {name: values[-1] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
