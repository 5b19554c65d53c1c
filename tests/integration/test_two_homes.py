"""Two homes that use one store: their sweeps never mix, whatever they are called."""

import shutil

import pytest
from cli import Cli
from sweep_folders import finish, make_sweep

from hpcsweep.errors import StoreConflict
from hpcsweep.store.ingest.sweeps import ingest_sweep
from hpcsweep.store.open import open_store
from hpcsweep.sweep.layout import Home
from hpcsweep.track.sweep_rows import load_sweep

NAME = "exp_runner-0001"
EXPERIMENT = """\
model: some/model
axes: {eager: [yes]}
workloads: {short: {dataset: {kind: random, input_len: 10, output_len: 2}, max_tokens: 2, num_requests: 1}}
resources: {gpus: 0, walltime: 1h}
simulated: {profile: quick.yaml, time_scale: 100}
"""


def test_a_home_keeps_its_identity_when_it_is_moved(tmp_path):
    home = Home(tmp_path / "a")
    home.make()
    first = home.identity()
    assert first is not None and home.identity() == first
    home.path.rename(tmp_path / "b")
    assert Home(tmp_path / "b").identity() == first
    other = Home(tmp_path / "c")
    other.make()
    assert other.identity() != first


def test_a_sweep_of_the_same_name_from_another_home_is_a_conflict_even_when_that_home_is_not_seen_here(tmp_path):
    """As from another machine: before, the rows of the first home were replaced."""
    first, second = make_sweep(tmp_path / "one"), make_sweep(tmp_path / "two", submitted_at=5.0)
    finish(first, samples=2)
    store = open_store(tmp_path / "shared.db")
    ingest_sweep(store, first.folder.path)
    shutil.move(tmp_path / "one", tmp_path / "elsewhere")
    with pytest.raises(StoreConflict, match=r"another sweep exp_runner-0001, of the home at .*one"):
        ingest_sweep(store, second.folder.path)
    with store.reading() as connection:
        assert all(run.attempts for run in load_sweep(connection, NAME).runs if not run.not_submitted)
    ingest_sweep(store, tmp_path / "elsewhere" / "sweeps" / NAME)  # the first home, moved
    store.close()


def test_the_command_line_counts_on_in_a_shared_store_and_refuses_a_conflict(tmp_path):
    (tmp_path / "quick.yaml").write_text("startup: {launch: 1, engine_init: 1, load_weights: 1}\n")
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    cli = Cli(tmp_path, {"HPCSWEEP_STORE": str(tmp_path / "shared.db")})
    for home in ("one", "two"):
        cli.run("--home", home, "submit", "e.yaml", "--wait")
    assert [path.name for path in tmp_path.glob("*/sweeps/*")] != ["e-0001", "e-0001"]
    assert (tmp_path / "two" / "sweeps" / "e-0002").is_dir()
    done = cli.run("--home", "two", "status", "e-0002").stdout
    assert "e-0002" in done and "e-0001" not in done
    (tmp_path / "two" / "sweeps" / "e-0002").rename(tmp_path / "two" / "sweeps" / "e-0001")
    refused = cli.run("--home", "two", "status", "e-0001", code=1)
    assert "another sweep e-0001, of the home at" in refused.stderr
    assert "--store" in refused.stderr
