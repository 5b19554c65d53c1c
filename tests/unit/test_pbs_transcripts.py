"""The parsers of PBS over everything that a real OpenPBS was seen to answer."""

import re

import pbs_transcripts
import pytest
from pbs_transcripts import Recorded, every, one

from hpcsweep.errors import SchedulerError, SchedulerParseError
from hpcsweep.schedulers.base import CommandResult, JobState
from hpcsweep.schedulers.pbs.records import parse_dsv, parse_json, section
from hpcsweep.schedulers.pbs.refusals import said
from hpcsweep.schedulers.pbs.scheduler import PbsScheduler, qstat_snapshot
from hpcsweep.schedulers.pbs.site import parse_nodes, parse_version, site_facts
from hpcsweep.schedulers.pbs.status import status, statuses
from hpcsweep.spec.phases import OutcomeKind

PBS = PbsScheduler()


def answer(entry: Recorded, *argv: str) -> CommandResult:
    return CommandResult(argv or tuple(entry.command.split()), entry.exit_code, entry.stdout, entry.stderr)


def shown(text: str) -> dict[str, str]:
    """Attributes of a plain `qstat -f`, as far as grep left them; of each name the first."""
    return dict(reversed(re.findall(r"^ {4}([A-Za-z_.]+) = (.*)$", text, re.MULTILINE)))


SUBMITTED = every(r"^(cd \w+(/\w+)?; )?(\w+=\S+ )?qsub (?!--version)[^|;&]*$")


@pytest.mark.parametrize("entry", [e for e in SUBMITTED if e.exit_code == 0], ids=lambda e: f"{e.file[:2]}-{e.number}")
def test_every_accepted_submission_gives_its_id(entry):
    job_id = PBS.parse_submit(answer(entry))
    assert job_id == entry.stdout.strip()
    assert job_id.endswith(".pbshost")
    assert ("[]" in job_id) == (" -J " in entry.command)


REFUSED = [e for e in every(r"qsub\b") if e.exit_code not in (0, 124) and e.stderr.strip() and not e.stdout.strip()]


@pytest.mark.parametrize("entry", REFUSED, ids=lambda e: f"{e.file[:2]}-{e.number}")
def test_every_refusal_says_pbs_own_words_and_what_to_change(entry):
    with pytest.raises(SchedulerError) as caught:
        PBS.parse_submit(answer(entry))
    first = said(answer(entry))
    assert first
    assert first in caught.value.message
    assert "usage:" not in caught.value.message
    assert bool(caught.value.hint) is ("script file::" not in first), first


def test_there_are_as_many_kinds_of_refusal_as_were_recorded():
    assert len(REFUSED) > 50
    assert {e.exit_code for e in REFUSED} >= {1, 2, 3, 5, 6, 38, 154, 160, 162, 166, 170, 173, 175, 187, 188}


JSON_JOBS = [e for e in every(r"^qstat [^|;>]*-F json [^|;>]*$") if '"Jobs"' in e.stdout]


@pytest.mark.parametrize("entry", JSON_JOBS, ids=lambda e: f"{e.file[:2]}-{e.number}")
def test_every_job_in_json_has_a_state(entry):
    jobs = section(parse_json(entry.stdout), "Jobs")
    found = statuses(jobs, [])
    assert len(found) == sum(not job_id.partition(".")[0].endswith("[]") for job_id in jobs)
    for item in found.values():
        assert item.state is not JobState.UNKNOWN
        assert item.state.final == (item.native in "FX")
        assert item.name


GREPPED = [e for e in every(r"qstat (-x )?-f '?\d") if "job_state = " in e.stdout and e.stdout.count("job_state") == 1]


@pytest.mark.parametrize("entry", GREPPED, ids=lambda e: f"{e.file[:2]}-{e.number}")
def test_every_plain_excerpt_has_a_state(entry):
    told = status("1.pbshost", None, shown(entry.stdout), {})
    assert told.state is not JobState.UNKNOWN


def json_status(file: str, job: str, occurrence: int = 0, flags: str = "-x -f -F json"):
    entry = one(file, f"qstat {flags} {job}", occurrence)
    found = statuses(section(parse_json(entry.stdout), "Jobs"), [])
    return found[job.strip("'"), None]


