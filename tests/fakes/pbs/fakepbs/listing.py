"""qstat, qselect, pbsnodes."""

import os
import re
import sys

from fakepbs import show
from fakepbs.scheduling import free, ident
from fakepbs.state import SERVER, VERSION, Refused, job_id, locked

QSTAT_USAGE = """usage:\x20
qstat [-f] [-J] [-p] [-t] [-x] [-E] [-F format | -w] [-D delim] [ job_identifier... | destination... ]
qstat [-a|-i|-r|-H|-T] [-J] [-t] [-u user] [-n] [-s] [-G|-M] [-1] [-w]
	[ job_identifier... | destination... ]
qstat -Q [-f] [-F format] [-D delim] [ destination... ]
qstat -q [-G|-M] [ destination... ]
qstat -B [-f] [-F format] [-D delim] [ server_name... ]
qstat --version"""
FINISHED = "{id} Job has finished, use -x or -H to obtain historical job information"
NO_HISTORY = "PBS is not configured to maintain job history"
WALLTIME = "resources_max.walltime"
ID = re.compile(r"(\d+)(\[\d*\])?(?:\.(.+))?")


def find(state: dict, text: str) -> tuple[dict, str | None, str]:
    """The job, the index of a subjob, the full id. Refused: 153 unknown, 1 malformed."""
    match = ID.fullmatch(text)
    if match is None or match[3] not in (None, SERVER):
        raise Refused(f"illegally formed job identifier: {text}", 1)
    number, index = match[1], (match[2] or "").strip("[]") or None
    full = f"{number}{match[2] or ''}.{SERVER}"
    job = state["jobs"].get(number)
    wrong = job is None or ("subjobs" in job) != (match[2] is not None)
    if wrong or (index is not None and index not in job["subjobs"]):
        raise Refused(f"Unknown Job Id {full}", 153)
    return job, index, full


def over(job: dict, index: str | None) -> bool:
    return job["a"]["job_state"] == "F"


def qstat(argv: list[str]) -> int:
    if argv == ["--version"]:
        print(f"pbs_version = {VERSION}")
        return 0
    flags, form, names, rest = set(), "", [], list(argv)
    while rest:
        word = rest.pop(0)
        if word == "-F":
            form = rest.pop(0)
        elif word.startswith("-") and len(word) > 1:
            flags |= set(word[1:])
        else:
            names.append(word)
    if form and "f" not in flags:
        raise Refused(f"qstat: conflicting options.\n{QSTAT_USAGE}", 2)
    try:
        with locked(asks="qstat", down_code=255) as state:
            if "B" in flags or "Q" in flags:
                return about(state, flags, form, names)
            rows, code = select(state, flags, names)
    except Refused as exc:
        if form == "json" and exc.code == 255:
            sys.stdout.write(show.as_json([]))
        raise
    if form == "json":
        sys.stdout.write(show.as_json(rows if len(names) < 2 or "t" in flags else rows[:1]))
    elif form == "dsv":
        sys.stdout.write("".join(show.dsv(*row) for row in rows))
    elif "f" in flags:
        sys.stdout.write("".join(show.plain(*row) for row in rows))
    elif rows:
        sys.stdout.write(show.table(rows))
    return code


def select(state: dict, flags: set, names: list[str]) -> tuple[list, int]:
    """The jobs asked for, and the last error's code; errors go to stderr as they come."""
    rows: list[tuple[dict, str | None]] = []
    code = 0
    if "x" in flags and not state["server"]["job_history_enable"]:
        sys.stderr.writelines(f"qstat: {NO_HISTORY} {name}\n" for name in names or [""])
        return rows, 0
    if not names:
        for number in sorted(state["jobs"], key=int):
            job = state["jobs"][number]
            if "x" in flags or not over(job, None):
                rows += expand(job, None, flags)
        return rows, 0
    for name in names:
        try:
            if not name[0].isdigit():
                raise Refused(f"Unknown queue destination {name}", 170)
            job, index, full = find(state, name)
            if over(job, index) and "x" not in flags:
                raise Refused(FINISHED.format(id=full), 35)
            rows += expand(job, index, flags)
        except Refused as exc:
            sys.stderr.write(f"qstat: {exc.words}\n")
            code = exc.code
    return rows, code


def expand(job: dict, index: str | None, flags: set) -> list[tuple[dict, str | None]]:
    subjobs = list(job["subjobs"]) if "t" in flags and index is None and "subjobs" in job else []
    if os.environ.get("FAKE_PBS_CLIENT") == "20.0.1":  # it does not know that it has to add those that wait
        subjobs = [i for i in subjobs if job["subjobs"][i]["job_state"] != "Q"]
    return [(job, index), *((job, i) for i in subjobs)]


