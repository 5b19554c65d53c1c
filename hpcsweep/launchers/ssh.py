"""`ssh`, on sites that allow it between the nodes of a job."""

import shlex
from collections.abc import Sequence
from typing import ClassVar

from hpcsweep.launchers.base import Launcher, NodeSlot


class Ssh(Launcher):
    """A command on the node over SSH, without a terminal and without a question.

    The process does not belong to the job, so the scheduler does not kill it; the agent there ends by itself when it
    loses its connection to the head agent.
    """

    name: ClassVar[str] = "ssh"
    executable: ClassVar[str] = "ssh"

    def argv(self, command: Sequence[str], node: NodeSlot) -> tuple[str, ...]:
        """Return the arguments. The remote login shell parses the command, so it is quoted."""
        options = (
            "-n",
            "-T",
            "-x",
            "-o",
            "BatchMode=yes",
            "-o",
            "ServerAliveInterval=15",
            "-o",
            "ServerAliveCountMax=4",
        )
        return ("ssh", *options, "--", node.name, shlex.join(command))
