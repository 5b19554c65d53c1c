"""Rows of the published studies, as an import returns them, and small builders for others."""

from dataclasses import replace

from hpcsweep.analysis.columns import SampleRow
from hpcsweep.analysis.rows import AttemptRow, FactRow, PhaseRow, RunRow, SweepRow, WorkloadRow
from hpcsweep.spec.phases import OutcomeKind, Phase, RunState

GIB = 2**30
ARGV = ("/opt/vllm/bin/vllm", "serve", "zai-org/GLM-4.6", "--host", "127.0.0.1", "--port", "40123")


def samples(rows, *, prefix="s", tokens=512):
    """(prompt tokens, seconds) pairs, sent one after the other."""
    sent, rows_sent = 0.0, []
    for index, (prompt, e2e) in enumerate(rows):
        rows_sent.append(SampleRow(f"{prefix}_{index + 1}", index, sent, prompt, tokens, None, e2e))
        sent += e2e
    return tuple(rows_sent)


def workload(name, found, **changes):
    row = WorkloadRow(
        workload=name,
        samples_total=len(found),
        samples=found,
        durations_s=(sum(s.e2e_s or 0.0 for s in found),) if found else (),
    )
    return replace(row, **changes)


def attempt(workloads=(), *, outcome=OutcomeKind.COMPLETED, **changes):
    row = AttemptRow(
        attempt=1,
        host="hopper-46",
        job_id="1",
        engine="vllm",
        simulated=False,
        time_scale=1.0,
        outcome=outcome,
        phase=Phase.TEARDOWN if outcome is OutcomeKind.COMPLETED else Phase.COMPILE,
        startup_s=400.0 if outcome is OutcomeKind.COMPLETED else None,
        duration_s=1000.0,
        argv=ARGV,
        gpu_name="NVIDIA H200",
        workloads=tuple(workloads),
    )
    return replace(row, **changes)


def run(axes, attempts=(), *, sweep="s-0001", repeat=1, **changes):
    label = "_".join(f"{axis}-{level}" for axis, level in axes.items())
    attempts = tuple(attempts)
    row = RunRow(
        run=label + (f"_r{repeat}" if repeat > 1 else ""),
        sweep=sweep,
        variant_id=label,
        repeat=repeat,
        axes=axes,
        engine="vllm",
        model="zai-org/GLM-4.6",
        gpus=8,
        state=RunState.FINISHED,
        outcome=attempts[-1].outcome if attempts else OutcomeKind.NOT_RUN,
        attempts=attempts,
        simulated=any(a.simulated for a in attempts),
    )
    return replace(row, **changes)


def sweep(runs, axes, baseline, **changes):
    row = SweepRow(
        sweep="s-0001",
        experiment="s",
        title="",
        submitted_at=1_790_000_000.0,
        cluster="hopper",
        scheduler="pbs",
        axes=axes,
        baseline=baseline,
        objective={"metric": "tps", "samples": "warm"},
        runs=tuple(runs),
    )
    return replace(row, **changes)


def _h200(axes, host, seconds=None, seconds_64k=None, **changes):
    short = workload("8k", samples(zip((6101, 6101, 6102), seconds, strict=True), prefix="8k")) if seconds else None
    long = workload("64k", samples(((47490, s) for s in seconds_64k or ()), prefix="64k"))
    if not seconds_64k and short:
        long = WorkloadRow("64k", left_out="does not fit")
    facts = (FactRow("load_s", 155.0, "s", "log"), FactRow("weights_bytes_per_gpu", 82.6 * GIB, "bytes", "log"))
    given = {"facts": facts, "host": host, **changes}
    return run(axes, [attempt([w for w in (short, long) if short], **given)], sweep="h200-0001")


def h200_study():
    """The five runs of the H200 study, from its detailed tables."""
    base = {"ep": "on", "eager": "yes", "len": "32k"}
    stalled = {"outcome": OutcomeKind.STARTUP_TIMEOUT, "phase": Phase.COMPILE, "reason": "startup timed out"}
    compile_phase = PhaseRow(Phase.COMPILE, 170.0, None, 1200.0)
    return sweep(
        [
            _h200(base, "hopper-46", (59.86, 58.55, 58.32)),
            _h200(base | {"eager": "no"}, "hopper-35", phases=(compile_phase,), **stalled),
            _h200(base | {"len": "8k"}, "hopper-34", (79.46, 59.07, 58.88)),
            _h200(base | {"len": "64k"}, "hopper-36", (78.34, 58.27, 58.69), (61.65, 58.38)),
            _h200(
                base | {"ep": "off"},
                "hopper-34",
                **(stalled | {"phase": Phase.LOAD_WEIGHTS}),
                facts=(FactRow("load_s", 310.0, "s", "log"), FactRow("weights_bytes_per_gpu", 82.6 * GIB, "bytes")),
            ),
            replace(
                run({}, sweep="h200-0001"),
                run="KV cache dtype auto",
                variant_id="",
                not_submitted=True,
                reason="fp8 works well, baseline uses it",
            ),
        ],
        {"ep": ("on", "off"), "eager": ("yes", "no"), "len": ("8k", "32k", "64k")},
        base,
        sweep="h200-0001",
        experiment="h200",
    )


_A100 = {  # (ep, batched tokens) -> figures of the printed blocks
    ("off", "default"): (148.61, 6.73, 1345.12, 2788.21, 51022.80, 154.20),
    ("on", "default"): (153.11, 6.53, 1305.62, 2706.34, 51031.51, 158.11),
    ("off", "4k"): (146.98, 6.80, 1360.05, 2819.17, 49578.97, 159.13),
    ("off", "8k"): (146.69, 6.82, 1362.78, 2824.82, 49591.68, 160.28),
    ("off", "16k"): (147.02, 6.80, 1359.74, 2818.53, 49736.96, 160.50),
}


def a100_study():
    """The A100 study: five benchmarks of 1,000 requests, one run each, only aggregates."""
    runs = []
    for (ep, batched), (duration, requests, output, total, ttft, tpot) in _A100.items():
        figures = {
            "completed": 1000.0,
            "duration": duration,
            "total_input_tokens": 214465.0,
            "total_output_tokens": 199904.0,
            "request_throughput": requests,
            "output_throughput": output,
            "total_token_throughput": total,
            "mean_ttft_ms": ttft,
            "mean_tpot_ms": tpot,
        }
        row = WorkloadRow("sharegpt", "vllm-bench", samples_total=1000, durations_s=(duration,), client_figures=figures)
        runs.append(run({"ep": ep, "batched_tokens": batched}, [attempt([row])], sweep="a100-0001"))
    return sweep(
        runs,
        {"ep": ("off", "on"), "batched_tokens": ("default", "4k", "8k", "16k")},
        {"ep": "off", "batched_tokens": "default"},
        sweep="a100-0001",
        objective={"metric": "total_tps_per_gpu"},
    )
