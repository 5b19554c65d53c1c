"""Convert the attributes of a PBS job into a JobStatus."""

import re
from collections.abc import Iterable, Mapping

from hpcsweep.schedulers.base import JobState, JobStatus
from hpcsweep.schedulers.pbs.exit_codes import MOVED, PURGED, ending, integer, ran, was_deleted
from hpcsweep.schedulers.pbs.records import Attributes

_ID = re.compile(r"(?P<number>\d+)(?:\[(?P<index>\d*)\])?(?:\.(?P<server>[A-Za-z0-9][A-Za-z0-9_.-]*))?")
_VNODE = re.compile(r"\(?([^():+]+)")
_SHORT_OF = re.compile(r"amount of (?:server |queue )?resource: (\S+)(?: \((\S+) != (\S+)\))?")
_SWITCHED_OFF = re.compile(r"amount of (server|queue) resource: (\S+) \(True != False\)")
_TOO_MANY_STARTS = "too many failed attempts"
CAN_NEVER_RUN = "Can Never Run: "
WAITING = "Not Running: "
_BEGAN = "Job Array Began"
_STARTED = "Job run at "
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")

_STATES = {  # job states, PBS Reference Guide, "Job States"
    "Q": JobState.PENDING,
    "W": JobState.PENDING,  # waits for its -a time, or for files
    "T": JobState.PENDING,  # on its way to another queue
    "H": JobState.HELD,
    "R": JobState.RUNNING,
    "B": JobState.RUNNING,  # an array that has begun
    "S": JobState.RUNNING,  # suspended
    "U": JobState.RUNNING,  # suspended: the owner of the workstation is active
    "E": JobState.ENDING,
}
_WORDS = {
    "W": "waiting for its start time, or could not stage in its files",
    "T": "being moved to another queue",
    "S": "suspended by PBS",
    "U": "suspended: its node is in use by another user",
    "E": "ending",
}
_HOLDS = {"u": "held by its owner", "o": "held by an operator", "s": "held by PBS", "p": "held: bad password"}


def split_id(text: str) -> tuple[str, int | None, bool, str]:
    """Split `69[2].pbshost` into ("69", 2, True, "pbshost"): number, index, whether it is of an array, server.

    Raises ValueError for anything else.
    """
    match = _ID.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a PBS job id: 123.server, 123[].server or 123[4].server")
    index = match["index"]
    return match["number"], int(index) if index else None, index is not None, match["server"] or ""


def subjob_id(array_id: str, index: int) -> str:
    """Return `69[2].pbshost` for `69[].pbshost` and 2. Raises ValueError if the id is not that of an array."""
    number, _, is_array, server = split_id(array_id)
    if not is_array:
        raise ValueError(f"{array_id!r} is not a job array")
    return f"{number}[{index}]" + (f".{server}" if server else "")


def statuses(jobs: Mapping[str, Attributes], asked_for: Iterable[str]) -> dict[tuple[str, int | None], JobStatus]:
    """Return one status per plain job and per subjob, under the id that was queried.

    An array itself has no status: its Exit_status does not show how its subjobs ended. Its hold and its comment apply
    to every subjob that still waits. Since 2021 the server leaves listing the waiting subjobs to the client; an older
    client lists none of them, so they are taken from the array's own list.
    """
    names = {_number(job_id): job_id for job_id in asked_for}
    arrays = {
        _number(job_id): attributes for job_id, attributes in jobs.items() if job_id.partition(".")[0].endswith("[]")
    }
    by_key: dict[tuple[str, int | None], JobStatus] = {}
    for job_id, attributes in jobs.items():
        number, index, is_array, _ = split_id(job_id)
        if is_array and index is None:
            continue
        name = names.get(number, job_id)
        by_key[name, index] = status(name, index, attributes, arrays.get(number, {}) if is_array else {})
    for number, array in arrays.items():
        for index in indexes(array.get("array_indices_remaining", "")):
            key = names.get(number, f"{number}[]"), index
            if key not in by_key:
                by_key[key] = status(*key, {"job_state": "Q", **_shared(array)}, array)
    return by_key


def indexes(text: str) -> list[int]:
    """Expand `2-9`, `0-9:3` or `1,4-6` of array_indices_remaining; `-` gives an empty list."""
    expanded: list[int] = []
    for part in text.split(","):
        match = _RANGE.fullmatch(part.strip())
        if match is not None:
            expanded += range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1) or 1)
    return expanded


