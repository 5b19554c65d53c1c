"""Opening a store: where it is, file systems, migrations, stores of other versions, stores that cannot be written."""

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from hpcsweep.errors import StoreError
from hpcsweep.store.file_system import locks_are_local
from hpcsweep.store.migrations import VERSIONS_DIR, revisions, upgrade
from hpcsweep.store.open import Store, default_home, default_store, open_store
from hpcsweep.store.schema import METADATA, SCHEMA_REVISION, SWEEP
from hpcsweep.track.sweep_rows import load_sweep

DUMPS = Path(__file__).parents[1] / "transcripts" / "store"

MOUNTS = """\
rootfs / rootfs rw 0 0
/dev/sda1 / ext4 rw 0 0
nas:/home /home nfs4 rw 0 0
/dev/sdb /home/scratch xfs rw 0 0
scratch@tcp:/l /lustre lustre rw 0 0
/dev/sdc /mnt/with\\040blank btrfs rw 0 0
tmpfs /over tmpfs rw 0 0
nas:/over /over nfs rw 0 0
broken line
"""


@pytest.mark.parametrize(
    ("path", "local"),
    [
        pytest.param("/var/x.db", True, id="root"),
        pytest.param("/home/me/x.db", False, id="nfs"),
        pytest.param("/home/scratch/x.db", True, id="a local disk below nfs"),
        pytest.param("/homestead/x.db", True, id="only begins like a mount point"),
        pytest.param("/lustre/x.db", False, id="lustre"),
        pytest.param("/mnt/with blank/x.db", True, id="a blank in the mount point"),
        pytest.param("/over/x.db", False, id="the later mount hides the earlier"),
    ],
)
def test_write_ahead_only_where_one_kernel_keeps_the_file(path, local):
    assert locks_are_local(Path(path), MOUNTS) is local


def test_nothing_known_of_mounts_counts_as_shared():
    assert locks_are_local(Path("/x"), "") is False


def test_home_and_store_come_from_the_environment(monkeypatch):
    monkeypatch.delenv("HPCSWEEP_HOME", raising=False)
    monkeypatch.delenv("HPCSWEEP_STORE", raising=False)
    assert default_home() == Path(".hpcsweep")
    assert default_store(Path("/h")) == "/h/hpcsweep.db"
    monkeypatch.setenv("HPCSWEEP_HOME", "/elsewhere")
    monkeypatch.setenv("HPCSWEEP_STORE", "postgresql+psycopg://db/x")
    assert default_home() == Path("/elsewhere")
    assert default_store(Path("/h")) == "postgresql+psycopg://db/x"


def _made(path: Path) -> Path:
    store = open_store(path)
    _tables(store)
    store.close()
    return path


def _tables(store: Store) -> set[str]:
    with store.reading() as connection:
        return set(connection.scalars(text("SELECT name FROM sqlite_master WHERE type='table'")))


@pytest.mark.parametrize("name", ["plain.db", "it's a $(store)?.db", "100%20#1.db", "ü\n.db"])
def test_a_new_store_has_the_tables_whatever_its_name(tmp_path, name):
    path = tmp_path / "below" / name
    store = open_store(path)
    assert _tables(store) == {*METADATA.tables, "alembic_version"}
    assert path.exists()
    store.close()
    assert _tables(open_store(path)) == _tables(store)


def test_a_store_that_is_never_used_leaves_nothing_behind(tmp_path):
    open_store(tmp_path / "home" / "x.db").close()
    assert list(tmp_path.iterdir()) == []


def test_the_migrations_make_what_the_schema_says(tmp_path):
    store = open_store(tmp_path / "x.db")
    with store.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    assert revisions()[-1] == SCHEMA_REVISION


def test_every_table_can_be_written_as_postgresql():
    for table in METADATA.tables.values():
        assert "CREATE TABLE" in str(CreateTable(table).compile(dialect=postgresql.dialect()))


@pytest.mark.parametrize("dump", sorted(DUMPS.glob("revision-*.sql")), ids=lambda path: path.stem)
def test_a_store_of_an_older_version_is_migrated_with_its_rows(tmp_path, dump):
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(dump.read_text(encoding="utf-8"))
    connection.close()
    store = open_store(path)
    with store.reading() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == SCHEMA_REVISION
        sweep = load_sweep(connection, "exp_runner-0001", itl=True)
    attempt = sweep.runs[0].attempts[0]
    assert attempt.outcome is not None and attempt.outcome.value == "completed"
    columns = attempt.workloads[0].columns
    assert columns is not None
    assert columns.sample == ["8k-0", "8k-1", "8k-2"]
    assert len(columns.itl_s[0]) == 15


