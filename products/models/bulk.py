"""Rows by the ten thousand a second, past Django's model instances and the statements that it compiles."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from django.db import connection, models

#: Rows of one text that goes to PostgreSQL, which takes them in while the next are put into words.
COPIED_ROWS = 500

# A look into the index for each id, which LIMIT makes sure of. PostgreSQL would rather read all of the table
# when it is asked for thousands, and so again for each chunk.
_KNOWN = (
    "SELECT id FROM unnest(%s::uuid[]) AS wanted"
    " CROSS JOIN LATERAL (SELECT id FROM {} WHERE id = wanted LIMIT 1) AS found"
)
_KNOWN_IN_SQLITE = "SELECT id FROM {} WHERE id IN (SELECT value FROM json_each(%s))"


def insert(like: models.Model, names: Sequence[str], rows: Iterable[Sequence[str | int]]) -> None:
    """Insert rows that are as the unsaved `like` but for the attributes `names`, of which `rows` hold values.

    Values are as the database takes them: ids as 32 hex digits, JSON as text. By COPY on PostgreSQL, by
    INSERT elsewhere. The primary key is among `names`, or the database's to choose.
    """
    fields = {field.attname: field for field in like._meta.concrete_fields}
    same = [name for name in fields if name not in names and not isinstance(fields[name], models.AutoField)]
    constants = [fields[name].get_db_prep_save(getattr(like, name), connection) for name in same]
    columns = [connection.ops.quote_name(str(fields[name].column)) for name in (*names, *same)]
    table = connection.ops.quote_name(like._meta.db_table)
    _write(f"{table} ({', '.join(columns)})", len(columns), rows, constants)


def known(model: type[models.Model], ids: list[str]) -> list[str]:
    """Which of these ids, in 32 hex digits as they are answered, have a row."""
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_KNOWN.format(table), [ids])
            return [pk.hex for (pk,) in cursor.fetchall()]
        cursor.execute(_KNOWN_IN_SQLITE.format(table), [json.dumps(ids)])
        return [pk for (pk,) in cursor.fetchall()]


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
