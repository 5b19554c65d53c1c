"""Checks before the start of a server that take time, so that a cluster profile asks for them."""

from pydantic import Field

from hpcsweep.spec.base import Model, Seconds


class Preflight(Model):
    """The key `preflight` of a cluster profile."""

    all_reduce: bool = Field(
        False, description="add numbers over all nodes with the engine's torch before a server on several nodes starts"
    )
    all_reduce_budget: Seconds = Field(300, gt=0, description="of that check, with the import of torch on each node")
