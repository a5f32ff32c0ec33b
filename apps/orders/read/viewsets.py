"""Queries of the orders service by GET."""

from uuid import UUID

import django_filters
from django.core.validators import RegexValidator
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.eventlog.api.access import open_to
from apps.eventlog.api.documents import Documents
from apps.eventlog.api.filters import InstantFilter, check_parameters
from apps.eventlog.api.query_viewset import QueryViewSet
from apps.orders.models import Order
from apps.orders.read import queries
from apps.orders.read.serializers import OrderReadSerializer, OrderSummaryReadSerializer

CURRENCY = "^[A-Z]{3}$"


class OrderFilters(django_filters.FilterSet):
    status = django_filters.ChoiceFilter(choices=Order.Status.choices)
    customer = django_filters.UUIDFilter(field_name="customer_id")
    currency = extend_schema_field({"type": "string", "pattern": CURRENCY})(
        django_filters.CharFilter(validators=[RegexValidator(CURRENCY, "three capital letters, as in EUR")])
    )
    placed_after = InstantFilter(field_name="placed_at", lookup_expr="gt")
    placed_before = InstantFilter(field_name="placed_at", lookup_expr="lt")


class OrderReadViewSet(QueryViewSet):
    """GET only: staff who may see orders see all of them, a customer their own."""

    service, category = "orders", "order"
    rows, owner = queries.orders, "customer_id"
    queryset = queries.orders()
    serializer_class = OrderReadSerializer
    filterset_class = OrderFilters
    ordering_fields = ("placed_at", "updated_at")

    def row_at(self, pk: UUID, position: int) -> Order | None:
        return queries.order_at(pk, position)

    @open_to("orders.view_ordersummary")
    @extend_schema(responses=OrderSummaryReadSerializer(many=True))
    @action(detail=False, filter_backends=[])
    def summary(self, request: Request) -> Response:
        """Orders and revenue by day of placing and currency, newest first."""
        check_parameters(request, {"limit", "cursor"})
        return self.page(Documents(queries.summaries, OrderSummaryReadSerializer))
