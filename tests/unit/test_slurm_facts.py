"""What a Slurm cluster says of itself, read from recorded answers."""

import pytest
from slurm_transcripts import read

from hpcsweep.schedulers.base import CommandResult
from hpcsweep.schedulers.slurm.scheduler import SlurmScheduler

SLURM = SlurmScheduler()


def facts(config="", partitions="", code=0):
    argv = SLURM.probes()
    return SLURM.parse_probes([CommandResult(argv[0], code, config, ""), CommandResult(argv[1], 0, partitions, "")])


def test_the_test_cluster():
    found = SLURM.parse_probes(read("probes"))
    assert found.version == "22.05.8"
    assert (found.max_array_size, found.accounting, found.warnings) == (1001, True, ())
    by_name = {p.name: p for p in found.partitions}
    h200 = by_name["h200"]
    assert (h200.default, h200.usable, h200.nodes, h200.cpus) == (True, True, 4, 32)
    assert (h200.max_walltime_s, h200.memory_bytes, dict(h200.gpus)) == (86400.0, 64000 << 20, {"h200": 8})
    assert dict(by_name["debug"].gpus) == {"a100": 8, "h200": 8}
    assert (by_name["debug"].nodes, by_name["debug"].max_walltime_s) == (6, 300.0)
    assert by_name["urgent"].max_walltime_s == 3600.0


def test_limits_of_the_recorded_configuration():
    (config, *_) = read("limits")
    assert facts(config.stdout).max_array_size == 1001


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("MaxArraySize            = 1001", 1001),
        ("MaxArraySize            = 0", 0),
        ("MaxArraySize            = 1001\nSchedulerParameters     = bf_continue,max_array_tasks=50,x", 50),
        ("", None),
    ],
)
def test_max_array_size(line, size):
    assert facts(line + "\n").max_array_size == size


@pytest.mark.parametrize(
    ("storage", "accounting"),
    [("accounting_storage/slurmdbd", True), ("accounting_storage/none", False), ("(null)", False), ("", None)],
)
def test_accounting(storage, accounting):
    assert facts(f"AccountingStorageType   = {storage}\n" if storage else "").accounting is accounting


ROWS = [
    pytest.param("p|up|infinite|2|64|256000+|(null)", {}, None, id="no GPU, no limit, nodes that differ"),
    pytest.param("p|up|30:00|2|64+|256000|gpu:4(S:0-1)", {"": 4}, 1800.0, id="GPUs without a type"),
    pytest.param("p|up|1-00:00:00|2|64|1|gpu:a100:4(S:0-1),gpu:h200:8", {"a100": 4, "h200": 8}, 86400.0, id="two"),
    pytest.param("p|up|n/a|2|64|1|gpu:1g.10gb:7,shard:14", {"1g.10gb": 7}, None, id="slices of a GPU"),
    pytest.param("p|up|n/a|2|64|1|gpu:nvidia_h100_80gb_hbm3:8,mps:100", {"nvidia_h100_80gb_hbm3": 8}, None, id="long"),
]


@pytest.mark.parametrize(("row", "gpus", "limit"), ROWS)
def test_partitions(row, gpus, limit):
    (found,) = facts(partitions=row + "\n").partitions
    assert (dict(found.gpus), found.max_walltime_s) == (gpus, limit)


def test_kinds_of_node_in_one_partition_are_put_together():
    rows = "p*|up|1:00:00|2|64|256000|gpu:h200:8\np*|up|1:00:00|3|128|128000|(null)\nq|inactive|1:00:00|1|1|1|(null)\n"
    first, second = facts(partitions=rows).partitions
    assert (first.nodes, first.cpus, first.memory_bytes, dict(first.gpus)) == (5, 128, 256000 << 20, {"h200": 8})
    assert first.default and not second.default and not second.usable


def test_what_cannot_be_read_is_a_warning():
    found = facts(partitions="p|up|1:00:00|two|64|1|(null)\nprose\n")
    assert found.partitions == ()
    assert len(found.warnings) == 2
    down = SLURM.parse_probes(
        [CommandResult(("scontrol", "show", "config"), 1, "", "Unable to contact slurm controller")] * 2
    )
    assert "Unable to contact" in down.warnings[0]
    assert down.accounting is None
