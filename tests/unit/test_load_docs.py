from pathlib import Path

from hpcsweep.load.client.figures import CPU_SHARE_LIMIT, LAG_SHARE_LIMIT
from hpcsweep.load.datasets.registry import DATASETS
from hpcsweep.load.datasets.shapes import SHAPES
from hpcsweep.load.drivers.registry import CLIENTS
from hpcsweep.load.wire.answer import CAUSES

PAGE = (Path(__file__).parents[2] / "docs" / "load.md").read_text(encoding="utf-8")
ROWS = {line.split("`")[1]: line for line in PAGE.splitlines() if line.startswith("| `")}


def test_every_cause_is_on_the_page_with_its_meaning():
    assert {cause.value: ROWS.get(cause.value) for cause in CAUSES} == {
        cause.value: f"| `{cause.value}` | {text} |" for cause, text in CAUSES.items()
    }


def test_every_kind_of_dataset_is_on_the_page_with_its_options():
    own_words = {"trace": {"time", "input", "output", "blocks"}}  # "names of the columns"
    for kind in ("samples", "sharegpt", "random", "shape", "trace", "hf"):
        options = set(DATASETS.get(kind).options_model.model_fields) - own_words.get(kind, set())
        assert [option for option in options if f"`{option}`" not in ROWS[kind]] == []


def test_shapes_clients_and_limits_are_on_the_page():
    for name, (prompt, completion) in SHAPES.items():
        assert f"`{name}` {prompt}/{completion}" in PAGE
    assert all(client in PAGE for client in CLIENTS.builtin)
    assert f"more than {CPU_SHARE_LIMIT:.0%}".replace("%", " %") in PAGE
    assert f"above {LAG_SHARE_LIMIT:.0%}".replace("%", " %") in PAGE
