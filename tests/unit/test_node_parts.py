"""The smaller parts of the agent: processes, folders, metrics, caches, flags, environment, journal."""

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hpcsweep.engines.vllm import Vllm
from hpcsweep.events.log import read_events
from hpcsweep.load.client.clock import Clock
from hpcsweep.node.compile_cache import CacheSize, CompileCache, cache_key, cache_use, measure
from hpcsweep.node.guardian import Guardian
from hpcsweep.node.identity import Identity, array_index, boot_id, job_id, process_started_at, restart_count
from hpcsweep.node.process.family import Family, kill_attempt, leader_of_its_own
from hpcsweep.node.process.file_lock import STALE_S, FileLock
from hpcsweep.node.process.gpu_work import GpuSignals, gpu_signals
from hpcsweep.node.process.gpus import Gpus, GpuState, gpu_figures, gpu_samples, memory_still_used
from hpcsweep.node.process.processes import TOKEN_VARIABLE, Process, carries, read_process
from hpcsweep.node.record.folders import attempt_numbers, close_dead_attempts, create_attempt, ended_in_this_job
from hpcsweep.node.record.journal import Journal
from hpcsweep.node.records import read_json, read_record, write_json, write_record
from hpcsweep.node.setup.api_key import key_for
from hpcsweep.node.setup.engine_install import find_executable, installed_version, on_this_node, parse_flags
from hpcsweep.node.setup.environment import HIDDEN, command_text, server_environment, shown_environment
from hpcsweep.node.setup.preflight import busy_gpus, gpus_verdict, unknown_flags, version_verdict
from hpcsweep.node.watch.counters import read_counters
from hpcsweep.node.watch.metrics import Peaks, differences, figures
from hpcsweep.spec.phases import OutcomeKind, Phase
from hpcsweep.spec.records import ExitRecord, NotRunRecord, OwnerRecord, TaskExitRecord
from hpcsweep.spec.server import EngineSettings, ServerConfig

