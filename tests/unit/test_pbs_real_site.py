"""Parsers of PBS over later recordings (24 to 33), and over answers that sites have published."""

import json
from pathlib import Path

import pytest
from pbs_transcripts import Recorded, every, one, read

from hpcsweep.errors import SchedulerError, SchedulerParseError
from hpcsweep.schedulers.base import ClusterFacts, CommandResult, JobState
from hpcsweep.schedulers.pbs.scheduler import PbsScheduler, qstat_snapshot
from hpcsweep.schedulers.pbs.site import PROBES, parse_nodes, site_facts
from hpcsweep.schedulers.profile_check import profile_problems
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.gpu_types import gpu_model, is_other_gpu
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.sweep.layout import logs_into

PBS = PbsScheduler()
CASES = Path(__file__).parents[1] / "transcripts" / "pbs" / "cases"


def listing(entries: list[Recorded], *ids: str):
    """What our query says where qstat answered so: the last answer, with what was printed to stderr before."""
    (query,) = PBS.queries(ids, "u")
    said = "".join(entry.stderr for entry in entries)
    return qstat_snapshot(CommandResult(query.argv, entries[-1].exit_code, entries[-1].stdout, said))


def test_without_history_jobs_that_run_are_listed_and_the_others_are_absent():
    asked = one("24", "qstat -x -t -f -F dsv '152[].pbshost'")
    assert (asked.exit_code, asked.stdout) == (0, "")
    assert listing([asked], "152[].pbshost").statuses == {}
    assert not listing([asked], "152[].pbshost").complete, "silence is no word about the jobs"
    again = one("24", "qstat -t -f -F dsv '152[].pbshost'")
    found = listing([asked, again], "152[].pbshost")
    assert {key[1]: told.state for key, told in found.statuses.items()} == {0: JobState.RUNNING, 1: JobState.RUNNING}
    assert (found.error, found.absent) == ("", frozenset())
    gone = listing([asked, one("24", "qstat -t -f -F dsv '152[].pbshost'", 1)], "152[].pbshost")
    assert (gone.statuses, gone.absent, gone.complete) == ({}, {("152[].pbshost", None)}, False)


def test_an_id_that_was_asked_for_without_its_server_is_absent_too():
    gone = one("24", "qstat -t -f -F dsv '152[].pbshost'", 1)
    assert listing([gone], "152[]").absent == {("152[]", None)}


def test_without_history_an_ended_subjob_is_absent_and_not_what_its_array_says():
    asked = one("30", "qstat -x -t -f -F dsv '1[].pbshost' 999999.pbshost")
    again = one("30", "qstat -t -f -F dsv '1[].pbshost' 999999.pbshost")
    found = listing([asked, again], "1[].pbshost", "999999.pbshost")
    assert {key[1]: told.state for key, told in found.statuses.items()} == {2: JobState.RUNNING, 3: JobState.RUNNING}
    assert found.absent == {("1[].pbshost", 0), ("1[].pbshost", 1), ("999999.pbshost", None)}


def test_history_that_was_never_switched_on_is_not_even_an_attribute():
    assert "history" not in one("30", "qstat -Bf | grep -E 'history|version'").stdout
    server = {"Server": {"pbshost": {"pbs_version": "23.06.06", "max_array_size": 10000}}}
    facts = site_facts(
        [CommandResult(PROBES[0], 0, "pbs_version = 23.06.06", ""), CommandResult(PROBES[1], 0, json.dumps(server), "")]
    )
    assert (facts.accounting, facts.server) == (False, "pbshost")


ARRAY = "153[].pbshost"


def test_a_waiting_subjob_that_was_deleted_is_cancelled_whatever_it_inherits():
    entries = [e for e in read("25-array-cancelled-while-waiting.txt") if e.command.startswith("qstat")]
    while_alive = listing([entries[2]], ARRAY).statuses
    assert (while_alive[ARRAY, 3].outcome, while_alive[ARRAY, 3].reason) == (
        OutcomeKind.CANCELLED,
        "deleted before it ran",
    )
    assert (while_alive[ARRAY, 0].outcome, while_alive[ARRAY, 0].signal) == (OutcomeKind.CANCELLED, 15)
    in_the_end = listing([entries[3]], ARRAY).statuses
    # 0 had ended with 271 and has lost its record to the deletion of the array; 3 never ran. They look alike.
    for index in (0, 3):
        told = in_the_end[ARRAY, index]
        assert (told.state, told.outcome, told.exit_code) == (JobState.GONE, OutcomeKind.CANCELLED, None)
    assert in_the_end[ARRAY, 2].reason == "deleted by hpcuser@pbshost"


