"""Documents: declared as DRF serializers, read from rows, and written as JSON by the database."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar
from uuid import UUID

import msgspec
from django.db.models import F, Model, QuerySet
from django_filters import FilterSet
from rest_framework import serializers

from apps.eventlog.api.row_json import Json
from apps.eventlog.database import prepared
from apps.eventlog.database.keyset import beyond, columns_of, ordering_of


class DocumentSerializer(serializers.ModelSerializer[Any]):
    """Base of the read serializers. `Meta.fields` are columns and annotations of the rows.

    The declaration describes the document to the API's schema, and the database writes each document as JSON by it.
    The one exception is a document as it stood then: its row is folded from the log and never was in a table, so the
    serializer writes it. The tests compare the two.
    """

    # Does the document show facts of other streams? Then it can change while its version stays, so it has no 304.
    # Whoever adds an annotation must answer this, since its value comes from elsewhere.
    shows_other_streams: ClassVar[bool | None] = None
    # The models of the rows that it shows too, by the column that names the row: such a row may be out of date.
    shown_rows: ClassVar[Mapping[str, type[Model]]] = {}

    def __init_subclass__(cls) -> None:
        columns = {field.attname for field in cls.Meta.model._meta.concrete_fields}  # type: ignore[attr-defined]
        others = [name for name in cls.Meta.fields if name not in columns]  # type: ignore[attr-defined]
        if others and cls.shows_other_streams is None:
            raise TypeError(
                f"{cls.__name__} must set shows_other_streams: {', '.join(others)} is no column of its rows"
            )

    @classmethod
    def json(cls) -> Json:
        """The expression to select: a document as JSON text."""
        return Json(cls.Meta.model, tuple(cls.Meta.fields))  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Documents:
    """The documents of the rows that a query function answers.

    `owner` is the column that names the customer whose they are. To ask for the documents of owner None is to ask for
    those of all.
    """

    rows: Callable[[], QuerySet[Any]]
    serializer: type[DocumentSerializer]
    owner: str = ""
    filters: type[FilterSet] | None = None

    @property
    def ordering(self) -> list[str]:
        return _ordering(self.rows)

    def find(self, id: UUID, owner: UUID | None) -> tuple[msgspec.Raw, int] | None:
        """The document with this id and its version; None if it is not there or is another's."""
        row = prepared.first(_one, self, id=id, owner=owner)
        return None if row is None else (msgspec.Raw(row[0]), row[1])

    def page(
        self, owner: UUID | None, filters: Mapping[str, Any], order: list[str], after: Sequence[Any], size: int
    ) -> list[prepared.Row]:
        """So many documents in an order, beyond the row with the values `after` if there are any.

        Each row is a document, its primary key, and then the columns of the order.
        """
        columns = columns_of(order)
        meta = self.serializer.Meta.model._meta  # type: ignore[attr-defined]
        typed = tuple(meta.get_field(name).to_python(value) for name, value in zip(columns, after, strict=False))
        shape = (self, tuple(order), size, tuple(filters))
        # A method that filters may decide by the value, and not only compare with it.
        methods = self.filters and any(self.filters.base_filters[name].method for name in filters)
        read = prepared.built_anew if methods else prepared.rows
        return read(_page, *shape, owner=owner, after=typed, wanted=tuple(filters.values()))

    def owner_asked_for(self, owner: UUID | None, filters: Mapping[str, Any]) -> UUID | None:
        """The owner of all documents that meet these filters; None if there may be several."""
        known = self.filters.base_filters if self.filters else {}
        named = (value for name, value in filters.items() if known[name].field_name == self.owner)
        return owner or next(named, None)

    def of(self, owner: UUID | None) -> QuerySet[Any]:
        """The rows of one owner, or of all."""
        return self.rows().filter(**({} if owner is None else {self.owner: owner}))


@cache
def _ordering(rows: Callable[[], QuerySet[Any]]) -> list[str]:
    return ordering_of(rows())


def _one(documents: Documents, *, id: UUID, owner: UUID | None) -> QuerySet[Any, Any]:
    return documents.of(owner).filter(pk=id).order_by().values_list(documents.serializer.json(), F("version"))


def _page(
    documents: Documents,
    order: Sequence[str],
    size: int,
    filters: Sequence[str],
    *,
    owner: UUID | None,
    after: Sequence[Any],
    wanted: Sequence[Any],
) -> QuerySet[Any, Any]:
    rows = documents.of(owner)
    if documents.filters and filters:
        known = documents.filters(queryset=rows).filters
        for name, value in zip(filters, wanted, strict=True):
            rows = known[name].filter(rows, value)
    if after:
        rows = rows.filter(beyond(order, after))
    return rows.order_by(*order).values_list(documents.serializer.json(), F("pk"), *columns_of(order))[:size]
