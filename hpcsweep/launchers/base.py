"""The contract of a launcher: argv that runs one command on one other node of the job. Nothing here runs anything."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class NodeSlot:
    """A node of the job. `index`: its position among the job's nodes, 0 is the node of the head agent."""

    name: str
    index: int


class Launcher(ABC):
    """One launcher. Each call of it starts one process on one node, and ends when that process does.

    `executable`: the command that must exist on the head node; empty: none is needed. `one_machine`: all processes run
    on the machine of the head agent.
    """

    name: ClassVar[str]
    executable: ClassVar[str] = ""
    one_machine: ClassVar[bool] = False

    @abstractmethod
    def argv(self, command: Sequence[str], node: NodeSlot) -> tuple[str, ...]:
        """Return the arguments that run `command` on `node`."""

    def environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the environment in which the launcher itself runs; `env`: that of the head agent."""
        return dict(env)
