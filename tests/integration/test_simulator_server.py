"""The simulated engine as a process: its log, its endpoints, and every fault that a profile can ask for."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest

from hpcsweep.engines.base import LaunchContext
from hpcsweep.engines.logs.reader import FactSeen, LogReader, PhaseSeen
from hpcsweep.engines.registry import get_engine
from hpcsweep.engines.simulated import SimulatedEngine
from hpcsweep.spec.phases import STARTUP_PHASES, OutcomeKind, Phase
from hpcsweep.spec.server import EngineSettings, ServerConfig

KEY = "secret-key"
QUICK = "startup: {launch: 0, engine_init: 1, load_weights: 4, profile: 1, kv_cache: 1, warmup: 0}\n"
COMPILED = QUICK + "compile: {dynamo_s: 2}\nrules: [{when: {eager: no}, startup: {compile: 10, capture_graphs: 3}}]\n"
SPEED = "speed: {decode_tps: 500, prefill_tps: 100000}\n"


class Server:
    """One simulated server and what it has written so far."""

    def __init__(self, argv, env):
        self.process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, text, timeout_s=20):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if any(text in line for line in list(self.lines)):
                return
            if self.process.poll() is not None:
                self._reader.join(5)
                break
            time.sleep(0.01)
        assert any(text in line for line in self.lines), f"no {text!r} in:\n" + "\n".join(self.lines)

    def end(self, timeout_s=20):
        """The exit code of a server that ends by itself."""
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        return code

    def close(self):
        for child in psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []:
            child.kill()
        self.process.kill()
        self.process.wait()
        self._reader.join(1)
        if not self._reader.is_alive():
            self.process.stdout.close()


@pytest.fixture
def start(tmp_path):
    """Start a simulated server through its adapter; it is gone after the test."""
    servers = []

    def run(profile, ready=True, scale=100.0, settings=None, axes=None, env=None, flags=None):
        path = tmp_path / "profile.yaml"
        path.write_text(textwrap.dedent(profile))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        engine = SimulatedEngine(get_engine("vllm"), str(path), scale, axes or {})
        config = ServerConfig(
            engine="vllm",
            model="org/Model",
            settings=EngineSettings(**{"max_model_len": 1000} | (settings or {})),
            flags=flags or {},
        )
        launch = engine.launch(config, LaunchContext(sys.executable, port))
        server = Server(launch.argv, {**os.environ, **launch.env, "VLLM_API_KEY": KEY, **(env or {})})
        server.port, server.engine = port, engine
        servers.append(server)
        if ready:
            server.wait_for("Application startup complete.")
        return server

    yield run
    for server in servers:
        server.close()


def request(server, method, path, body=None, key=KEY, timeout_s=20):
    """(status, text) of one request."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout_s)) as connection:
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def ask(server, words=20, max_tokens=8, stream=True, chat=True, **more):
    """(status, events or body) of one generation."""
    text = " ".join(f"w{number}" for number in range(words))
    body = {"model": "org/Model", "max_tokens": max_tokens, "stream": stream, "ignore_eos": True, **more}
    body |= {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}
    if stream:
        body["stream_options"] = {"include_usage": True}
    status, answer = request(server, "POST", "/v1/chat/completions" if chat else "/v1/completions", body)
    return status, [line[6:] for line in answer.splitlines() if line] if stream and status == 200 else json.loads(
        answer
    )


def content(event):
    """Text of one chunk; None: it carries none."""
    choices = json.loads(event)["choices"]
    delta = choices[0].get("delta", {"content": choices[0].get("text")}) if choices else {}
    return None if "role" in delta else delta.get("content")


def metric(server, name):
    """Sum of a metric over its labels."""
    _, page = request(server, "GET", "/metrics")
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(name + "{"))


# --- the log


STARTS = [
    pytest.param("yes", ["profile", "kv_cache"], id="eager"),
    pytest.param("no", ["compile", "profile", "kv_cache", "capture_graphs"], id="compiled"),
]


