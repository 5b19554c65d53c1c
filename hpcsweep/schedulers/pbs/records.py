"""Parse records of PBS into flat tables of text: `qstat -f -F dsv` (jobs) and `-F json` (nodes, queues, server).

Formats: OpenPBS 20.0.1, 22.05.11, 23.06.06 and master. Jobs are read in the dsv form, which has one line per job and
handles several ids in every version. With several ids, JSON shows only the first in master, and a user's variable can
make it invalid in the releases. JSON is used for nodes, queues and servers, which contain no user text.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from hpcsweep.errors import SchedulerParseError

Attributes = Mapping[str, str]
"""Attribute -> text, nested ones with a dot (`Resource_List.walltime`). Absent attributes are not in the table."""

_HEAD = "Job Id: "
_FIELD = re.compile(r"(?<!\\)\|")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*=")  # the name of a site's own resource may contain a dash


def parse_dsv(text: str) -> dict[str, dict[str, str]]:
    """Parse `qstat -f -F dsv` into full id -> attributes. Raises SchedulerParseError that quotes the line.

    `|` inside a value is written `\\|`, a newline as the two characters `\\n`; a backslash is not escaped, so a value
    that ends in one swallows the attribute after it. Variable_List is left out: it is user text, and
    hpcsweep reads no settings from it.
    """
    jobs: dict[str, dict[str, str]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        head, *fields = _FIELD.split(line)
        if not head.startswith(_HEAD):
            raise SchedulerParseError(
                f"qstat -F dsv, line {number} does not begin with {_HEAD!r}: {line[:120]!r}",
                code="pbs_output_unreadable",
                hint="is this OpenPBS or PBS Pro? Torque has no -F dsv",
            )
        attributes = jobs.setdefault(head.removeprefix(_HEAD).strip(), {})
        for item in fields:
            if not _NAME.match(item):
                raise SchedulerParseError(
                    f"qstat -F dsv, line {number} has a field without a name: {item[:120]!r}",
                    code="pbs_output_unreadable",
                )
            name, _, value = item.partition("=")
            if name != "Variable_List":
                attributes[name] = value.replace("\\|", "|")
    return jobs


def parse_json(text: str) -> dict[str, Any]:
    """Parse the output of a PBS command with `-F json`. Raises SchedulerParseError with the position of the error."""
    try:
        document = json.loads(text, strict=False)
    except json.JSONDecodeError as exc:
        around = text[max(0, exc.pos - 40) : exc.pos + 40]
        raise SchedulerParseError(
            f"invalid JSON from PBS, line {exc.lineno}: {exc.msg}",
            code="pbs_output_unreadable",
            detail=f"around: {around!r}",
            hint="OpenPBS before 24 does not quote some values of variables: use -F dsv",
        ) from exc
    if not isinstance(document, dict):
        raise SchedulerParseError(f"JSON from PBS is not an object: {text[:80]!r}", code="pbs_output_unreadable")
    return document


def section(document: Mapping[str, Any], name: str) -> dict[str, dict[str, str]]:
    """Return a section (`Jobs`, `nodes`, `Queue`, `Server`) as flat tables; empty if PBS left it out."""
    records = document.get(name)
    if not isinstance(records, dict):
        return {}
    return {key: _flat(value) for key, value in records.items() if isinstance(value, dict)}


def parse_plain(text: str) -> dict[str, dict[str, str]]:
    """Parse the blocks of `pbsnodes -a` (also Torque's): a name, then indented `attribute = value` lines."""
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
    """Convert JSON numbers and booleans back to text: 3 to '3', 100000.0 to '100000.0', True to 'True'."""
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
