"""Records of PBS as flat tables of text: `qstat -f -F dsv` (many jobs) and `-F json` (one job, nodes, queues).

Formats: OpenPBS 20.0.1, 22.05.11, 23.06.06 and master. The dsv form is read first: it has one line per job in every
version and is right for many ids. JSON of several ids shows only the first in master, and a user's variable can make
it invalid in the releases; so JSON is asked for nodes, queues and servers, where no user's text stands.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from hpcsweep.errors import SchedulerParseError

Attributes = Mapping[str, str]
"""Attribute -> text, nested ones with a dot (`Resource_List.walltime`). Absent stays absent."""

_HEAD = "Job Id: "
_FIELD = re.compile(r"(?<!\\)\|")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*=")  # a site's own resource may have a dash in its name


def parse_dsv(text: str) -> dict[str, dict[str, str]]:
    """Jobs of `qstat -f -F dsv`: full id -> attributes. Raises SchedulerParseError that quotes the line.

    `|` inside a value is written `\\|`, a newline as the two characters `\\n`; a backslash is not escaped, so a value
    that ends in one swallows the attribute after it. Variable_List is left out: it is a user's text and hpcsweep
    never reads a setting back from it.
    """
    jobs: dict[str, dict[str, str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        head, *fields = _FIELD.split(line)
        if not head.startswith(_HEAD):
            raise SchedulerParseError(
                f"qstat -F dsv, line {number} does not begin with {_HEAD!r}: {line[:120]!r}",
                hint="is this OpenPBS or PBS Pro? Torque has no -F dsv",
            )
        attributes = jobs.setdefault(head.removeprefix(_HEAD).strip(), {})
        for item in fields:
            if not _NAME.match(item):
                raise SchedulerParseError(f"qstat -F dsv, line {number} has a field without a name: {item[:120]!r}")
            name, _, value = item.partition("=")
            if name != "Variable_List":
                attributes[name] = value.replace("\\|", "|")
    return jobs


def parse_json(text: str) -> dict[str, Any]:
    """The document of any PBS command with `-F json`. Raises SchedulerParseError with the place of the fault."""
    try:
        document = json.loads(text, strict=False)
    except json.JSONDecodeError as exc:
        around = text[max(0, exc.pos - 40) : exc.pos + 40]
        raise SchedulerParseError(
            f"PBS wrote JSON that cannot be read, line {exc.lineno}: {exc.msg}",
            detail=f"around: {around!r}",
            hint="OpenPBS before 24 writes some values of variables bare: ask with -F dsv",
        ) from exc
    if not isinstance(document, dict):
        raise SchedulerParseError(f"PBS wrote JSON that is no object: {text[:80]!r}")
    return document


def section(document: Mapping[str, Any], name: str) -> dict[str, dict[str, str]]:
    """One section (`Jobs`, `nodes`, `Queue`, `Server`) as flat tables; empty when PBS left it out (nothing found)."""
    found = document.get(name)
    if not isinstance(found, dict):
        return {}
    return {key: _flat(value) for key, value in found.items() if isinstance(value, dict)}


def parse_plain(text: str) -> dict[str, dict[str, str]]:
    """Blocks of `pbsnodes -a` (also Torque's): a name at the margin, then `attribute = value` lines, indented."""
    blocks: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    for line in text.split("\n"):
        if not line.strip():
            current = None
        elif not line[0].isspace():
            current = blocks.setdefault(line.strip(), {})
        elif current is not None and " = " in line:
            name, _, value = line.strip().partition(" = ")
            current[name] = value
    return blocks


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Numbers that JSON made of text are text again: 3 is '3', 100000.0 is '100000.0', True is 'True'."""
    flat: dict[str, str] = {}
    for key, item in value.items():
        if key == "Variable_List":
            continue
        if isinstance(item, dict):
            flat.update(_flat(item, f"{prefix}{key}."))
        elif isinstance(item, list):
            flat[prefix + key] = ",".join(str(part) for part in item)
        else:
            flat[prefix + key] = str(item)
    return flat