JOB_IDS = {
    "by hand": ({}, None, None, 0),
    "ours": ({"HPCSWEEP_JOB_ID": "a", "SLURM_JOB_ID": "7"}, "a", None, 0),
    "Slurm": ({"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "2"}, "7", None, 2),
    "Slurm array": (
        {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"},
        "7_3",
        3,
        0,
    ),
    "PBS": ({"PBS_JOBID": "12.server"}, "12.server", None, 0),
    "PBS array": ({"PBS_JOBID": "12[3].server", "PBS_ARRAY_INDEX": "3"}, "12[3].server", 3, 0),
    "template": ({"HPCSWEEP_ARRAY_INDEX": "0", "SLURM_ARRAY_TASK_ID": "3"}, None, 0, 0),
    "garbage": ({"HPCSWEEP_ARRAY_INDEX": "x", "SLURM_RESTART_COUNT": "-"}, None, None, 0),
}


@pytest.mark.parametrize(("env", "job", "index", "restarts"), JOB_IDS.values(), ids=JOB_IDS.keys())
def test_who_we_are(env, job, index, restarts):
    assert (job_id(env), array_index(env), restart_count(env)) == (job, index, restarts)


def test_when_a_process_was_made():
    assert process_started_at(os.getpid()) <= time.time() + 0.1
    child = subprocess.Popen(["sleep", "30"])
    try:
        assert abs(process_started_at(child.pid) - time.time()) < 5
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def token():
    return f"test-{os.getpid()}-{time.monotonic_ns()}"


def _until(number: int, family: Family) -> list[Process]:
    deadline_s = time.monotonic() + 20
    while len(found := family.living()) < number and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return found


def test_a_family_is_found_by_its_token_in_any_session(token):
    env = {**os.environ, TOKEN_VARIABLE: token}
    script = "setsid sleep 60 & (setsid sleep 61 &) ; sleep 62; true"
    parent = subprocess.Popen(["bash", "-c", script], env=env, start_new_session=True)
    family = Family(token)
    try:
        found = _until(4, family)
        assert len(found) == 4
        assert len({process.session for process in found}) == 3
        assert read_counters(found).keys() == {process.pid for process in found}
        assert all(carries(process.pid, token) for process in found)
        killed, left = Family(token).kill()
        assert (len(killed), left, Family(token).living()) == (4, [], [])
    finally:
        family.kill()
        parent.wait()


def test_all_are_killed_even_if_the_time_for_it_is_over_before_it_begins(token):
    """As on a machine that stood still: nobody may be given up as unkillable whom no signal has reached."""
    with subprocess.Popen(["sleep", "600"], env={**os.environ, TOKEN_VARIABLE: token}) as process:
        while not Family(token).living():
            time.sleep(0.01)
        killed, _ = Family(token).kill(within_s=-1.0)
        assert len(killed) == 1
        assert process.wait(timeout=30) == -9


def test_a_child_that_cleared_its_environment_belongs_too(token):
    env = {**os.environ, TOKEN_VARIABLE: token}
    parent = subprocess.Popen(["bash", "-c", "env -i sleep 60; true"], env=env)
    family = Family(token)
    try:
        deadline_s = time.monotonic() + 20
        while (found := {process.name for process in family.living()}) != {"bash", "sleep"}:  # it is `env` for a moment
            assert time.monotonic() < deadline_s, found
            time.sleep(0.02)
    finally:
        family.kill()
        parent.wait()


@pytest.mark.parametrize("who", ["who saw them alive", "who was told the leader", "nobody"])
def test_orphans_without_any_mark(token, who):
    """vLLM's workers overwrite their environment with their title, and outlive a killed parent in its session."""
    env = {**os.environ, TOKEN_VARIABLE: token}
    parent = subprocess.Popen(["bash", "-c", "env -i sleep 60; true"], env=env, start_new_session=True)
    seen = Family(token)
    _, child = sorted(_until(2, seen), key=lambda process: process.pid)
    leader = leader_of_its_own(parent.pid)
    assert leader is not None
    parent.kill()
    parent.wait()
    try:
        assert Family(token).living() == []
        if who == "who saw them alive":
            assert len(seen.kill()[0]) == 1
        elif who == "who was told the leader":
            assert len(kill_attempt(token, [leader])) == 1
        else:
            assert kill_attempt(token, [(leader[0], leader[1] + 1, 1), (os.getpid(), 1, os.getsid(0))]) == []
        assert (read_process(child.pid) is not None) is (who == "nobody")
    finally:
        if who == "nobody":
            os.kill(child.pid, 9)


JOB = """
import os, subprocess, sys, time
env = {**os.environ, %r: sys.argv[1]}
server = subprocess.Popen(["bash", "-c", "env -i sleep 60; true"], preexec_fn=os.setpgrp, env=env)
print(server.pid, flush=True)
time.sleep(300)
"""


def test_orphans_without_any_mark_in_the_session_of_a_job(token):
    """As under PBS: the server leads a group in the session of a job, whose own processes are not ours to kill."""
    argv = [sys.executable, "-c", JOB % TOKEN_VARIABLE, token]
    job = subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE, text=True)
    try:
        with job.stdout:
            leader = leader_of_its_own(int(job.stdout.readline()))
        server, worker = sorted(_until(2, Family(token)), key=lambda process: process.pid)
        assert (server.pid, server.session, worker.group) == (leader[0], job.pid, server.pid)
        os.kill(server.pid, 9)
        deadline_s = time.monotonic() + 20
        while read_process(server.pid) is not None and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert Family(token).living() == []
        assert len(kill_attempt(token, [leader])) == 1
        assert read_process(worker.pid) is None
        assert job.poll() is None
    finally:
        job.kill()
        job.wait()


def test_another_token_is_none_of_ours(token):
    assert Family(token).living() == []
    assert not carries(os.getpid(), token)
    assert read_process(2**22 + 1) is None


ME = Identity("77", "here", boot_id(), os.getpid(), read_process(os.getpid()).started, 0)


def test_numbers_of_attempts_are_never_used_twice(tmp_path: Path):
    run = tmp_path / "runs" / "x"
    taken = [
        create_attempt(run, 0, ME),
        create_attempt(run, 0, ME),
        create_attempt(run, 5, ME),
        create_attempt(run, 2, ME),
    ]
    assert [folder.number for folder in taken] == [1, 2, 6, 7]
    assert len({folder.token for folder in taken}) == 4
    (run / "attempt-x").mkdir()
    assert attempt_numbers(run) == [1, 2, 6, 7]


ENDS = {
    "completed": ("completed", "77", 0, "completed"),
    "a crash is an answer too": ("crashed", "77", 0, "crashed"),
    "preempted": ("preempted", "77", 0, None),
    "lost": ("lost", "77", 0, None),
    "another job": ("completed", "78", 0, None),
    "before this job was submitted": ("completed", "77", 1, None),
}


@pytest.mark.parametrize(("outcome", "owner", "offset", "expected"), ENDS.values(), ids=ENDS.keys())
def test_what_a_requeued_job_skips(tmp_path: Path, outcome, owner, offset, expected):
    folder = create_attempt(tmp_path, 0, ME).path
    write_json(folder / "owner.json", {**ME.as_dict(), "job_id": owner})
    write_json(folder / "exit.json", {"outcome": outcome})
    assert ended_in_this_job(tmp_path, offset, "77") == expected
    assert ended_in_this_job(tmp_path, offset, None) is None
    assert ended_in_this_job(tmp_path, offset, "77", ME.restart_count) is None, "typed again within one allocation"
    assert ended_in_this_job(tmp_path, offset, "77", ME.restart_count + 1) == expected


OWNERS = {
    "another host": ({"host": "far"}, "owner_on_other_host"),
    "same host, other job, running": ({"job_id": "78"}, "owner_running"),
    "same host, dead": ({"pid": 2**22 + 1}, "closed_as_lost"),
    "same number, another process": ({"started_ticks": 1}, "closed_as_lost"),
    "the host was rebooted": ({"boot_id": "old"}, "closed_as_lost"),
}


@pytest.mark.parametrize(("change", "code"), OWNERS.values(), ids=OWNERS.keys())
def test_attempts_without_an_end(tmp_path: Path, change, code):
    folder = create_attempt(tmp_path, 0, ME).path
    write_json(folder / "owner.json", {**(read_json(folder / "owner.json") or {}), **change})
    (note,) = close_dead_attempts(tmp_path, ME)
    assert note.code == code
    end = read_record(folder / "exit.json", ExitRecord)
    assert (end is not None) is (code == "closed_as_lost")
    if end is not None:
        assert (end.outcome, end.code, end.attempt, end.job_id) == (OutcomeKind.LOST, "agent_died", 1, "77")


RECORDS = [
    OwnerRecord("7", "n1", "b", 12, 345, 0, "t", 9.5, (12, 345, 12)),
    ExitRecord(
        "s/x", 2, OutcomeKind.STALLED, Phase.COMPILE, "stalled_idle", "r", "idle", "d", ["e"], None, "h", [], 1.5
    ),
    NotRunRecord("s/x", "x", {"ep": "on"}, OutcomeKind.NOT_RUN, "walltime_near", "r", "d", 9.5, "n1", None),
    TaskExitRecord(10, OutcomeKind.WALLTIME, "walltime_near", "r", "n1", "7", 0, 1.0, 2.0),
]


@pytest.mark.parametrize("record", RECORDS, ids=[type(record).__name__ for record in RECORDS])
def test_a_record_is_read_as_it_was_written(tmp_path: Path, record):
    write_record(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json", type(record)) == record


def test_fields_of_another_form_are_reported_and_none():
    content = {"outcome": "exploded", "phase": "compile", "ended_at": "soon", "evidence": ["a", 1], "new": 1}
    assert ExitRecord.parse(content) == (ExitRecord(phase=Phase.COMPILE), ["outcome", "evidence", "ended_at"])
    assert OwnerRecord.parse({"pid": True, "server": [1, 2]}) == (OwnerRecord(), ["pid", "server"])


def test_gpu_memory_counts_as_used_from_1_gib_more_than_before():
    def state(uuid, size):
        return GpuState(uuid, "H200", None, size, 140 << 30, None, None, {})

    before = [state("GPU-a", 2 << 30), state("GPU-b", None)]
    assert memory_still_used(before, [state("GPU-a", 3 << 30), state("GPU-b", 1 << 30)]) == []
    used = memory_still_used(before, [state("GPU-a", (3 << 30) + 1), state("GPU-b", (1 << 30) + 1)])
    assert used == [f"GPU-{name}: {(1 << 30) + 1} bytes more than before" for name in "ab"]
    assert memory_still_used([], [state("GPU-c", (1 << 30) + 1)]) != []
    assert memory_still_used(before, []) == []


def test_the_guardian_ends_what_it_was_not_told_to_forget(tmp_path: Path):
    """A forgotten attempt is left alone even if its folder has no exit.json."""
    folders = [create_attempt(tmp_path / name, 0, ME) for name in ("kept", "forgotten")]
    processes = [
        subprocess.Popen(["sleep", "600"], env={**os.environ, TOKEN_VARIABLE: folder.token}) for folder in folders
    ]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    guardian = Guardian()
    try:
        for folder in folders:
            guardian.watch(folder.token, folder.path, [scratch] if folder is folders[0] else [])
        guardian.forget(folders[1].token)
        guardian.close()
        assert processes[0].wait(timeout=30) == -9
        assert processes[1].poll() is None
        end = read_record(folders[0].path / "exit.json", ExitRecord)
        assert end is not None and (end.outcome, end.code) == (OutcomeKind.LOST, "agent_killed")
        assert end.killed == [f"{processes[0].pid} sleep"]
        assert not (folders[1].path / "exit.json").exists() and not scratch.exists()
    finally:
        for process in processes:
            process.kill()
            process.wait()


VLLM_PAGE = """# HELP vllm:num_requests_running Number of requests
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b}"} 3.0
vllm:num_requests_running{engine="1",model_name="a"} 2.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.75
vllm:generation_tokens_total{engine="0"} 1.5e+03
vllm:prefix_cache_hits_total{engine="0"} NaN
garbage
"""


def test_a_metrics_page_as_figures():
    assert figures(VLLM_PAGE) == {"running": 5.0, "kv_cache_usage": 0.75, "generation_tokens": 1500.0}


def test_the_metrics_page_of_a_real_vllm():
    page = (Path(__file__).parents[1] / "transcripts/vllm-metrics/vllm-0.32-cpu.txt").read_text()
    found = figures(page)
    assert set(found) >= {"running", "waiting", "kv_cache_usage", "generation_tokens", "prompt_tokens", "preemptions"}
    assert found["prefix_cache_queries"] >= found["prefix_cache_hits"] >= 0


def test_the_metrics_page_of_a_real_sglang():
    """37 prompt tokens in three requests, of which 4 were found in the cache; a health check computed one more."""
    page = (Path(__file__).parents[1] / "transcripts/sglang-metrics/sglang-0.5.23-cpu.txt").read_text()
    assert figures(page) == {
        "running": 0.0, "waiting": 0.0, "kv_cache_usage": 0.0, "prompt_tokens": 37.0, "generation_tokens": 22.0,
        "prefix_cache_queries": 37.0, "prefix_cache_hits": 4.0, "computed_tokens": 34.0 + 19.0 + 4.0,
    }  # fmt: skip
    without = "\n".join(line for line in page.splitlines() if "cached_tokens_total" not in line)
    assert figures(without)["prefix_cache_hits"] == 0.0, "not listed before the first hit"
    assert "prefix_cache_hits" not in figures("sglang:num_running_reqs 1.0"), "nothing is known of it"


def test_differences_leave_out_a_counter_that_went_back():
    before = {"generation_tokens": 10.0, "preemptions": 5.0, "running": 1.0}
    assert differences(before, {"generation_tokens": 30.0, "preemptions": 0.0, "running": 9.0}) == {
        "generation_tokens": 20.0
    }


def test_peaks_are_of_gauges_only():
    peaks = Peaks()
    peaks.add({"running": 2.0, "generation_tokens": 9.0})
    peaks.add({"running": 1.0})
    assert peaks.figures() == {"peak_running": 2.0}


def test_a_cache_key_is_a_safe_path_and_tells_what_matters():
    config = ServerConfig(engine="vllm", model="../../etc/$(id) 'x'\n")
    key = cache_key(config, EngineSettings(), "0.32.0+cpu", "NVIDIA H200")
    assert ".." not in key.split("/")
    assert all(char.isalnum() or char in "._-/" for char in key)
    assert key != cache_key(config, EngineSettings(tensor_parallel_size=2), "0.32.0+cpu", "NVIDIA H200")
    assert key != cache_key(config, EngineSettings(), "0.33.0", "NVIDIA H200")
    other = config.model_copy(update={"flags": {"--attention-backend": "FLASHINFER"}})
    assert key != cache_key(other, EngineSettings(), "0.32.0+cpu", "NVIDIA H200")
    parser = config.model_copy(update={"flags": {"--tool-call-parser": "glm45"}})
    assert key == cache_key(parser, EngineSettings(), "0.32.0+cpu", "NVIDIA H200")


def cache_of(folder: Path, kernels: int, graphs: int) -> CacheSize:
    """What is measured of a cache with so many compiled kernels and Inductor graphs, beside files that are neither."""
    (folder / "inductor/aotautograd/key").mkdir(parents=True)
    (folder / "inductor/po.lock").touch()
    for number in range(kernels):
        (folder / "inductor" / f"k{number}.main.so").touch()
    for number in range(graphs):
        (folder / "inductor/aotautograd/key" / f"g{number}").touch()
    return measure(folder)


USES = [  # (the engine's word, kernels and graphs before, after, what is made of it)
    pytest.param(None, (0, 0), (24, 2), "miss", id="cold"),
    pytest.param(None, (24, 2), (24, 2), "hit", id="graphs and kernels were there, none was added"),
    pytest.param("miss", (24, 1), (24, 2), "partial", id="the engine compiled again, out of kernels that were there"),
    pytest.param("miss", (0, 0), (24, 2), "miss", id="the engine compiled, from nothing"),
    pytest.param(None, (24, 2), (30, 4), "partial", id="some kernels were new"),
    pytest.param("hit", (24, 2), (25, 2), "hit", id="the engine loaded its graphs; a kernel compiled later is no miss"),
    pytest.param("partial", (0, 0), (24, 2), "partial", id="some of its graphs were loaded"),
    pytest.param(None, (0, 0), (0, 0), None, id="no trace"),
    pytest.param("miss", (0, 0), (0, 0), "miss", id="a cache that keeps no files that are known"),
]


@pytest.mark.parametrize(("told", "before", "after", "use"), USES)
def test_what_a_compilation_had_from_the_cache(tmp_path: Path, told, before, after, use):
    assert cache_use(told, cache_of(tmp_path / "before", *before), cache_of(tmp_path / "after", *after)) == use


def test_a_cache_too_large_to_be_counted_tells_nothing():
    full = CacheSize(20_000, 1, kernels=900, graphs=40)
    assert cache_use(None, full, full) is None
    assert cache_use("miss", full, full) == "miss"


def test_the_key_is_the_same_for_starts_that_share_a_cache(tmp_path: Path):
    """A vLLM before 0.32 has it in the key of its compile cache."""
    first = key_for(tmp_path / "cache", "vllm-0.28/H200/glm")
    assert key_for(tmp_path / "cache", "vllm-0.28/H200/glm") == first
    assert key_for(tmp_path / "cache", "vllm-0.28/H200/other") != first
    assert key_for(tmp_path / "elsewhere", "vllm-0.28/H200/glm") != first
    (secret,) = (tmp_path / "cache").iterdir()
    assert secret.stat().st_mode & 0o777 == 0o600
    assert first not in secret.read_bytes().hex()


def test_without_room_for_a_secret_the_key_is_random(tmp_path: Path):
    (tmp_path / "file").touch()
    assert key_for(tmp_path / "file", "x") != key_for(tmp_path / "file", "x")


def test_children_of_an_earlier_process_are_no_members_but_are_seen(tmp_path: Path):
    """Ray's head was started by the job's setup; its workers come with the server."""
    script = f"read line; sleep 60 & echo $! > {tmp_path / 'worker'}; wait"
    ray = subprocess.Popen(["bash", "-c", script], stdin=subprocess.PIPE, text=True)
    try:
        family = Family("no-such-token", not_server_pids=set())
        assert [p.pid for p in family.living()] == [] and family.started_by_earlier() == []
        assert ray.stdin is not None
        ray.stdin.write("go\n")
        ray.stdin.close()
        server = subprocess.Popen(["sleep", "60"])
        deadline = time.monotonic() + 10
        while not (tmp_path / "worker").exists() or not (tmp_path / "worker").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        worker = int((tmp_path / "worker").read_text())
        assert [p.pid for p in family.living()] == [server.pid]
        assert [p.pid for p in family.started_by_earlier()] == [worker]
        assert family.kill()[0] == [f"{server.pid} sleep"]
        assert ray.poll() is None and read_process(worker) is not None
    finally:
        ray.kill()
        ray.wait()
        os.kill(worker, 9)
        server.wait()


def test_one_writer_a_cache(tmp_path: Path):
    path = tmp_path / "key.lock"
    mine = FileLock(path, ME)
    assert mine.take() is None
    assert "here" in str(FileLock(path, ME).take())
    mine.release()
    assert not path.exists()
    path.write_text(json.dumps({**ME.as_dict(), "pid": 2**22 + 1}))
    assert FileLock(path, ME).take() is None


def test_a_lock_of_another_host_is_lost_when_it_is_old(tmp_path: Path):
    path = tmp_path / "key.lock"
    path.write_text(json.dumps({"host": "far", "boot_id": "b", "pid": 1, "started_ticks": 1}))
    assert "far" in str(FileLock(path, ME).take())
    old = time.time() - STALE_S - 1
    os.utime(path, (old, old))
    taken = FileLock(path, ME)
    assert taken.take() is None
    taken.release()


def test_a_lock_that_was_lost_meanwhile_is_left_to_its_new_holder(tmp_path: Path):
    path = tmp_path / "key.lock"
    mine = FileLock(path, ME)
    assert mine.take() is None
    path.write_text(json.dumps({"host": "far", "boot_id": "b", "pid": 1, "started_ticks": 1}))
    mine.release()
    assert path.exists()


def test_a_node_local_cache_takes_the_place_of_the_shared_one(tmp_path: Path):
    for keep in (True, False):
        cache = CompileCache("node_local", tmp_path, "e/g/m", ME)
        cache.open()
        assert cache.warm is not keep
        Path(cache.env()["VLLM_CACHE_ROOT"], f"kept-{keep}").write_text("x")
        cache.close(keep=keep)
        assert not cache.folder.exists()
    assert measure(tmp_path / "e/g/m").entries == 1
    assert sorted(path.name for path in (tmp_path / "e/g").iterdir()) == ["m"]


def test_what_vllm_notes_before_it_compiles_makes_no_cache_warm(tmp_path: Path):
    noted = tmp_path / "e/g/m/vllm/modelinfos/glm4_moe.json"
    noted.parent.mkdir(parents=True)
    noted.write_text("{}")
    cache = CompileCache("shared", tmp_path, "e/g/m", ME)
    cache.open()
    assert not cache.warm
    cache.close(keep=True)


HELP = """usage: vllm serve [model_tag] [options]
  --headless, --no-headless
  --api-server-count API_SERVER_COUNT, -asc API_SERVER_COUNT
  --[no-]skip-warmup   text -- with dashes
  --tp_size INTEGER
"""


def test_flags_of_a_help_text():
    flags = parse_flags(HELP)
    assert flags == {
        "--headless", "--no-headless", "--api-server-count", "--skip-warmup", "--no-skip-warmup", "--tp_size"
    }  # fmt: skip
    argv = ["serve", "m", "--tp-size", "2", "--api_server_count=3", "--headless", "--nothing", "--", "-x"]
    assert unknown_flags(argv, flags) == ["--nothing"]
    assert unknown_flags(["--headless.key", "1"], flags) == []


@pytest.mark.parametrize(
    ("version", "constraint", "refused"),
    [
        ("0.32.0+cpu", None, False),
        (None, None, False),
        (None, ">=0.11", True),
        ("0.11.2", ">=0.11,<0.12", False),
        ("0.12.0", ">=0.11,<0.12", True),
        ("0.12.0rc1", ">=0.11", False),
    ],
)
def test_versions_against_a_constraint(version, constraint, refused):
    assert (version_verdict("vllm", version, constraint) is not None) is refused


def test_the_version_is_read_from_the_python_of_the_executable(tmp_path: Path):
    script = tmp_path / "vllm"
    script.write_text(f"#!{sys.executable}\nraise SystemExit('must not be run')\n")
    script.chmod(0o755)

    class Other(Vllm):
        distributions = ("no-such-distribution", "pydantic")

    assert installed_version(on_this_node(Other(), str(script), {}), tmp_path) == __import__("pydantic").VERSION
    assert find_executable("vllm", {}, {"PATH": str(tmp_path)}) == str(script)
    assert find_executable("vllm", {"vllm": str(script)}, {"PATH": ""}) == str(script)
    assert find_executable("vllm", {}, {"PATH": "", "HPCSWEEP_VLLM": str(script)}) == str(script)
    assert find_executable("vllm", {}, {"PATH": ""}) is None


HOSTILE = ["plain", "two words", "it's", 'a"b', "$(id)", "back\\slash", "new\nline", "", "*"]


@pytest.mark.parametrize("value", HOSTILE)
def test_the_command_is_what_a_shell_gives_back(value):
    told = {"V": value, "HPCSWEEP_AXIS_X": "1"}
    text = command_text(["printenv", "V"], shown_environment(told, {"HPCSWEEP_AXIS_X": "1"}))
    answer = subprocess.run(["bash"], input=text, text=True, capture_output=True, check=True)
    assert answer.stdout == value + "\n"
    assert "AXIS" not in text


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("VLLM_API_KEY", True),
        ("MY_PASSWORD", True),
        ("TOKENIZERS_PARALLELISM", False),
        ("KEYS", False),
    ],
)
def test_secrets_are_passed_on_and_not_told(name, secret):
    whole, told = server_environment({"PATH": "/bin"}, {}, {name: "v"}, {"VLLM_CACHE_ROOT": "/c"})
    assert whole[name] == "v"
    assert (told[name] == HIDDEN) is secret
    assert "PATH" not in told
    assert (HIDDEN in command_text(["x"], shown_environment(told, {}))) is False


def test_what_the_experiment_says_of_a_cache_folder_holds():
    whole, _ = server_environment({}, {}, {"VLLM_CACHE_ROOT": "/mine"}, {"VLLM_CACHE_ROOT": "/ours"})
    assert whole["VLLM_CACHE_ROOT"] == "/mine"


def test_the_journal_numbers_what_it_writes(tmp_path: Path):
    journal = Journal(tmp_path, "s/x", 2, Clock())
    journal.event("warning", message="one")
    journal.splice(['{"kind":"sample","workload":"w","sample":"a","index":0,"sent_s":1.0}'])
    journal.event("warning", message="three", t_s=5.0)
    journal.close()
    events = list(read_events(tmp_path / "events.jsonl"))
    assert [(event.seq, event.run_id, event.attempt, event.kind) for event in events] == [
        (0, "s/x", 2, "warning"),
        (1, "s/x", 2, "sample"),
        (2, "s/x", 2, "warning"),
    ]
    assert events[2].t_s == 5.0
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]


