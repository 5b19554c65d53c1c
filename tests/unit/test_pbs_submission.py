"""What is handed to qsub: directives, limits that hold before anything is submitted, the template."""

import subprocess
from pathlib import Path

import pytest

from hpcsweep.errors import SchedulerError, SchedulerUnreachable, SpecError
from hpcsweep.hosts.local import LocalHost
from hpcsweep.render.environment import make_environment
from hpcsweep.render.job import render_job
from hpcsweep.schedulers.base import CommandResult, JobState
from hpcsweep.schedulers.pbs.directives import array_range, directives, job_name, safe_variables, variables_option
from hpcsweep.schedulers.pbs.records import parse_dsv
from hpcsweep.schedulers.pbs.scheduler import PbsScheduler, qstat_snapshot, submitted_from
from hpcsweep.schedulers.pbs.status import split_id, statuses, subjob_id
from hpcsweep.spec.budgets import Budgets
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import ArrayTask, JobSpec, Resources, RunSpec
from hpcsweep.spec.phases import OutcomeKind
from hpcsweep.spec.server import ServerConfig
from hpcsweep.submit.backends import SchedulerBackend

PBS = PbsScheduler()


def spec(elements: int, sweep_dir: str = "/shared/sweeps/exp-0001", **resources) -> JobSpec:
    def run(index: int) -> RunSpec:
        return RunSpec(
            run_id=f"exp-0001/r{index}", label=f"r{index}", variant_id="v", axes={}, workloads=[], budgets=Budgets(),
            server=ServerConfig(engine="vllm", model="m"), run_dir=f"{sweep_dir}/runs/r{index}",
            exports={"EXP_NAME": f"it's run {index}"},
        )  # fmt: skip

    return JobSpec(
        sweep="exp-0001", job=0, sweep_dir=sweep_dir, name="exp-0001-0", scheduler="pbs", cache_dir="/c",
        resources=Resources(**{"gpus": 8, "walltime_s": 7200, **resources}),
        array_tasks=[ArrayTask(index=index, runs=[run(index)]) for index in range(elements)],
    )  # fmt: skip


def script(job: JobSpec, parallel: int | None = None, python: str = "/usr/bin/python3", **profile) -> str:
    cluster = Cluster(scheduler="pbs", **profile)
    return render_job(make_environment(), "pbs.sh.j2", job, cluster, python=python, parallel=parallel).script


def options(text: str) -> dict[str, list[str]]:
    words = directives(text)
    found: dict[str, list[str]] = {}
    for option, value in zip(words[::2], words[1::2], strict=True):
        found.setdefault(option, []).append(value)
    return found


def test_an_array_with_everything():
    job = spec(12, cpus=64, memory_bytes=512 << 30, nodes=2)
    text = script(
        job, 4, queue="gpuq", account="acc1", exclusive=True, constraint="gpu_type=h200",
        directives=["-W depend=afterok:12.server", "-m n"],
    )  # fmt: skip
    assert options(text) == {
        "-N": ["exp-0001-0"],
        "-q": ["gpuq"],
        "-A": ["acc1"],
        "-l": [
            "select=2:ncpus=64:ngpus=8:mem=536870912kb:gpu_type=h200",
            "walltime=02:00:00",
            "place=scatter:excl",
        ],
        "-J": ["0-11%4"],
        "-j": ["oe"],
        "-k": ["od"],
        "-o": ["/shared/sweeps/exp-0001/jobs/0/logs/"],
        "-W": ["depend=afterok:12.server"],
        "-m": ["n"],
    }


@pytest.mark.parametrize(("requeue", "word"), [(False, "n"), (True, "y")])
def test_one_run_is_a_plain_job(requeue, word):
    found = options(script(spec(1), 4, requeue=requeue))
    assert "-J" not in found
    assert found["-r"] == [word]
    assert found["-l"] == ["select=1:ngpus=8", "walltime=02:00:00"]