@pytest.mark.parametrize(("eager", "phases"), STARTS)
def test_the_log_tells_the_phases_and_figures_of_the_profile(start, eager, phases):
    server = start(COMPILED, axes={"eager": eager}, settings={"enforce_eager": eager == "yes"})
    reader = LogReader(server.engine)
    seen = [fact for line in server.lines for fact in reader.feed(line, 0.0)]
    assert [item.phase.value for item in seen if isinstance(item, PhaseSeen)] == [
        "engine_init",
        "load_weights",
        *phases,
        "warmup",
    ]
    assert reader.unseen_phases() == []
    assert reader.failure is None
    facts = {item.name: item.value for item in seen if isinstance(item, FactSeen)}
    assert facts["load_s"] == 4.0
    assert facts["weights_bytes_per_gpu"] == 10 * 2**30
    assert facts["kv_cache_tokens"] == 500_000
    assert facts["engine_version"] == "0.32.0"
    if eager == "no":
        assert (facts["dynamo_s"], facts["inductor_s"], facts["compile_s"]) == (2.0, 8.0, 10.0)
        assert facts["init_engine_s"] == 15.0


def test_a_filled_cache_shortens_the_compilation(start, tmp_path):
    profile = QUICK.replace("warmup: 0", "warmup: 0, compile: 10") + "compile: {dynamo_s: 1, warm_s: 3}"
    env = {"VLLM_CACHE_ROOT": str(tmp_path / "cache")}
    start(QUICK, env=env)
    assert not (tmp_path / "cache").exists(), "a server that compiles nothing leaves the cache alone"
    cold, warm = start(profile, env=env), start(profile, env=env)
    cold.wait_for("torch.compile took 10.00 s in total")
    warm.wait_for("from the cache, took 2.000 s")
    warm.wait_for("torch.compile took 3.00 s in total")


def test_before_it_is_ready_connections_are_refused(start):
    server = start(QUICK + "faults: [{kind: stall, phase: load_weights}]", ready=False)
    server.wait_for("Loading safetensors checkpoint shards:  50%")
    with pytest.raises(ConnectionRefusedError):
        request(server, "GET", "/health")


# --- the endpoints


def test_endpoints_and_the_api_key(start):
    server = start(QUICK)
    assert request(server, "GET", "/health", key="wrong") == (200, "")
    for path in ("/v1/models", "/v1/nothing"):
        assert request(server, "GET", path, key="wrong") == (401, '{"error": "Unauthorized"}')
    status, models = request(server, "GET", "/v1/models")
    assert (status, json.loads(models)["data"][0]["id"]) == (200, "org/Model")
    assert json.loads(models)["data"][0]["max_model_len"] == 1000
    assert request(server, "GET", "/nothing")[0] == 404
    assert request(server, "GET", "/v1/completions")[0] == 405
    assert request(server, "POST", "/reset_prefix_cache")[0] == 404


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "completions"])
def test_a_stream_has_an_event_a_token_then_usage_then_done(start, chat):
    server = start(QUICK + SPEED)
    status, events = ask(server, words=20, max_tokens=8, chat=chat)
    assert (status, events[-1]) == (200, "[DONE]")
    *chunks, usage = [json.loads(event) for event in events[:-1]]
    texts = [content(json.dumps(chunk)) for chunk in chunks]
    assert len([text for text in texts if text]) == 8
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-2:] == [None, "length"]
    assert usage["usage"] | {"prompt_tokens_details": None} == {
        "prompt_tokens": 20,
        "completion_tokens": 8,
        "total_tokens": 28,
        "prompt_tokens_details": None,
    }
    _, body = ask(server, words=20, max_tokens=8, chat=chat, stream=False)
    choice = body["choices"][0]
    assert (choice["message"]["content"] if chat else choice["text"]) == "".join(text for text in texts if text)
    assert body["usage"]["completion_tokens"] == 8


def test_several_tokens_may_come_in_one_event(start):
    server = start(QUICK + "speed: {decode_tps: 500, stream_interval: 4}")
    _, events = ask(server, max_tokens=10)
    words = [len(text.split()) for text in map(content, events[1:-2])]
    assert words == [1, 4, 4, 1]
    assert json.loads(events[-2])["usage"]["completion_tokens"] == 10


def test_tokens_are_words_and_images_count_as_told(start):
    server = start(QUICK + "speed: {decode_tps: 500, image_tokens: 70}")
    content = [
        {"type": "text", "text": "two\nwords  "},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]
    body = {"messages": [{"role": "system", "content": "one"}, {"role": "user", "content": content}], "max_tokens": 2}
    _, text = request(server, "POST", "/v1/chat/completions", body)
    assert json.loads(text)["usage"]["prompt_tokens"] == 73
    _, text = request(server, "POST", "/v1/completions", {"prompt": [5, 6, 7, 8], "max_tokens": 2})
    assert json.loads(text)["usage"]["prompt_tokens"] == 4