def test_the_journal_keeps_what_a_full_disk_refuses(tmp_path: Path, monkeypatch):
    journal = Journal(tmp_path, "s/x", 1, Clock())
    journal.event("warning", message="one")
    real, full = os.write, [True]

    def write(fd: int, data: bytes) -> int:
        if full and data.endswith(b"}\n"):
            return real(fd, data[: len(data) // 2])
        if full:
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)
    journal.event("warning", message="two")
    assert journal.disk_error is not None
    full.clear()
    journal.event("warning", message="three")
    assert journal.disk_error is None
    journal.close()
    messages = [event.message for event in read_events(tmp_path / "events.jsonl")]
    assert messages == ["one", "two", "three"]


class Nvml:
    """What pynvml gives on a node with two GPUs, one of which does not tell its energy."""

    class NVMLError(Exception):
        pass

    class _Figures:
        def __init__(self, **values):
            self.__dict__.update(values)

    def nvmlInit(self): ...

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        if index > 1:
            raise self.NVMLError("no such GPU")
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):
        return {"GPU-a": 0, "GPU-b": 1}[uuid]

    def nvmlSystemGetDriverVersion(self):
        return "570.1"

    def nvmlDeviceGetUUID(self, handle):
        return ("GPU-a", "GPU-b")[handle]

    def nvmlDeviceGetName(self, handle):
        return "NVIDIA H200"

    def nvmlDeviceGetMemoryInfo(self, handle):
        return self._Figures(used=(5 << 30, 0)[handle], total=140 << 30)

    def nvmlDeviceGetUtilizationRates(self, handle):
        return self._Figures(gpu=(100, 50)[handle], memory=(40, 20)[handle])

    def nvmlDeviceGetPowerUsage(self, handle):
        return 250_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if handle == 1:
            raise self.NVMLError("not supported")
        return 7_000

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [self._Figures(pid=os.getpid(), usedGpuMemory=5 << 30)] if handle == 0 else []