def test_the_command_line_has_the_directives_and_no_login_shell():
    text = script(spec(2))
    argv = PBS.submit_argv("/shared/job.sh", "/shared", text)
    assert argv[0] == "qsub"
    assert argv[-4:] == ("--", "/bin/bash", "-l", "/shared/job.sh")
    assert argv[1:3] == ("-N", "exp-0001-0")
    assert list(argv[1:-4]) == directives(text)


def test_without_the_text_qsub_reads_the_directives_itself():
    assert PBS.submit_argv("/shared/job.sh", "/shared") == ("qsub", "-C", "#PBS", "/shared/job.sh")


def test_the_script_runs_by_hand(tmp_path):
    python = tmp_path / "it's $(id) python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "$EXP_NAME" "$HPCSWEEP_ARRAY_INDEX"\n')
    python.chmod(0o755)
    job = spec(4, str(tmp_path))
    rendered = render_job(
        make_environment(), "pbs.sh.j2", job, Cluster(scheduler="pbs"), python=str(python), parallel=None
    )
    for name, text in rendered.files.items():
        path = tmp_path / "jobs" / "0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    job_dir = str(tmp_path / "jobs" / "0")
    done = subprocess.run(
        ["bash", f"{job_dir}/job.sh"], env={"PBS_ARRAY_INDEX": "3", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:-1] == ["-m", "hpcsweep.node.agent", job_dir, "--index", "3", "it's run 3", "3"]


def test_a_users_template_replaces_a_block(tmp_path):
    (tmp_path / "pbs.sh.j2").write_text(
        '{% extends "pbs.sh.j2" %}{% block resources %}#PBS -l select=1:ncpus=2\n{% endblock %}'
    )
    text = render_job(
        make_environment([tmp_path]), "pbs.sh.j2", spec(1), Cluster(scheduler="pbs"), python="python", parallel=None
    ).script
    assert options(text)["-l"] == ["select=1:ncpus=2"]
    assert options(text)["-N"] == ["exp-0001-0"]


@pytest.mark.parametrize("name", ["two words", "it's", "a$(id)b", "a;b", "new\nline", "a#b"])
def test_a_folder_that_no_directive_can_carry_is_refused(name):
    with pytest.raises(SpecError, match="cannot be used in a directive line"):
        script(spec(1, f"/shared/{name}"))


@pytest.mark.parametrize("name", ["a,b", "a:b"])
def test_a_log_folder_that_qsub_would_misread_is_refused(name):
    with pytest.raises(SpecError, match="cannot write the log"):
        directives(script(spec(1, f"/shared/{name}")))


MISSING = ["exclude", "qos", "partition", "reservation", "nodelist"]


@pytest.mark.parametrize("option", MISSING)
def test_what_pbs_has_no_word_for_is_refused(option):
    with pytest.raises(SpecError, match=f"{option}: n1, which PBS does not support") as caught:
        directives(script(spec(1), **{option: "n1"}))
    assert caught.value.hint


WRONG = [
    pytest.param("#PBS -N two words", "pbs_unknown_option", id="name in two words"),
    pytest.param("#PBS -N " + "n" * 231, "pbs_job_name", id="name too long"),
    pytest.param("#PBS -N a/b", "pbs_job_name", id="name with a slash"),
    pytest.param("#PBS -J 5", "pbs_array_range", id="array of one"),
    pytest.param("#PBS -J 5-5", "pbs_array_range", id="array of one, as a range"),
    pytest.param("#PBS -J 1,3,5", "pbs_array_range", id="a list"),
    pytest.param("#PBS -J 0-9%0", "pbs_array_range", id="limit of 0"),
    pytest.param("#PBS -J 0-9:0", "pbs_array_range", id="step of 0"),
    pytest.param("#PBS -r n\n#PBS -J 0-3", "pbs_array_not_rerunnable", id="array that is not rerunnable"),
    pytest.param("#PBS -l walltime=1-00:00:00", "pbs_walltime", id="Slurm's days"),
    pytest.param("#PBS -l select=1:ncpus=2 -l nodes=1", "pbs_resource_outside_select", id="select and nodes"),
    pytest.param("#PBS -l select=1\n#PBS -l ngpus=1", "pbs_resource_outside_select", id="select and loose ngpus"),
    pytest.param("#PBS -W depend=afterok:160[0].server", "pbs_dependency", id="depends on a subjob"),
    pytest.param("#PBS -W depend=nosuch:1", "pbs_dependency", id="unknown kind of dependency"),
    pytest.param("#PBS -Z x", "pbs_unknown_option", id="unknown option"),
    pytest.param("#PBS -q", "directive_syntax", id="no value"),
    pytest.param("#PBS -N 'open", "directive_syntax", id="open quote"),
    pytest.param("#PBS -o relative.log", "pbs_log_path", id="relative log"),
    pytest.param("#PBS -N a\r", "carriage_return", id="CRLF"),
]


@pytest.mark.parametrize(("text", "code"), WRONG)
def test_what_pbs_would_refuse_is_refused_before(text, code):
    with pytest.raises(SpecError) as caught:
        directives(f"#!/bin/bash\n{text}\necho\n")
    assert caught.value.code == code


def test_directives_after_the_first_command_are_not_read():
    assert directives("#!/bin/bash\n#PBS -N a\n# text\n\necho\n#PBS -q late\n") == ["-N", "a"]


def test_joined_options_and_flags():
    assert directives('#PBS -lselect=1 -h -A "my account"\n') == ["-l", "select=1", "-h", "", "-A", "my account"]


@pytest.mark.parametrize("name", ["1abc", "_x", "-dash", ".dot", "a+b", "qwen3-1.7b_tp8_ep", "n" * 230])
def test_names_that_pbs_takes(name):
    assert job_name(name) == name


@pytest.mark.parametrize(
    ("value", "indexes"), [("0-3", [0, 1, 2, 3]), ("0-9:3", [0, 3, 6, 9]), ("2-4%2", [2, 3, 4])], ids=str
)
def test_array_ranges(value, indexes):
    assert list(array_range(value)) == indexes


VALUES = [
    pytest.param("1B_no_eager", True, id="plain"),
    pytest.param("/shared/a.b/c", True, id="path"),
    pytest.param("ep=on:32768", True, id="signs that are safe"),
    pytest.param("", False, id="empty: swallows the next variable in some clients"),
    pytest.param("a,b", False, id="comma"),
    pytest.param("two words", False, id="blank"),
    pytest.param('{"temperature":0.7}', False, id="JSON"),
    pytest.param("it's", False, id="quote"),
    pytest.param("back\\slash", False, id="backslash"),
    pytest.param("l1\nl2", False, id="newline"),
    pytest.param("模型", False, id="not ASCII"),
    pytest.param("$HOME", False, id="dollar"),
]


@pytest.mark.parametrize(("value", "safe"), VALUES)
def test_values_that_qsub_v_carries_unchanged(value, safe):
    by_option, by_file = safe_variables({"A": value})
    assert (by_option, by_file) == (({"A": value}, {}) if safe else ({}, {"A": value}))
    if safe:
        assert variables_option({"A": value, "B": "1"}) == ("-v", f"A={value},B=1")
    else:
        with pytest.raises(SpecError, match="qsub -v cannot pass A="):
            variables_option({"A": value})


def test_a_users_script_is_submitted_as_it_is():
    argv = PBS.submit_user_script_argv("exp.pbs", {"EXP_NAME": "1B"}, name="exp-1B", log_dir="/shared/logs")
    assert argv == (
        "qsub", "-N", "exp-1B", "-j", "oe", "-k", "od", "-o", "/shared/logs/", "-v", "EXP_NAME=1B", "exp.pbs",
    )  # fmt: skip
    unsafe = PBS.submit_user_script_argv("exp.pbs", {"A": "it's", "B": "1"}, name="x", log_dir="/l")
    assert unsafe[-3:] == ("-v", "B=1", "exp.pbs")


OWN = [
    pytest.param("#PBS -v A=1,EXP_NAME=theirs", "A=1,EXP_NAME=1B", id="its own variables stay, ours win"),
    pytest.param("""#PBS -v A="x,y",B='p q',HOME -N n""", """A="x,y",B='p q',HOME,EXP_NAME=1B""", id="quotes"),
    pytest.param("#PBS -v A=1\n#PBS -v B=2", "B=2,EXP_NAME=1B", id="the last one holds"),
    pytest.param("echo\n#PBS -v A=1", "EXP_NAME=1B", id="behind the first command"),
]


@pytest.mark.parametrize(("text", "carried"), OWN)
def test_what_a_users_script_carries_is_not_lost(text, carried):
    """-v on the command line replaces the script's whole."""
    argv = PBS.submit_user_script_argv("e.pbs", {"EXP_NAME": "1B"}, name="n", log_dir="/l", text=f"#!/bin/sh\n{text}\n")
    assert argv[-3:] == ("-v", carried, "e.pbs")


@pytest.mark.parametrize(
    ("text", "walltime_s"),
    [
        ("#PBS -l select=1:ncpus=1 -l walltime=04:00:00", 14400),
        ("#PBS -l nodes=1,walltime=90", 90),
        ("#PBS -lwalltime=1:00:00\necho\n#PBS -l walltime=2:00:00", 3600),
        ("# walltime=5", None),
    ],
)
def test_the_walltime_of_a_users_script(text, walltime_s):
    """PBS tells no job its walltime: the agent's clock needs it."""
    assert PBS.read_user_script(f"#!/bin/bash\n{text}\n").walltime_s == walltime_s
    argv = PBS.submit_user_script_argv("e.pbs", {}, name="n", log_dir="/l", text=text, walltime_s=600)
    assert ("walltime=00:10:00" in argv) is (walltime_s is None)


def test_a_users_script_that_is_an_array_is_refused():
    with pytest.raises(SpecError, match="line 2 of the script makes it a job array"):
        PBS.read_user_script("#!/bin/bash\n#PBS -q gpuq -J 0-3\n")


def test_a_folder_that_the_variables_cannot_carry_is_refused():
    with pytest.raises(SpecError, match="HPCSWEEP_JOB_DIR"):
        PBS.submit_user_script_argv("e.pbs", {"HPCSWEEP_JOB_DIR": "/a b"}, name="n", log_dir="/l")
    with pytest.raises(SpecError, match="cannot write the log"):
        PBS.submit_user_script_argv("e.pbs", {}, name="n", log_dir="/a b")


def test_a_name_that_is_no_variable_is_refused():
    with pytest.raises(SpecError, match="'A B' is not a valid name"):
        safe_variables({"A B": "1"})


def test_ids():
    assert split_id("69[2].pbshost") == ("69", 2, True, "pbshost")
    assert split_id("12") == ("12", None, False, "")
    assert subjob_id("69[].pbshost", 2) == "69[2].pbshost"
    for text in ("abc", "12[x]", "", "12.", "[1].h", "12 13"):
        with pytest.raises(ValueError, match="not a PBS job id"):
            split_id(text)
    with pytest.raises(ValueError, match="not a job array"):
        subjob_id("12.h", 1)


def test_cancelling():
    assert PBS.cancel_argv("69[].h", None) == ("qdel", "69[].h")
    assert PBS.cancel_argv("69[].h", [0, 3]) == ("qdel", "69[0].h", "69[3].h")
    assert PBS.cancel_argv("12.h", [0]) == ("qdel", "12.h")
    with pytest.raises(SchedulerError, match="no array tasks to cancel"):
        PBS.cancel_argv("12.h", [])


def test_of_several_cancellations_every_one_counts():
    """The exit code is that of the last one."""
    words = "qdel: Server could not connect to MOM 7[0].h\nqdel: Job has finished 7[1].h\n"
    assert "could not connect to MOM 7[0].h" in PBS.cancel_error(
        CommandResult(("qdel", "7[0].h", "7[1].h"), 35, "", words)
    )
    over = "qdel: Job has finished 7[0].h\nqdel: Unknown Job Id 7[1].h\n"
    assert PBS.cancel_error(CommandResult(("qdel", "7[0].h", "7[1].h"), 153, "", over)) == ""


def test_one_call_asks_about_all_submissions():
    (query,) = PBS.queries(["12.h", "69[].h"], "u")
    shell, option, text, *words = query.argv
    assert (shell, option, words) == ("/bin/sh", "-c", ["qstat", "12.h", "69[].h"])
    assert 'qstat -x -t -f -F dsv "$@" 2>&1' in text
    assert PBS.queries([], "u") == ()


STUB = """#!/bin/sh
echo "$@" >> "$0.log"
case "$*" in *-x*) echo "qstat: PBS is not configured to maintain job history 12.h" >&2; exit 36;; esac
echo "Job Id: 12.h|job_state=R|run_count=1"
echo "qstat: Unknown Job Id 13.h" >&2
exit 153
"""


def test_a_server_that_keeps_no_history_is_asked_without_it(tmp_path, monkeypatch):
    """It refuses -x for every job, running ones too (src/server/req_stat.c of OpenPBS)."""
    stub = tmp_path / "qstat"
    stub.write_text(STUB)
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (query,) = PBS.queries(["12.h", "13.h"], "u")
    listing = query.parse(LocalHost().run(query.argv, timeout_s=20))
    assert listing.statuses["12.h", None].state is JobState.RUNNING
    assert (listing.complete, listing.error) == (False, "")
    assert (tmp_path / "qstat.log").read_text() == "-x -t -f -F dsv 12.h 13.h\n-t -f -F dsv 12.h 13.h\n"


def test_what_failed_is_named_and_not_the_shell_around_it():
    (query,) = PBS.queries(["12.h"], "u")
    listing = query.parse(CommandResult(query.argv, 255, "", "Connection refused\nqstat: cannot connect to server h"))
    assert listing.error.startswith("qstat refused to list the jobs: Connection refused")
    with pytest.raises(SchedulerUnreachable, match="qselect did not answer within 20 s"):
        find = PBS.find_query("n", "u", "/x")
        find.parse(CommandResult(find.argv, None, "", "", 20.0))


def test_elements_that_an_older_client_leaves_out_wait():
    """Since 2021 the client adds the waiting elements; qstat of 20.0.1 shows none: they are not gone."""
    text = (
        "Job Id: 7[].h|Job_Name=n|job_state=B|array_indices_remaining=2,4-8:2|max_run_subjobs=2"
        "|comment=Job Array Began at Sat Nov 21 at 01:24\n"
        "Job Id: 7[0].h|Job_Name=n|job_state=R|run_count=1\n"
    )
    listing = qstat_snapshot(CommandResult(PBS.queries(["7[].h"], "u")[0].argv, 0, text, ""))
    waiting = {index: status for (_, index), status in listing.statuses.items() if status.state is JobState.PENDING}
    assert sorted(waiting) == [2, 4, 6, 8]
    assert {status.reason for status in waiting.values()} == {"waiting for a slot: the array runs at most 2 at a time"}
    assert {status.name for status in waiting.values()} == {"n"}


def test_no_answer_in_time_is_not_a_refusal():
    with pytest.raises(SchedulerUnreachable, match="did not answer within 60 s"):
        PBS.parse_submit(CommandResult(("qsub",), None, "", "", 60.0))
    with pytest.raises(SchedulerUnreachable, match="End of File"):
        PBS.parse_submit(CommandResult(("qsub",), 255, "", "qsub: End of File"))
    with pytest.raises(SchedulerUnreachable, match="printed no job id"):
        PBS.parse_submit(CommandResult(("qsub",), 0, "", ""))
    assert qstat_snapshot(CommandResult(("qstat",), None, "", "", 8.0)).complete is False


def test_a_command_that_is_not_there():
    with pytest.raises(SchedulerError, match="qsub is not installed here"):
        PBS.parse_submit(CommandResult(("qsub",), 127, "", "qsub: command not found"))


def test_a_profile_that_greets_does_not_hide_the_id():
    assert PBS.parse_submit(CommandResult(("qsub",), 0, "Welcome!\n12.server\n", "")) == "12.server"


def test_a_lost_submission_is_found_by_its_folder():
    text = (
        "Job Id: 13.h|Job_Name=exp|job_state=Q|Output_Path=h:/home/a/jobs/0/logs/\n"
        "Job Id: 9[].h|Job_Name=exp|job_state=Q|Output_Path=h:/home/a/jobs/0/logs/\n"
        "Job Id: 14.h|Job_Name=exp|job_state=Q|Output_Path=h:/home/a/jobs/00/logs/\n"
    )
    assert submitted_from("/home/a/jobs/0", CommandResult(("sh",), 0, text, "")) == ["9[].h", "13.h"]
    assert submitted_from("/home/a/jobs/0", CommandResult(("sh",), 0, "", "")) == []
    with pytest.raises(SchedulerError, match="Connection refused"):
        submitted_from("/x", CommandResult(("sh",), 162, "", "Connection refused\nqselect: cannot connect"))


class DeadHost:
    """qsub hangs, and then the server goes away."""

    def run(self, argv, *, timeout_s, stdin=None):
        if argv[0] == "qsub":
            return CommandResult(tuple(argv), None, "", "", timeout_s)
        return CommandResult(
            tuple(argv), 162, "", "Connection refused\nqselect: cannot connect to server h (errno=15010)"
        )


def test_a_submission_that_nobody_can_tell_of_is_not_taken_for_refused():
    """Its folder must stay: the job may be there."""
    backend = SchedulerBackend(PBS, DeadHost(), "u")
    with pytest.raises(SchedulerUnreachable, match="qsub did not answer"):
        backend.submit(spec(2), "/shared/jobs/0", script(spec(2)))


class SlowHost:
    def run(self, argv, *, timeout_s, stdin=None):
        self.timeout_s = timeout_s
        return CommandResult(tuple(argv), 0, "", "")


def test_many_submissions_may_take_longer_to_list():
    """A script of one's own is a plain job per run, and qstat makes a round trip for each of their ids."""
    host = SlowHost()
    for number, timeout_s in ((1, 20.1), (500, 70.0)):
        SchedulerBackend(PBS, host, "u").queue_snapshot({f"{n}.h": "n" for n in range(number)})
        assert host.timeout_s == pytest.approx(timeout_s)
    assert not SchedulerBackend(PBS, host, "u").queue_snapshot({}).statuses


DSV = [
    pytest.param("A=x\\|job_state=F|job_state=R", {"A": "x|job_state=F", "job_state": "R"}, id="escaped delimiter"),
    pytest.param("Account_Name=\udcff|job_state=Q", {"Account_Name": "\udcff", "job_state": "Q"}, id="8-bit"),
    pytest.param("comment=a\x85b\u2028c|job_state=Q", {"comment": "a\x85b\u2028c", "job_state": "Q"}, id="odd breaks"),
    pytest.param("Variable_List=A=1,job_state=F|job_state=R", {"job_state": "R"}, id="variables are not read"),
    pytest.param("Resource_List.my-gpus=2|job_state=Q", {"Resource_List.my-gpus": "2", "job_state": "Q"}, id="dash"),
    pytest.param("comment=|job_state=Q", {"comment": "", "job_state": "Q"}, id="empty value"),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), DSV)
