"""Plain processes on this machine: several parts of a server share it, which is of use in tests."""

from collections.abc import Sequence
from typing import ClassVar

from hpcsweep.launchers.base import Launcher, NodeSlot


class Local(Launcher):
    """The command itself."""

    name: ClassVar[str] = "local"
    one_machine: ClassVar[bool] = True

    def argv(self, command: Sequence[str], node: NodeSlot) -> tuple[str, ...]:
        """Return the command."""
        return tuple(command)
