"""The fake PBS against the recordings of a real one: same command, same situation, same exit code and shape."""

import re
import time

import pytest
from pbs_fixture import FakePbs
from pbs_transcripts import Recorded, read

from hpcsweep.schedulers.pbs.records import parse_dsv

SITUATIONS = {  # transcript -> (first command, last command) that is replayed
    "24-history-disabled.txt": (0, None),
    "25-array-cancelled-while-waiting.txt": (0, None),
    "26-array-requeued.txt": (0, 6),
    "27-killed-by-limits.txt": (0, 5),
    "28-queues.txt": (4, 12),
    "30-history-disabled-subjobs.txt": (1, None),
}
_LATE = re.compile(r"resources_used\.|session_id$|jobdir$")
"""What a real node reports some seconds later; the fake at once or never."""
_OF_SITE = frozenset({"Resource_List.walltime"})
"""A default of the recorded queue gpuq."""
_SAME = ("job_state", "substate", "run_count", "Exit_status", "array_index", "array_indices_remaining")
_ALIKE = {("substate", "41"): "42", ("Exit_status", "143"): "271"}
"""A job that starts, or runs; the two depend on which of its processes died first after a qdel."""
_NOT_IN_THE_FAKE = ("-F json", "grep", "mem.sh")
_WAIT_S = 30.0


@pytest.fixture
def site(pbs: FakePbs) -> FakePbs:
    (pbs.jobs / "s.sh").write_text("sleep ${S:-1}\n")
    pbs.admin("nodes gpu1=h200 gpu2=h200 gpu3=h200")
    pbs.admin("set server kill_delay=2.0")
    return pbs


def shape(text: str) -> dict[str, object]:
    """Jobs of `qstat -F dsv`: their attributes' names, and the values that decide; other text without its figures."""
    if not text.startswith("Job Id: "):
        return {"text": re.sub(r"\d\d:\d\d:\d\d|\d{10}", "", text).split()}
    return {
        job_id: (
            sorted(name for name in attributes if not _LATE.match(name) and name not in _OF_SITE),
            {name: _ALIKE.get((name, attributes[name]), attributes[name]) for name in _SAME if name in attributes},
            re.sub(r" (on \(.*\)|\w{3} \w{3} \d\d( at \d\d:\d\d)?)", "", attributes.get("comment", "")),
        )
        for job_id, attributes in parse_dsv(text).items()
    }


def differences(ours: dict, theirs: dict) -> list[str]:
    """What differs between two shapes, job by job."""
    found = []
    for job in sorted({*ours, *theirs}):
        if job not in ours or job not in theirs or job == "text":
            if ours.get(job) != theirs.get(job):
                found.append(f"{job}: {ours.get(job)} instead of {theirs.get(job)}")
            continue
        (names, values, comment), (other_names, other_values, other_comment) = ours[job], theirs[job]
        more, missing = {*names} - {*other_names}, {*other_names} - {*names}
        if more or missing or (values, comment) != (other_values, other_comment):
            found.append(
                f"{job}: +{sorted(more)} -{sorted(missing)} {values} {other_values} {comment!r} {other_comment!r}"
            )
    return found


def translated(command: str) -> str:
    """What an administrator of the recorded server did by qmgr, as the fake takes it."""
    changed = re.fullmatch(r"qmgr -c 'set server (\S+)'", command)
    return f"fakepbs-admin set server {changed[1]}" if changed else command


def answer_like(site: FakePbs, entry: Recorded) -> tuple[int, str, object]:
    """The fake's answer; a listing is asked for until it shows the situation of the recording, or for 30 s."""
    deadline = time.monotonic() + _WAIT_S
    wanted = (entry.exit_code, entry.stderr.strip(), shape(entry.stdout))
    while True:
        done = site.run(translated(entry.command), operator=entry.user == "root", user="hpcuser")
        found = (done.returncode, done.stderr.strip(), shape(done.stdout))
        if found == wanted or "qstat" not in entry.command or time.monotonic() > deadline:
            return found
        time.sleep(0.2)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("file", SITUATIONS)
def test_same_command_same_situation_same_answer(site, file):
    first, last = SITUATIONS[file]
    entries = read(file)[first:last]
    number = next(re.match(r"\d+", entry.stdout)[0] for entry in entries if entry.command.startswith("qsub"))
    site.admin(f"next {number}")
    if "history" in file:
        site.admin("set server job_history_enable=False")
    compared = 0
    for entry in entries:
        if any(word in entry.command for word in _NOT_IN_THE_FAKE):
            continue
        found = answer_like(site, entry)
        assert found[:2] == (entry.exit_code, entry.stderr.strip()), entry.command
        assert differences(found[2], shape(entry.stdout)) == [], entry.command
        compared += 1
    assert compared >= 2
