"""Documents of the orders service."""

from rest_framework import serializers

from apps.eventlog.api.documents import DocumentSerializer
from apps.orders.models import Customer, Order, OrderSummary


class OrderLineReadSerializer(serializers.Serializer[None]):
    sku = serializers.CharField()
    quantity = serializers.IntegerField()
    unit_price = serializers.CharField()
    amount = serializers.CharField()


class OrderReadSerializer(DocumentSerializer):
    shows_other_streams = True  # the name is the customer's
    shown_rows = {"customer_id": Customer}

    customer_name = serializers.CharField(
        read_only=True, allow_null=True, help_text="null until the service has the name of a new customer"
    )
    lines = OrderLineReadSerializer(many=True, read_only=True)

    class Meta:
        model = Order
        fields = (
            "id",
            "version",
            "customer_id",
            "customer_name",
            "status",
            "currency",
            "total",
            "lines",
            "payment_reference",
            "tracking_number",
            "cancel_reason",
            "placed_at",
            "updated_at",
        )
        read_only_fields = fields


class OrderSummaryReadSerializer(DocumentSerializer):
    class Meta:
        model = OrderSummary
        fields = ("day", "currency", "orders", "revenue")
        read_only_fields = fields
