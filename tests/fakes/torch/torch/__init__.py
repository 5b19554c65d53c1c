"""A `torch` for the all-reduce check that only fails. FAKE_TORCH: how it fails on node 1; the other nodes hang."""

import os
import sys

HOW = os.environ.get("FAKE_TORCH", "hang") if sys.argv[sys.argv.index("--node") + 1] == "1" else "hang"

if HOW == "missing":
    raise ImportError("No module named 'torch'")


class cuda:
    """No GPU."""

    @staticmethod
    def is_available() -> bool:
        return False