def test_dsv(fields, expected):
    assert parse_dsv(f"Job Id: 1.h|{fields}\n") == {"1.h": expected}


@pytest.mark.parametrize(
    ("text", "words"),
    [("Job id  Name\n", "line 1 does not begin"), ("Job Id: 1.h|no name here\n", "field without a name")],
)
def test_what_is_no_dsv_is_trouble_and_no_crash(text, words):
    listing = qstat_snapshot(CommandResult(("qstat", "-x", "-t", "-f", "-F", "dsv", "1.h"), 0, text, ""))
    assert not listing.complete
    assert words in listing.error


def test_elements_that_wait_share_the_hold_and_the_comment_of_their_array():
    jobs = {
        "7[].h": {"job_state": "H", "Hold_Types": "u", "comment": "Job held by me"},
        "7[0].h": {"job_state": "X", "substate": "92", "Exit_status": "0", "run_count": "1"},
        "7[1].h": {"job_state": "Q"},
        "8[].h": {
            "job_state": "Q",
            "comment": "Can Never Run: Insufficient amount of resource: ngpus (R: 64 A: 0 T: 32)",
        },
        "8[0].h": {"job_state": "Q"},
    }
    found = statuses(jobs, ["7[].h", "8[].h"])
    assert found["7[].h", 0].state is JobState.COMPLETED
    assert (found["7[].h", 1].state, found["7[].h", 1].reason) == (JobState.HELD, "held by its owner: Job held by me")
    assert found["8[].h", 0].state is JobState.UNSCHEDULABLE
    assert "less ngpus" in found["8[].h", 0].hint


