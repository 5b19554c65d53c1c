"""The scheduler of the fake server: which jobs start, where, and why others wait."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from fakepbs import history
from fakepbs.state import Refused, began, ctime, job_id, root

AMOUNTS = ("mem", "mpiprocs", "ncpus", "ngpus")
UNITS = {"b": 1 / 1024, "kb": 1, "mb": 1 << 10, "gb": 1 << 20, "tb": 1 << 30}


def chunks(select: str) -> list[dict]:
    """One table per chunk of `2:ncpus=4:ngpus=8+1:ncpus=1`; ncpus is 1 where it is not given."""
    found = []
    for part in select.split("+"):
        count, *rest = part.split(":")
        table: dict = {"ncpus": 1}
        if not count.isdigit():
            rest, count = [count, *rest], "1"
        for item in rest:
            key, _, value = item.partition("=")
            if key in AMOUNTS:
                table[key] = amount(key, value)
            elif key in ("host", "vnode"):
                table["vnode"] = value
            elif key == "gpu_type":
                table[key] = value
            else:
                raise Refused(f"qsub: Unknown resource: {key}", 187)
        found += [table] * int(count)
    return found


def amount(key: str, value: str) -> int:
    """A count, or kibibytes."""
    match = re.fullmatch(r"(\d+)([a-z]*)", value)
    if match is None or (match[2] and (key != "mem" or match[2] not in UNITS)):
        raise Refused(f"qsub: Illegal attribute or resource value select.{key}", 166)
    return int(int(match[1]) * UNITS.get(match[2], 1 if key != "mem" else 1 / 1024))


def amount_text(key: str, value: int) -> str:
    if key != "mem":
        return str(value)
    return f"{value >> 20}gb" if value % (1 << 20) == 0 else f"{value >> 10}mb" if value % 1024 == 0 else f"{value}kb"


def totals(parts: list[dict]) -> dict[str, int]:
    summed = {key: sum(part.get(key, 0) for part in parts) for key in AMOUNTS}
    return {**{key: value for key, value in summed.items() if value and key != "mpiprocs"}, "nodect": len(parts)}


def seconds(text: str) -> int:
    total = 0
    for part in text.split(":"):
        total = total * 60 + int(part)
    return total


def hms(whole: int) -> str:
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def cycle(state: dict) -> None:
    """Start what can be started, in the order of submission; say of the rest why not."""
    for number in sorted(state["jobs"], key=int):
        job = state["jobs"].get(number)
        if job is None or job["a"]["job_state"] not in "QHB":
            continue
        if job["a"].get("depend", "").startswith("after") and not depends(state, job):
            continue
        if job["a"]["job_state"] == "H":
            continue
        if "subjobs" in job:
            _start_subjobs(state, job)
        else:
            _start(state, job, None)


def depends(state: dict, job: dict) -> bool:
    """Whether the job waits for nothing (any more). One whose condition cannot come true is dropped."""
    kind, *parents = job["a"]["depend"].split(":")
    met = []
    for parent in parents:
        number = re.match(r"\d+", parent)[0]
        known = state["jobs"].get(number)
        other = known["a"] if known is not None else job.get("ended_before", {}).get(number)
        if other is None:
            met.append(None)
        elif kind == "after":
            met.append(other["job_state"] in "RBEF")
        elif other["job_state"] != "F":
            met.append(False)
        else:
            good = other.get("Exit_status") == "0"
            met.append({"afterok": good, "afternotok": not good}.get(kind, True) or None)
    if None in met:
        job["a"] |= {"job_state": "F", "substate": "92", "mtime": ctime(time.time())}
        history.keep(state, job)
        return False
    if all(met):
        del job["a"]["depend"]
        job["a"] |= {"job_state": "Q", "substate": "10", "Hold_Types": "n", "etime": ctime(time.time())}
        return True
    return False


def _start_subjobs(state: dict, job: dict) -> None:
    running = sum(sub["job_state"] in "RE" for sub in job["subjobs"].values())
    for index in job["subjobs"]:
        if job["subjobs"][index]["job_state"] != "Q":
            continue
        if job["limit"] and running >= job["limit"]:
            break
        if not _start(state, job, index):
            break
        running += 1
    history.count(job)


def _start(state: dict, job: dict, index: str | None) -> bool:
    a = job["a"] if index is None else job["subjobs"][index]
    if not state["queues"][job["a"]["queue"]]["started"]:
        job["a"]["comment"] = "Not Running: Queue not started."
        return False
    where, why = place(state, job)
    if where is None:
        job["a"]["comment"] = why
        return False
    now = time.time()
    vnodes = "+".join("(" + vnode_text(vnode, part) + ")" for vnode, part in where)
    slots = state.setdefault("slot", 0)
    state["slot"] += len(where)
    runs = int(a.pop("_runs", a.get("run_count", "0"))) + 1
    a |= {
        "job_state": "R", "substate": "42", "exec_vnode": vnodes, "stime": ctime(now),
        "exec_host": "+".join(
            f"pbshost/{slots + n}" + (f"*{part['ncpus']}" if part["ncpus"] > 1 else "")
            for n, (_, part) in enumerate(where)
        ),
        "comment": f"Job run at {began(now)} on {vnodes}", "run_count": str(runs),
        "mtime": ctime(now), "jobdir": job["home"],
    }  # fmt: skip
    for stale in ("Exit_status", "Stageout_status"):
        a.pop(stale, None)
    if index is not None:
        for name in ("ctime", "qtime", "Job_Name"):
            a[name] = job["a"][name]
        if job["a"]["job_state"] != "B":
            job["a"] |= {"job_state": "B", "substate": "70", "stime": ctime(now)}
            job["a"]["comment"] = f"Job Array Began at {began(now)}"
    key = str(job["number"]) if index is None else f"{job['number']}[{index}]"
    a["_where"] = where
    a["_started"] = now
    folder = root() / "moms"
    folder.mkdir(exist_ok=True)
    with (folder / f"{key}.log").open("ab") as log:
        mom = subprocess.Popen(
            [sys.executable, "-E", "-S", str(Path(__file__).with_name("mom.py")), key],
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]),
        )  # fmt: skip
    a["_mom"] = mom.pid
    return True


def vnode_text(vnode: str, part: dict) -> str:
    items = [f"{key}={part[key]}" for key in ("ncpus", "ngpus") if part.get(key)]
    return ":".join([vnode, *items, *([f"mem={part['mem']}kb"] if part.get("mem") else [])])


def free(state: dict) -> dict[str, dict]:
    """What each vnode of a living node still has."""
    left = {name: dict(table) for name, table in state["nodes"].items() if state["moms"][name]}
    for job in state["jobs"].values():
        for a in (job["a"], *job.get("subjobs", {}).values()):
            if a["job_state"] in "RE":
                for vnode, part in a.get("_where", []):
                    for key in ("ncpus", "ngpus", "mem"):
                        if vnode in left:
                            left[vnode][key] -= part.get(key, 0)
    return left


def place(state: dict, job: dict) -> tuple[list | None, str]:
    """Where the job's chunks go; None and the scheduler's words when they do not fit now, or never."""
    parts = chunks(job["a"]["Resource_List.select"])
    left, asked = free(state), totals(parts)
    for key in ("ncpus", "ngpus", "mem"):
        want, total = asked.get(key, 0), sum(table[key] for table in state["nodes"].values())
        have = sum(table[key] for table in left.values())
        if not left and want <= total:
            return None, "Not Running: Not enough free nodes available"
        if want > have:
            words = "Can Never Run" if want > total else "Not Running"
            shown = [amount_text(key, value) for value in (want, have, total)]
            return None, f"{words}: Insufficient amount of resource: {key} (R: {shown[0]} A: {shown[1]} T: {shown[2]})"
    kinds = sorted({table["gpu_type"] for table in state["nodes"].values() if "gpu_type" in table})
    for part in parts:
        if "gpu_type" in part and part["gpu_type"] not in kinds:
            there = kinds[-1] if kinds else ""
            return None, f"Can Never Run: Insufficient amount of resource: gpu_type ({part['gpu_type']} != {there})"
    how = job["a"]["Resource_List.place"]
    where, used = [], set()
    for part in parts:
        for vnode, table in left.items():
            fits = all(table[key] >= part.get(key, 0) for key in ("ncpus", "ngpus", "mem"))
            idle = all(table[key] == state["nodes"][vnode][key] for key in ("ncpus", "ngpus"))
            named = part.get("vnode") in (None, vnode) and part.get("gpu_type") in (None, table.get("gpu_type"))
            if fits and named and not ("scatter" in how and vnode in used) and ("excl" not in how or idle):
                for key in ("ncpus", "ngpus", "mem"):
                    table[key] -= part.get(key, 0)
                where.append([vnode, part])
                used.add(vnode)
                break
        else:
            biggest = max((t["ngpus"] for t in state["nodes"].values()), default=0)
            words = "Can Never Run" if part.get("ngpus", 0) > biggest else "Not Running"
            return None, f"{words}: Not enough free nodes available"
    return where, ""


def ident(job: dict, index: str | None) -> str:
    return job_id(job["number"], None if index is None else int(index), array=index is None and "subjobs" in job)
