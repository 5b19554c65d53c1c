"""qsub: options, directives, and every refusal that was recorded."""

import os
import re
import shlex
import sys
import time
from pathlib import Path

from fakepbs import scheduling
from fakepbs.state import SERVER, VERSION, Refused, ctime, job_id, locked, root, user
from fakepbs.variables import variable_list

USAGE = """usage: qsub [-a date_time] [-A account_string] [-c interval]
	[-C directive_prefix] [-e path] [-f ] [-h ] [-I [-X]] [-j oe|eo] [-J X-Y[:Z]]
	[-k keep] [-l resource_list] [-m mail_options] [-M user_list]
	[-N jobname] [-o path] [-p priority] [-P project] [-q queue] [-r y|n]
	[-R o|e|oe] [-S path] [-u user_list] [-W otherattributes=value...]
	[-v variable_list] [-V ] [-z] [script | -- command [arg1 ...]]
       qsub --version"""
VALUES, FLAGS = "aAcCejJklmMNopPqrRSuvW", "fhIVXz"
RESOURCES = ("ncpus", "ngpus", "mem", "walltime", "mpiprocs", "host", "vnode", "place", "nodect", "gpu_type")
NAME = re.compile(r"[A-Za-z0-9_.+-]+")
DEPEND = re.compile(r"(after(ok|notok|any)?):(\d+(\[\])?(\.\w+)?(:\d+(\[\])?(\.\w+)?)*)")


def qsub(argv: list[str]) -> int:
    if argv == ["--version"]:
        print(f"pbs_version = {VERSION}")
        return 0
    options, rest = parse(argv)
    direct = rest[1:] if rest[:1] == ["--"] else None
    text, name = "", "STDIN"
    if direct is not None:
        name = Path(direct[0]).name
    elif rest:
        try:
            text, name = Path(rest[0]).read_text(errors="surrogateescape"), Path(rest[0]).name
        except OSError:
            raise Refused("qsub: script file:: No such file or directory", 1) from None
    else:
        text = sys.stdin.read()
    if "\r\n" in text:
        raise Refused("qsub: script contains cr, lf", 1)
    prefix = next((value for letter, value in options if letter == "C"), "#PBS")
    options = merge(directives(text, prefix), options)
    if not any(letter == "N" for letter, _ in options):
        check_name(name)
    with locked(asks="qsub") as state:
        job = build(state, options, argv, text if direct is None else None, direct, name)
        scheduling.cycle(state)
    print(job)
    return 0


