"""The scripts and styles of a page, as they lie in `templates/web`, put into one file.

A page that is opened from disk cannot import modules from other files. `boot.js` unpacks the modules in the page and
gives the name of each a `data:` URL in an import map, so that the browser gets them as they are in the repository,
without a build step.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from jinja2 import BaseLoader, Environment
from markupsafe import Markup

PREFIX = "#web/"
"""What the modules' names begin with; `templates/web/package.json` maps it to its folder for Node."""

BOOT = "web/report/boot.js"

PLOTLY = "web/vendor/plotly-basic.min.js"
"""plotly.js with scatter, bar and pie charts only (MIT license)."""


class Assets:
    """The files below `web/` of a template loader. Folders of the user's own, searched first, replace single files."""

    def __init__(self, loader: BaseLoader, environment: Environment) -> None:
        self._loader = loader
        self._environment = environment

    def text(self, path: str) -> str:
        """Return a file. Raises jinja2.TemplateNotFound."""
        return self._loader.get_source(self._environment, path)[0]

    def styles(self, *paths: str) -> Markup:
        """Return stylesheets one after the other."""
        return Markup("\n".join(self.text(path) for path in paths))

    def modules(self, folder: str) -> dict[str, str]:
        """Return the name that each module below a folder of `web/` is imported by, and its text."""
        return {PREFIX + name: self.text(f"web/{name}") for name in self._modules(folder)}

    def _modules(self, folder: str) -> Iterator[str]:
        for template in sorted(self._loader.list_templates()):
            path = PurePosixPath(template)
            if path.suffix == ".js" and template != BOOT and path.is_relative_to(f"web/{folder}"):
                yield str(path.relative_to("web"))
