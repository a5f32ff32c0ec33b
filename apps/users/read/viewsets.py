"""Queries of the users service by GET."""

from uuid import UUID

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.eventlog.api.access import open_to
from apps.eventlog.api.filters import check_parameters
from apps.eventlog.api.personal_data import PAGING, PersonalDataSerializer, personal_data
from apps.eventlog.api.query_viewset import QueryViewSet
from apps.users.events import email_key
from apps.users.models import User
from apps.users.read import queries
from apps.users.read.serializers import UserReadSerializer


class UserFilters(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=User.Status.choices)
    email = django_filters.CharFilter(method="by_mailbox", help_text="in any form of the address")

    def by_mailbox(self, rows: QuerySet[User], name: str, email: str) -> QuerySet[User]:
        return rows.filter(mailbox=email_key(email))


class UserReadViewSet(QueryViewSet):
    """GET only: staff who may see users see all of them, a customer only themselves."""

    service, category = "users", "user"
    rows, owner = queries.users, "id"
    queryset = queries.users()
    serializer_class = UserReadSerializer
    filterset_class = UserFilters
    ordering_fields = ("registered_at",)

    @open_to("view", customers=True)
    @extend_schema(responses=PersonalDataSerializer, parameters=PAGING)
    @action(detail=True, url_path="personal-data")
    def personal_data(self, request: Request, pk: UUID) -> Response:
        """All data about the person, each value with its source, page by page."""
        check_parameters(request, {"limit", "cursor"})
        self.document(pk)
        return personal_data(request, pk)

    def row_at(self, pk: UUID, position: int) -> User | None:
        return queries.user_at(pk, position)
