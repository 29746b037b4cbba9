"""Rows by the ten thousand a second, past Django's model instances and the statements that it compiles."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any, TypeAlias
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS, connection, connections, models

Field: TypeAlias = "models.Field[Any, Any]"
#: What SQLite's driver takes as it is.
_AS_THEY_ARE = (
    models.BinaryField,
    models.BooleanField,
    models.CharField,
    models.IntegerField,
    models.TextField,
)

#: Rows of one text that goes to PostgreSQL, which takes them in while the next are put into words.
COPIED_ROWS = 500
#: Rows of one statement that goes to SQLite, which takes 32,766 parameters.
MERGED_ROWS = 500

# All ids are one parameter: for thousands of parameters, Django and the driver take longer than the database
# takes to find the rows. LIMIT makes PostgreSQL look up each id in the index, where it would rather scan the
# whole table for thousands of ids, or as long as it has no statistics.
_READ = (
    "SELECT found.* FROM unnest(%s::uuid[]) AS wanted"
    " CROSS JOIN LATERAL (SELECT {columns} FROM {table} WHERE id = wanted LIMIT 1) AS found"
)
_READ_IN_SQLITE = "SELECT {columns} FROM {table} WHERE id IN (SELECT value FROM json_each(%s))"


def insert(like: models.Model, names: Sequence[str], rows: Iterable[Sequence[str | int]]) -> None:
    """Insert rows that are as the unsaved `like` but for the attributes `names`, of which `rows` hold values.

    Values are as the database takes them: ids as 32 hex digits, JSON as text. By COPY on PostgreSQL, by
    INSERT elsewhere. The primary key is among `names`, or the database's to choose.
    """
    fields = [field for field in like._meta.concrete_fields if not isinstance(field, models.AutoField)]
    same = [field for field in fields if field.attname not in names]
    constants = [field.get_db_prep_save(getattr(like, field.attname), connection) for field in same]
    columns = _columns([*_fields(like, names), *same])
    _write(f"{_table(like)} ({', '.join(columns)})", len(columns), rows, constants)


def update(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write the attributes `names`, of which `rows` hold values; the first names the primary key.

    A row that is not there is passed over. bulk_update() would spend most on compiling its CASE terms.
    """
    fields = _fields(model, names)
    key, *others = _columns(fields)
    changes = ", ".join(f"{column} = new.{column}" for column in others)
    _merge(f"UPDATE {_table(model)} AS old SET {changes} FROM new WHERE old.{key} = new.{key}", fields, rows)  # noqa: S608


def upsert(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """The same for rows that may not be there yet, in this order. They have no other attributes."""
    fields = _fields(model, names)
    columns = _columns(fields)
    key, *others = columns
    listed = ", ".join(columns)
    changes = ", ".join(f"{column} = excluded.{column}" for column in others)
    # Without WHERE, SQLite would take ON for the condition of a join.
    values = f"SELECT {listed} FROM new WHERE true"  # noqa: S608 (no input)
    into = f"{_table(model)} ({listed})"
    _merge(f"INSERT INTO {into} {values} ON CONFLICT ({key}) DO UPDATE SET {changes}", fields, rows)


def known(model: type[models.Model], ids: list[str]) -> list[str]:
    """Return those of these ids (32 hex digits) that have a row."""
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
    """Execute a statement on all rows as the table `new`."""
    names = _columns(fields)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # From JSON, since the driver takes longer over as many parameters than all else does.
            types = (f"{name} {field.db_type(connection)}" for name, field in zip(names, fields, strict=True))
            new = f"new AS (SELECT * FROM json_to_recordset(%s) AS given ({', '.join(types)}))"  # noqa: S608
            keys = [str(field.column) for field in fields]
            if objects := [dict(zip(keys, row, strict=True)) for row in rows]:
                cursor.execute(f"WITH {new} {statement}", [json.dumps(objects, default=_in_json)])
        else:
            # Some hundreds at once: for each statement and row, the driver lets other threads go first.
            place = f"({', '.join(['%s'] * len(names))})"
            converted = map(partial(_converted, _conversions(fields)), rows)
            while some := list(islice(converted, MERGED_ROWS)):
                new = f"new ({', '.join(names)}) AS (VALUES {', '.join([place] * len(some))})"
                cursor.execute(f"WITH {new} {statement}", list(chain.from_iterable(some)))


def _in_json(value: Any) -> str:
    """What PostgreSQL reads as this UUID, moment or bytes."""
    return f"\\x{value.hex()}" if isinstance(value, bytes) else str(value)


def _table(model: models.Model | type[models.Model]) -> str:
    return connection.ops.quote_name(model._meta.db_table)


def _fields(model: models.Model | type[models.Model], names: Sequence[str]) -> list[Field]:
    by_name = {field.attname: field for field in model._meta.concrete_fields}
    return [by_name[name] for name in names]


def _columns(fields: Iterable[Field]) -> list[str]:
    return [connection.ops.quote_name(str(field.column)) for field in fields]


def _conversions(fields: Iterable[Field]) -> list[tuple[int, Callable[[Any], Any]]]:
    """What SQLite's driver does not take: its place in a row, and what turns it into what it takes."""
    # The connection itself: `connection` looks up the thread's for whatever is asked of it.
    real = connections[DEFAULT_DB_ALIAS]
    conversions: list[tuple[int, Callable[[Any], Any]]] = []
    for place, field in enumerate(fields):
        kind = field.target_field if isinstance(field, models.ForeignKey) else field
        if isinstance(kind, models.UUIDField):
            conversions.append((place, _digits))
        elif not isinstance(kind, _AS_THEY_ARE):
            conversions.append((place, partial(kind.get_db_prep_save, connection=real)))
    return conversions


def _digits(value: Any) -> Any:
    return value.hex if isinstance(value, UUID) else value


def _converted(conversions: Iterable[tuple[int, Callable[[Any], Any]]], row: Sequence[Any]) -> list[Any]:
    values = list(row)
    for place, convert in conversions:
        values[place] = convert(values[place])
    return values


def _write(target: str, width: int, rows: Iterable[Sequence[str | int]], constants: Sequence[Any]) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {target} FROM STDIN") as copy:
                for text in _texts(rows, constants):
                    copy.write(text)
        else:
            places = ", ".join(["%s"] * width)
            values = [(*row, *constants) for row in rows]
            cursor.executemany(f"INSERT INTO {target} VALUES ({places})", values)  # noqa: S608 (no input)


def _texts(rows: Iterable[Sequence[str | int]], constants: Sequence[Any]) -> Iterator[str]:
    """Yields the rows as COPY reads them, COPIED_ROWS in a text."""
    end = "".join(f"\t{_copied(value)}" for value in constants) + "\n"
    lines = ("\t".join(map(_copied, row)) + end for row in rows)
    while text := "".join(islice(lines, COPIED_ROWS)):
        yield text


def _copied(value: object) -> str:
    if value is None:
        return "\\N"
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
