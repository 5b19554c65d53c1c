"""The routes of the dashboard and the pages behind them."""

import asyncio
import html
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from pydantic_core import to_json
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from hpcsweep.analysis.measured.metrics import METRICS
from hpcsweep.dashboard import streams
from hpcsweep.dashboard.actions import Actions
from hpcsweep.dashboard.history_view import CHOICES, DEFAULT_METRIC, history_json, plot
from hpcsweep.dashboard.pages import Pages
from hpcsweep.dashboard.run_view import run_view
from hpcsweep.dashboard.sources import Sources
from hpcsweep.dashboard.status_view import GROUPS, LiveView
from hpcsweep.dashboard.tails import LOGS, attempt_file, log_path, read_piece
from hpcsweep.errors import HpcsweepError, ReportError
from hpcsweep.report import wording
from hpcsweep.report.comparison import comparison_document, comparison_json
from hpcsweep.report.status.run_json import run_json
from hpcsweep.report.status.status_json import status_json
from hpcsweep.terminal_text import printable_json

_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')
MAX_ROWS = 200
"""Rows in the page of a sweep itself; the stream adds the others, and without scripts a link shows them."""

_UNKNOWN = ("unknown_sweep", "unknown_run", "unknown_variant", "no_sweeps")


class Dashboard:
    """The pages; each is made in a worker thread. `closing`: set when the server stops."""

    def __init__(self, sources: Sources, pages: Pages, closing: asyncio.Event, actions: Actions | None) -> None:
        self.sources, self.pages, self.closing, self.actions = sources, pages, closing, actions

    def app(self) -> Starlette:
        """Return the application with its routes. Those of actions exist only if they are allowed."""
        pages: list[tuple[str, Callable[..., Any]]] = [
            ("/sweeps", self.index),
            ("/sweeps/{name}", self.sweep),
            ("/sweeps/{name}/report", self.report),
            ("/sweeps/{name}/runs/{label}", self.run),
            ("/compare", self.compare),
            ("/history", self.history),
        ]
        routes = [Route(prefix + path, endpoint) for path, endpoint in pages for prefix in ("", "/api")]
        routes += [
            Route("/", self.index),
            Route("/events", self.index_events),
            Route("/sweeps/{name}/events", self.sweep_events),
            Route("/sweeps/{name}/runs/{label}/events", self.run_events),
            Route("/sweeps/{name}/runs/{label}/{attempt}/{file}", self.file),
            Route("/static/{file}", self.static),
        ]
        if self.actions is not None:
            routes += self.actions.routes()
        handlers = {HpcsweepError: self.failed, HTTPException: self.failed}
        return Starlette(routes=routes, exception_handlers=handlers)

    def index(self, request: Request) -> Response:
        """Answer with the sweeps of the store."""
        if _wants_json(request):
            return _json(status_json(self.sources.statuses(), time.time()))
        words = request.query_params.get("filter", "")
        view = self.sources.index()
        rows = [row for row in view.rows if _matches(row.cells.values(), words)]
        return self._page("index", view=view, rows=rows, words=words)

    def sweep(self, request: Request) -> Response:
        """Answer with the live status of a sweep."""
        sweep, view = self.sources.status(request.path_params["name"])
        if _wants_json(request):
            return _json(status_json([sweep], time.time()))
        words, group = request.query_params.get("filter", ""), request.query_params.get("group", "")
        rows = [row for row in view.rows if _matches(row.cells.values(), words) and group in ("", row.group)]
        shown = len(rows) if request.query_params.get("rows") == "all" else MAX_ROWS
        others = [name for name in self.sources.sweep_names() if name != sweep.name]
        return self._page(
            "sweep", sweep=sweep, view=view, rows=rows[:shown], matching=len(rows), words=words,
            group=group, groups=GROUPS, others=others,
            submitted=wording.moment(sweep.submitted_at),
        )  # fmt: skip

    def run(self, request: Request) -> Response:
        """Answer with the page of a run."""
        name, label = request.path_params["name"], request.path_params["label"]
        as_json = _wants_json(request)
        sweep, run, troubles = self.sources.run(name, label, itl=as_json)
        if as_json:
            return _json(run_json(run))
        _, view = self.sources.status(name)
        row = next(row for row in view.rows if row.key == label)
        folder = self.sources.folder(name, label)
        attempt = folder.attempts(label)
        logs = []
        for which, title in LOGS.items():
            path = log_path(folder, label, attempt, which)
            logs.append((which, title, None if path is None else read_piece(path, None)))
        ends = {which: piece.end for which, _, piece in logs if piece is not None}
        return self._page(
            "run", sweep=sweep, run=run, view=run_view(run, troubles), live=view, row=row, logs=logs,
            positions=streams.positions_text({streams.ATTEMPT: attempt, **ends}),
        )  # fmt: skip

    def report(self, request: Request) -> Response:
        """Answer with the report of a sweep: the page of `hpcsweep report -o NAME.html`."""
        name = request.path_params["name"]
        if _wants_json(request):
            return Response(self.sources.report(name, "json"), media_type="application/json")
        text = self.sources.report(name, "html")
        policy = _POLICY.search(text)
        own = html.unescape(policy[1]) if policy is not None else "default-src 'none'"
        return HTMLResponse(text, headers={"Content-Security-Policy": f"{own}; frame-ancestors 'none'"})

    def compare(self, request: Request) -> Response:
        """Answer with the comparison of two sweeps, or with a form to choose them."""
        first, second = (request.query_params.get(name, "") for name in ("first", "second"))
        document = None
        if first and second:
            comparison = self.sources.compare(first, second)
            if _wants_json(request):
                return _json(comparison_json(comparison, 0.0))
            document = comparison_document(comparison, 0.0)
        elif _wants_json(request):
            raise ReportError("compare needs first and second", code="sweep_missing")
        names = self.sources.sweep_names()
        return self._page("compare", first=first, second=second, names=names, document=document)

    def history(self, request: Request) -> Response:
        """Answer with the results of a variant over all sweeps."""
        variant = request.query_params.get("variant", "")
        metric = request.query_params.get("metric") or DEFAULT_METRIC
        if metric not in CHOICES:
            raise ReportError(f"unknown metric: {metric!r}", code="unknown_metric", hint=f"known: {', '.join(CHOICES)}")
        series = self.sources.history(variant, metric)
        if _wants_json(request):
            return _json(history_json(variant, metric, series))
        title = f"{METRICS[metric].title} ({wording.unit(METRICS[metric].unit)})"
        plotted = [(joined, plot(joined.points)) for joined in series]
        choices = [(name, METRICS[name].title) for name in CHOICES]
        return self._page(
            "history", variant=variant, metric=metric, title=title, series=plotted, choices=choices, wording=wording
        )

    def file(self, request: Request) -> Response:
        """Answer with the end of a file of an attempt, which the report links to."""
        name, label, attempt, file = (request.path_params[key] for key in ("name", "label", "attempt", "file"))
        folder = self.sources.folder(name, label)
        path = attempt_file(folder, label, attempt, file)
        if path is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        if path.is_dir():
            return RedirectResponse(self.sources.links.to("sweeps", name, "runs", label), HTTPStatus.SEE_OTHER)
        return PlainTextResponse(read_piece(path, None).text)

    def static(self, request: Request) -> Response:
        """Answer with a script or a style sheet."""
        static = self.pages.static(request.path_params["file"])
        if static is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return Response(static[0], media_type=static[1])

    def index_events(self, request: Request) -> Response:
        """Stream the changes of the index."""
        changes = streams.Changes()
        return self._stream(lambda: _view_events(changes, self.sources.index()))

    def sweep_events(self, request: Request) -> Response:
        """Stream the changes of a sweep."""
        name = request.path_params["name"]
        self.sources.status(name)  # an unknown sweep is an error, not a stream
        changes = streams.Changes()
        return self._stream(lambda: _view_events(changes, self.sources.status(name)[1]))

    def run_events(self, request: Request) -> Response:
        """Stream the changes of a run, and what its logs gain."""
        name, label = request.path_params["name"], request.path_params["label"]
        last = request.headers.get("last-event-id") or request.query_params.get("from", "")
        changes = streams.Changes()
        follower = streams.LogFollower(self.sources.folder(name, label), label, streams.positions_of(last))

        def read() -> list[bytes]:
            _, view = self.sources.status(name)
            row = next(row for row in view.rows if row.key == label)
            own = LiveView(
                {"clock": view.fields["clock"], **{f"run-{key}": text for key, text in row.cells.items()}},
                {"notes": view.lists["notes"]},
                [row],
                view.span_s,
            )
            return [*_view_events(changes, own), *follower.read()]

        return self._stream(read)

    def failed(self, request: Request, exc: Exception) -> Response:
        """Answer with an error as a page, or as JSON."""
        if isinstance(exc, HpcsweepError):
            status = HTTPStatus.NOT_FOUND if exc.code in _UNKNOWN else HTTPStatus.CONFLICT
            error = {"code": exc.code, "message": exc.message, "hint": exc.hint, "detail": exc.detail}
        else:
            status = HTTPStatus(exc.status_code if isinstance(exc, HTTPException) else 500)
            error = {"code": f"http_{status.value}", "message": status.phrase, "hint": "", "detail": ""}
        if _wants_json(request):
            return _json({"error": error}, status)
        return HTMLResponse(self.pages.render("error", error=error, status=status.value), status)

    def _page(self, name: str, **values: Any) -> Response:
        return HTMLResponse(self.pages.render(name, **values))

    def _stream(self, read: Callable[[], list[bytes]]) -> Response:
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(streams.ticks(self.closing, read), media_type="text/event-stream", headers=headers)


def _view_events(changes: streams.Changes, view: LiveView) -> list[bytes]:
    changed = changes.since_last(view)
    return [] if changed is None else [streams.event("view", changed)]


def _matches(texts: Any, words: str) -> bool:
    line = " ".join(texts).lower()
    return all(word in line for word in words.lower().split())


def _wants_json(request: Request) -> bool:
    return request.url.path.startswith("/api/") or "application/json" in request.headers.get("accept", "")


def _json(value: Any, status: HTTPStatus = HTTPStatus.OK) -> Response:
    text = to_json(value, indent=1, inf_nan_mode="null").decode("utf-8", "replace")
    return Response(printable_json(text), status, media_type="application/json")
