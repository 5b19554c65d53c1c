"""Faults inside vLLM's workers, for the tests: put into PYTHONPATH of the server, and chosen by HPCSWEEP_TEST_INJECT.

stop_at_load      rank 1 stops itself (SIGSTOP) when it begins to load the weights
loop_in_step      rank 1 never returns from its 30th step: it loops there
slow_load=FILE    every rank reads FILE at 1 MB/s before it loads the weights, as from a throttled file system
"""

import importlib.abc
import importlib.util
import os
import signal
import sys
import time

WORKER = "vllm.v1.worker.cpu_worker"
LOADER = "vllm.model_executor.model_loader.default_loader"
STEPS_BEFORE_THE_LOOP = 30
PIECE_BYTES, PIECE_S = 1 << 18, 0.25
WHAT, _, ARGUMENT = os.environ.get("HPCSWEEP_TEST_INJECT", "").partition("=")


def stop_at_load(module):
    load_model = module.CPUWorker.load_model

    def load(self, *args, **kwargs):
        if self.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return load_model(self, *args, **kwargs)

    module.CPUWorker.load_model = load


def loop_in_step(module):
    execute_model, steps = module.CPUWorker.execute_model, []

    def execute(self, *args, **kwargs):
        steps.append(1)
        if self.rank == 1 and len(steps) > STEPS_BEFORE_THE_LOOP:
            # The other rank spins as well: on two cores the two leave neither agent nor py-spy a core for a minute.
            os.nice(19)
            while True:
                pass
        return execute_model(self, *args, **kwargs)

    module.CPUWorker.execute_model = execute


def slow_load(module):
    load_weights = module.DefaultModelLoader.load_weights

    def load(self, *args, **kwargs):
        with open(ARGUMENT, "rb", buffering=0) as stream:  # noqa: PTH123
            while stream.read(PIECE_BYTES):
                time.sleep(PIECE_S)
        return load_weights(self, *args, **kwargs)

    module.DefaultModelLoader.load_weights = load


FAULTS = {
    "stop_at_load": (WORKER, stop_at_load),
    "loop_in_step": (WORKER, loop_in_step),
    "slow_load": (LOADER, slow_load),
}


class AfterImport(importlib.abc.MetaPathFinder):
    """Injects a fault when its module has been imported."""

    def __init__(self, module, inject):
        self.module, self.inject = module, inject

    def find_spec(self, name, path, target=None):
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            self.inject(module)

        spec.loader.exec_module = exec_module
        return spec


if WHAT:
    sys.meta_path.insert(0, AfterImport(*FAULTS[WHAT]))
