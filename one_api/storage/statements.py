"""Statements that are spelled out once, and then run by the database's driver as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Insert, Table, Update
from sqlalchemy.dialects import sqlite

from one_api.storage.engines import AsyncConnection

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

Row: TypeAlias = Mapping[str, Any]
#: The values of a row, in the order in which the text of a statement wants them.
_Pick: TypeAlias = Callable[[Row], tuple[Any, ...]]


class Prepared:
    """A statement without values of its own, for many rows at once.

    SQLAlchemy writes its text, once for each kind of database. To have each row's values led
    through SQLAlchemy, too, takes the event loop 10 µs for one of `requests` instead of 2, and as
    much again as the rows for what surrounds them (SQLAlchemy 2.1, CPython 3.11). So values must be
    what the driver takes for them, as numbers, booleans and text are.
    """

    def __init__(self, make: Callable[[str], Insert | Update]) -> None:
        """`make` is called with the name of a dialect."""
        self._make = make
        self._spelled: dict[str, tuple[str, _Pick]] = {}

    async def run(self, connection: AsyncConnection, rows: Sequence[Row]) -> None:
        """Execute it for each of `rows`, which have the columns and parameters by name."""
        if not rows:
            return
        text, pick = self._spelled_for(connection)
        values = [pick(row) for row in rows]
        # Drivers do one in fewer steps than a list of one.
        await connection.exec_driver_sql(text, values if len(values) > 1 else values[0])

    async def scalars(self, connection: AsyncConnection, row: Row) -> list[Any]:
        """Execute it for `row`; the first column of what it returns."""
        text, pick = self._spelled_for(connection)
        return list((await connection.exec_driver_sql(text, pick(row))).scalars())

    def _spelled_for(self, connection: AsyncConnection) -> tuple[str, _Pick]:
        dialect = connection.dialect
        spelled = self._spelled.get(dialect.name)
        if spelled is None:
            compiled = self._make(dialect.name).compile(dialect=dialect)
            spelled = str(compiled), itemgetter(*compiled.positiontup or ())
            self._spelled[dialect.name] = spelled
        return spelled


def insert_into(dialect_name: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that can say what to do about a row that is there already."""
    if dialect_name == "sqlite":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # 3 MB that only users of PostgreSQL should pay

    return postgresql.insert(table)
