"""docs/architecture.md: the table "Where is ...?" and the list of folders match the code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = TEXT.partition("## Folders\n")[2].partition("`.importlinter`")[0]
ROWS = re.findall(r"^\| ([^|]+\?) \| `([^`]+)` \| `([^`]+)` \|$", TEXT, re.MULTILINE)


def test_the_table_has_the_questions_of_a_newcomer():
    assert len(ROWS) >= 12


@pytest.mark.parametrize(("question", "path", "name"), ROWS, ids=[row[0] for row in ROWS])
def test_the_named_file_contains_the_name(question, path, name):
    assert (ROOT / path).is_file(), question
    assert re.search(rf"{re.escape(name)}\b", (ROOT / path).read_text(encoding="utf-8")), question


def test_every_package_is_listed():
    listed = set(re.findall(r"^      (\w+)/  ", FOLDERS, re.MULTILINE))
    packages = {path.parent.name for path in (ROOT / "hpcsweep").glob("*/__init__.py")}
    assert listed == packages


def test_packages_are_listed_in_the_order_of_the_layers():
    """A package is listed above all packages that it may not import."""
    layers = (ROOT / ".importlinter").read_text(encoding="utf-8").partition("layers =\n")[2].partition("\n\n")[0]
    rank = {
        name: number for number, line in enumerate(layers.splitlines()) for name in re.findall(r"hpcsweep\.(\w+)", line)
    }
    listed = [name for name in re.findall(r"^      (\w+)/  ", FOLDERS, re.MULTILINE) if name in rank]
    assert [rank[name] for name in listed] == sorted(rank[name] for name in listed)
