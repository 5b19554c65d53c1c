"""Statements that are the same in SQLite and PostgreSQL, but that SQLAlchemy defines per dialect."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Select, Table, bindparam, select
from sqlalchemy.dialects import sqlite

T = TypeVar("T")
_MOST_PARAMETERS = 500  # SQLite before 3.32 takes 999 in one statement


def batched(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield `values` in pieces that fit into one `IN (...)`."""
    for start in range(0, len(values), _MOST_PARAMETERS):
        yield values[start : start + _MOST_PARAMETERS]


def pairs(connection: Connection, query: Select[Any]) -> dict[Any, Any]:
    """Return first column -> second column of the rows."""
    return {row[0]: row[1] for row in connection.execute(query)}


def insert_new(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, except those whose primary or unique key exists."""
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert  # takes a tenth of a second to import

        connection.execute(insert(table).on_conflict_do_nothing(), list(rows))
    else:
        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), list(rows))


def update_rows(connection: Connection, table: Table, key: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Update the rows whose column `key` has the value that each of `rows` gives; all of them set the same columns."""
    if not rows:
        return
    columns = [name for name in rows[0] if name != key]
    statement = table.update().where(table.c[key] == bindparam("_key"))
    statement = statement.values({name: bindparam(f"_{name}", type_=table.c[name].type) for name in columns})
    connection.execute(statement, [{"_key": row[key], **{f"_{name}": row[name] for name in columns}} for row in rows])


def save(connection: Connection, table: Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> int:
    """Insert or update the row with this unique key; return its id."""
    where = [table.c[name] == value for name, value in key.items()]
    row_id = connection.execute(select(table.c.id).where(*where)).scalar_one_or_none()
    if row_id is None:
        insert_new(connection, table, [{**key, **values}])
        return int(connection.execute(select(table.c.id).where(*where)).scalar_one())
    connection.execute(table.update().where(table.c.id == row_id).values(**values))
    return int(row_id)
