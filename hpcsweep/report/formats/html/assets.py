"""The scripts and styles of a page, as they lie in `templates/web`, put into one file.

A page that is opened from disk cannot import modules from other files. An import map inside the page gives the name of
each module a `data:` URL, so that the browser gets the modules as they are in the repository, without a build step.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import PurePosixPath

from jinja2 import BaseLoader, Environment
from markupsafe import Markup

PREFIX = "#web/"
"""What the modules' names begin with; `templates/web/package.json` maps it to its folder for Node."""

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

    def import_map(self, folder: str) -> Markup:
        """Return the import map of all modules below a folder of `web/`, as JSON."""
        modules = {
            PREFIX + name: f"data:text/javascript;base64,{base64.b64encode(self.text(f'web/{name}').encode()).decode()}"
            for name in self._modules(folder)
        }
        return Markup(json.dumps({"imports": modules}, separators=(",", ":")))

    def _modules(self, folder: str) -> Iterator[str]:
        for template in sorted(self._loader.list_templates()):
            path = PurePosixPath(template)
            if path.suffix == ".js" and path.is_relative_to(f"web/{folder}"):
                yield str(path.relative_to("web"))