GPUS = {
    "all": ({}, ["GPU-a", "GPU-b"]),
    "by index": ({"CUDA_VISIBLE_DEVICES": "1"}, ["GPU-b"]),
    "by UUID": ({"CUDA_VISIBLE_DEVICES": "GPU-b,GPU-a"}, ["GPU-b", "GPU-a"]),
    "none": ({"CUDA_VISIBLE_DEVICES": ""}, []),
    "one that is not there": ({"CUDA_VISIBLE_DEVICES": "7"}, []),
}


@pytest.mark.parametrize(("env", "uuids"), GPUS.values(), ids=GPUS.keys())
def test_the_gpus_of_the_job(monkeypatch, env, uuids):
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    gpus = Gpus(env)
    assert [state.uuid for state in gpus.states()] == uuids
    assert gpus.available is bool(uuids)


class HungNvml(Nvml):
    """A driver that stops answering, as one does whose GPU has fallen off the bus."""

    def __init__(self):
        self.hangs, self.goes_on = False, threading.Event()

    def _hang(self):
        if self.hangs:
            self.goes_on.wait(30)

    def nvmlInit(self):
        self._hang()

    def nvmlDeviceGetMemoryInfo(self, handle):
        self._hang()
        return super().nvmlDeviceGetMemoryInfo(handle)