def test_a_requeued_array_is_alive():
    entries = [e for e in read("26-array-requeued.txt") if e.command == "qstat -x -t -f -F dsv '155[].pbshost'"]
    states = [{told.state for told in listing([e], "155[].pbshost").statuses.values()} for e in entries]
    assert states == [{JobState.RUNNING}, {JobState.PENDING}, {JobState.RUNNING}]
    assert {told.restarts for told in listing([entries[-1]], "155[].pbshost").statuses.values()} == {1}


LIMITS = [
    ("27", "157.pbshost", OutcomeKind.WALLTIME, "killed at its walltime of 00:00:10"),
    ("27", "158[].pbshost", OutcomeKind.WALLTIME, "killed at its walltime of 00:00:10"),
    ("33", "13.pbshost", OutcomeKind.OUT_OF_MEMORY, "killed for using more mem than requested"),
    ("33", "14[].pbshost", OutcomeKind.OUT_OF_MEMORY, "killed for using more mem than requested"),
    ("32", "10.pbshost", OutcomeKind.PREEMPTED, "the scheduler deleted it to make room for another job (preempted)"),
    ("32", "8[].pbshost", OutcomeKind.PREEMPTED, "the scheduler deleted it to make room for another job (preempted)"),
]


@pytest.mark.parametrize(("file", "job", "outcome", "reason"), LIMITS)
def test_what_pbs_ended_itself(file, job, outcome, reason):
    (entry,) = [e for e in every(r"^qstat -x -t -f -F dsv ") if e.file.startswith(file) and f"'{job}'" in e.command]
    found = {key: told for key, told in listing([entry], job).statuses.items() if key[0] == job}
    assert {(told.outcome, told.reason) for told in found.values()} == {(outcome, reason)}


def test_of_an_array_preempted_by_deletion_the_rest_still_waits():
    entry = one("32", "qstat -x -t -f -F dsv '10.pbshost' '11[].pbshost'")
    found = listing([entry], "10.pbshost", "11[].pbshost").statuses
    assert found["11[].pbshost", 0].outcome is OutcomeKind.PREEMPTED
    assert found["11[].pbshost", 1].state is JobState.PENDING


def test_a_log_folder_that_is_not_there_holds_the_job():
    told = listing([one("32", "qstat -x -t -f -F dsv '9.pbshost'")], "9.pbshost").statuses["9.pbshost", None]
    assert (told.state, told.reason) == (JobState.HELD, "held: 21 attempts to start it failed")
    assert "log folder" in told.hint


def test_a_renamed_array_and_a_job_of_a_routing_queue_keep_their_log_path():
    entry = one("28", "qstat -x -t -f -F dsv '161[].pbshost'", 1)
    names = {told.name for told in listing([entry], "161[].pbshost").statuses.values()}
    assert names == {"at"}  # the subjobs that had started; the array itself is called `renamed`
    assert logs_into("pbshost:/home/u/.hpcsweep/sweeps/study-0001/jobs/12/logs/", "study-0001-12")
    assert not logs_into("pbshost:/home/u/.hpcsweep/sweeps/study-0001/jobs/12/logs/", "study-0001-1")


ACCESS = [
    ("qsub -q aclq -N acl -l select=1:ncpus=1 -- /bin/sleep 1", "not allowed to do this"),
    ("qsub -q routed -N ro -l select=1:ncpus=1 -- /bin/sleep 1", "only from a routing queue"),
    ("qsub -N srv -l select=1:ncpus=1 -- /bin/sleep 1", "not allowed to do this"),
    ("qsub -N mp -q route -l select=1:ncpus=1:ngpus=99 -l walltime=48:00:00 -- /bin/sleep 1", "route_destinations"),
]


@pytest.mark.parametrize(("command", "hint"), ACCESS)
def test_refusals_of_access_are_not_a_server_that_does_not_answer(command, hint):
    entry = one("31", command)
    with pytest.raises(SchedulerError) as caught:
        PBS.parse_submit(CommandResult(tuple(command.split()), entry.exit_code, entry.stdout, entry.stderr))
    assert hint in caught.value.hint


def test_a_refusal_by_number_is_not_a_server_that_does_not_answer():
    words = "qstat: cannot connect to server pbshost (errno=15007)\n"
    found = qstat_snapshot(CommandResult(PBS.queries(["1.h"], "u")[0].argv, 159, "", words))
    assert not found.complete
    with pytest.raises(SchedulerError) as caught:
        PBS.parse_submit(CommandResult(("qsub", "x"), 159, "", words))
    assert "not allowed" in caught.value.hint


def test_files_that_cannot_be_staged_in_leave_the_job_waiting():
    told = listing([one("33", "qstat -x -t -f -F dsv '15.pbshost'")], "15.pbshost").statuses["15.pbshost", None]
    assert told.state is JobState.PENDING
    assert "waiting for its start time, or could not stage in its files" in told.reason


