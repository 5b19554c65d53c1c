"""`import hpcsweep`: the public names, without any import that they do not need."""

import subprocess
import sys
from pathlib import Path

import pytest

import hpcsweep

ROOT = Path(__file__).resolve().parents[2]
HEAVY = "{'pydantic', 'sqlalchemy', 'numpy', 'pandas', 'rich', 'click', 'jinja2', 'paramiko', 'submitit'}"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_the_import_loads_nothing_heavy():
    done = python(f"import sys, hpcsweep\nhpcsweep.__version__\nsys.exit(str({HEAVY} & sys.modules.keys()))")
    assert done.stderr.strip() == "set()"


@pytest.mark.parametrize("name", hpcsweep.__all__)
def test_every_name_is_documented_and_declared(name):
    if name == "__version__":
        return
    value = getattr(hpcsweep, name)
    assert value.__module__ == hpcsweep._API[name] and value.__doc__
    assert f"import {name} as {name}" in (ROOT / "hpcsweep" / "__init__.pyi").read_text()
    assert f"`{name}" in (page := (ROOT / "docs" / "api.md").read_text()) or f"hpcsweep.{name}" in page


@pytest.mark.parametrize("name", ["plan", "submit", "report"])
def test_a_function_with_the_name_of_a_sub_package_stays_a_function(name):
    done = python(
        f"import hpcsweep.{name}\nfrom hpcsweep import {name}\nimport hpcsweep.plan.grid, hpcsweep.submit.client\n"
        f"import hpcsweep.report.console\nassert hpcsweep.{name} is {name} and callable({name})\n"
        "from hpcsweep.plan.grid import expand"
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'submitt'"):
        hpcsweep.submitt  # noqa: B018
    assert {"plan", "load_results", "__version__"} <= set(dir(hpcsweep))
