"""What the login side can know against a variant before anything is queued."""

from hpcsweep.engines.registry import get_engine
from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.experiment import Experiment
from hpcsweep.spec.server import ServerConfig


def login_checks(
    server: ServerConfig, experiment: Experiment, cluster: Cluster, *, simulated: bool
) -> tuple[list[str], list[str]]:
    """(reasons why the variant cannot be served, warnings). A simulated one needs no memory and no GPUs.

    Raises EngineError when the engine is not known.
    """
    return get_engine(server.engine).unsupported(server), []
