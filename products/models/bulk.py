"""Fast reads and writes of many rows, without model instances and the statements that Django compiles."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from typing import Any, TypeAlias
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.utils.dateparse import parse_datetime

Field: TypeAlias = "models.Field[Any, Any]"
#: Fields with values that SQLite's driver takes unconverted.
_UNCONVERTED_FIELDS = (
    models.BinaryField,
    models.BooleanField,
    models.CharField,
    models.IntegerField,
    models.TextField,
)

#: Rows sent to PostgreSQL at once by COPY. It reads them while the next ones are formatted.
COPIED_ROWS = 500
#: Rows of one statement for SQLite, which allows 32,766 parameters.
MERGED_ROWS = 500

# All ids are one parameter: for thousands of parameters, Django and the driver would take longer than the
# database takes to find the rows. LIMIT makes PostgreSQL look up each id in the index. Without it, PostgreSQL
# scans the whole table for thousands of ids, or while it has no statistics.
_READ = (
    "SELECT found.* FROM unnest(%s::uuid[]) AS wanted"
    " CROSS JOIN LATERAL (SELECT {columns} FROM {table} WHERE id = wanted LIMIT 1) AS found"
)
_READ_IN_SQLITE = "SELECT {columns} FROM {table} WHERE id IN (SELECT value FROM json_each(%s))"


def insert(like: models.Model, names: Sequence[str], rows: Iterable[Sequence[str | int | None]]) -> None:
    """Insert copies of the unsaved `like`, in which the attributes `names` have the values of each row.

    Values are in the database's form: ids as 32 hex digits, JSON as text. The primary key is among `names` or
    chosen by the database. Uses COPY on PostgreSQL, INSERT on SQLite.
    """
    fields = [field for field in like._meta.concrete_fields if not isinstance(field, models.AutoField)]
    same = [field for field in fields if field.attname not in names]
    constants = [field.get_db_prep_save(getattr(like, field.attname), connection) for field in same]
    columns = _columns([*_fields(like, names), *same])
    target = f"{_table(like)} ({', '.join(columns)})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            end = "".join(f"\t{_copied(value)}" for value in constants) + "\n"
            lines = ("\t".join(map(_copied, row)) + end for row in rows)
            with cursor.copy(f"COPY {target} FROM STDIN") as copy:
                while text := "".join(islice(lines, COPIED_ROWS)):
                    copy.write(text)
        else:
            same_places = "".join([", %s"] * len(constants))
            into = f"INSERT INTO {target} SELECT *{same_places} FROM new"  # noqa: S608 (no input)
            _merge_into_sqlite(cursor, into, names, rows, constants)


def update(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Update the attributes `names` to the values of each row. The first name is that of the primary key.

    Rows that do not exist are skipped. bulk_update() would spend most of its time on compiling CASE terms.
    """
    fields = _fields(model, names)
    key, *others = _columns(fields)
    changes = ", ".join(f"{column} = new.{column}" for column in others)
    _merge(f"UPDATE {_table(model)} AS old SET {changes} FROM new WHERE old.{key} = new.{key}", fields, rows)  # noqa: S608


