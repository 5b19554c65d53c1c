"""The Jinja environment of job scripts: strict, unescaped except by one filter, open to a user's own blocks."""

import importlib.resources
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import (
    ChoiceLoader,
    Environment,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateNotFound,
    UndefinedError,
)
from jinja2 import TemplateError as JinjaError

from hpcsweep.errors import SpecError, TemplateError
from hpcsweep.units import hms

BUILTIN = "hpcsweep/"
"""Prefix that names a shipped template even where a user's own has the same name."""

_DIRECTIVE = re.compile(r"[A-Za-z0-9_.,:@%+=/\[\]&|*()^{}-]+")


class JobEnvironment(Environment):
    """An environment in which `slurm.sh.j2` of a user may extend the shipped `slurm.sh.j2` by its plain name."""

    def join_path(self, template: str, parent: str) -> str:
        """The template that `parent` means by `template`: never itself."""
        return BUILTIN + template if template == parent else template


def sh(value: object) -> str:
    """The one filter for values that reach a shell: bash gives back the very value."""
    return shlex.quote(str(value))


def sh_join(values: Sequence[object]) -> str:
    """An argv as one line of shell."""
    return shlex.join(str(value) for value in values)


def directive(value: object) -> str:
    """A value for a #SBATCH or #PBS line, which is not shell: refused unless every character is harmless there."""
    text = str(value)
    if not _DIRECTIVE.fullmatch(text):
        raise SpecError(
            f"{text!r} cannot stand in a scheduler's directive line",
            hint="use a path or name without blanks, quotes, $, #, ; or newlines (is it HPCSWEEP_HOME?)",
        )
    return text


def comment(value: object) -> str:
    """Text for a comment line: one line, printable."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def make_environment(overrides: Sequence[Path] = ()) -> JobEnvironment:
    """The environment; folders in `overrides` come before the shipped templates, the first one first."""
    shipped = PackageLoader("hpcsweep.templates", ".")
    env = JobEnvironment(
        loader=ChoiceLoader(
            [*(FileSystemLoader(folder) for folder in overrides), shipped, PrefixLoader({BUILTIN.rstrip("/"): shipped})]
        ),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # bash, not HTML: every value goes through `sh` or `directive`
    )
    env.filters.update(sh=sh, sh_join=sh_join, hms=hms, directive=directive, comment=comment)
    return env


def render(env: Environment, name: str, **values: Any) -> str:
    """The text of template `name`. Raises TemplateError that names what a template may use."""
    try:
        return env.get_template(name).render(values)
    except UndefinedError as exc:
        known = ", ".join(sorted(values))
        raise TemplateError(f"template {name}: {exc.message}", hint=f"a template may use: {known}") from exc
    except TemplateNotFound as exc:
        raise TemplateError(
            f"template {exc.name} is not there", hint=f"shipped: {', '.join(shipped_templates())}"
        ) from exc
    except JinjaError as exc:
        where = f", line {exc.lineno}" if hasattr(exc, "lineno") else ""
        raise TemplateError(f"template {name}{where}: {exc.message}") from exc


def shipped_templates() -> list[str]:
    """Names of the templates that ship with hpcsweep."""
    folder = importlib.resources.files("hpcsweep.templates")
    return sorted(item.name for item in folder.iterdir() if item.name.endswith(".j2"))
