"""Documents straight from rows: declared as DRF serializers, written as JSON by the database."""

from functools import cache
from typing import Any
from uuid import UUID

import msgspec
from django.db.models import F, QuerySet
from rest_framework import serializers

from apps.eventlog.http.row_json import Json
from apps.eventlog.statements import ANY, Prepared


class DocumentSerializer(serializers.ModelSerializer[Any]):
    """Base of the read serializers. `Meta.fields` are columns and annotations of the rows.

    The declared fields describe the document, to the schema and to people, and represent an instance
    where there is one. From the database a document takes the short way: as the JSON that it answers.
    """

    @classmethod
    def json(cls) -> Json:
        """The expression to select: a document as JSON text."""
        return Json(cls.Meta.model, tuple(cls.Meta.fields))  # type: ignore[attr-defined]


class Lookup:
    """One document and its version, by id, and by owner."""

    ANY_OWNER = UUID(int=2)

    def __init__(self, rows: QuerySet[Any], serializer: type[DocumentSerializer], owner: str | None) -> None:
        mine = rows.filter(pk=ANY, **({owner: self.ANY_OWNER} if owner else {}))
        self.query = Prepared(mine.order_by().values_list(serializer.json(), F("version")))

    def find(self, id: UUID, owner: UUID | None) -> tuple[msgspec.Raw, int] | None:
        """The document and its version; None where there is none or it is another's."""
        row = self.query.first({ANY: id, self.ANY_OWNER: owner})
        return None if row is None else (msgspec.Raw(row[0]), row[1])


@cache
def lookup(rows: Any, serializer: type[DocumentSerializer], owner: str | None) -> Lookup:
    """The lookup among the rows that a query function answers."""
    return Lookup(rows(), serializer, owner)
