"""The agent of another node: `python -m hpcsweep.node.rank_agent ATTEMPT_DIR --rank R --node NAME`.

The head agent starts it with the launcher of the site. It connects back, makes the same checks as the head agent, runs
its part of the server, and obeys. When the connection is lost it ends its part; when it is killed, its guardian does.

Exit codes: 0 it ended as it was asked; 1 it could not work (the reason is on standard error); 2 usage error; 3 it lost
the connection to the head agent.
"""

import argparse
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hpcsweep.errors import EngineError, HpcsweepError
from hpcsweep.node.agent import read_job
from hpcsweep.node.guardian import Guardian
from hpcsweep.node.process.processes import become_subreaper
from hpcsweep.node.process.signals import catch
from hpcsweep.node.ranks.files import LinkFile, read_link_file
from hpcsweep.node.ranks.link import Link, LinkError, join
from hpcsweep.node.ranks.network import interface_of, interfaces, listener, reaches
from hpcsweep.node.ranks.part import RANK_SUFFIX, RankPart
from hpcsweep.node.records import OWNER_FILE, rank_dir, read_record
from hpcsweep.node.setup import preparation
from hpcsweep.node.setup.environment import without_launcher
from hpcsweep.node.watch.inbox import RankMessage
from hpcsweep.spec.job import JobSpec, RunSpec
from hpcsweep.spec.records import OwnerRecord

_GRACE_S = 2.0
_SIGNALLED_S = 8.0
"""Time for the head agent to end an orderly teardown after a signal of the scheduler, which signals all nodes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one part of a server; see the module for the exit codes."""
    parser = argparse.ArgumentParser(prog="hpcsweep-rank", description="Run the part of a server on another node.")
    parser.add_argument("attempt_dir", type=Path, help="folder of the attempt")
    parser.add_argument("--rank", type=int, required=True, help="number of this node in the server, from 1")
    parser.add_argument("--node", required=True, help="name of this node, as the scheduler has it")
    options = parser.parse_args(argv)
    os.environ.pop("SLURM_EXPORT_ENV", None)
    try:
        return _run(options.attempt_dir.absolute(), options.rank)
    except HpcsweepError as exc:
        print(f"Error: {exc}", file=sys.stderr)  # noqa: T201
        return 1


def _run(attempt_dir: Path, rank: int) -> int:
    signalled: list[float] = []
    catch(lambda signum: signalled.append(time.monotonic()))
    file = read_link_file(attempt_dir)
    job, run = _job_and_run(file)
    owner = read_record(attempt_dir / OWNER_FILE, OwnerRecord)
    if owner is None or owner.token is None:
        raise HpcsweepError(f"{attempt_dir / OWNER_FILE} has no token", code="rank_file_unusable")
    try:
        engine = preparation.engine_of(run)
    except EngineError as exc:
        raise HpcsweepError(exc.message, code=exc.code or "engine_unknown", hint=exc.hint) from exc
    folder = rank_dir(attempt_dir, rank)
    folder.mkdir(parents=True, exist_ok=True)
    probe = listener()
    become_subreaper()
    guardian = Guardian()
    try:
        link, reachable, addresses = _connect(file, rank)
        token = f"{owner.token}{RANK_SUFFIX}{rank}"
        part = RankPart(run, job, engine, rank, folder, token, without_launcher(os.environ), link, guardian)
        link.start(
            lambda message: part.inbox.put(RankMessage(0, message)),
            lambda reason: part.inbox.put(RankMessage(0, {"kind": "stop", "grace_s": _GRACE_S, "lost": reason})),
        )
        link.send(
            "hello", host=socket.gethostname(), pid=os.getpid(), port=probe.getsockname()[1], reachable=reachable,
            addresses=addresses, interfaces={own: interface_of(own, interfaces()) for own in addresses.values()},
        )  # fmt: skip
        return _work(part, link, signalled)
    finally:
        probe.close()
        guardian.close()


def _work(part: RankPart, link: Link, signalled: list[float]) -> int:
    while part.step():
        if signalled and time.monotonic() - signalled[0] > _SIGNALLED_S:
            part.end(_GRACE_S)
            break
    link.close()
    return 3 if part.lost else 0


def _job_and_run(file: LinkFile) -> tuple[JobSpec, RunSpec]:
    job = read_job(Path(file.job_dir))
    for task in job.array_tasks:
        for run in task.runs:
            if run.label == file.label:
                return job, run
    raise HpcsweepError(f"{file.job_dir}/job.json has no run {file.label}", code="run_not_in_job")


def _connect(file: LinkFile, rank: int) -> tuple[Link, list[str], dict[str, str]]:
    """Return the link to the head agent, its addresses that can be reached, and this node's own address towards each.

    Raises HpcsweepError when none can be reached.
    """
    link: Link | None = None
    reachable: list[str] = []
    own: dict[str, str] = {}
    problem = ""
    for address in file.addresses:
        if link is not None:
            if not reaches(address, file.port):
                continue
        else:
            try:
                connection = socket.create_connection((address, file.port), timeout=5.0)
            except OSError as exc:
                problem = f"{address}:{file.port}: {exc.strerror or exc}"
                continue
            try:
                link = join(connection, file.token, rank)
            except (LinkError, OSError) as exc:  # another process listens there: a loopback address of this node
                connection.close()
                problem = f"{address}:{file.port}: {exc}"
                continue
        reachable.append(address)
        own[address] = _own_address(address)
    if link is None:
        raise HpcsweepError(
            f"the head agent cannot be reached at {', '.join(file.addresses)}, port {file.port} (last: {problem})",
            code="head_agent_unreachable",
            hint="name the network between the nodes in `env` of the cluster profile: NCCL_SOCKET_IFNAME",
        )
    return link, reachable, own


def _own_address(towards: str) -> str:
    """Return the address of this node on the route to another; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        any_socket.connect((towards, 9))
        return str(any_socket.getsockname()[0])


if __name__ == "__main__":
    sys.exit(main())