def status(job_id: str, index: int | None, attributes: Attributes, array: Attributes) -> JobStatus:
    """Return the status of a job or subjob. `array`: the attributes of the array that it belongs to."""
    native = attributes.get("job_state", "")
    count = integer(attributes.get("run_count"))
    restarts = count - 1 if count else None
    node = first_node(attributes)
    name = attributes.get("Job_Name")
    log_path = attributes.get("Output_Path")
    if native in ("F", "X") and attributes.get("substate") != MOVED:
        end = ending(attributes, of_array=index is not None)
        state = JobState.COMPLETED if end.outcome is None else JobState.FAILED
        if index is not None and not ran(attributes, of_array=True) and was_deleted(array):
            state, end = JobState.GONE, PURGED  # qdel of an array also drops the records of subjobs that had ended
        return JobStatus(
            job_id,
            index,
            state,
            native,
            end.reason,
            end.hint,
            end.outcome,
            end.exit_code,
            end.signal,
            node,
            restarts,
            name,
            log_path=log_path,
        )
    state = _STATES.get(native, JobState.UNKNOWN)
    comment = attributes.get("comment") or array.get("comment", "")
    reason, hint = readable(comment), ""
    if state is JobState.PENDING and array.get("job_state") == "H":
        state, attributes = JobState.HELD, array
    if state is JobState.HELD:
        reason, hint = _hold(attributes)
    elif state is JobState.PENDING and (switch := _SWITCHED_OFF.search(comment)):
        reason = comment.removeprefix(CAN_NEVER_RUN).removeprefix(WAITING)
        hint = f"the site has set {switch[2]} of the {switch[1]} to False, for example while a file system is down; "
        hint += "the job starts when it is True again"
    elif state is JobState.PENDING and comment.startswith(CAN_NEVER_RUN):
        state, reason, hint = JobState.UNSCHEDULABLE, comment.removeprefix(CAN_NEVER_RUN), never_hint(comment)
    elif state is JobState.PENDING and comment.startswith(WAITING):
        reason = comment.removeprefix(WAITING)
    elif state is JobState.PENDING and comment.startswith(_BEGAN):
        reason = _limited(array)
    elif state is JobState.RUNNING or state is JobState.ENDING:
        reason = "" if comment.startswith(_STARTED) or native not in _WORDS else reason
    elif state is JobState.UNKNOWN:
        reason = (
            "moved to another PBS server"
            if native == "M" or attributes.get("substate") == MOVED
            else f"state {native or 'missing'}"
        )
    reason = " ".join(part for part in (_WORDS.get(native, ""), readable(reason)) if part)
    return JobStatus(
        job_id, index, state, native, reason, hint, node=node, restarts=restarts, name=name, log_path=log_path
    )


def never_hint(comment: str) -> str:
    """Return what to change in a job that can never run as requested."""
    short = _SHORT_OF.search(comment)
    if short is not None and short[2] is not None:
        return (
            f"no node has {short[1]}={short[2]} (available: {short[3]}): cancel it, correct gpu_type or constraint in "
            "the cluster profile, and submit again"
        )
    if short is not None:
        return f"this cluster has less {short[1]} than the job requests: cancel it, and request less"
    return "cancel it, change its request, and submit it again"


def first_node(attributes: Attributes) -> str | None:
    """Return the first vnode of the job. None: it has not been placed yet."""
    match = _VNODE.match(attributes.get("exec_vnode", ""))
    return match[1] if match else None


def readable(text: str) -> str:
    """Return text of PBS for a terminal: one line, printable, with `?` for bytes that are not UTF-8."""
    plain = text.encode("utf-8", "replace").decode("utf-8").replace("\\n", " ")
    return "".join(c if c.isprintable() else "?" for c in plain)


def _hold(attributes: Attributes) -> tuple[str, str]:
    depend = attributes.get("depend", "")
    if depend and "s" in attributes.get("Hold_Types", "s"):
        return f"waiting for {readable(depend)}", ""
    holds = [words for letter, words in _HOLDS.items() if letter in attributes.get("Hold_Types", "")]
    comment = readable(attributes.get("comment", ""))
    reason = ", ".join(holds) or "held"
    if _TOO_MANY_STARTS in comment:
        starts = integer(attributes.get("run_count"))
        failed = f"{starts} attempts to start it failed" if starts else "too many attempts to start it failed"
        return f"held: {failed}", (
            "bad node, or the log folder is missing or not writable on the nodes: "
            "try again with `qrls ID`, or cancel and retry"
        )
    hint = "release it with qrls" if "u" in attributes.get("Hold_Types", "") else "ask the site for the reason"
    return (f"{reason}: {comment}" if comment else reason), hint


def _limited(array: Attributes) -> str:
    """Return why a subjob of an array that has begun waits, if PBS gives no other reason."""
    most = array.get("max_run_subjobs")
    return f"waiting for a slot: the array runs at most {most} at a time" if most else ""


def _shared(array: Attributes) -> dict[str, str]:
    return {name: array[name] for name in ("Job_Name", "Output_Path") if name in array}


def _number(job_id: str) -> str:
    return job_id.partition(".")[0].partition("[")[0]