def about(state: dict, flags: set, form: str, names: list[str]) -> int:
    """qstat -B and -Q."""
    counts = {letter: sum(j["a"]["job_state"] == letter for j in state["jobs"].values()) for letter in "QHWREB"}
    text = "Transit:0 Queued:{Q} Held:{H} Waiting:{W} Running:{R} Exiting:{E} Begun:{B} ".format(**counts)
    if "Q" in flags:
        for name in names:
            if name not in state["queues"]:
                raise Refused(f"qstat: Unknown queue {name}", 170)
        queues = {
            name: {
                "queue_type": "Execution", "total_jobs": 0, "state_count": text,
                **({"resources_max": {"walltime": q[WALLTIME]}} if WALLTIME in q else {}),
                "enabled": str(q["enabled"]), "started": str(q["started"]),
            }
            for name, q in state["queues"].items()
        }  # fmt: skip
        sys.stdout.write(show.write_json({**show.head(), "Queue": queues}))
        return 0
    server = {
        "server_state": "Active", "server_host": SERVER, "scheduling": "True", "total_jobs": len(state["jobs"]),
        "state_count": text, "default_queue": state["server"]["default_queue"],
        "max_array_size": state["server"]["max_array_size"], "pbs_version": VERSION,
        "job_history_enable": str(state["server"]["job_history_enable"]),
    }  # fmt: skip
    if form == "json":
        sys.stdout.write(show.write_json({**show.head(), "Server": {SERVER: server}}))
    else:
        print(f"Server: {SERVER}\n" + "".join(f"    {k} = {v}\n" for k, v in server.items()))
    return 0


def qselect(argv: list[str]) -> int:
    wants, rest, flags = {}, list(argv), set()
    while rest:
        word = rest.pop(0)
        letter, value = word[1:2], word[2:]
        if letter in "xJTH":
            flags.add(letter)
        else:
            wants[letter] = value or rest.pop(0)
    with locked(asks="qselect") as state:
        if "q" in wants and wants["q"] not in state["queues"]:
            raise Refused("qselect: Unknown queue destination", 170)
        if "x" in flags and not state["server"]["job_history_enable"]:
            raise Refused(f"qselect: {NO_HISTORY}", 0)
        for number in sorted(state["jobs"], key=int):
            job = state["jobs"][number]
            a = job["a"]
            fields = {"N": a["Job_Name"], "P": a["project"], "A": a.get("Account_Name"), "q": a["queue"]}
            same = all(wants[key] == value for key, value in fields.items() if key in wants)
            mine = wants.get("u", a["Job_Owner"].partition("@")[0]) == a["Job_Owner"].partition("@")[0]
            alive = a["job_state"] != "F" or flags & {"x", "H"}
            in_state = a["job_state"] in wants.get("s", a["job_state"])
            if same and mine and alive and in_state and not ("J" in flags and "subjobs" not in job):
                print(ident(job, None))
    return 0


def pbsnodes(argv: list[str]) -> int:
    with locked(asks="pbsnodes", down_code=1) as state:
        if argv[:1] == ["-v"]:
            raise Refused(f"Node: {argv[1]},  Error: Unknown node ", 1)
        left = free(state)
        natural = {"arch": "linux", "host": SERVER, "mem": "0kb", "ncpus": 0, "vnode": SERVER}
        nodes: dict = {SERVER: node(SERVER, natural)}
        for name, table in state["nodes"].items():
            up = state["moms"][name]
            jobs = [
                job_id(job["number"], None if index is None else int(index))
                for job in state["jobs"].values()
                for index in job.get("subjobs", [None])
                if any(
                    vnode == name
                    for vnode, _ in (job["a"] if index is None else job["subjobs"][index]).get("_where", [])
                )
            ]
            available = {
                "arch": "linux", "host": name, "mem": f"{table['mem'] >> 20}gb", "ncpus": table["ncpus"],
                "ngpus": table["ngpus"], **({"gpu_type": table["gpu_type"]} if "gpu_type" in table else {}),
                "vnode": name,
            }  # fmt: skip
            used = {key: table[key] - left.get(name, table)[key] for key in ("ncpus", "ngpus")}
            taken = {key: value for key, value in used.items() if value}
            nodes[name] = node(SERVER, available, taken, jobs, up)
    if "json" in argv:
        sys.stdout.write(show.write_json({**show.head(), "nodes": nodes}))
        return 0
    for name, about_node in nodes.items():
        print(name)
        for key, value in about_node.items():
            if isinstance(value, dict):
                for inner, amount in value.items():
                    print(f"     {key}.{inner} = {amount}")
            else:
                print(f"     {key} = {', '.join(value) if isinstance(value, list) else value}")
        print()
    return 0


def node(mom: str, available: dict, assigned: dict | None = None, jobs: list | None = None, up: bool = True) -> dict:
    down = {} if up else {"comment": "node down: communication closed"}
    running = {"jobs": jobs} if jobs else {}
    return {
        "Mom": mom, "ntype": "PBS", "state": "free" if up else "down",
        **({} if available["ncpus"] else {"pcpus": 2}), **running,
        "resources_available": available, "resources_assigned": assigned or {}, **down,
        "resv_enable": "True", "sharing": "default_shared", "license": "l", "last_state_change_time": 1795223686,
    }  # fmt: skip
