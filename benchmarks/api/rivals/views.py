"""DRF's usual way: a ModelSerializer and a ModelViewSet each, with DRF's own parser, renderer and pagination."""

from decimal import Decimal
from typing import Any

from rest_framework import serializers
from rest_framework.pagination import CursorPagination
from rest_framework.viewsets import ModelViewSet

from benchmarks.api.rivals.models import PlainOrder, TrackedOrder

WRITTEN = ("customer", "currency", "lines")


class LineSerializer(serializers.Serializer[Any]):
    sku = serializers.CharField(max_length=100)
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000)
    unit_price = serializers.DecimalField(max_digits=12, decimal_places=2, min_value=0)
    amount = serializers.CharField(read_only=True)


class OrderSerializer(serializers.ModelSerializer[Any]):
    customer_name = serializers.CharField(source="customer.name", read_only=True)
    lines = LineSerializer(many=True)

    class Meta:
        model: Any = PlainOrder
        fields = (
            *("id", "customer", "customer_name", "status", "currency", "total", "lines", "payment_reference"),
            *("tracking_number", "cancel_reason", "placed_at", "updated_at"),
        )
        read_only_fields = tuple(name for name in fields if name not in WRITTEN)

    def create(self, fields: dict[str, Any]) -> Any:
        for line in fields["lines"]:
            line["amount"], line["unit_price"] = str(line["quantity"] * line["unit_price"]), str(line["unit_price"])
        total = sum((Decimal(line["amount"]) for line in fields["lines"]), Decimal(0))
        return self.Meta.model.objects.create(**fields, total=str(total))


class TrackedOrderSerializer(OrderSerializer):
    class Meta(OrderSerializer.Meta):
        model = TrackedOrder


class Pages(CursorPagination):
    """The fastest that DRF has: the others count all rows for each page."""

    page_size, ordering = 50, "-placed_at"


class OrderViewSet(ModelViewSet[Any]):
    queryset: Any = PlainOrder._default_manager.select_related("customer")
    serializer_class: Any = OrderSerializer
    pagination_class = Pages


class TrackedOrderViewSet(OrderViewSet):
    queryset = TrackedOrder._default_manager.select_related("customer")
    serializer_class = TrackedOrderSerializer
