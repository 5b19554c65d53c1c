"""The Jinja environment of job scripts: strict, sandboxed, with explicit quoting, extensible by a user's templates."""

import importlib.resources
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import (
    ChoiceLoader,
    DictLoader,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateNotFound,
    UndefinedError,
)
from jinja2 import TemplateError as JinjaError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel

from hpcsweep.errors import SpecError, TemplateError
from hpcsweep.spec.gpu_request import gpu_type_resource, names_gpu_type
from hpcsweep.spec.pbs_request import fill
from hpcsweep.units import hms

BUILTIN = "hpcsweep/"
"""Prefix that selects a shipped template even if the user has one of the same name."""

_DIRECTIVE = re.compile(r"[A-Za-z0-9_.,:@%+=/\[\]&|*()^{}-]+")


_PURE_FILTERS = (
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "format", "indent", "int", "items",
    "join", "last", "length", "list", "lower", "max", "min", "replace", "reverse", "round", "sort", "string", "sum",
    "title", "trim", "truncate", "unique", "upper", "wordcount",
)  # fmt: skip
"""Filters of Jinja that only convert their input to text and numbers: none reads attributes or calls methods."""

_GLOBALS = ("range", "namespace", "dict")
_PLAIN = (str, int, float, bool, bytes, list, tuple, dict, frozenset, set, type(None), range)


class TemplateEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox in which a user's `slurm.sh.j2` may extend the shipped `slurm.sh.j2` by its plain name.

    A template can use the fields of the models but none of their methods (pydantic's `parse_file` reads files, also
    pickles), the methods of plain values, our filters, and Jinja's harmless filters.
    """

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Return whether a template may read an attribute: of a model, only fields and properties."""
        if not super().is_safe_attribute(obj, attr, value):
            return False
        if isinstance(obj, BaseModel):
            kind = type(obj)
            return attr in kind.model_fields or isinstance(getattr(kind, attr, None), property)
        return not isinstance(obj, type)

    def is_safe_callable(self, obj: Any) -> bool:
        """Return whether a template may call an object: methods of plain values, and callables of Jinja itself."""
        owner = getattr(obj, "__self__", None)
        own = any(str(getattr(item, "__module__", "")).startswith("jinja2.") for item in (obj, type(obj)))
        plain = isinstance(owner, _PLAIN) or obj is dict
        return super().is_safe_callable(obj) and bool(own or plain)

    def is_own(self, template: str) -> bool:
        """Return whether a user's template is used in place of the shipped one of this name."""
        if self.loader is None:
            return False
        used, shipped = (self.loader.get_source(self, name)[1] for name in (template, BUILTIN + template))
        return used != shipped

    def join_path(self, template: str, parent: str) -> str:
        """Return the template that `parent` refers to as `template`: a template never refers to itself."""
        return BUILTIN + template if template == parent else template


def sh(value: object) -> str:
    """Quote a value for a shell; every value that reaches a shell goes through this filter."""
    return shlex.quote(str(value))


def sh_join(values: Sequence[object]) -> str:
    """Return an argv as one line of shell."""
    return shlex.join(str(value) for value in values)


def directive(value: object) -> str:
    """Return a value for a #SBATCH or #PBS line. Raises SpecError unless every character is harmless there."""
    text = str(value)
    if not _DIRECTIVE.fullmatch(text):
        raise SpecError(
            f"{text!r} cannot be used in a directive line",
            code="unsafe_directive",
            hint="use a path or name without blanks, quotes, $, #, ; and newlines (check HPCSWEEP_HOME)",
        )
    return text


def comment(value: object) -> str:
    """Return text for a comment line: one line, printable."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def make_environment(
    overrides: Sequence[Path] = (), scheduler_templates: Mapping[str, str] | None = None
) -> TemplateEnvironment:
    """Return the environment.

    `overrides`: folders searched in this order before the shipped templates. `scheduler_templates`: name -> text of
    templates that a scheduler plugin brings; they count as shipped.
    """
    shipped = ChoiceLoader([PackageLoader("hpcsweep.templates", "."), DictLoader(scheduler_templates or {})])
    env = TemplateEnvironment(
        loader=ChoiceLoader(
            [*(FileSystemLoader(folder) for folder in overrides), shipped, PrefixLoader({BUILTIN.rstrip("/"): shipped})]
        ),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # bash, not HTML: every value goes through `sh` or `directive`
    )
    env.filters = {name: env.filters[name] for name in _PURE_FILTERS if name in env.filters}
    env.globals = {name: env.globals[name] for name in _GLOBALS}
    env.filters.update(sh=sh, sh_join=sh_join, hms=hms, directive=directive, comment=comment)
    env.filters.update(fill=fill, names_gpu_type=names_gpu_type, gpu_type_resource=gpu_type_resource)
    return env


def render(env: TemplateEnvironment, name: str, **values: Any) -> str:
    """Return the rendered text of template `name`. Raises TemplateError that lists what a template may use."""
    try:
        return env.get_template(name).render(values)
    except SecurityError as exc:
        raise TemplateError(
            f"template {name}: {exc.message}: a template may use fields and filters, not methods of objects",
            code="template_unsafe",
            hint=f"filters: {', '.join(sorted(env.filters))}",
        ) from exc
    except UndefinedError as exc:
        known = ", ".join(sorted(values))
        raise TemplateError(
            f"template {name}: {exc.message}", code="template_undefined", hint=f"a template may use: {known}"
        ) from exc
    except TemplateNotFound as exc:
        raise TemplateError(
            f"template not found: {exc.name}",
            code="template_not_found",
            hint=f"shipped: {', '.join(shipped_templates())}",
        ) from exc
    except JinjaError as exc:
        where = f", line {exc.lineno}" if hasattr(exc, "lineno") else ""
        raise TemplateError(f"template {name}{where}: {exc.message}", code="template_syntax") from exc


def shipped_dir() -> Path:
    """Return the folder of the templates that ship with hpcsweep."""
    return Path(str(importlib.resources.files("hpcsweep.templates")))


def shipped_templates() -> list[str]:
    """Return the names of the templates that ship with hpcsweep."""
    return sorted(path.name for path in shipped_dir().iterdir() if path.name.endswith(".j2"))