REFUSED = [
    pytest.param({"prompt": "a", "model": "other"}, 404, "`other` does not exist", id="another model"),
    pytest.param({"prompt": "a " * 990, "max_tokens": 11}, 400, "at least 1001 tokens", id="a token too long"),
    pytest.param({"prompt": "a " * 1000}, 400, "maximum context length is 1000", id="no room for a token"),
    pytest.param({"prompt": "a", "max_tokens": 0}, 400, "at least 1, got 0", id="no tokens"),
    pytest.param({"prompt": "a", "max_tokens": "9"}, 400, "at least 1, got 9", id="tokens as text"),
    pytest.param({"prompt": "a", "n": 2}, 400, "n must be 1", id="two answers"),
    pytest.param({"prompt": ["a", "b"]}, 400, "prompt must be one text", id="two prompts"),
    pytest.param({}, 400, "prompt must be one text", id="no prompt"),
    pytest.param([1], 400, "valid dictionary", id="a list"),
]


@pytest.mark.parametrize(("body", "status", "message"), REFUSED)
def test_bad_requests_are_refused_in_vllms_form(start, body, status, message):
    server = start(QUICK)
    found, text = request(server, "POST", "/v1/completions", body)
    error = json.loads(text)["error"]
    assert (found, error["code"]) == (status, status)
    assert message in error["message"]
    assert request(server, "POST", "/v1/completions", {"prompt": "a " * 990, "max_tokens": 10})[0] == 200


