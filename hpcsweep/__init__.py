"""Sweep LLM-serving configurations over PBS and Slurm clusters.

The public functions are imported when first used: `import hpcsweep` stays fast, and the node side needs no packages of
the login side. docs/api.md describes the functions; `__init__.pyi` declares them for type checkers.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_API = {
    "plan": "hpcsweep.api.planning",
    "Plan": "hpcsweep.api.planning",
    "submit": "hpcsweep.api.submission",
    "SubmittedSweep": "hpcsweep.api.submission",
    "SubmittedJob": "hpcsweep.submit.client",
    "status": "hpcsweep.api.tracking",
    "wait": "hpcsweep.api.tracking",
    "list_sweeps": "hpcsweep.api.tracking",
    "SweepInfo": "hpcsweep.api.info",
    "RunInfo": "hpcsweep.api.info",
    "PreparationInfo": "hpcsweep.api.info",
    "report": "hpcsweep.api.results",
    "load_results": "hpcsweep.api.results",
    "HpcsweepError": "hpcsweep.errors",
    "HpcsweepWarning": "hpcsweep.api.session",
}
"""Public name -> module that defines it."""

__all__ = ["__version__", *_API]


def __getattr__(name: str) -> Any:
    if name not in _API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_API[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})


class _PublicModule(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        # `plan`, `submit` and `report` are also sub-packages. Importing one of those would bind the sub-package here
        # and hide the public function.
        if name not in _API or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _PublicModule
