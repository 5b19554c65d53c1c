"""A Ray cluster for one server: a Ray node on each node of the job, and the engine on the first. Pure.

For versions of vLLM that cannot span nodes by themselves, or on request. Sources: the documentation of `ray start`
(Ray 2.48), and vLLM 0.11.0 (`executor/ray_utils.py`), which connects to RAY_ADDRESS and waits up to 30 minutes for the
GPUs of the other nodes. A real Ray was not run by us.

Ray's processes are children of the part of the server on their node, so the agent there watches and ends them.
"""

from pathlib import PurePosixPath

from hpcsweep.engines.base import LaunchContext, Placement
from hpcsweep.engines.beside import find_beside

RAY = "ray"
OPEN_PORTS = (
    "Ray's ports run commands for every host that can connect to the nodes, without a key: other users of the cluster "
    "could run commands in the server"
)

_FIND_RAY = f"""
executable=$1 address=$2 own_address=$3 folder=$4
shift 4
{find_beside("ray")}
"""
"""`ray` of the engine's own environment, whose version is the one that the engine imports."""

_HEAD = r"""
"$found" start --head --block --node-ip-address="$own_address" --port="${address##*:}" ${folder:+--temp-dir="$folder"} \
    --include-dashboard=false --disable-usage-stats &
until "$found" status --address="$address" >/dev/null 2>&1; do
    if ! kill -0 "$!" 2>/dev/null; then
        echo "hpcsweep: ray start --head ended before its cluster could be reached at $address" >&2
        exit 1
    fi
    sleep 1
done
exec "$@"
"""

_OTHER = r"""
until "$found" status --address="$address" >/dev/null 2>&1; do sleep 1; done
exec "$found" start --block --node-ip-address="$own_address" --address="$address" --disable-usage-stats
"""
"""It waits for the first node without an end: the agent of the first node ends all parts when that fails."""


def ray_address(placement: Placement) -> str:
    """Return where the cluster of this server is reached from all its nodes."""
    return f"{placement.address}:{placement.port}"


def through_ray(context: LaunchContext, placement: Placement) -> tuple[str, ...]:
    """Return the command that starts Ray on this node, and then on the first node the command that is appended to it.

    Ray's files are in the private folder of the attempt where it is known: the default, `/tmp/ray`, belongs to the
    first user of the node. Ray uses the path of the first node on all nodes.
    """
    folder = str(PurePosixPath(context.socket_path).parent / "ray") if context.socket_path else ""
    script = _FIND_RAY + (_HEAD if placement.head else _OTHER)
    words = (context.executable, ray_address(placement), placement.own_address, folder)
    return ("/bin/sh", "-c", script, "hpcsweep-ray", *words)


def ray_environment(placement: Placement) -> dict[str, str]:
    """Return the environment of the engine: the cluster to which it connects."""
    return {"RAY_ADDRESS": ray_address(placement)} if placement.head else {}