def test_the_prefix_cache_finds_what_came_before_with_the_same_salt(start):
    server = start(QUICK + SPEED + "memory: {block_tokens: 10}")
    cached = []
    for salt in ({}, {}, {"cache_salt": "a"}):
        _, events = ask(server, words=100, **salt)
        cached.append(json.loads(events[-2])["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached == [0, 90, 0]
    assert metric(server, "vllm:prefix_cache_queries_total") == 300
    assert metric(server, "vllm:prefix_cache_hits_total") == 90
    assert metric(server, "vllm:prompt_tokens_total") == 300


def test_prefix_caching_can_be_turned_off(start):
    server = start(QUICK + SPEED, settings={"prefix_caching": False})
    cached = [
        json.loads(ask(server, words=100)[1][-2])["usage"]["prompt_tokens_details"]["cached_tokens"] for _ in range(2)
    ]
    assert cached == [0, 0]


def test_the_metrics_count_in_simulated_seconds(start):
    # Tokens have due times: a first one that a busy machine sends late shortens the decoding by as much. On a clock
    # only five times as fast that weighs little.
    server = start(QUICK + "speed: {decode_tps: 10, first_request_extra_s: 30}", scale=5)
    ask(server, max_tokens=21)
    assert metric(server, "vllm:generation_tokens_total") == 21
    assert metric(server, "vllm:request_success_total") == 1
    assert metric(server, "vllm:request_generation_tokens_sum") == 21
    assert metric(server, "vllm:inter_token_latency_seconds_count") == 20
    # Thirty seconds of the cold start, then ten tokens a second.
    assert metric(server, "vllm:time_to_first_token_seconds_sum") >= 30
    assert metric(server, "vllm:request_decode_time_seconds_sum") >= 1.9
    assert metric(server, "vllm:num_requests_running") == 0


def test_a_probe_of_one_token_does_not_use_up_the_cold_start(start):
    server = start(QUICK + "speed: {decode_tps: 1000, first_request_extra_s: 40}", scale=100)
    ask(server, max_tokens=1)
    assert metric(server, "vllm:time_to_first_token_seconds_sum") < 40
    ask(server, max_tokens=2)
    assert metric(server, "vllm:time_to_first_token_seconds_sum") >= 40


def test_more_requests_than_seats_wait_their_turn(start):
    server = start(QUICK + "speed: {decode_tps: 20}", settings={"max_num_seqs": 2})
    threads = [threading.Thread(target=ask, args=(server,), kwargs={"max_tokens": 100}) for _ in range(3)]
    for thread in threads:
        thread.start()
    most = (0.0, 0.0)
    while any(thread.is_alive() for thread in threads):
        most = max(most, (metric(server, "vllm:num_requests_running"), metric(server, "vllm:num_requests_waiting")))
    assert most == (2.0, 1.0)
    assert metric(server, "vllm:request_success_total") == 3


def test_a_client_that_goes_away_frees_its_seat(start):
    server = start(QUICK + "speed: {decode_tps: 1}", scale=1)
    body = json.dumps({"prompt": "a b", "max_tokens": 500, "stream": True})
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        connection.request("POST", "/v1/completions", body, {"Authorization": f"Bearer {KEY}"})
        connection.getresponse().read(10)
    deadline = time.monotonic() + 20
    while metric(server, "vllm:num_requests_running") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert metric(server, "vllm:num_requests_running") == 0
    assert metric(server, "vllm:request_success_total") == 1


def test_requests_on_one_connection_are_answered_in_order(start):
    server = start(QUICK + SPEED)
    body = json.dumps({"prompt": "a b c", "max_tokens": 3}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nAuthorization: Bearer %b\r\nContent-Length: %d\r\n\r\n"
    last = b"GET /v1/models HTTP/1.1\r\nAuthorization: Bearer %b\r\nConnection: close\r\n\r\n" % KEY.encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as raw:
        raw.sendall((head % (KEY.encode(), len(body)) + body) * 2 + last)
        received = b"".join(iter(lambda: raw.recv(65536), b""))
    kinds = [part for part in received.decode().split('"object": ') if part.startswith('"text_completion"')]
    assert len(kinds) == 2
    assert received.index(b"text_completion") < received.index(b'"owned_by"')


HOSTILE = [
    pytest.param(b"", id="empty"),
    pytest.param(b"{", id="half"),
    pytest.param(b"\xff\xfe", id="no text"),
    pytest.param(b"[" * 100_000, id="endless nesting"),
    pytest.param(b'{"messages": [[]]}', id="message as a list"),
    pytest.param(b'{"messages": [{"content": [7]}]}', id="part as a number"),
    pytest.param(b'{"messages": [{"role": "user", "content": null}]}', id="no content"),
]


@pytest.mark.parametrize("body", HOSTILE)
def test_hostile_bodies_are_refused(start, body):
    server = start(QUICK)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["error"]["type"]) == (400, "BadRequestError")
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200


@pytest.mark.parametrize(
    "raw",
    [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"x" * 70_000,
     b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ids=["no request", "negative length", "endless head", "chunked body"],
)  # fmt: skip
def test_broken_http_is_refused_and_the_server_goes_on(start, raw):
    server = start(QUICK)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(raw)
        assert connection.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 411", b"HTTP/1.1 431")
    assert request(server, "GET", "/health")[0] == 200


# --- faults of the start


@pytest.mark.parametrize("phase", STARTUP_PHASES)
def test_a_stall_is_silent_and_idle_in_any_phase(start, phase):
    profile = f"startup: {{compile: 3, capture_graphs: 3}}\nfaults: [{{kind: stall, phase: {phase}}}]"
    server = start(profile, ready=False, scale=1000)
    first = {
        "launch": None,
        "engine_init": "Initializing a V1 LLM engine",
        "load_weights": "Starting to load model",
        "compile": "Dynamo bytecode transform",
        "profile": "torch.compile took",
        "kv_cache": "Available KV cache memory",
        "capture_graphs": "Capturing CUDA graphs",
        "warmup": "init engine",
    }
    if first[phase] is not None:
        server.wait_for(first[phase])
    deadline = time.monotonic() + 20
    signs = None
    while signs != (signs := (len(server.lines), psutil.Process(server.process.pid).cpu_times()[:2])):
        assert time.monotonic() < deadline, "it writes, or uses CPU time, all the time"
        time.sleep(0.5)
    assert server.process.poll() is None
    reader = LogReader(server.engine)
    for line in server.lines:
        reader.feed(line, 0.0)
    assert reader.phase is Phase(phase)


def test_a_stall_may_go_on_writing_lines_that_mean_nothing(start):
    server = start(QUICK + "faults: [{kind: stall, phase: load_weights, noise: yes}]", ready=False)
    server.wait_for("Waiting for 1 local, 0 remote core engine proc(s) to start.")
    assert server.engine.noise
    assert LogReader(server.engine).is_noise(server.lines[-1])


def test_a_slow_phase_shows_that_it_is_alive_and_ends(start, tmp_path):
    profile = QUICK.replace("warmup: 0", "warmup: 0, compile: 4")
    profile += "faults: [{kind: slow, phase: compile, extra_s: 60, cpu: yes, cache: yes, log: yes}]"
    server = start(profile, ready=False, scale=40, env={"VLLM_CACHE_ROOT": str(tmp_path / "cache")})
    server.wait_for("Dynamo bytecode transform")
    process = psutil.Process(server.process.pid)
    before = process.cpu_times()
    time.sleep(0.7)
    after = process.cpu_times()
    assert after.user + after.system > before.user + before.system
    kernels = list((tmp_path / "cache").glob("torch_compile_cache/*/kernels.bin"))
    assert kernels[0].stat().st_size > 0
    server.wait_for("Application startup complete.")
    server.wait_for("torch.compile took 6")


@pytest.mark.parametrize("phase", ["launch", "load_weights", "kv_cache"])
def test_a_crash_has_its_message_and_exit_code(start, phase):
    message = 'ValueError: it\'s a "quoted" $(id) line'
    fault = json.dumps({"kind": "crash", "phase": phase, "message": message + "\nsecond line", "exit_code": 42})
    server = start(QUICK.replace("launch: 0", "launch: 1") + f"faults: [{fault}]", ready=False)
    assert server.end() == 42
    assert server.lines[-2:] == [message, "second line"]


def test_out_of_memory_is_read_as_such(start):
    server = start(QUICK + "faults: [{kind: out_of_memory}]", ready=False)
    assert server.end() == 1
    reader = LogReader(server.engine)
    for line in server.lines:
        reader.feed(line, 0.0)
    assert reader.phase is Phase.KV_CACHE
    assert reader.failure.outcome is OutcomeKind.OUT_OF_MEMORY


def test_a_fault_may_befall_the_first_servers_of_a_cache_only(start, tmp_path):
    profile = QUICK.replace("warmup: 0", "warmup: 0, compile: 4")
    profile += "faults: [{kind: crash, phase: compile, times: 2, exit_code: 7}]"
    env = {"VLLM_CACHE_ROOT": str(tmp_path / "cache")}
    assert [start(profile, ready=False, env=env).end() for _ in range(2)] == [7, 7]
    start(profile, env=env)


def test_a_port_that_is_taken_ends_the_start(start):
    first = start(QUICK)
    argv = [first.process.args[0], *first.process.args[1:]]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert second.returncode == 1
    assert "[Errno 98] Address already in use" in second.stdout


# --- faults of requests


def test_a_hang_leaves_the_connection_open_and_the_server_alive(start):
    server = start(QUICK + SPEED + "faults: [{kind: hang, after_tokens: 3, only: [2]}]")
    ask(server)
    body = json.dumps({"prompt": "a b c", "max_tokens": 8, "stream": True})
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=1)) as connection:
        connection.request("POST", "/v1/completions", body, {"Authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        for _ in range(6):
            assert answer.readline() != b""
        with pytest.raises(TimeoutError):
            answer.readline()
    assert ask(server)[1][-1] == "[DONE]"


def test_a_server_may_be_healthy_and_answer_nothing(start):
    server = start(QUICK + "faults: [{kind: hang, after_tokens: 0, probes: yes}]")
    assert request(server, "GET", "/health")[0] == 200
    with pytest.raises(TimeoutError):
        request(server, "POST", "/v1/completions", {"prompt": "a", "max_tokens": 1}, timeout_s=0.5)


def test_every_kth_request_is_an_error_and_probes_are_not_counted(start):
    server = start(QUICK + SPEED + "faults: [{kind: error, every: 3, status: 503, message: sorry}]")
    ask(server, max_tokens=1)
    found = [ask(server) for _ in range(6)]
    assert [status for status, _ in found] == [200, 200, 503, 200, 200, 503]
    assert found[2][1]["error"]["message"] == "sorry"


def test_an_error_inside_a_stream(start):
    server = start(QUICK + SPEED + "faults: [{kind: stream_error, after_tokens: 2, message: lost}]")
    status, events = ask(server)
    assert (status, len(events)) == (200, 5)  # the role, two tokens, the error, the end
    assert json.loads(events[3])["error"]["message"] == "lost"
    assert ask(server, stream=False)[0] == 500


def test_a_cut_connection_is_a_reset(start):
    server = start(QUICK + SPEED + "faults: [{kind: cut, after_tokens: 2}]")
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        ask(server)
    assert request(server, "GET", "/health")[0] == 200


@pytest.mark.parametrize("done", [True, False])
def test_an_early_end_looks_complete_but_has_too_few_tokens(start, done):
    server = start(QUICK + SPEED + f"faults: [{{kind: early_end, after_tokens: 3, done: {str(done).lower()}}}]")
    _, events = ask(server)
    assert (events[-1] == "[DONE]") is done
    texts = [content(event) for event in events if event != "[DONE]"]
    assert len([text for text in texts if text]) == 3
    reasons = [choice["finish_reason"] for e in events if e != "[DONE]" for choice in json.loads(e)["choices"]]
    assert reasons[-1] == "stop"


EXITS = [
    pytest.param(3, 3, id="by itself"),
    pytest.param(-9, -9, id="killed"),
    pytest.param(0, 0, id="as if all is well"),
]


@pytest.mark.parametrize(("exit_code", "code"), EXITS)
def test_the_server_may_end_in_the_middle_of_an_answer(start, exit_code, code):
    server = start(QUICK + SPEED + f"faults: [{{kind: exit, only: [2], after_tokens: 3, exit_code: {exit_code}}}]")
    assert ask(server)[0] == 200
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        ask(server)
    assert server.end() == code
    assert any("EngineDeadError" in line for line in server.lines)


def test_another_model_may_be_listed(start):
    server = start(QUICK + "faults: [{kind: wrong_model, name: other}]")
    assert json.loads(request(server, "GET", "/v1/models")[1])["data"][0]["id"] == "other"


# --- the end


def test_sigterm_ends_a_server_that_serves(start):
    server = start(QUICK)
    server.process.terminate()
    assert server.end() == 0
    assert server.lines[-1].endswith("Application shutdown complete.")


def test_sigterm_can_be_ignored(start):
    server = start(QUICK + "faults: [{kind: ignore_sigterm}]")
    server.process.terminate()
    time.sleep(0.3)
    assert request(server, "GET", "/health")[0] == 200


CHILDREN = [
    pytest.param("count: 2", False, False, False, id="plain"),
    pytest.param("count: 2, own_session: yes", True, False, False, id="own session"),
    pytest.param("count: 2, orphan: yes", False, True, False, id="re-parented"),
    pytest.param("count: 1, own_session: yes, orphan: yes, ignore_sigterm: yes", True, True, True, id="all at once"),
]


@pytest.mark.parametrize(("options", "own_session", "orphan", "deaf"), CHILDREN)
def test_children_outlive_the_server(start, options, own_session, orphan, deaf):
    marker = f"marker-{os.getpid()}-{time.monotonic_ns()}"
    server = start(QUICK + f"faults: [{{kind: children, {options}}}]", env={"SIMULATOR_TEST": marker})
    children = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != server.process.pid and process.environ().get("SIMULATOR_TEST") == marker:
                children.append(process)
    try:
        assert len(children) == (1 if "count: 1" in options else 2)
        for child in children:
            assert (os.getsid(child.pid) != os.getsid(server.process.pid)) is own_session
            assert (child.ppid() != server.process.pid) is orphan
        server.process.send_signal(signal.SIGKILL)
        server.process.wait()
        assert all(child.is_running() for child in children)
        for child in children:
            child.terminate()
        _, alive = psutil.wait_procs(children, timeout=1 if deaf else 10)
        assert len(alive) == (len(children) if deaf else 0)
    finally:
        for child in children:
            with contextlib.suppress(psutil.Error):
                child.kill()


# --- the command line


BAD = [
    pytest.param(["--variant", "{"], 2, "is not JSON", id="variant"),
    pytest.param(["--variant", '{"ep": 1}'], 2, "not a JSON object of strings", id="level"),
    pytest.param(["--time-scale", "0"], 2, "expected a number above 0", id="time scale"),
    pytest.param(["--profile", "/nothing.yaml"], 1, "/nothing.yaml: No such file", id="profile"),
    pytest.param(["--no-such-flag"], 2, "unrecognized arguments: --no-such-flag", id="flag"),
]


@pytest.mark.parametrize(("more", "code", "message"), BAD)
def test_bad_arguments_end_the_start_at_once(tmp_path, more, code, message):
    (tmp_path / "p.yaml").write_text("seed: 1")
    argv = [sys.executable, "-m", "hpcsweep.simulator", "--model", "m", "--profile", str(tmp_path / "p.yaml"), *more]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_server_process_imports_nothing_heavy():
    code = "import sys, hpcsweep.simulator.server, hpcsweep.simulator.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pydantic", "numpy", "sqlalchemy", "click", "rich"} & set(done.stdout.split())


def test_the_adapter_reads_its_own_version():
    engine = SimulatedEngine(get_engine("vllm"), "p.yaml", 1.0, {})
    done = subprocess.run(
        [sys.executable, *engine.version_argv(sys.executable)], capture_output=True, text=True, check=True
    )
    assert engine.parse_version(done.stdout) is not None