ENDINGS = [
    ("39.pbshost", None, 0, None, "finished"),
    ("40.pbshost", OutcomeKind.FAILED, 3, None, "exit code 3"),
    ("41.pbshost", OutcomeKind.WALLTIME, None, None, "killed at its walltime of 00:00:05"),
    ("42.pbshost", OutcomeKind.CANCELLED, 143, None, "deleted by hpcuser@pbshost"),
    ("43.pbshost", OutcomeKind.FAILED, None, 15, "killed by signal 15 (SIGTERM)"),
    ("44.pbshost", OutcomeKind.FAILED, None, 9, "killed by signal 9 (SIGKILL)"),
    ("45.pbshost", OutcomeKind.FAILED, 254, None, "exit code 254: the program could not be started"),
    ("46.pbshost", OutcomeKind.FAILED, 255, None, "exit code 255"),
    ("48.pbshost", OutcomeKind.CANCELLED, None, 9, "deleted by hpcuser@pbshost"),
]


@pytest.mark.parametrize(("job", "outcome", "code", "number", "reason"), ENDINGS, ids=[e[0] for e in ENDINGS])
def test_how_finished_jobs_ended(job, outcome, code, number, reason):
    told = json_status("04", job)
    assert (told.outcome, told.exit_code, told.signal, told.reason) == (outcome, code, number, reason)
    assert told.state is (JobState.COMPLETED if outcome is None else JobState.FAILED)
    assert told.node == "gpunode1"
    assert told.restarts == 0


