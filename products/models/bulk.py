"""Rows by the ten thousand a second, past Django's model instances and the statements that it compiles."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

from django.db import connection, models

#: What a value is turned into for the database's driver; None where that takes it as it is.
Conversion = Callable[[Any], Any] | None
Field: TypeAlias = "models.Field[Any, Any]"
#: What every driver takes.
_AS_THEY_ARE = (models.BooleanField, models.CharField, models.IntegerField, models.TextField)


def insert(like: models.Model, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows that are as the unsaved `like` but for the attributes `names`, of which `rows` hold values.

    By COPY on PostgreSQL, by INSERT elsewhere. The primary key is among `names`, or the database's to choose.
    """
    fields = [field for field in like._meta.concrete_fields if not isinstance(field, models.AutoField)]
    same = [field for field in fields if field.attname not in names]
    constants = tuple(field.get_db_prep_save(getattr(like, field.attname), connection) for field in same)
    varying = _fields(like, names)
    conversions = [_conversion(field) for field in varying]
    columns = _columns([*varying, *same])
    _write(f"{_table(like)} ({', '.join(columns)})", len(columns), _converted(rows, conversions, constants))


def update(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write the attributes `names`, of which `rows` hold values; the first names the primary key.

    A row that is not there is passed over. bulk_update() would spend most on compiling its CASE terms.
    """
    fields = _fields(model, names)
    key, *others = _columns(fields)
    if connection.vendor == "postgresql":
        changes = ", ".join(f"{column} = new.{column}" for column in others)
        statement = f"UPDATE {_table(model)} old SET {changes} FROM {{new}} WHERE old.{key} = new.{key}"  # noqa: S608
    else:
        changes = ", ".join(f"{column} = ?{place}" for place, column in enumerate(others, start=2))
        statement = f"UPDATE {_table(model)} SET {changes} WHERE {key} = ?1"  # noqa: S608
    _merge(statement, fields, rows)


def upsert(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """The same for rows that may not be there yet, in this order. They have no other attributes."""
    fields = _fields(model, names)
    columns = _columns(fields)
    key, *others = columns
    listed = ", ".join(columns)
    if connection.vendor == "postgresql":
        values = f"SELECT {listed} FROM {{new}}"  # noqa: S608 (no input)
    else:
        values = f"VALUES ({', '.join(['%s'] * len(columns))})"
    changes = ", ".join(f"{column} = excluded.{column}" for column in others)
    into = f"{_table(model)} ({listed})"
    _merge(f"INSERT INTO {into} {values} ON CONFLICT ({key}) DO UPDATE SET {changes}", fields, rows)


def _merge(statement: str, fields: list[Field], rows: Iterable[Sequence[Any]]) -> None:
    """Execute a statement on each row; on PostgreSQL once, on all of them as the table `{new}`.

    That is read from JSON, since the driver takes longer over as many parameters than all else does.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            names = _columns(fields)
            types = (f"{name} {field.db_type(connection)}" for name, field in zip(names, fields, strict=True))
            new = f"json_to_recordset(%s) new ({', '.join(types)})"
            keys = [str(field.column) for field in fields]
            objects = [dict(zip(keys, row, strict=True)) for row in rows]
            cursor.execute(statement.format(new=new), [json.dumps(objects, default=_in_json)])
        else:
            conversions = [_conversion(field) for field in fields]
            cursor.executemany(statement, list(_converted(rows, conversions, ())))


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


def _conversion(field: Field) -> Conversion:
    if connection.vendor == "postgresql" and not isinstance(field, models.JSONField):
        return None
    if isinstance(field, _AS_THEY_ARE):
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
