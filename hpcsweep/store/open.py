"""Open a store: its location, SQLite settings for its file system, migrations, read-only stores."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError, StatementError
from sqlalchemy.pool import NullPool, StaticPool

from hpcsweep import privacy
from hpcsweep.errors import StoreDiskError, StoreError
from hpcsweep.spec.secret_values import masked
from hpcsweep.store.file_system import locks_are_local
from hpcsweep.store.schema import SCHEMA_REVISION
from hpcsweep.sweep.layout import HOME_VARIABLE

STORE_VARIABLE = "HPCSWEEP_STORE"
STORE_FILE = "hpcsweep.db"
BUSY_TIMEOUT_S = 30.0
_WRITING = "hpcsweep_writing"
_MEMORY = ":memory:"


@dataclass
class Store:
    """An open store. `read_only`: nothing can be ingested; `notice`: the reason, for the user.

    `unmade`: the file that is created on first use.
    """

    engine: Engine
    url: str
    read_only: bool = False
    notice: str = ""
    unmade: list[Path] = field(default_factory=list)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection with a consistent view of the store. Raises StoreError when it cannot be read."""
        self._make()
        try:
            with self.engine.connect() as connection, connection.begin():
                yield connection
        except DBAPIError as exc:
            raise _kind(exc)(f"{self.url}: cannot be read: {exc.orig}", code="store_unreadable") from exc

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a transaction that holds the write lock from its start. Raises StoreError when it cannot be taken."""
        self._make()
        try:
            with self.engine.connect().execution_options(**{_WRITING: True}) as connection, connection.begin():
                yield connection
        except DBAPIError as exc:
            raise _kind(exc)(
                f"{self.url}: cannot be written: {exc.orig}",
                code="store_not_writable",
                hint="another process may lock it, or the disk is full; the run folders still have all data",
            ) from exc
        except (StatementError, OverflowError, UnicodeEncodeError) as exc:  # a value that no database takes
            raise StoreError(
                f"{self.url}: data of the run folders cannot be stored: {exc}", code="value_not_storable"
            ) from exc

    def _make(self) -> None:
        """Create the file of a new store on first use, so that a dry run does not create it."""
        while self.unmade:
            path = self.unmade.pop()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                raise StoreError(
                    f"{path}: the folder cannot be created: {exc.strerror}", code="store_not_writable"
                ) from exc
            try:
                _migrate_file(self.engine, path)
            except StoreDiskError as exc:
                self.move_into_memory(exc)

    def move_into_memory(self, exc: StoreDiskError) -> None:
        """Continue with an empty store in memory, which is filled from the run folders."""
        self.engine.dispose()
        stand_in = _memory_store(f"{exc.message}: the data of the run folders is read into memory only")
        self.engine, self.url, self.notice = stand_in.engine, stand_in.url, stand_in.notice

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def default_home() -> Path:
    """Return $HPCSWEEP_HOME, else `.hpcsweep` in the current folder."""
    return Path(os.environ.get(HOME_VARIABLE) or ".hpcsweep")


def default_store(home: Path) -> str:
    """Return $HPCSWEEP_STORE, else the SQLite file in `home`."""
    return os.environ.get(STORE_VARIABLE) or str(home / STORE_FILE)


def open_store(where: str | Path) -> Store:
    """Open the store at a SQLAlchemy URL or in a SQLite file; create or migrate it when needed. Raises StoreError.

    A SQLite file that is not writable is opened for reading. If the file cannot be created, or the disk is full, the
    store is in memory, and is filled from the run folders.
    """
    url = _url(str(where))
    if url.get_backend_name() != "sqlite":
        return _server_store(url)
    if not url.database or url.database == _MEMORY:
        return _memory_store("")
    path = Path(url.database).absolute()
    if not path.exists():
        above = next(parent for parent in path.parents if parent.exists())
        if not (above.is_dir() and os.access(above, os.W_OK)):
            return _memory_store(f"no store can be created at {path}; the data is read into memory only")
        return Store(_file_engine(path), str(path), unmade=[path])
    if not os.access(path, os.W_OK):
        return _read_only_store(path)
    if path.name == STORE_FILE and (path.parent / "sweeps").is_dir():  # only in a home: other files belong to the user
        privacy.restrict(path.parent.glob(f"{STORE_FILE}*"))
    store = Store(_file_engine(path), str(path))
    try:
        _migrate_file(store.engine, path)
    except StoreDiskError as exc:
        store.move_into_memory(exc)
    return store


def _url(where: str) -> URL:
    if "://" not in where:
        return URL.create("sqlite", database=where)
    try:
        url = make_url(where)
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError) as exc:
        raise StoreError(
            f"--store {masked(where)!r}: {masked(str(exc))}",
            code="store_url_invalid",
            hint="a path, or a URL such as postgresql+psycopg://…",
        ) from exc
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StoreError(
            f"--store: {url.get_backend_name()} is not a supported database",
            code="store_database_unsupported",
            hint="use sqlite or postgresql",
        )
    return url


def _server_store(url: URL) -> Store:
    shown = masked(url.render_as_string(hide_password=True))
    try:
        engine = create_engine(url)
        try:
            _migrate(engine, shown)
        except SQLAlchemyError:
            engine.dispose()
            raise
    except ModuleNotFoundError as exc:
        raise StoreError(
            f"{shown}: its driver is not installed: {exc.name}",
            code="store_driver_missing",
            hint=f"pip install {exc.name}",
        ) from exc
    except SQLAlchemyError as exc:
        raise StoreError(f"{shown} cannot be opened", code="store_unreadable", detail=masked(str(exc))) from exc
    return Store(engine, shown)


def _file_engine(path: Path) -> Engine:
    return _sqlite_engine(f"file:{quote(str(path))}", wal=locks_are_local(path))


def _migrate_file(engine: Engine, path: Path) -> None:
    try:
        _migrate(engine, str(path))
    except DBAPIError as exc:
        engine.dispose()
        raise _kind(exc)(
            f"{path} cannot be opened as a store: {exc.orig}",
            code="store_unreadable",
            hint="if it is not a SQLite file of hpcsweep, move it away: the next command reads all run folders again",
        ) from exc


def _kind(exc: DBAPIError) -> type[StoreError]:
    """Return StoreDiskError for a full or failing disk: in WAL mode reading needs disk space as well."""
    message = str(exc.orig)
    return StoreDiskError if "disk is full" in message or "disk I/O error" in message else StoreError


def _read_only_store(path: Path) -> Store:
    notice = f"{path} is not writable: showing the data that it has"
    trouble: Exception | None = None
    # In WAL mode reading needs a writable folder, or `immutable`: no process writes meanwhile.
    for option in ("mode=ro", "mode=ro&immutable=1"):
        engine = _sqlite_engine(f"file:{quote(str(path))}?{option}", wal=False)
        try:
            with engine.connect() as connection:
                revision = _revision(connection)
        except DBAPIError as exc:
            trouble = exc
            engine.dispose()
            continue
        _refuse_unknown(revision, str(path))
        if revision != SCHEMA_REVISION:
            raise StoreError(
                f"{path} is of an older hpcsweep (revision {revision}) and is not writable, so it cannot be migrated",
                code="store_outdated",
                hint="ask its owner to run `hpcsweep status` once, or use another store with --store",
            )
        return Store(engine, str(path), True, notice)
    raise StoreError(f"{path} cannot be read", code="store_unreadable", detail=str(trouble))


def _memory_store(notice: str) -> Store:
    engine = _sqlite_engine(_MEMORY, wal=False)
    _migrate(engine, "memory")
    return Store(engine, "memory", False, notice)


def _sqlite_engine(name: str, *, wal: bool) -> Engine:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(name, timeout=BUSY_TIMEOUT_S, uri=True, check_same_thread=False)

    if name == _MEMORY:
        engine = create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    else:
        engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)

    def on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN is too late, and missing before DDL
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA trusted_schema=OFF")  # the file may come from another user
        if wal and _write_ahead(cursor):
            cursor.execute("PRAGMA synchronous=NORMAL")  # a lost commit is ingested again
        cursor.close()

    def on_begin(connection: Connection) -> None:
        writing = connection.get_execution_options().get(_WRITING)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def _write_ahead(cursor: sqlite3.Cursor) -> bool:
    try:
        return bool(cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0] == "wal")
    except sqlite3.OperationalError:
        return False  # another process uses the rollback journal, which is as safe


def _migrate(engine: Engine, shown: str) -> None:
    with engine.connect() as connection:
        revision = _revision(connection)
    if revision == SCHEMA_REVISION:
        return
    _refuse_unknown(revision, shown)
    from hpcsweep.store.migrations import upgrade  # Alembic takes half a second to import

    with engine.connect().execution_options(**{_WRITING: True}) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('hpcsweep migrations'))"))
        upgrade(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def _refuse_unknown(revision: str | None, shown: str) -> None:
    if revision is None or revision == SCHEMA_REVISION:
        return
    from hpcsweep.store.migrations import revisions

    if revision not in revisions():
        raise StoreError(
            f"{shown} was written by a newer hpcsweep: its revision {revision} is later than {SCHEMA_REVISION}",
            code="store_too_new",
            hint="upgrade hpcsweep, or use another store with --store: it is filled from the run folders",
        )
