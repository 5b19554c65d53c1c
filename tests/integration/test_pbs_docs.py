"""The examples of the documentation about PBS, run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

from pbs_fixture import FakePbs

from hpcsweep.spec.cluster import ConfigFile
from hpcsweep.spec.load import parse_model

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL)


def test_the_plugin_example(pbs: FakePbs) -> None:
    (example,) = blocks("submitit-plugin.md", "python")
    script = pbs.home / "example.py"
    script.write_text(example)
    done = subprocess.run([sys.executable, str(script)], cwd=pbs.home, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    first, second, state = done.stdout.splitlines()
    assert (first, second) == ("42", "[10, 40, 90]")
    assert state.split()[0] in ("RUNNING", "COMPLETING", "COMPLETED", "PENDING")
    array = pbs.attributes("1")
    assert (array["array_indices_submitted"], array["max_run_subjobs"], array["queue"]) == ("0-2", "2", "gpuq")


def test_the_commands_for_a_pbs_by_hand(pbs: FakePbs) -> None:
    text = (DOCS / "pbs.md").read_text(encoding="utf-8").partition("## A PBS for tests")[2]
    commands = [line.strip() for line in re.findall(r"^ {4}(?!export)(.*)$", text, re.MULTILINE)]
    assert len(commands) == 6
    (pbs.home / "job.sh").write_text("#!/bin/bash\nsleep 60\n")
    pbs.admin("next 12")
    pbs.out("qsub job.sh")
    for command in commands:
        done = pbs.run(command.partition("  #")[0])
        assert done.returncode == 0 or "down" in command or "qrerun" in command, done
        if "down" in command:
            pbs.admin("up")
    assert pbs.state()["jobs"] == {}


def test_the_profile_in_the_documentation_is_a_profile() -> None:
    (profile,) = blocks("pbs.md", "yaml")
    settings = parse_model(ConfigFile, profile, "docs/pbs.md")
    assert settings.clusters["h200"].scheduler == "pbs"
