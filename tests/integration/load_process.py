"""The load process, run as the node agent runs it, and the server it is let loose on."""

import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcsweep.events.records import EVENT, SampleDone, Warned, WorkloadEnded
from hpcsweep.load.client.record import TRAFFIC

SERVER = Path(__file__).with_name("mock_server.py")


@dataclass
class Mock:
    """A running mock server."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def truth(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/truth", timeout=10) as answer:
            return json.load(answer)


@dataclass
class Result:
    """What the load process wrote, read by the models of the event log."""

    code: int
    events: list[Any]
    errors: str
    traffic: list[dict[str, Any]]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def samples(self) -> list[SampleDone]:
        return [sample for sample in self.of(SampleDone) if not sample.warmup]

    @property
    def ended(self) -> WorkloadEnded:
        (ended,) = self.of(WorkloadEnded)
        return ended

    @property
    def messages(self) -> str:
        return " / ".join(warning.message for warning in self.of(Warned))


def config(tmp_path: Path, url: str, prompts: list[str], *, tokens: int = 8, **more: Any) -> dict[str, Any]:
    """A LoadConfig of `samples`, one a prompt. `more`: fields of the workload, or of the config itself."""
    data = tmp_path / "samples.jsonl"
    rows = [{"id": str(n), "prompt": prompt, "max_tokens": tokens} for n, prompt in enumerate(prompts)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    own = ("base_url", "time_scale", "request_timeout_s", "token_timeout_s", "processes", "first_of_server", "repeat")
    workload = {"name": "w", "dataset": {"kind": "samples", "path": "samples.jsonl"}, "arrival": {"max_concurrency": 4}}
    workload |= {key: value for key, value in more.items() if key not in own}
    files = {str(data): hashlib.sha256(data.read_bytes()).hexdigest()}
    return {
        "planned": {"workload": workload, "facts": {"requests": len(rows), "files": files}},
        "base_url": url,
        "served_model": "m",
        "engine": "vllm",
        "model": "m",
        "clock_origin_s": time.monotonic(),
        "request_timeout_s": 20,
        "token_timeout_s": 10,
        "work_dir": str(tmp_path),
        **{key: value for key, value in more.items() if key in own},
    }


def start(settings: dict[str, Any], **env: str) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-m", "hpcsweep.load.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | env,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(settings))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: "subprocess.Popen[str]") -> Result:
    out, errors = process.communicate(timeout=100)
    common = {"run_id": "s/r", "attempt": 1, "at": 0.0, "t_s": 0.0}
    records = [json.loads(line) for line in out.splitlines()]
    traffic = [record for record in records if record["kind"] == TRAFFIC]  # for the agent: no event
    events = [
        EVENT.validate_json(json.dumps({**record, **common, "seq": seq}))
        for seq, record in enumerate(record for record in records if record["kind"] != TRAFFIC)
    ]
    return Result(process.returncode, events, errors, traffic)


def load(settings: dict[str, Any], **env: str) -> Result:
    return finish(start(settings, **env))
