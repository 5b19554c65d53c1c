"""How qstat writes jobs: a table, plain -f, dsv, and JSON as master writes it (only the first of several ids)."""

import json
import re
import time

from fakepbs.scheduling import ident
from fakepbs.state import SERVER, VERSION, job_id

ORDER = [
    "Job_Name",
    "Job_Owner",
    "resources_used",
    "job_state",
    "queue",
    "server",
    "Account_Name",
    "Checkpoint",
    "ctime",
    "depend",
    "Error_Path",
    "exec_host",
    "exec_vnode",
    "Hold_Types",
    "Join_Path",
    "Keep_Files",
    "Mail_Points",
    "mtime",
    "Output_Path",
    "Priority",
    "qtime",
    "Rerunable",
    "Resource_List",
    "stime",
    "obittime",
    "session_id",
    "jobdir",
    "substate",
    "Variable_List",
    "comment",
    "etime",
    "run_count",
    "Stageout_status",
    "Exit_status",
    "Submit_arguments",
    "executable",
    "argument_list",
    "array_id",
    "array_index",
    "array",
    "array_state_count",
    "array_indices_submitted",
    "array_indices_remaining",
    "max_run_subjobs",
    "history_timestamp",
    "project",
    "Submit_Host",
]
OF_ARRAY_ONLY = ("array", "array_state_count", "array_indices_submitted", "array_indices_remaining", "max_run_subjobs",
                 "history_timestamp", "project", "Submit_Host")  # fmt: skip
NUMBERS = ("Priority", "session_id", "substate", "run_count", "Stageout_status", "Exit_status", "array_index")
OF_PARENT = [
    "Job_Name",
    "Job_Owner",
    "queue",
    "server",
    "ctime",
    "Join_Path",
    "Keep_Files",
    "Mail_Points",
    "Priority",
    "qtime",
    "Rerunable",
    "Variable_List",
    "etime",
    "project",
    "Submit_Host",
    "Account_Name",
    "executable",
    "argument_list",
]
NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
TABLE_HEAD = (
    "Job id            Name             User              Time Use S Queue\n"
    "----------------  ---------------- ----------------  -------- - -----"
)


def attributes(job: dict, index: str | None) -> dict[str, str]:
    """What qstat shows of a job or subjob, in its order."""
    if index is None:
        shown = {key: value for key, value in job["a"].items() if not key.startswith("_")}
    elif "run_count" not in job["subjobs"][index]:
        shown = inherited(job["a"], job["subjobs"][index])
    else:
        parent = job["a"]
        shown = {key: parent[key] for key in OF_PARENT if key in parent}
        shown |= {key: value for key, value in parent.items() if key.startswith("Resource_List.")}
        shown |= {key: value for key, value in job["subjobs"][index].items() if not key.startswith("_")}
        shown |= {"array_id": job_id(job["number"], array=True), "array_index": index, "mtime": parent["mtime"]}
        for path in ("Error_Path", "Output_Path"):
            shown[path] = parent[path].replace("^array_index^", index)
    place = {name: number for number, name in enumerate(ORDER)}
    return dict(sorted(shown.items(), key=lambda kv: (place.get(kv[0].partition(".")[0], 99), _within(kv[0]))))


def inherited(parent: dict[str, str], subjob: dict[str, str]) -> dict[str, str]:
    """A subjob without a record of its own, for it waits or never ran: everything but its state is its array's."""
    shown = {key: value for key, value in parent.items() if not key.startswith("_") and key not in OF_ARRAY_ONLY}
    shown["job_state"] = subjob["job_state"]
    if subjob["job_state"] in "XF":
        shown["comment"] = "Subjob finished"
    else:
        shown["substate"] = "10"
    return shown


def _within(name: str) -> str:
    return name.partition(".")[2]


def table(rows: list[tuple[dict, str | None]]) -> str:
    lines = [TABLE_HEAD]
    for job, index in rows:
        a = attributes(job, index)
        name = a["Job_Name"] if len(a["Job_Name"]) < 16 else a["Job_Name"][:15] + "*"
        started = index is not None or "subjobs" not in job
        used = a.get("resources_used.cput", "00:00:00" if "session_id" in a else "0") if started else "0"
        who = a["Job_Owner"].partition("@")[0][:15]
        lines.append(f"{ident(job, index):<16}  {name:<15}  {who:<16}  {used:>8} {a['job_state']} {a['queue']:<16}")
    return "\n".join(lines) + "\n"


def plain(job: dict, index: str | None) -> str:
    lines = [f"Job Id: {ident(job, index)}"]
    lines += [wrap(f"    {key} = {value}", key) for key, value in attributes(job, index).items()]
    return "\n".join(lines) + "\n\n"


def wrap(line: str, key: str) -> str:
    """79 columns: a list breaks behind its commas, anything else in the middle."""
    if key == "Variable_List":
        lines, current = [], ""
        for item in re.findall(r"[^,]*,|[^,]+$", line):
            if current and len(current.expandtabs(8)) + len(item) > 79:
                lines.append(current)
                current = "\t"
            current += item
        return "\n".join([*lines, current])
    first, rest = line[:79], line[79:]
    return "\n".join([first, *(f"\t{rest[n : n + 71]}" for n in range(0, len(rest), 71))])


def dsv(job: dict, index: str | None) -> str:
    fields = [f"Job Id: {ident(job, index)}"]
    fields += [f"{key}={value}" for key, value in attributes(job, index).items()]
    return "|".join(f.replace("|", "\\|").replace("\n", "\\n") for f in fields) + "\n"


def as_json(rows: list[tuple[dict, str | None]]) -> str:
    document: dict = head()
    if rows:
        document["Jobs"] = {ident(job, index): _nested(attributes(job, index)) for job, index in rows}
    return write_json(document)


def head() -> dict:
    return {"timestamp": int(time.time()), "pbs_version": VERSION, "pbs_server": SERVER}


def _nested(a: dict[str, str]) -> dict:
    table: dict = {}
    for key, value in a.items():
        outer, _, inner = key.partition(".")
        if key == "Variable_List":
            pairs = (item.partition("=") for item in re.split(r",(?=[A-Za-z_]\w*=)", value))
            table[key] = {name: _guess(text) for name, _, text in pairs}
        elif inner:
            table.setdefault(outer, {})[inner] = _guess(value)
        else:
            table[key] = int(value) if key in NUMBERS or key == "history_timestamp" else value
    return table


def _guess(text: str):
    """Types are guessed from the text: the recorded server reads 007 as 7, true as true."""
    if NUMBER.fullmatch(text):
        number = float(text)
        return int(number) if number == int(number) and abs(number) < 1e15 else number
    return {"true": True, "false": False, "null": None}.get(text, text)


def write_json(value, depth: int = 0) -> str:
    """As cJSON prints: tabs, and a tab behind the colon."""
    if isinstance(value, dict):
        pad = "\t" * (depth + 1)
        items = [f"{pad}{json.dumps(key)}:\t{write_json(item, depth + 1)}" for key, item in value.items()]
        inner = ",\n".join(items)
        return "{\n" + (inner + "\n" if inner else "") + "\t" * depth + "}" + ("\n" if depth == 0 else "")
    if isinstance(value, list):
        return "[" + ", ".join(json.dumps(item, ensure_ascii=False) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)
