"""The backend of schedulers, on a host that answers as it is told."""

import os
import pwd
import threading

import pytest

from hpcsweep.errors import HostError
from hpcsweep.hosts.base import leaks
from hpcsweep.hosts.local import LocalHost
from hpcsweep.hosts.ssh_config import jump_command
from hpcsweep.schedulers.base import CommandResult
from hpcsweep.schedulers.slurm.scheduler import SlurmScheduler
from hpcsweep.submit.backends import SchedulerBackend, after_setup


class Scripted:
    """A host whose answer to a command is what `answers` says; an exception is raised."""

    name = "scripted"

    def __init__(self, answers, together=None):
        self.answers, self.together = answers, together

    def run(self, argv, *, timeout_s, stdin=None):
        if self.together is not None:
            self.together.wait()
        command = next(word for word in argv if word in self.answers)
        answer = self.answers[command]
        if isinstance(answer, Exception):
            raise answer
        return CommandResult(tuple(argv), 0, answer, "")


RUNNING = "7_0|RUNNING|0|0|node1|None|s-0001-0|\n"


def listing(answers, **more):
    return SchedulerBackend(SlurmScheduler(), Scripted(answers, **more), "me").queue_snapshot({"7": "s-0001-0"})


def test_a_connection_that_is_lost_while_asking_is_no_word_about_the_jobs():
    lost = HostError("login: squeue: EOF")
    found = listing({"squeue": lost, "sacct": lost})
    assert (dict(found.statuses), found.complete, found.error) == ({}, False, "login: squeue: EOF")
    found = listing({"squeue": RUNNING, "sacct": lost})
    assert list(found.statuses) == [("7", 0)] and not found.complete


def test_login_setup_runs_before_each_command_and_its_output_is_not_read(tmp_path):
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\nprintf '%s' '{RUNNING}'\n")
    squeue.chmod(0o755)
    setup = ["echo loaded a module", f"export PATH='{tmp_path}':$PATH"]
    backend = SchedulerBackend(SlurmScheduler(), LocalHost(), "me", setup)
    assert ("7", 0) in backend.queue_snapshot({"7": "s-0001-0"}).statuses
    assert not any("bash" in call.argv for call in backend.calls)
    argv = after_setup(["printf", "%s|", "a b", "$(id)", "it's"], ["echo noise"])
    assert LocalHost().run(argv, timeout_s=30).stdout == "a b|$(id)|it's|"


JUMPS = [  # (ProxyJump of ~/.ssh/config, what is run)
    (None, None),
    ("none", None),
    ("gate", "ssh -o BatchMode=yes -W login.site:22 gate"),
    ("me@gate:2200", "ssh -o BatchMode=yes -W login.site:22 ssh://me@gate:2200"),
    ("first,second", "ssh -o BatchMode=yes -J first -W login.site:22 second"),
]


@pytest.mark.parametrize(("jump", "command"), JUMPS)
def test_a_jump_host_is_gone_through(monkeypatch, jump, command):
    monkeypatch.setenv("HOME", pwd.getpwuid(os.getuid()).pw_dir)  # of another home, ssh is given the configuration
    assert jump_command("login.site", 22, jump or "none") == command


def test_witnesses_are_asked_at_once():
    """One that does not answer does not add its time limit to that of the other."""
    both = threading.Barrier(2, timeout=20)
    assert listing({"squeue": RUNNING, "sacct": ""}, together=both).complete


@pytest.mark.parametrize("name", ["SBATCH_ACCOUNT", "SLURM_JOB_ID", "SQUEUE_PARTITION", "SACCT_FORMAT", "SCANCEL_USER"])
def test_what_people_set_for_their_own_eyes_changes_no_answer(name):
    assert leaks(name)


@pytest.mark.parametrize("name", ["SLURM_CONF", "SLURM_JWT", "PBS_SERVER", "PATH", "HPCSWEEP_HOME"])
def test_where_the_scheduler_is_stays(name):
    assert not leaks(name)
