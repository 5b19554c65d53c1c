"""How jobs end on the fake server, what its history keeps, and how an array counts its elements."""

import re
import time

from fakepbs.state import ctime


def end(state: dict, job: dict, index: str | None, status: int | None, words: str, substate: str) -> None:
    """A job or subjob is over: `words` are what its comment ends with."""
    a = job["a"] if index is None else job["subjobs"][index]
    now = time.time()
    a |= {"job_state": "F" if index is None else "X", "substate": substate, "mtime": ctime(now)}
    if "comment" in a:
        a["comment"] += words
    if status is not None:
        a |= {"Exit_status": str(status), "obittime": ctime(now)}
    for private in ("_mom", "_sid", "_request", "_where"):
        a.pop(private, None)
    a["history_timestamp"] = str(int(now))
    if index is None:
        keep(state, job)
    else:
        if status is not None:
            job["a"]["Exit_status"] = str(max(int(job["a"].get("Exit_status", "0")), worst(status)))
            job["a"].setdefault("Stageout_status", "1")
        if not state["server"]["job_history_enable"]:
            forget(job, index)
        count(job)
        close_array(state, job)


def worst(status: int) -> int:
    """What an ended subjob makes of its array's Exit_status: 1 for a failure, 2 for an end that PBS brought about."""
    return 2 if status < 0 else 1 if status else 0


def forget(job: dict, index: str) -> None:
    """Drop a subjob's own record: it is then shown with what its array has."""
    job["subjobs"][index] = {"job_state": job["subjobs"][index]["job_state"], "substate": "92"}


def never_ran(state: dict, job: dict, index: str | None) -> None:
    """Deleted while it waited: a plain job has no Exit_status, a subjob has nothing of its own."""
    if index is None:
        end(state, job, None, None, " and terminated", "91")
        return
    end(state, job, index, None, "", "92")
    forget(job, index)


def count(job: dict) -> None:
    """The parent's figures about its elements."""
    states = [sub["job_state"] for sub in job["subjobs"].values()]
    counted = {"Queued": "Q", "Running": "R", "Exiting": "E", "Expired": "X"}
    job["a"]["array_state_count"] = " ".join(f"{word}:{states.count(letter)}" for word, letter in counted.items())
    waiting = [int(index) for index, sub in job["subjobs"].items() if sub["job_state"] == "Q"]
    job["a"]["array_indices_remaining"] = _ranges(waiting) or "-"


def close_array(state: dict, job: dict) -> None:
    """The array is over when all elements are; its own Exit_status says little, as on the real server."""
    subs = list(job["subjobs"].values())
    if any(sub["job_state"] not in "XF" for sub in subs) or job["a"]["job_state"] == "F":
        return
    substates = {sub["substate"] for sub in subs}
    words, substate = ("finished", "92")
    if job.get("deleted"):
        words, substate = ("terminated", "91")
    elif "93" in substates:
        words, substate = ("failed", "93")
    now = time.time()
    status = job["a"].get("Exit_status", "0")
    if status == "1" and not job.get("deleted"):
        status = "0"  # 1 while elements run, and 0 in the end: as recorded
    for sub in subs:
        sub["job_state"] = "F"
    job["a"] |= {
        "job_state": "F", "substate": substate, "Exit_status": status, "Stageout_status": "1",
        "mtime": ctime(now), "obittime": ctime(now), "history_timestamp": str(int(now)),
        "array_state_count": "Queued:0 Running:0 Exiting:0 Expired:0", "array_indices_remaining": "-",
    }  # fmt: skip
    if "comment" in job["a"]:
        job["a"]["comment"] += f" and {words}"
    keep(state, job)


def keep(state: dict, job: dict) -> None:
    """Nothing is kept where history is off; the jobs that wait for this one learn of its end first."""
    if not state["server"]["job_history_enable"]:
        for other in state["jobs"].values():
            if re.search(rf":{job['number']}\b", other["a"].get("depend", "")):
                other.setdefault("ended_before", {})[str(job["number"])] = dict(job["a"])
        state["jobs"].pop(str(job["number"]), None)


def purge(state: dict) -> None:
    """Drop what is over, as the server does after job_history_duration."""
    for number in [n for n, job in state["jobs"].items() if job["a"]["job_state"] == "F"]:
        del state["jobs"][number]


def _ranges(indexes: list[int]) -> str:
    parts: list[list[int]] = []
    for index in indexes:
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)
