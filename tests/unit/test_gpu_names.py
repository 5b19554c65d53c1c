"""GPU UUIDs for versions of vLLM that cannot read them."""

import sys

import pytest

from hpcsweep.node.process.gpus import Gpus
from hpcsweep.node.setup.gpu_names import readable_names

FIRST, SECOND = "GPU-aaaaaaaa-0000-0000-0000-000000000000", "GPU-bbbbbbbb-0000-0000-0000-000000000000"
SLICE, OTHER_SLICE = "MIG-cccccccc-0000-0000-0000-000000000000", "MIG-dddddddd-0000-0000-0000-000000000000"


class Nvml:
    """A driver with two GPUs; the second is split into the MIG instances `slices` that this job may use."""

    class NVMLError(Exception):
        pass

    def __init__(self, slices=()):
        self.slices = slices

    def nvmlInit(self): ...

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):
        if uuid in (FIRST, SECOND):
            return (FIRST, SECOND).index(uuid)
        if uuid in self.slices:
            return uuid
        raise self.NVMLError("Not Found")

    def nvmlDeviceGetUUID(self, handle):
        return (FIRST, SECOND)[handle]

    def nvmlDeviceGetIndex(self, handle):
        return handle

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle):
        return 1

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, slot):
        if slot >= len(self.slices):
            raise self.NVMLError("Not Found")
        return self.slices[slot]


def named(monkeypatch, visible, version="0.22.0", engine="vllm", slices=()):
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(slices))
    env = {"CUDA_VISIBLE_DEVICES": visible} if visible is not None else {}
    changes, notes = readable_names(engine, version, env, Gpus(env))
    return changes.get("CUDA_VISIBLE_DEVICES"), [note.code for note in notes]


@pytest.mark.parametrize(
    ("visible", "indexes"),
    [
        (f"{SECOND},{FIRST}", "1,0"),
        (f"{FIRST}", "0"),
        ("GPU-bb", "1"),
        (f"0,{SECOND}", "0,1"),
    ],
)
@pytest.mark.parametrize("version", ["0.10.0", "0.22.0", "0.23.1rc1", None, "unreadable"])
def test_uuids_become_indexes_for_versions_that_cannot_read_them(monkeypatch, visible, indexes, version):
    assert named(monkeypatch, visible, version) == (indexes, ["gpu_uuid_mapped"])


@pytest.mark.parametrize("version", ["0.24.0", "0.32.0+cpu"])
def test_newer_versions_get_the_uuids(monkeypatch, version):
    assert named(monkeypatch, f"{SECOND},{FIRST}", version) == (None, [])
    assert named(monkeypatch, "GPU-bbbb", version) == ("1", ["gpu_uuid_mapped"])  # vllm#51677


@pytest.mark.parametrize("visible", [None, "", "0,1"])
def test_indexes_stay(monkeypatch, visible):
    assert named(monkeypatch, visible) == (None, [])


def test_other_engines_are_left_alone(monkeypatch):
    assert named(monkeypatch, SECOND, engine="sglang") == (None, [])


def test_the_only_mig_instance_of_a_gpu_is_selected_by_its_gpu(monkeypatch):
    assert named(monkeypatch, SLICE, slices=[SLICE]) == ("1", ["gpu_uuid_mapped"])


def test_of_several_mig_instances_none_is_guessed(monkeypatch):
    assert named(monkeypatch, SLICE, slices=[OTHER_SLICE, SLICE]) == (None, ["gpu_uuid_unresolved"])


@pytest.mark.parametrize("visible", ["GPU-eeee", "GPU-", SLICE])
def test_a_name_that_fits_no_gpu_or_two_is_reported(monkeypatch, visible):
    assert named(monkeypatch, visible) == (None, ["gpu_uuid_unresolved"])


def test_the_order_of_indexes_is_that_of_the_driver(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    changes, _ = readable_names("vllm", "0.20.1", {"CUDA_VISIBLE_DEVICES": SECOND}, Gpus({}))
    assert changes["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_without_a_driver_the_problem_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    changes, (note,) = readable_names("vllm", "0.20.1", {"CUDA_VISIBLE_DEVICES": SECOND}, Gpus({}))
    assert (changes, note.code) == ({}, "gpu_uuid_unresolved")