def test_a_store_of_a_newer_hpcsweep_is_refused(tmp_path):
    path = _made(tmp_path / "x.db")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num='9999'")
    connection.close()
    with pytest.raises(StoreError, match=r"newer hpcsweep: its revision 9999") as caught:
        open_store(path)
    assert "upgrade hpcsweep" in caught.value.hint


def _with_migration(folder: Path, body: str) -> Path:
    folder.mkdir()
    for script in VERSIONS_DIR.glob("v*.py"):
        (folder / script.name).write_text(script.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "v9000_next.py").write_text(
        f"import sqlalchemy as sa\nfrom alembic import op\nrevision = '9000'\ndown_revision = {SCHEMA_REVISION!r}\n"
        f"def upgrade():\n    op.add_column('sweep', sa.Column('colour', sa.Text()))\n{body}",
        encoding="utf-8",
    )
    return folder


def _columns_and_revision(store: Store) -> tuple[set[str], str | None]:
    with store.reading() as connection:
        columns = {row.name for row in connection.execute(text("PRAGMA table_info(sweep)"))}
        return columns, connection.scalar(text("SELECT version_num FROM alembic_version"))


def test_a_migration_that_fails_changes_nothing(tmp_path):
    store = open_store(tmp_path / "x.db")
    before = _columns_and_revision(store)
    broken = _with_migration(tmp_path / "broken", "    op.execute('INSERT INTO nowhere VALUES (1)')\n")
    with pytest.raises(StoreError, match="nowhere"), store.writing() as connection:
        upgrade(connection, broken)
    assert _columns_and_revision(store) == before


def test_a_further_migration_keeps_the_rows(tmp_path):
    store = open_store(tmp_path / "x.db")
    with store.writing() as connection:
        empty = {key: {} for key in ("axes", "baseline", "versions", "provenance", "profile", "definition")}
        words = dict.fromkeys(("sweep_dir", "experiment", "title", "cluster", "scheduler"), "x")
        connection.execute(SWEEP.insert().values(name="s-0001", submitted_at=1.0, simulated=False, **empty, **words))
        upgrade(connection, _with_migration(tmp_path / "good", ""))
    columns, revision = _columns_and_revision(store)
    assert "colour" in columns
    assert revision == "9000"
    with store.reading() as connection:
        assert list(connection.scalars(select(SWEEP.c.name))) == ["s-0001"]


def test_a_file_that_is_no_store_is_named(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"this is not SQLite" * 100)
    with pytest.raises(StoreError, match="not a database") as caught:
        open_store(path)
    assert "move it away" in caught.value.hint
    assert path.read_bytes().startswith(b"this is not")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        pytest.param("mysql://host/db", "mysql", id="a database that is not supported"),
        pytest.param("nosuch://host/db", "nosuch", id="an unknown scheme"),
        pytest.param("postgresql+nosuch://host/db", "nosuch", id="an unknown driver"),
        pytest.param("://", "://", id="no URL"),
    ],
)
def test_a_url_that_cannot_be_used_is_an_error_of_ours(url, says):
    with pytest.raises(StoreError, match=says):
        open_store(url)


def test_a_password_is_never_shown():
    with pytest.raises(StoreError) as caught:
        open_store("postgresql+nosuch://user:secret@host/db")
    assert "secret" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_store_that_cannot_be_written_is_read(tmp_path):
    path = _made(tmp_path / "home" / "x.db")
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        store = open_store(path)
        assert store.read_only
        assert "cannot be written" in store.notice
        assert "sweep" in _tables(store)
    finally:
        path.parent.chmod(0o755)


def test_a_read_only_store_is_read_and_never_written(tmp_path, monkeypatch):
    path = _made(tmp_path / "x.db")
    monkeypatch.setattr(os, "access", lambda *_: False)
    store = open_store(path)
    assert store.read_only
    assert "sweep" in _tables(store)
    with pytest.raises(StoreError, match="readonly"), store.writing() as connection:
        connection.execute(SWEEP.delete())


def test_where_no_file_can_be_made_the_store_is_in_memory(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with contextlib.closing(open_store(blocked / "x.db")) as store:
        assert "into memory only" in store.notice
        assert not store.read_only
        assert "sweep" in _tables(store)