ENDS = [
    pytest.param({"Exit_status": "271", "resources_used.walltime": "01:00:09", "Resource_List.walltime": "01:00:00"},
                 OutcomeKind.WALLTIME, id="walltime on a release without -29"),
    pytest.param({"Exit_status": "271", "resources_used.walltime": "00:10:00", "Resource_List.walltime": "01:00:00"},
                 OutcomeKind.FAILED, id="SIGTERM before its time"),
    pytest.param({"Exit_status": "-27"}, OutcomeKind.OUT_OF_MEMORY, id="memory"),
    pytest.param({"Exit_status": "-99"}, OutcomeKind.FAILED, id="a code from a newer PBS"),
    pytest.param({"comment": "Job run at x and exceeded resource mem", "Exit_status": "-27"}, OutcomeKind.OUT_OF_MEMORY,
                 id="memory, in words too"),
    pytest.param({"comment": "Job run at x and exceeded resource cput", "Exit_status": "271"}, OutcomeKind.FAILED,
                 id="CPU time, in words only"),
    pytest.param({}, OutcomeKind.LOST, id="ran, and no status is kept"),
    pytest.param({"Exit_status": "junk"}, OutcomeKind.LOST, id="status that is no number"),
    pytest.param({"Exit_status": "143"}, OutcomeKind.FAILED, id="143 without a deletion"),
    pytest.param({"Exit_status": "0", "substate": "94", "job_state": "M"}, None, id="moved: unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "outcome"), ENDS)
def test_how_jobs_end(attributes, outcome):
    job = {"job_state": "F", "substate": "93", "run_count": "1", **attributes}
    told = statuses({"1.h": job}, ["1.h"])["1.h", None]
    assert told.outcome is outcome
    assert told.state is (JobState.FAILED if outcome else JobState.UNKNOWN)
    assert told.reason


def test_hostile_comments_are_one_printable_line():
    job = {"job_state": "Q", "comment": "Not Running: \x1b[31mred\\nnext\udcff\u202e"}
    (told,) = statuses({"1.h": job}, ["1.h"]).values()
    assert told.reason.isprintable()


def test_the_template_stands_where_the_package_finds_it():
    assert (Path(__file__).parents[2] / "templates" / PBS.template).is_file()
