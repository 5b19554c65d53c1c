"""qdel, qsig, qrerun, qhold, qrls, and `fakepbs`: what an administrator, or a broken machine, does to the server."""

import contextlib
import os
import re
import signal
import sys
import time

from fakepbs import history, mom, scheduling
from fakepbs.listing import find
from fakepbs.state import Refused, ctime, locked, operator, user

QDEL_USAGE = """usage:
	qdel [-W force|suppress_email=X] [-x] job_identifier...
	qdel --version"""


def each(command: str, names: list[str], act) -> int:
    """`act` on every job; the last refusal's code is the command's."""
    code = 0
    for name in names:
        with locked(asks=command) as state:
            try:
                try:
                    job, index, full = find(state, name)
                except Refused as exc:
                    raise Refused(f"{command}: {exc.words}", exc.code) from exc
                if job["a"]["Job_Owner"].partition("@")[0] != user() and not operator():
                    raise Refused(f"{command}: Unauthorized Request  {full}", 159)
                act(state, job, index, full)
                scheduling.cycle(state)
            except Refused as exc:
                sys.stderr.write(exc.words + "\n")
                code = exc.code
    return code


def record(job: dict, index: str | None) -> dict:
    return job["a"] if index is None else job["subjobs"][index]


def wake(a: dict, kind: str, value) -> None:
    """Tell the job's MOM."""
    a.setdefault("_request", []).append([kind, value])
    with contextlib.suppress(ProcessLookupError, KeyError):
        os.kill(a["_mom"], signal.SIGUSR1)


def reachable(state: dict, a: dict, command: str, full: str) -> None:
    if not all(state["moms"][vnode] for vnode, _ in a.get("_where", [])):
        raise Refused(f"{command}: Server could not connect to MOM {full}", 222)


def qdel(argv: list[str]) -> int:
    names, force, erase, rest = [], False, False, list(argv)
    while rest:
        word = rest.pop(0)
        if word == "-W":
            force = rest.pop(0) == "force"
        elif word == "-x":
            erase = True
        else:
            names.append(word)
    if not names:
        raise Refused(QDEL_USAGE, 2)

    def one(state: dict, job: dict, index: str | None, full: str) -> None:
        if index is not None and record(job, index)["job_state"] == "X":
            raise Refused(f"qdel: Request invalid for finished array subjob {full}", 55)
        if job["a"]["job_state"] == "F":
            if not erase:
                raise Refused(f"qdel: Job has finished {full}", 35)
            del state["jobs"][str(job["number"])]
            return
        if index is None and "subjobs" in job:
            job["deleted"] = True
            for number in list(job["subjobs"]):
                if job["subjobs"][number]["job_state"] == "X":
                    history.forget(job, number)
                else:
                    delete(state, job, number, full, force)
            history.close_array(state, job)
        else:
            delete(state, job, index, full, force)

    return each("qdel", names, one)


def delete(state: dict, job: dict, index: str | None, full: str, force: bool) -> None:
    a = record(job, index)
    if a["job_state"] in "QHW":
        history.never_ran(state, job, index)
    elif force:
        with contextlib.suppress(ProcessLookupError, KeyError):
            if all(state["moms"][vnode] for vnode, _ in a.get("_where", [])):
                mom.signal_session(a["_sid"], signal.SIGKILL)
            os.kill(a["_mom"], signal.SIGKILL)
        history.end(state, job, index, 265, f" and terminated by {job['a']['Job_Owner']}", "91")
    else:
        reachable(state, a, "qdel", full)
        wake(a, "delete", user())


def qsig(argv: list[str]) -> int:
    names, word, rest = [], "SIGTERM", list(argv)
    while rest:
        item = rest.pop(0)
        if item == "-s":
            word = rest.pop(0)
        else:
            names.append(item)

    def one(state: dict, job: dict, index: str | None, full: str) -> None:
        targets = [index] if index is not None or "subjobs" not in job else list(job["subjobs"])
        if job["a"]["job_state"] == "F":
            raise Refused("qsig: Job has finished", 35)
        if word == "suspend":
            raise Refused(f"qsig: Unauthorized Request  {full}", 159)
        name = word if word.isdigit() else word.upper().removeprefix("SIG")
        number = int(name) if name.isdigit() else getattr(signal, f"SIG{name}", None)
        if number is None:
            raise Refused(f"qsig: Unknown/illegal signal name {full}", 165)
        running = [t for t in targets if record(job, t)["job_state"] == "R"]
        if not running:
            raise Refused(f"qsig: Request invalid for state of job {full}", 168)
        for target in running:
            wake(record(job, target), "signal", int(number))

    return each("qsig", names, one)


