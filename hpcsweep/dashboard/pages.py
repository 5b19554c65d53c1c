"""The dashboard's HTML, from templates that escape every value."""

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hpcsweep import __version__
from hpcsweep.dashboard.links import Links
from hpcsweep.report.document import text_of
from hpcsweep.terminal_text import printable

STATIC: Mapping[str, tuple[str, str]] = {
    "palette.css": ("web/palette.css", "text/css"),
    "base.css": ("web/base.css", "text/css"),
    "dashboard.css": ("web/dashboard/dashboard.css", "text/css"),
    "dashboard.js": ("web/dashboard/dashboard.js", "text/javascript"),
    "live_table.js": ("web/dashboard/live_table.js", "text/javascript"),
    "log_tail.js": ("web/dashboard/log_tail.js", "text/javascript"),
}
"""Every static file that exists, by its name in an address: (template, media type)."""


class Pages:
    """Renders pages. `actions`: show the buttons that cancel and retry."""

    def __init__(self, links: Links, *, actions: bool) -> None:
        self._loader = PackageLoader("hpcsweep.templates", ".")
        self._env = Environment(
            loader=self._loader,
            undefined=StrictUndefined,
            autoescape=True,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_printable,
        )
        self._env.filters.update(text=text_of, kind=lambda block: type(block).__name__)
        self._env.globals.update(links=links, version=__version__, actions=actions)

    def render(self, name: str, **values: Any) -> str:
        """Return the page of the template `dashboard/NAME.html.j2`."""
        return self._env.get_template(f"dashboard/{name}.html.j2").render(**values)

    def static(self, name: str) -> tuple[str, str] | None:
        """Return the text and media type of a static file; None: not a static file."""
        if name not in STATIC:
            return None
        template, media_type = STATIC[name]
        return self._loader.get_source(self._env, template)[0], media_type


def _printable(value: object) -> object:
    """Return a value as a page shows it: text from a log can neither reorder nor hide what is around it."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
