"""What is said of a job before anything is queued."""

import pytest

from hpcsweep.spec.cluster import Cluster
from hpcsweep.spec.job import Resources
from hpcsweep.sweep.checks import cpu_warnings


@pytest.mark.parametrize(
    ("resources", "cluster", "warned"),
    [
        (Resources(gpus=8), Cluster(scheduler="pbs"), True),
        (Resources(gpus=1), Cluster(scheduler="slurm"), True),
        (Resources(gpus=8, cpus=64), Cluster(scheduler="pbs"), False),
        (Resources(gpus=8), Cluster(scheduler="slurm", exclusive=True), False),
        (Resources(gpus=0), Cluster(scheduler="slurm"), False),
        (Resources(gpus=8), Cluster(scheduler="local"), False),
    ],
    ids=["PBS", "Slurm", "CPUs asked for", "whole node", "no GPU", "local"],
)
def test_gpus_without_cpus(resources, cluster, warned):
    told = cpu_warnings(resources, cluster)
    assert len(told) == warned
    assert not told or "cpus: 8 per GPU" in told[0]
