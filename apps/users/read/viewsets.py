"""Queries of the users service by GET."""

from uuid import UUID

from django.db.models import QuerySet

from apps.eventlog.http.authentication import customer_id
from apps.eventlog.http.queries import QueryViewSet
from apps.users.models import User
from apps.users.read import queries
from apps.users.read.serializers import UserReadSerializer


class UserReadViewSet(QueryViewSet):
    """GET only: all users for staff, oneself for a customer."""

    service, category = "users", "user"
    queryset = queries.users()
    serializer_class = UserReadSerializer
    filterset_fields = ("status", "email")
    ordering_fields = ("registered_at",)

    def get_queryset(self) -> QuerySet[User]:
        customer = customer_id(self.request)
        return queries.users() if customer is None else queries.users().filter(id=customer)

    def row_at(self, pk: UUID, position: int) -> User | None:
        return queries.user_at(pk, position)