def upsert(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Update rows as `update` does, in this order, and insert those that do not exist.

    The model has no attributes other than `names`.
    """
    fields = _fields(model, names)
    columns = _columns(fields)
    key, *others = columns
    listed = ", ".join(columns)
    changes = ", ".join(f"{column} = excluded.{column}" for column in others)
    # Without WHERE, SQLite would parse ON as the condition of a join.
    values = f"SELECT {listed} FROM new WHERE true"  # noqa: S608 (no input)
    into = f"{_table(model)} ({listed})"
    _merge(f"INSERT INTO {into} {values} ON CONFLICT ({key}) DO UPDATE SET {changes}", fields, rows)


def known(model: type[models.Model], ids: list[str]) -> list[str]:
    """Return the ids that have a row, out of `ids` (32 hex digits each)."""
    return [pk for (pk,) in read(model, ["id"], ids)]


def read(model: type[models.Model], names: Sequence[str], ids: list[str]) -> list[tuple[Any, ...]]:
    """Return the attributes `names` of the rows with these ids that exist, in any order.

    The primary key is `id`. Ids are 32 hex digits, both given and returned, and each is given once. Other
    values are as the database returns them.
    """
    fields = _fields(model, names)
    form = {"table": _table(model), "columns": ", ".join(_columns(fields))}
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_READ.format_map(form), [ids])
            return [tuple(map(_digits, row)) for row in cursor.fetchall()]
        cursor.execute(_READ_IN_SQLITE.format_map(form), [json.dumps(ids)])
        return list(cursor.fetchall())


def _merge(statement: str, fields: list[Field], rows: Iterable[Sequence[Any]]) -> None:
    """Execute a statement that reads all rows from a table named `new`."""
    names = _columns(fields)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # As JSON: the driver would take longer for so many parameters than everything else together.
            types = (f"{name} {field.db_type(connection)}" for name, field in zip(names, fields, strict=True))
            new = f"new AS (SELECT * FROM json_to_recordset(%s) AS given ({', '.join(types)}))"  # noqa: S608
            keys = [str(field.column) for field in fields]
            if objects := [dict(zip(keys, row, strict=True)) for row in rows]:
                cursor.execute(f"WITH {new} {statement}", [json.dumps(objects, default=_in_json)])
        else:
            _merge_into_sqlite(cursor, statement, names, map(_sqlite_converter(fields), rows))


def _merge_into_sqlite(
    cursor: Any,
    statement: str,
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    parameters: Sequence[Any] = (),
) -> None:
    """Execute a statement with these parameters that reads rows from a table named `new`.

    Some hundreds at once: for each statement and row, the driver lets other threads run first.
    """
    place = f"({', '.join(['%s'] * len(names))})"
    remaining = iter(rows)
    while some := list(islice(remaining, MERGED_ROWS)):
        new = f"new ({', '.join(names)}) AS (VALUES {', '.join([place] * len(some))})"
        cursor.execute(f"WITH {new} {statement}", [*chain.from_iterable(some), *parameters])


def _in_json(value: Any) -> str:
    """Return a UUID, datetime or bytes as PostgreSQL reads it from JSON."""
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)


def _table(model: models.Model | type[models.Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _fields(model: models.Model | type[models.Model], names: Sequence[str]) -> list[Field]:
    by_name = {field.attname: field for field in model._meta.concrete_fields}
    return [by_name[name] for name in names]


def _columns(fields: Iterable[Field]) -> list[str]:
    return [connection.ops.quote_name(str(field.column)) for field in fields]


def _sqlite_converter(fields: Iterable[Field]) -> Callable[[Sequence[Any]], list[Any]]:
    """Return a function that converts the values of a row to types that SQLite's driver takes."""
    # The connection itself, since the proxy `connection` looks it up at each access.
    real = connections[DEFAULT_DB_ALIAS]
    conversions: list[tuple[int, Callable[[Any], Any]]] = []
    for index, field in enumerate(fields):
        kind = field.target_field if isinstance(field, models.ForeignKey) else field
        if isinstance(kind, models.UUIDField):
            conversions.append((index, _digits))
        elif not isinstance(kind, _UNCONVERTED_FIELDS):
            conversions.append((index, partial(kind.get_db_prep_save, connection=real)))

    def convert(row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for index, conversion in conversions:
            values[index] = conversion(values[index])
        return values

    return convert


def _digits(value: Any) -> Any:
    return value.hex if isinstance(value, UUID) else value


def _copied(value: object) -> str:
    """Return a value in the text format of COPY."""
    if value is None:
        return "\\N"
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def parse_moment(text: str) -> datetime | None:
    """Return a time that the database wrote as text or into JSON; None if the text is none.

    SQLite writes times in UTC and without an offset.
    """
    moment = parse_datetime(text)
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