def test_a_driver_that_hangs_holds_nobody_up(monkeypatch):
    nvml = HungNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpus = Gpus({}, answer_s=0.2)
    assert len(gpus.states()) == 2
    nvml.hangs = True
    begun_s = time.monotonic()
    for _ in range(20):  # only the first question waits
        assert (gpus.states(), gpus.available, gpus.silent) == ([], False, True)
    assert gpus.driver_version() is None
    assert time.monotonic() - begun_s < 3
    nvml.goes_on.set()
    gpus._asked.join(10)
    assert len(gpus.states()) == 2 and gpus.available


def test_a_driver_that_hangs_from_the_start(monkeypatch):
    nvml = HungNvml()
    nvml.hangs = True
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    gpus = Gpus({}, answer_s=0.1)
    assert (gpus.silent, gpus.available, gpus.states(), gpus.driver_version()) == (True, False, [], None)
    nvml.goes_on.set()


def test_figures_and_leftovers_of_gpus(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    states = Gpus({}).states()
    assert gpu_figures(states) == {
        "gpu_power_w": 500.0,
        "gpu_memory_used_bytes": float(5 << 30),
        "gpu_utilization": 75.0,
        "gpu_memory_traffic": 30.0,
    }  # energy is left out: one of the two does not tell it
    (note,) = busy_gpus(states)
    assert note.code == "gpu_in_use" and f"process {os.getpid()}" in note.text
    refused = gpus_verdict(states, 4, visible=2)
    assert refused is not None
    assert refused.code == "too_few_gpus" and "4 GPUs" in refused.reason
    assert gpus_verdict(states, 2, visible=2) is None


def test_one_gpu_of_many_at_work_is_progress():
    def eight(memory_bytes):
        return gpu_samples(
            [
                GpuState(
                    f"GPU-{n}", "NVIDIA H200", 100.0, memory_bytes << n % 2, 140 << 30, 130.0, None, {}, 5.0 * (n == 3)
                )
                for n in range(8)
            ]
        )

    looks = eight(1 << 30)
    assert gpu_signals(looks, looks) == GpuSignals(progress=True, activity=True)
    waiting = {uuid: replace(look, memory_traffic=0.0) for uuid, look in looks.items()}
    assert gpu_signals(waiting, waiting) == GpuSignals(progress=False, activity=True)
    assert gpu_signals(waiting, {**waiting, "GPU-5": replace(waiting["GPU-5"], memory_bytes=3 << 30)}).progress
    assert gpu_signals({}, {}) == GpuSignals(progress=False, activity=False)


def test_without_nvml_nothing_is_guessed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Gpus({}).states() == []
    assert gpu_figures([]) == {}
    assert gpus_verdict([], 8, visible=None) is None
