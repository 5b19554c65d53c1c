"""Compare the container images of the nodes of one server. Pure.

A runtime's id of an image depends on its content. The times of a file or folder do not: a copy on the disk of each node
has other times. So times alone are a reason for a warning, and an id or a size a reason to refuse.
"""

from collections.abc import Mapping
from typing import Any

from hpcsweep.node.ranks import verdicts
from hpcsweep.node.record.notes import Note
from hpcsweep.node.setup.engine_identity import RunImage
from hpcsweep.node.watch.outcome import Ended


def compare_images(ours: RunImage | None, theirs: Mapping[str, Any] | None, node: str) -> list[Note]:
    """Return notes about the image on another node. `theirs`: its fields; None: no container there, as here.

    Raises Ended when it is certainly another image.
    """
    if ours is None or theirs is None:
        return []
    other = RunImage(**theirs)
    if ours.id and other.id and ours.id != other.id:
        raise Ended(verdicts.other_image(ours.name, f"id {ours.id}", node, f"id {other.id}"))
    if ours.size_bytes is not None and other.size_bytes is not None and ours.size_bytes != other.size_bytes:
        sizes = (f"{ours.size_bytes} bytes", f"{other.size_bytes} bytes")
        raise Ended(verdicts.other_image(ours.name, sizes[0], node, sizes[1]))
    if not ours.stamp or not other.stamp:
        text = f"node {node}: whether {ours.name} is the same image as on the first node is not known; name its digest"
        return [Note("image_not_compared", text)]
    if ours.stamp != other.stamp and not ours.id:
        text = f"node {node}: {ours.name} has another time there than on the first node: a copy, or another image"
        return [Note("image_may_differ", text)]
    return []
