"""Parse YAML 1.2 (`on`, `off`, `yes`, `no` are strings) into plain values and the line of every key. Without pydantic.

Documents may be hostile: tags, aliases that multiply and excessive nesting are rejected.
"""

import re
from datetime import date
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq, TaggedScalar
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean
from ruamel.yaml.scalarfloat import ScalarFloat
from ruamel.yaml.scalarint import ScalarInt
from ruamel.yaml.scalarstring import ScalarString

from hpcsweep.errors import SpecError

Lines = dict[tuple[Any, ...], int]
"""Key path -> line, from 1."""

_MOST_VALUES = 100_000
"""Maximum number of values in a document, counting an alias each time; a thousand levels need about a tenth of it."""
_DEEPEST = 400
"""Maximum depth of open brackets: the time of the parser grows with its square."""
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null", "omap", "merge")}
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""NUL and lone surrogates, which arguments, files and databases cannot contain."""
_SCALARS = (str, int, float, bool, date, type(None), ScalarBoolean)


def parse_yaml(text: str, where: str) -> tuple[Any, Lines]:
    """Return the plain values of a YAML document, and the line of every key path, from 1.

    Raises SpecError with file and line for bad syntax, a duplicate key, a tag, or aliases that multiply.
    """
    if _bracket_depth(text) > _DEEPEST:
        raise SpecError(f"{where}: nested too deeply", code="yaml_too_deep")
    try:
        document = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        problem = " ".join(str(part) for part in (exc.problem, exc.context) if part)
        raise SpecError(f"{where}{line}: {problem or 'invalid YAML'}", code="yaml_syntax") from exc
    except RecursionError:
        raise SpecError(f"{where}: nested too deeply", code="yaml_too_deep") from None
    except (YAMLError, ValueError, NotImplementedError, TypeError, AttributeError) as exc:
        raise SpecError(f"{where}: invalid YAML: {exc}", code="yaml_syntax") from exc
    reader = _Reader(where)
    try:
        return reader.plain(document, ()), reader.lines
    except RecursionError:
        raise SpecError(f"{where}: nested too deeply, or an alias contains itself", code="yaml_too_deep") from None


def _bracket_depth(text: str) -> int:
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        deepest = max(deepest, depth)
    return deepest


class _Reader:
    """Converts a document into plain values and records the line of every key path in `lines`."""

    def __init__(self, where: str) -> None:
        self.lines: Lines = {}
        self._where = where
        self._values = 0

    def plain(self, node: Any, path: tuple[Any, ...]) -> Any:
        """Return the plain value of a node at a path of keys. Raises SpecError."""
        self._values += 1
        if self._values > _MOST_VALUES:
            raise SpecError(
                f"{self._where}: more than {_MOST_VALUES} values (an alias counts each time it is used)",
                code="yaml_too_large",
            )
        if isinstance(node, CommentedMap):
            self._refuse_tag(node, path)
            result: dict[Any, Any] = {}
            for key, value in node.items():
                key = _scalar(key)
                if _NO_TEXT.search(str(key)):
                    self._refuse(f"key {key!a}", path)
                key_path = (*path, key)
                known = key in (node.lc.data or {})
                self.lines[key_path] = node.lc.key(key)[0] + 1 if known else node.lc.line + 1
                result[str(key)] = self.plain(value, key_path)
            return result
        if isinstance(node, CommentedSeq):
            self._refuse_tag(node, path)
            for index in range(len(node)) if node.lc.data else ():
                item_path = (*path, index)
                self.lines[item_path] = node.lc.item(index)[0] + 1
            return [self.plain(value, (*path, index)) for index, value in enumerate(node)]
        if isinstance(node, TaggedScalar):
            self._refuse_tag(node, path)
            return str(node.value)
        if not isinstance(node, _SCALARS):  # a set, an ordered map, binary data, a date
            self._refuse(f"!!{type(node).__name__}", path)
        if isinstance(node, str) and (match := _NO_TEXT.search(node)):
            self._refuse(f"text with the character {match[0]!a}", path)
        return _scalar(node)

    def _refuse_tag(self, node: Any, path: tuple[Any, ...]) -> None:
        tag = getattr(getattr(node, "tag", None), "value", None)
        if tag and str(tag) not in _TAGS:
            self._refuse(str(tag), path)

    def _refuse(self, tag: str, path: tuple[Any, ...]) -> None:
        line = next((self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), None)
        location = f"{self._where}, line {line}" if line else self._where
        name = ".".join(map(str, path)) or "the document"
        raise SpecError(
            f"{location}: {name}: {tag} is not supported",
            code="yaml_unsupported",
            hint="use plain text, numbers, lists and mappings; put text that looks like a date into quotes",
        )


def _scalar(node: Any) -> Any:
    if isinstance(node, ScalarBoolean):
        return bool(node)
    for kind, plain in ((ScalarInt, int), (ScalarFloat, float), (ScalarString, str)):
        if isinstance(node, kind):
            return plain(node)
    return node
