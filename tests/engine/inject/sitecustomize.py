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
STEPS_BEFORE_THE_LOOP = 30
PIECE_BYTES, PIECE_S = 1 << 18, 0.25


def inject(module):
    worker = module.CPUWorker
    what, _, argument = os.environ["HPCSWEEP_TEST_INJECT"].partition("=")
    load_model, execute_model = worker.load_model, worker.execute_model
    steps = []

    def stop_at_load(self, *args, **kwargs):
        if self.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        return load_model(self, *args, **kwargs)

    def slow_load(self, *args, **kwargs):
        with open(argument, "rb", buffering=0) as stream:  # noqa: PTH123
            while stream.read(PIECE_BYTES):
                time.sleep(PIECE_S)
        return load_model(self, *args, **kwargs)

    def loop_in_step(self, *args, **kwargs):
        steps.append(1)
        while self.rank == 1 and len(steps) > STEPS_BEFORE_THE_LOOP:
            pass
        return execute_model(self, *args, **kwargs)

    if what == "stop_at_load":
        worker.load_model = stop_at_load
    elif what == "slow_load":
        worker.load_model = slow_load
    elif what == "loop_in_step":
        worker.execute_model = loop_in_step


class AfterImport(importlib.abc.MetaPathFinder):
    """Injects the fault when the module of the worker has been imported."""

    def find_spec(self, name, path, target=None):
        if name != WORKER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            inject(module)

        spec.loader.exec_module = exec_module
        return spec


if os.environ.get("HPCSWEEP_TEST_INJECT"):
    sys.meta_path.insert(0, AfterImport())
