"""The project itself: packages, imports, documentation that is true."""

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sweep_folders import make_sweep

from hpcsweep.cli.main import COMMANDS, main

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_package_is_in_setup_cfg():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    there = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "hpcsweep").rglob("__init__.py")}
    assert listed == there | {"hpcsweep.templates", "hpcsweep.experiments"}


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom hpcsweep.cli.main import main\nmain(['--help'], standalone_mode=False)\n"
        "heavy = {'sqlalchemy', 'paramiko', 'submitit', 'pydantic', 'jinja2', 'rich', 'numpy'} & sys.modules.keys()\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_status_of_ended_runs_imports_what_it_needs_only(tmp_path):
    sweep = make_sweep(tmp_path, axes={"ep": ["on"]}, samples=1, scheduler="local")
    (label,) = sweep.labels
    sweep.write(label, sweep.lines(label).started(job_id="12").startup().workload("8k", 1).ended(), end="completed")
    code = (
        "import sys\nfrom hpcsweep.cli.main import main\n"
        f"main(['--home', {str(tmp_path)!r}, 'status', '--json'], standalone_mode=False)\n"
        "heavy = {'pydantic', 'alembic', 'rich', 'numpy', 'jinja2', 'submitit', 'paramiko'} & sys.modules.keys()\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    for _ in range(2):  # the first makes the store and reads the run folders, and may import anything
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["sweeps"][0]["runs"]
    assert (run["outcome"], run["samples_done"]) == ("completed", 1)


def test_the_node_side_runs_without_the_login_side():
    code = (
        "import sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('sqlalchemy', 'alembic', 'paramiko', 'submitit', 'click', 'rich'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "import hpcsweep.node.agent, hpcsweep.load.worker, hpcsweep.node.guardian, hpcsweep.simulator\n"
        "import hpcsweep.node.plain_job\n"
        "login = ('hpcsweep.store', 'hpcsweep.submit', 'hpcsweep.report', 'hpcsweep.cli')\n"
        "bad = [m for m in sys.modules if m.startswith(login)]\n"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_the_help_that_the_list_promises(name):
    command = main.get_command(None, name)
    assert command is not None
    assert (command.help or "").strip().splitlines()[0] == COMMANDS[name][0]
    for parameter in command.params:
        assert parameter.param_type_name == "argument" or parameter.help, f"{name} {parameter.name} has no help"


def test_the_page_of_the_command_line_is_up_to_date():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "make-cli-docs", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, "run scripts/make-cli-docs" + done.stderr


def test_every_page_is_in_the_navigation_of_the_site():
    listed = set(re.findall(r"([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text()))
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_commands_in_the_readme_are_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"^ {4}hpcsweep (?!-)([a-z]+)", text, flags=re.MULTILINE):
        assert name in COMMANDS, name
    for target in re.findall(r"^ {4}make (\w+)", text, flags=re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), target
