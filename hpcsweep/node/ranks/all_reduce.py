"""The all-reduce check over all nodes, as the head agent runs it before a server on several nodes is started."""

import time
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from hpcsweep.node.guardian import Guardian
from hpcsweep.node.ranks import all_reduce_verdict, verdicts
from hpcsweep.node.ranks.all_reduce_part import NodeReduce, NodeReduced, ReduceRequest
from hpcsweep.node.ranks.all_reduce_verdict import Reduced
from hpcsweep.node.ranks.network import free_port_on
from hpcsweep.node.ranks.team import RankTeam
from hpcsweep.node.setup.preparation import PreparedLaunch
from hpcsweep.node.watch.outcome import Ended

_TICK_S = 0.05
_SETTLE_S = 1.0
"""Time for the failures of other nodes to arrive: one failure breaks the connections of all."""
_LAST_REPORT_S = 15.0
"""Time for a node to end its processes and report how far they came."""


class AllReduce:
    """One check. `processes`: on each node. `budget_s`: real seconds. Other arguments: see `NodeReduce`."""

    def __init__(
        self, team: RankTeam, folder: Path, token: str, guardian: Guardian, not_server_pids: Collection[int], *,
        in_session: bool, processes: int, budget_s: float,
    ) -> None:  # fmt: skip
        self._team, self._processes, self._budget_s = team, processes, budget_s
        self._ours = NodeReduce(folder, token, guardian, not_server_pids, in_session=in_session)

    def run(self, prepared: PreparedLaunch, environment: Mapping[str, str], own: Collection[str]) -> Reduced:
        """Run the check; no process of it is left. `environment`, `own`: see `NodeReduce.start`.

        Raises Ended when the nodes cannot add numbers, OSError.
        """
        team, placement = self._team, self._team.placement()
        port = free_port_on(placement.address)
        request = ReduceRequest(placement.nodes, 0, self._processes, placement.address, port, self._budget_s)
        deadline_s = time.monotonic() + self._budget_s
        try:
            for remote in team.remotes:
                remote.ask("reduce", "reduced", request=asdict(replace(request, node=remote.rank)))
            self._ours.start(request, prepared, environment, own)
            while time.monotonic() < deadline_s and not team.ended:
                reports = self._finished()
                if len(reports) == placement.nodes:
                    break
                if any(report.exit_code for report in reports.values()):
                    deadline_s = min(deadline_s, time.monotonic() + _SETTLE_S)
                time.sleep(_TICK_S)
        finally:
            ours = self._ours.report()
            self._ours.end()
            for remote in team.remotes:
                remote.send("reduce_end")
        reports = {team.nodes[0]: ours} | self._others()
        note = all_reduce_verdict.unavailable(reports)
        if note is not None:
            return Reduced(notes=[note])
        if any(report.exit_code for report in reports.values()):
            raise Ended(all_reduce_verdict.failed(reports, placement.interface))
        if ours.result is None or any(report.exit_code is None for report in reports.values()):
            raise Ended(all_reduce_verdict.timed_out(reports, self._budget_s, placement.interface))
        return all_reduce_verdict.measured(ours.result, placement.nodes, placement.interface)

    def end(self) -> None:
        """End the processes on this node; the other nodes end theirs when the team stops."""
        self._ours.end()

    def _finished(self) -> dict[str, NodeReduced]:
        """Return the reports of the nodes whose processes have ended. Raises Ended when a node is lost."""
        lost = self._team.lost()
        if lost is not None:
            raise Ended(lost)
        finished = {self._team.nodes[0]: self._ours.report()} if self._ours.finished() else {}
        for remote in self._team.remotes:
            answer = remote.reply("reduced", "refused")
            if answer is not None and answer["kind"] == "refused":
                raise Ended(verdicts.refused(answer, remote.node))
            if answer is not None:
                finished[remote.node] = NodeReduced(**answer["report"])
        return finished

    def _others(self) -> dict[str, NodeReduced]:
        """Return the last reports of the other nodes. Raises Ended when one is lost or could not start the check."""
        for remote in self._team.remotes:
            remote.wait("reduced", "refused", within_s=_LAST_REPORT_S, give_up=lambda: self._team.ended)
        finished = self._finished()
        return {remote.node: finished.get(remote.node, NodeReduced()) for remote in self._team.remotes}