OTHERS = [
    pytest.param("03", "33.pbshost", "-f -F json", JobState.HELD, None, "held by its owner", id="qsub -h"),
    pytest.param(
        "03", "37.pbshost", "-f -F json", JobState.PENDING, None,
        "Insufficient amount of resource: ngpus (R: 8 A: 0 T: 32)", id="waits for GPUs",
    ),
    pytest.param(
        "03", "37.pbshost", "-x -f -F json", JobState.FAILED, OutcomeKind.CANCELLED, "deleted before it ran",
        id="deleted while queued: no Exit_status",
    ),
    pytest.param("03", "36.pbshost", "-f -F json", JobState.RUNNING, None, "", id="runs on four nodes"),
    pytest.param("12", "348.pbshost", "-x -f -F json", JobState.RUNNING, None, "", id="second run after a MOM restart"),
    pytest.param(
        "12", "349.pbshost", "-x -f -F json", JobState.FAILED, OutcomeKind.LOST,
        "the node's PBS daemon (MOM) was restarted while it ran", id="-r n under a MOM restart: -4",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("file", "job", "flags", "state", "outcome", "reason"), OTHERS)
def test_other_states(file, job, flags, state, outcome, reason):
    told = json_status(file, job, flags=flags)
    assert (told.state, told.outcome, told.reason) == (state, outcome, reason)


def test_a_second_run_is_seen_in_run_count():
    assert json_status("12", "348.pbshost").restarts == 1


DEPEND_GREP = " 'Job Id|Job_Name|job_state|substate|Exit_status|depend|comment'"
EXCERPTS = [
    pytest.param(
        "03",
        "qstat -x -f 38.pbshost | grep -E 'job_state|substate|Exit_status|comment|Hold'",
        0,
        JobState.FAILED,
        OutcomeKind.CANCELLED,
        "deleted before it ran",
        id="held job deleted",
    ),
    pytest.param(
        "09",
        "qstat -x -f 115.pbshost | grep -E" + DEPEND_GREP,
        0,
        JobState.FAILED,
        OutcomeKind.NOT_RUN,
        "its dependency can no longer be satisfied: afternotok:110.pbshost@pbshost",
        id="dependency dropped",
    ),
    pytest.param(
        "22",
        "qstat -x -f 355.pbshost | grep -E 'Job Id|job_state|substate|depend|Hold|comment|Exit'",
        0,
        JobState.FAILED,
        OutcomeKind.NOT_RUN,
        "its dependency can no longer be satisfied: afterok:999999.pbshost@pbshost",
        id="unknown parent",
    ),
    pytest.param(
        "22",
        "qstat -f 354.pbshost | grep -E 'job_state|substate|depend|Hold|comment';"
        " qstat -f 353.pbshost | grep -E 'depend'",
        0,
        JobState.HELD,
        None,
        "waiting for afterany:353.pbshost@pbshost",
        id="waits for a job",
    ),
    pytest.param(
        "10",
        "qstat -f 124.pbshost | grep -E 'job_state|substate|comment|Resource_List.ngpus'",
        0,
        JobState.UNSCHEDULABLE,
        None,
        "Insufficient amount of resource: ngpus (R: 64 A: 3",
        id="can never run",
    ),
    pytest.param(
        "10",
        "qstat -f 159.pbshost | grep -E 'job_state|comment'",
        0,
        JobState.PENDING,
        None,
        "Queue not started.",
        id="queue stopped",
    ),
]


@pytest.mark.parametrize(("file", "command", "occurrence", "state", "outcome", "reason"), EXCERPTS)
def test_excerpts(file, command, occurrence, state, outcome, reason):
    told = status("1.pbshost", None, shown(one(file, command, occurrence).stdout), {})
    assert (told.state, told.outcome, told.reason) == (state, outcome, reason)


def test_an_array_is_its_subjobs_and_the_parent_is_not_believed():
    entry = one("05", "qstat -x -t -f -F json '69[].pbshost'")
    jobs = section(parse_json(entry.stdout), "Jobs")
    assert jobs["69[].pbshost"]["Exit_status"] == "0"  # one of its elements failed with 3
    found = statuses(jobs, ["69[].pbshost"])
    assert {key[1]: told.exit_code for key, told in found.items()} == {0: 0, 1: 0, 2: 3, 3: 0}
    assert {key[0] for key in found} == {"69[].pbshost"}
    assert found["69[].pbshost", 2].outcome is OutcomeKind.FAILED


def printed(command_end: str) -> list[tuple[str, dict[str, str]]]:
    """Lines of the recorded one-liner: id, state, substate, Exit_status, run_count | comment."""
    entry = next(e for e in pbs_transcripts.read("05-arrays.txt") if e.command.startswith(command_end))
    found = []
    for line in entry.stdout.splitlines():
        left, _, comment = line.partition(" | ")
        job_id, *values = left.split()
        names = ("job_state", "substate", "Exit_status", "run_count")
        found.append((job_id, {n: v for n, v in zip(names, values, strict=True) if v != "None"} | {"comment": comment}))
    return found


def test_a_subjob_deleted_before_it_ran_is_no_success():
    jobs = dict(printed("qstat -x -t -f -F json '77[].pbshost' | python3"))
    found = statuses(jobs, [])
    assert found["77[9].pbshost", 9].outcome is OutcomeKind.CANCELLED
    assert found["77[9].pbshost", 9].reason == "deleted before it ran"
    assert all(told.state is JobState.COMPLETED for (_, index), told in found.items() if index != 9)


def test_subjobs_deleted_while_starting_are_no_success():
    found = statuses(dict(printed("qstat -x -t -f -F json '89[].pbshost' | python3")), [])
    assert len(found) == 6
    assert {told.outcome for told in found.values()} == {OutcomeKind.CANCELLED}
    assert {told.reason for told in found.values()} == {"deleted by hpcuser@pbshost"}


def test_dsv_and_json_tell_the_same_of_one_job():
    dsv = parse_dsv(one("01", "qstat -f -F dsv 1.pbshost").stdout)
    from_json = section(parse_json(one("01", "qstat -f -F json 1.pbshost").stdout), "Jobs")
    assert dsv == from_json


def test_a_newline_in_a_variable_cannot_fake_an_attribute():
    tail = one("22", "qstat -f -F dsv 375.pbshost | tail -c 300").stdout
    line = "Job Id: 375.pbshost|Job_Name=exittest|job_state=H|Variable_List=PBS_O_SHEL" + tail
    (attributes,) = parse_dsv(line).values()
    assert attributes["job_state"] == "H"
    assert "Exit_status" not in attributes


UNREADABLE = [e for e in every(r"check.py") if "INVALID JSON" in e.stdout]


def test_json_that_the_released_clients_write_wrong_is_refused_with_its_place():
    assert len(UNREADABLE) > 8
    for text in ('{"A":+5}', '{"A":.5,"b":1}', '{"A":007}', '{"Account_Name":"a"b"}'):
        with pytest.raises(SchedulerParseError, match="line 1"):
            parse_json(text)


SILENT = [
    pytest.param("01", "qstat -f -F json 1.pbshost", 1, id="finished, asked without -x"),
    pytest.param("10", "qstat -x -f -F json 999999", 0, id="unknown id"),
    pytest.param("21", "qstat -x -f -F json 363.pbshost", 0, id="history purged"),
    pytest.param("11", "time qstat -f -F json 346.pbshost", 0, id="server down"),
]


@pytest.mark.parametrize(("file", "command", "occurrence"), SILENT)
def test_an_answer_without_jobs_is_no_job(file, command, occurrence):
    assert section(parse_json(one(file, command, occurrence).stdout), "Jobs") == {}


LISTINGS = [
    pytest.param(
        "10", "qstat -x -f -F json 999999", False, "", id="153: not known, which says nothing of how it ended"
    ),
    pytest.param("01", "qstat 1.pbshost", True, "", id="35: over"),
    pytest.param("11", "time qstat", False, "Connection refused", id="255: server down"),
    pytest.param("10", "qstat -x -F json", False, "conflicting options", id="2: usage"),
]


@pytest.mark.parametrize(("file", "command", "complete", "trouble"), LISTINGS)
def test_listing_of_exit_codes(file, command, complete, trouble):
    entry = one(file, command, 1 if command == "qstat 1.pbshost" else 0)
    argv = ("qstat", "-x", "-t", "-f", "-F", "dsv", "1.pbshost")
    listing = qstat_snapshot(CommandResult(argv, entry.exit_code, "", entry.stderr))
    assert listing.complete is complete
    assert listing.statuses == {}
    assert trouble in listing.error
    assert not (listing.error and complete)


CANCELS = [
    pytest.param("04", "qdel 39.pbshost", "", id="already over"),
    pytest.param("10", "qdel 999999", "", id="unknown"),
    pytest.param("10", "qdel 175.pbshost", "Unauthorized Request  175.pbshost", id="another user's"),
    pytest.param("12", "time qdel 351.pbshost", "could not connect to MOM", id="node down"),
    pytest.param("11", "time qdel 346.pbshost", "Connection refused", id="server down"),
]


@pytest.mark.parametrize(("file", "command", "words"), CANCELS)
def test_what_qdel_said(file, command, words):
    entry = one(file, command)
    trouble = PBS.cancel_error(CommandResult(("qdel", "1"), entry.exit_code, "", entry.stderr))
    assert words in trouble
    assert bool(trouble) is bool(words)


def test_nodes_of_the_recorded_site():
    from_json = parse_nodes(one("13", "pbsnodes -a -F json").stdout)
    from_text = parse_nodes(one("13", "pbsnodes -a").stdout)
    assert from_json == from_text
    assert [(n.name, n.gpus, n.gpus_free, n.cpus) for n in from_json] == [
        ("gpunode1", 8, 5, 16), ("gpunode2", 8, 8, 16), ("gpunode3", 8, 8, 16), ("gpunode4", 8, 8, 16),
    ]  # fmt: skip
    assert from_json[0].memory_bytes == 200 << 30


def test_a_node_that_is_down_has_no_free_gpus():
    (node,) = parse_nodes(
        "n1\n     state = down\n     resources_available.ncpus = 16\n     resources_available.ngpus = 8\n"
    )
    assert not node.usable
    assert (node.gpus, node.gpus_free) == (8, 0)


def test_what_the_recorded_site_is():
    entries = [
        one("13", "qstat --version"), one("13", "qstat -B -f -F json"),
        one("13", "qstat -Q -f -F json"), one("13", "pbsnodes -a -F json"),
    ]  # fmt: skip
    facts = site_facts([answer(entry) for entry in entries])
    assert (facts.version, facts.max_array_size, facts.accounting, facts.warnings) == ("23.06.06", 10000, True, ())
    assert [(p.name, p.default, p.usable, p.nodes, p.gpus, p.gpus_free) for p in facts.partitions] == [
        ("workq", True, True, 4, {"": 8}, 29), ("gpuq", False, True, 4, {"": 8}, 29),
    ]  # fmt: skip


def test_a_site_that_does_not_answer_is_all_warnings():
    down = [CommandResult(("qstat",), 255, "", one("11", "time qstat").stderr)] * 3
    facts = site_facts([CommandResult(("qstat",), 0, "", "Version: 6.1.3\nCommit: 1234"), *down])
    assert facts.partitions == ()
    assert "Torque 6.1.3" in facts.warnings[0]
    assert len(facts.warnings) == 4


def test_versions():
    assert parse_version(one("13", "qstat --version").stdout) == "23.06.06"
    with pytest.raises(SchedulerParseError, match="qstat --version: 'bash: qstat: not found'"):
        parse_version("bash: qstat: not found")
