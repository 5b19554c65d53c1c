"""The environment of the engine: that of the job, changed by the shell lines of `engine_setup`."""

import subprocess
from collections.abc import Mapping, Sequence

from hpcsweep.node.watch.outcome import AttemptVerdict, Ended
from hpcsweep.spec.phases import OutcomeKind

_TIMEOUT_S = 300.0
_SHELL_OWN = frozenset({"_", "SHLVL", "PWD", "OLDPWD"})
"""Variables that the shell itself changes."""


def engine_environment(lines: Sequence[str], env: Mapping[str, str]) -> dict[str, str]:
    """Return the environment after the shell lines, which bash runs with `env`; what they print is left aside.

    The agent keeps its own environment, so that a module for the engine cannot replace the agent's Python or libraries.
    Raises Ended when the last line fails or the lines take longer than 5 min.
    """
    if not lines:
        return dict(env)
    script = "\n".join(["{", *lines, "} >&2 || exit", "exec env -0"])
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise _failed(f"took longer than {_TIMEOUT_S:.0f} s", exc.stderr or b"") from exc
    if done.returncode != 0:
        raise _failed(f"exited with {done.returncode}", done.stderr)
    pairs = (entry.partition(b"=") for entry in done.stdout.split(b"\0") if entry)
    after = {name.decode(errors="surrogateescape"): value.decode(errors="surrogateescape") for name, _, value in pairs}
    return {name: value for name, value in after.items() if name not in _SHELL_OWN or name in env} | {
        name: env[name] for name in _SHELL_OWN if name in env
    }


def _failed(what: str, stderr: bytes) -> Ended:
    last = (stderr.decode(errors="replace").strip().splitlines() or ["without a message"])[-1][:300]
    return Ended(
        AttemptVerdict(
            OutcomeKind.FAILED,
            "engine_setup_failed",
            f"engine_setup of the cluster profile {what}: {last}",
            "the agent: engine_setup",
            "run its lines in a shell on a compute node",
        )
    )