def qrerun(argv: list[str]) -> int:
    def one(state: dict, job: dict, index: str | None, full: str) -> None:
        if not operator():
            raise Refused(f"qrerun: Unauthorized Request  {full}", 159)
        if job["a"]["Rerunable"] == "False":
            raise Refused(f"qrerun: job is not rerunnable {full}", 190)
        targets = list(job["subjobs"]) if index is None and "subjobs" in job else [index]
        running = [target for target in targets if record(job, target)["job_state"] == "R"]
        if not running:
            raise Refused(f"qrerun: Request invalid for state of job {full}", 168)
        for target in running:
            wake(record(job, target), "rerun", None)

    return each("qrerun", argv, one)


def qalter(argv: list[str]) -> int:
    """-N only. What of an array has started keeps its name."""

    def one(state: dict, job: dict, index: str | None, full: str) -> None:
        job["a"]["Job_Name"] = argv[1]

    return each("qalter", argv[2:], one)


def qhold(argv: list[str]) -> int:
    def one(state: dict, job: dict, index: str | None, full: str) -> None:
        if index is not None:
            raise Refused(f"qhold: Invalid request {full}", 156)
        job["a"]["Hold_Types"] = "u"
        if job["a"]["job_state"] in "QB":
            job["a"] |= {"job_state": "H", "substate": "20"}
            job["a"]["comment"] = f"Job held by {user()} on {ctime(time.time())}"

    return each("qhold", argv, one)


def qrls(argv: list[str]) -> int:
    def one(state: dict, job: dict, index: str | None, full: str) -> None:
        job["a"]["Hold_Types"] = "n"
        if job["a"]["job_state"] == "H":
            begun = "subjobs" in job and any(sub["job_state"] != "Q" for sub in job["subjobs"].values())
            job["a"] |= {"job_state": "B" if begun else "Q", "substate": "70" if begun else "10"}
            job["a"].pop("comment", None)
            job["a"].setdefault("etime", ctime(time.time()))

    return each("qrls", argv, one)


def fakepbs(argv: list[str]) -> int:
    """Administration.

    down | up | freeze | purge | stop-all | next N | nodes NAME=GPU ... | set server|queue NAME=VALUE ... |
    mom NODE kill|start
    """
    words = argv or ["help"]
    with locked() as state:
        if words[0] in ("down", "up", "freeze"):
            state["up"] = {"down": False, "up": True, "freeze": "frozen"}[words[0]]
        elif words[0] == "next":
            state["next"] = int(words[1])
        elif words[0] == "nodes":  # nodes gpu1=h200 gpu2=a100 ...: of 64 CPUs and 8 GPUs of a type
            kinds = dict(pair.split("=") for pair in words[1:])
            state["moms"] = dict.fromkeys(kinds, True)
            state["nodes"] = {
                name: {"ncpus": 64, "ngpus": 8, "mem": 900 << 20, "gpu_type": kind} for name, kind in kinds.items()
            }
        elif words[0] == "purge":
            history.purge(state)
        elif words[0] == "set":
            table = state["server"] if words[1] == "server" else state["queues"][words[2]]
            for pair in words[2 if words[1] == "server" else 3 :]:
                key, _, value = pair.partition("=")
                table[key] = {"True": True, "False": False}.get(value, _number(value))
        elif words[0] == "mom":
            _kill_mom(state, words[1]) if words[2] == "kill" else _start_mom(state, words[1])
        elif words[0] == "stop-all":
            _stop_all(state)
        else:
            print(fakepbs.__doc__)
            return 2
        if words[0] in ("up", "set", "mom"):
            scheduling.cycle(state)
    return 0


def _number(text: str):
    return float(text) if re.fullmatch(r"\d+\.\d+", text) else int(text) if text.isdigit() else text


def _on(state: dict, node: str):
    for job in list(state["jobs"].values()):
        for index in [None] if "subjobs" not in job else list(job["subjobs"]):
            a = record(job, index)
            if a["job_state"] in "RE" and any(vnode == node for vnode, _ in a.get("_where", [])):
                yield job, index, a


def _kill_mom(state: dict, node: str) -> None:
    """The node's daemon dies; the job's processes live on, and the server goes on saying R."""
    state["moms"][node] = False
    for _, _, a in _on(state, node):
        with contextlib.suppress(ProcessLookupError):
            os.kill(a["_mom"], signal.SIGKILL)


def _start_mom(state: dict, node: str) -> None:
    """It comes back and kills what it finds: -r y jobs are queued again, -r n jobs end with -4."""
    state["moms"][node] = True
    for job, index, a in list(_on(state, node)):
        if "_sid" in a:
            mom.signal_session(a["_sid"], signal.SIGKILL)
        if job["a"]["Rerunable"] == "True":
            mom.requeue(job, index)
        else:
            history.end(state, job, index, -4, " and failed", "93")


def _stop_all(state: dict) -> None:
    """End every process of every job: for the end of a test."""
    for node in state["moms"]:
        for _, _, a in _on(state, node):
            with contextlib.suppress(ProcessLookupError, KeyError):
                os.kill(a["_mom"], signal.SIGKILL)
            if "_sid" in a:
                mom.signal_session(a["_sid"], signal.SIGKILL)
    state["jobs"] = {}
