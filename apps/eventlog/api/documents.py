"""Documents straight from rows: declared as DRF serializers, written as JSON by the database."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import DateTimeField, F, QuerySet, UUIDField
from rest_framework import serializers

from apps.eventlog.api.row_json import Json
from apps.eventlog.database.keyset import beyond, columns_of, ordering_of
from apps.eventlog.database.statements import ANY, Prepared


class DocumentSerializer(serializers.ModelSerializer[Any]):
    """Base of the read serializers. `Meta.fields` are columns and annotations of the rows.

    The declared fields describe the document, to the schema and to people, and represent an instance
    where there is one. From the database a document takes the short way: as the JSON that it answers.
    """

    @classmethod
    def json(cls) -> Json:
        """The expression to select: a document as JSON text."""
        return Json(cls.Meta.model, tuple(cls.Meta.fields))  # type: ignore[attr-defined]


ANY_OWNER = UUID(int=2)
# What stands in for the values of a cursor, by the columns that lists are ordered by.
STAND_INS: dict[type, Any] = {UUIDField: UUID(int=3), DateTimeField: datetime(1, 2, 3, tzinfo=UTC)}


class Lookup:
    """One document and its version, by id, and by owner."""

    def __init__(self, rows: QuerySet[Any], serializer: type[DocumentSerializer], owner: str | None) -> None:
        mine = rows.filter(pk=ANY, **({owner: ANY_OWNER} if owner else {}))
        self.query = Prepared(mine.order_by().values_list(serializer.json(), F("version")))

    def find(self, id: UUID, owner: UUID | None) -> tuple[msgspec.Raw, int] | None:
        """The document and its version; None where there is none or it is another's."""
        row = self.query.first({ANY: id, ANY_OWNER: owner})
        return None if row is None else (msgspec.Raw(row[0]), row[1])


@cache
def lookup(rows: Any, serializer: type[DocumentSerializer], owner: str | None) -> Lookup:
    """The lookup among the rows that a query function answers."""
    return Lookup(rows(), serializer, owner)


class Listing:
    """Pages of documents in one order, of all rows or of one owner's; each shape of a page is made once."""

    def __init__(self, rows: Any, serializer: type[DocumentSerializer], owner: str | None) -> None:
        self.rows, self.serializer, self.owner = rows, serializer, owner
        self.ordering = ordering_of(rows())
        self.shapes = lru_cache(maxsize=100)(self._shape)

    def fetch(self, owner: UUID | None, order: list[str], values: list[Any], size: int) -> list[dict[str, Any]]:
        """So many rows beyond one with these values; the first, and the last but one, may become cursors."""
        query = self.shapes(tuple(order), bool(values), size)
        fields = self._fields(order)
        given = {STAND_INS[type(field)]: field.to_python(value) for field, value in zip(fields, values, strict=False)}
        found: list[Any] = query.rows({ANY_OWNER: owner, **given})
        for index in {0, min(len(found), size - 1) - 1} if found else ():
            found[index] = query.convert(found[index])
        names = [*columns_of(order), "document"]
        return [dict(zip(names, row, strict=True)) for row in found]

    def _shape(self, order: tuple[str, ...], further: bool, size: int) -> Prepared:
        rows = self.rows()
        if self.owner:
            rows = rows.filter(**{self.owner: ANY_OWNER})
        if further:
            rows = rows.filter(beyond(list(order), [STAND_INS[type(field)] for field in self._fields(order)]))
        return Prepared(rows.order_by(*order).values_list(*columns_of(order), self.serializer.json())[:size])

    def _fields(self, order: Sequence[str]) -> list[Any]:
        meta = self.serializer.Meta.model._meta  # type: ignore[attr-defined]
        return [meta.get_field(name) for name in columns_of(order)]


@cache
def listing(rows: Any, serializer: type[DocumentSerializer], owner: str | None) -> Listing:
    """The listing of the rows that a query function answers."""
    return Listing(rows, serializer, owner)
