"""Write the hpcsweep.yaml of a site: its profile, with the source of each line, and what has to be filled in. Pure."""

import re
import textwrap
from collections.abc import Iterator

from hpcsweep.sites.site import STATUS, Site
from hpcsweep.spec.unfilled import PLACEHOLDER, is_unfilled

_WIDTH = 116
_COLUMN = 44
_KEY = re.compile(r"^  ([a-z_]+):")
_BELOW = re.compile(r"^ {4}([A-Za-z_]+):")


def site_config(site: Site, text: str, *, python: str | None, remote: bool) -> str:
    """Return the text of hpcsweep.yaml for a site. `text`: the site's file, whose lines are used as they are.

    `python`: interpreter on the nodes; None: it has to be filled in. `remote`: the profile is used over SSH.
    """
    lines = [*_header(site), "", f"default: {site.name}", "", "clusters:", f"  {site.name}:"]
    if remote:
        lines += _remote(site)
    lines += [_commented(f"  {line}", comment) for line, comment in _profile_lines(site, text)]
    interpreter = python or PLACEHOLDER
    what = "on the nodes" if python else "a Python on the cluster, in which this version of hpcsweep is installed"
    lines.append(_commented(f"    python: {interpreter}", what))
    return "\n".join(lines) + "\n"


def _header(site: Site) -> Iterator[str]:
    yield from _comment(f"{site.title}: {site.hardware}.")
    yield from _comment(f"Written by `hpcsweep init --site {site.name}`: {STATUS}. Replace each {PLACEHOLDER}.")
    yield "#"
    for name, source in site.sources.items():
        yield f"# [{name}] {source.url} ({source.date})"
    if site.notes:
        yield "#"
    for note in site.notes:
        yield from _comment(note)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False)


def _remote(site: Site) -> list[str]:
    return [
        "    ssh:",
        _commented(f"      host: {site.login or PLACEHOLDER}", "or a name of your ~/.ssh/config"),
        _commented(f"      home: /{PLACEHOLDER}/hpcsweep", "a folder on the cluster that its compute nodes share"),
    ]


def _profile_lines(site: Site, text: str) -> Iterator[tuple[str, str]]:
    """Yield each line of the profile in the site's file with its comment: what belongs there, or its sources."""
    block = text.partition("\nprofile:\n")[2]
    key = ""
    for line in block.split("\n"):
        if not line.startswith("  "):
            return
        top = _KEY.match(line)
        key = top[1] if top else key
        below = _BELOW.match(line)
        path = f"{key}.{below[1]}" if below else key
        if is_unfilled(line):
            yield line, next(what for name, what in site.todo.items() if name == path or name.startswith(f"{key}."))
        else:
            yield line, "".join(f"[{name}]" for name in site.taken_from.get(key, ())) if top else ""


def _commented(line: str, comment: str) -> str:
    return f"{line:<{_COLUMN}}  # {comment}" if comment else line
