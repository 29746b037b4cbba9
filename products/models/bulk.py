"""Rows by the ten thousand a second, past Django's model instances and the statements that it compiles."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from django.db import connection, models

#: What a value is turned into for the database's driver; None where that takes it as it is.
Conversion = Callable[[Any], Any] | None


def insert(like: models.Model, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows that are as the unsaved `like` but for the attributes `names`, of which `rows` hold values.

    By COPY on PostgreSQL, by INSERT elsewhere. The primary key is among `names`, or the database's to choose.
    """
    fields = [field for field in like._meta.concrete_fields if not isinstance(field, models.AutoField)]
    same = [field for field in fields if field.attname not in names]
    constants = tuple(field.get_db_prep_save(getattr(like, field.attname), connection) for field in same)
    varying = [next(field for field in fields if field.attname == name) for name in names]
    conversions = [_conversion(field) for field in varying]
    columns = [connection.ops.quote_name(str(field.column)) for field in (*varying, *same)]
    table = connection.ops.quote_name(like._meta.db_table)
    _write(f"{table} ({', '.join(columns)})", len(columns), _converted(rows, conversions, constants))


def _conversion(field: "models.Field[Any, Any]") -> Conversion:
    if connection.vendor == "postgresql" and not isinstance(field, models.JSONField):
        return None
    return partial(field.get_db_prep_save, connection=connection)


def _converted(
    rows: Iterable[Sequence[Any]], conversions: list[Conversion], constants: tuple[Any, ...]
) -> Iterable[Sequence[Any]]:
    if not any(conversions):
        return ((*row, *constants) for row in rows)
    return (
        (
            *(convert(value) if convert else value for value, convert in zip(row, conversions, strict=True)),
            *constants,
        )
        for row in rows
    )


def _write(target: str, width: int, rows: Iterable[Sequence[Any]]) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            with cursor.copy(f"COPY {target} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        else:
            places = ", ".join(["%s"] * width)
            cursor.executemany(f"INSERT INTO {target} VALUES ({places})", list(rows))  # noqa: S608 (no input)