def site() -> ClusterFacts:
    queues, nodes = one("28", "qstat -Q -f -F json"), one("28", "pbsnodes -a -F json")
    server = json.dumps({"Server": {"pbshost": {"default_queue": "workq", "job_history_enable": "True"}}})
    answers = [(0, "pbs_version = 23.06.06"), (0, server), (0, queues.stdout), (0, nodes.stdout)]
    return site_facts([CommandResult(argv, code, text, "") for argv, (code, text) in zip(PROBES, answers, strict=True)])


def problems(**profile) -> list[str]:
    return profile_problems(Cluster(scheduler="pbs", **profile), site())


def test_routing_queues_and_queues_with_their_server_are_there():
    route = next(partition for partition in site().partitions if partition.name == "route")
    assert (route.routes_to, route.gpus, route.nodes, route.max_walltime_s) == (("gpuq",), {"h200": 8}, 3, 86400)
    assert problems(queue="route") == problems(queue="gpuq@pbshost") == problems(queue="q@elsewhere") == []
    assert "does not exist" in problems(queue="nosuch@pbshost")[0]


def test_the_resource_that_tells_gpu_nodes_apart_is_found():
    assert {p.gpu_resource for p in site().partitions} == {"gpu_type"}
    (told,) = problems(queue="gpuq", gpu_type="h200")
    assert "add gpu_resource: gpu_type" in told
    assert problems(queue="gpuq", gpu_type="h200", gpu_resource="gpu_type") == []
    assert problems(queue="gpuq", gpu_type="h200", constraint="gpu_type=h200") == []
    assert "report their GPU type as gpu_type" in problems(queue="gpuq", gpu_type="h200", gpu_resource="model")[0]


def test_a_site_may_call_it_anything():
    text = one("28", "pbsnodes -a -F json").stdout.replace('"gpu_type":\t"h200"', '"model":\t"mil_a100"')
    assert {(node.gpu_resource, node.gpu_type) for node in parse_nodes(text)} == {("model", "mil_a100")}


GPUS = [
    ("h200", "NVIDIA H200", False),
    ("h200", "NVIDIA A100-SXM4-80GB", True),
    ("h200", "NVIDIA GH200 480GB", True),
    ("l40", "NVIDIA L40S", True),
    ("mil_a100", "NVIDIA A100-SXM4-40GB", False),
    ("a100_1g.5gb", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", False),
    ("fast", "NVIDIA H200", False),
    ("h200", "Some Accelerator", False),
    ("mi300x", "AMD Instinct MI300X", False),
]


@pytest.mark.parametrize(("asked", "reported", "other"), GPUS)
def test_other_gpus_than_were_asked_for(asked, reported, other):
    assert is_other_gpu(asked, reported) is other


def test_of_a_name_without_a_model_nothing_is_concluded():
    assert gpu_model("partition-7") is None


def published(name: str) -> CommandResult:
    document = json.loads((CASES / f"{name}.answer.json").read_text())
    argv = (
        document["argv"]
        if document["call"] == "parse_submit"
        else PBS.queries(document["argv"][7:] or ["5.pbs"], "u")[0].argv
    )
    return CommandResult(tuple(argv), document["exit_code"], document["stdout"], document["stderr"])


def told_of(name: str):
    return qstat_snapshot(published(name)).statuses["5.pbs", None]


def test_a_resource_that_a_site_requires():
    with pytest.raises(SchedulerError, match="filesystems is required to be set") as caught:
        PBS.parse_submit(published("60-pbs-required-resource"))
    assert "`directives`" in caught.value.hint and "-l filesystems=" in caught.value.hint


def test_a_file_system_that_is_down_is_waited_for():
    told = told_of("62-pbs-file-system-down")
    assert told.state is JobState.PENDING
    assert "starts when it is True again" in told.hint


def test_preempted_by_deletion_is_not_cancelled_by_a_person():
    told = told_of("63-pbs-preempted-by-deletion")
    assert (told.outcome, told.hint) == (OutcomeKind.PREEMPTED, "retry it")


def test_a_plain_id_for_an_array_is_an_error_that_names_the_job():
    with pytest.raises(SchedulerParseError, match=r"created the plain job 4242\.server, not an array"):
        PBS.parse_submit(published("65-pbs-array-id-without-brackets"))


def test_a_walltime_kill_before_23_06():
    assert told_of("66-pbs-ok-walltime-before-23.06").outcome is OutcomeKind.WALLTIME


def test_too_many_attempts_to_start():
    told = told_of("68-pbs-too-many-attempts")
    assert (told.state, told.reason) == (JobState.HELD, "held: 21 attempts to start it failed")
    assert "qrls" in told.hint and "log folder" in told.hint