def parse(argv: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    options, rest = [], list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        word = rest.pop(0)
        letter, value = word[1:2], word[2:]
        if letter in FLAGS:
            options.append((letter, ""))
            if value:
                rest.insert(0, f"-{value}")
        elif letter and letter in VALUES:
            options.append((letter, value or (rest.pop(0) if rest else "")))
        else:
            raise Refused(f"qsub: invalid option -- '{letter}'\n{USAGE}", 2)
    for letter, value in options:
        check(letter, value)
    if any(o == ("r", "n") for o in options) and any(letter == "J" for letter, _ in options):
        raise Refused(f"qsub:  cannot submit non-rerunable Array Job\n{USAGE}", 2)
    return options, rest


def check(letter: str, value: str) -> None:
    if letter == "N":
        check_name(value)
    bad = {
        "J": lambda: array_indexes(value) is None,
        "m": lambda: not re.fullmatch(r"n|[abej]+", value),
        "p": lambda: not re.fullmatch(r"[+-]?\d{1,4}", value) or abs(int(value)) > 1024,
        "j": lambda: value not in ("oe", "eo", "n"),
        "r": lambda: value not in ("y", "n"),
        "W": lambda: value.startswith("depend=") and not DEPEND.fullmatch(value[7:]),
    }.get(letter)
    if bad is not None and bad():
        raise Refused(f"qsub: illegal -{letter} value\n{USAGE}", 2)


def check_name(name: str) -> None:
    if len(name) > 230:
        raise Refused("qsub: Job name is too long ", 2)
    if not NAME.fullmatch(name):
        raise Refused(f"qsub: illegal -N value\n{USAGE}", 2)


def array_indexes(value: str) -> tuple[list[int], int] | None:
    match = re.fullmatch(r"(\d+)-(\d+)(?::(\d+))?(?:%(\d+))?", value)
    if match is not None and match[4] and os.environ.get("FAKE_PBS_CLIENT") == "20.0.1":
        return None
    if match is None or int(match[2]) <= int(match[1]):
        return None
    return list(range(int(match[1]), int(match[2]) + 1, int(match[3] or 1))), int(match[4] or 0)


def directives(text: str, prefix: str) -> list[tuple[str, str]]:
    options = []
    for line in text.split("\n"):
        if line.startswith(prefix):
            try:
                found, rest = parse(shlex.split(line[len(prefix) :]))
            except Refused as exc:
                raise Refused(f"qsub: directive error: {line[len(prefix) :].strip()} ", 1) from exc
            if rest:
                raise Refused(f"qsub: directive error: {line[len(prefix) :].strip()} ", 1)
            options += found
        elif line.strip() and not line.startswith("#"):
            break
    return options


def merge(script: list[tuple[str, str]], line: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Options of the command line win; -l wins resource by resource, -v whole."""
    given = {letter for letter, _ in line if letter not in "lW"}
    resources = {value.partition("=")[0] for letter, value in line if letter == "l"}
    kept = [(o, v) for o, v in script if o not in given and not (o == "l" and v.partition("=")[0] in resources)]
    return [*kept, *line]


def build(state: dict, options, argv, text, direct, name) -> str:
    one = dict(options)
    resources = resource_list([value for letter, value in options if letter == "l"])
    more = dict(value.split("=", 1) for letter, value in options if letter == "W")
    if set(more) - {"depend", "umask", "sandbox", "max_run_subjobs", "group_list", "block"}:
        raise Refused("qsub: Error (15002) submitting job", 154)
    array = array_indexes(one["J"]) if "J" in one else None
    queue = pick_queue(state, one.get("q", ""), resources, len(array[0]) if array else 1)
    if array and len(array[0]) > state["server"]["max_array_size"]:
        raise Refused("qsub: Array job exceeds server or queue size limit", 3)
    env = dict(os.environ)
    variables = variable_list(one["v"], env) if "v" in one else []
    if "V" in one:
        variables += [(key, value) for key, value in env.items() if not key.startswith(("BASH_FUNC", "PBS_O_"))]
    number, now, home = state["next"], time.time(), env.get("HOME", "/")
    state["next"] += 1
    script = None
    if text is not None:
        script = root() / "spool" / f"{job_id(number, array=bool(array))}.SC"
        script.parent.mkdir(exist_ok=True)
        script.write_text(text, errors="surrogateescape")
        script.chmod(0o700)
    held = "h" in one
    a = {
        "Job_Name": one.get("N", name), "Job_Owner": f"{user()}@{SERVER}",
        "job_state": "H" if held else "Q", "queue": queue, "server": SERVER, "Checkpoint": "u", "ctime": ctime(now),
        "Error_Path": output_path(one.get("e"), one.get("N", name), "e", number, array, env),
        "Hold_Types": "u" if held else "n", "Join_Path": one.get("j", "n"), "Keep_Files": one.get("k", "n"),
        "Mail_Points": one.get("m", "a"), "mtime": ctime(now),
        "Output_Path": output_path(one.get("o"), one.get("N", name), "o", number, array, env),
        "Priority": one.get("p", "0"), "qtime": ctime(now), "Rerunable": "False" if one.get("r") == "n" else "True",
        **{f"Resource_List.{key}": value for key, value in resources.items()},
        "substate": "20" if held else "10",
        "Variable_List": ",".join(f"{k}={v}" for k, v in job_variables(env, home, variables, queue)),
        "Submit_arguments": " ".join(argv), "project": one.get("P", "_pbs_project_default"), "Submit_Host": SERVER,
    }  # fmt: skip
    if "A" in one:
        a["Account_Name"] = one["A"]
    if not held:
        a["etime"] = ctime(now)
    if direct is not None:
        a["executable"] = f"<jsdl-hpcpa:Executable>{direct[0]}</jsdl-hpcpa:Executable>"
        if direct[1:]:
            a["argument_list"] = "".join(f"<jsdl-hpcpa:Argument>{x}</jsdl-hpcpa:Argument>" for x in direct[1:])
    if "depend" in more:
        kind, *parents = more["depend"].split(":")
        full = [p if "." in p else f"{p}.{SERVER}" for p in parents]
        a |= {"depend": f"{kind}:" + ":".join(f"{p}@{SERVER}" for p in full)}
        a |= {"job_state": "H", "Hold_Types": "s", "substate": "22"}
    job = {
        "number": number, "a": a, "script": str(script) if script else None, "argv": direct, "home": home,
        "workdir": str(Path.cwd()), "variables": dict(variables), "fakes": {
            key: value for key, value in env.items() if key.startswith("FAKE_PBS_")
        },
    }  # fmt: skip
    if array:
        indexes, limit = array
        job["limit"] = limit or int(more.get("max_run_subjobs", 0))
        job["subjobs"] = {str(index): {"job_state": "Q", "substate": "10"} for index in indexes}
        spec = one["J"].partition("%")[0]
        a |= {"array": "True", "array_indices_submitted": spec, "array_indices_remaining": spec}
        if job["limit"]:
            a["max_run_subjobs"] = str(job["limit"])
    state["jobs"][str(number)] = job
    return job_id(number, array=bool(array))


def pick_queue(state: dict, asked: str, resources: dict, size: int) -> str:
    name, _, server = asked.partition("@")
    if server and server != SERVER:
        raise Refused(f"Unknown Host.\nqsub: cannot connect to server {SERVER} (errno=15008)", 160)
    name = name or state["server"]["default_queue"]
    queue = state["queues"].get(name)
    if queue is None:
        raise Refused("qsub: Unknown queue", 170)
    if not queue["enabled"]:
        raise Refused("qsub: Queue is not enabled", 173)
    limit = queue.get("resources_max.walltime")
    if limit and scheduling.seconds(resources.get("walltime", "0")) > scheduling.seconds(limit):
        raise Refused("qsub: Job violates queue and/or server resource limits", 188)
    most = queue.get("max_queued")
    if most:
        queued = sum(
            len(j.get("subjobs", [0])) for j in state["jobs"].values()
            if j["a"]["queue"] == name and j["a"]["job_state"] not in "FX"
        )  # fmt: skip
        if queued + size > most:
            raise Refused("qsub: would exceed queue generic's per-user limit", 38)
    return name


def resource_list(given: list[str]) -> dict[str, str]:
    asked: dict[str, str] = {}
    for value in given:
        for part in [value] if value.startswith(("select=", "place=")) else value.split(","):
            key, _, amount = part.partition("=")
            asked[key] = amount
    if "select" in asked and "nodes" in asked:
        raise Refused("qsub: Cannot be used with select or place: nodes", 6)
    for key in asked:
        if key not in (*RESOURCES, "select", "nodes"):
            raise Refused(f"qsub: Unknown resource Resource_List.{key}", 187)
        if key in ("ncpus", "ngpus", "mem") and ("select" in asked or "place" in asked):
            raise Refused(f'qsub: "-lresource=" cannot be used with "select" or "place", resource is: {key}', 5)
    if "walltime" in asked and not re.fullmatch(r"(\d+:)?(\d+:)?\d+", asked["walltime"]):
        raise Refused("qsub: Illegal attribute or resource value Resource_List.walltime", 166)
    select = asked.get("select")
    if "nodes" in asked:
        select = "1:" + asked["nodes"].partition(":")[2].replace("ppn", "ncpus")
    totals = scheduling.totals(scheduling.chunks(select or "1:ncpus=1"))
    table = {key: scheduling.amount_text(key, value) for key, value in sorted(totals.items())}
    table |= {"place": asked.get("place", "free" if select else "pack"), "select": select or "1:ncpus=1"}
    if "walltime" in asked:
        table["walltime"] = scheduling.hms(scheduling.seconds(asked["walltime"]))
    return table


def output_path(given: str | None, name: str, letter: str, number: int, array, env: dict) -> str:
    if given is None:
        tail = ".^array_index^" if array else ""
        return f"{SERVER}:{Path.cwd()}/{name}.{letter}{number}{tail}"
    path = given if given.startswith("/") else f"{Path.cwd()}/{given}"
    if Path(path).is_dir() and not path.endswith("/"):
        path += "/"
    return f"{SERVER}:{path}"


def job_variables(env: dict, home: str, variables, queue: str) -> list[tuple[str, str]]:
    fixed = [
        ("PBS_O_HOME", home), ("PBS_O_LANG", env.get("LANG", "C.UTF-8")), ("PBS_O_LOGNAME", user()),
        ("PBS_O_PATH", env.get("PATH", "")), ("PBS_O_SHELL", "/bin/bash"),
        ("PBS_O_INTERACTIVE_AUTH_METHOD", "resvport"), ("PBS_O_INTERACTIVE_ENCRYPT_METHOD", ""),
        ("PBS_O_WORKDIR", str(Path.cwd())), ("PBS_O_SYSTEM", "Linux"),
    ]  # fmt: skip
    return [*fixed, *variables, ("PBS_O_QUEUE", queue), ("PBS_O_HOST", SERVER)]
