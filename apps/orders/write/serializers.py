"""The bodies of the commands of the orders service."""

import re
from decimal import Decimal
from typing import Any

import msgspec
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.eventlog.api.authentication import customer_id
from apps.eventlog.api.command_serializer import CommandSerializer, example
from apps.orders.events import CURRENCIES, OrderLine, is_money

ORDER_BYTES = 100_000  # of the lines as JSON: 500 of them with the longest SKU of ASCII have some 90,000


# One pattern for each number of decimals: at most 12 digits in all, with the point before the decimals.
MONEY = "|".join(rf"^[0-9]{{1,{12 - n}}}[.][0-9]{{{n}}}$" if n else "^[0-9]{1,12}$" for n in range(5))


@extend_schema_field({"type": "string", "pattern": MONEY})
class MoneyField(serializers.Field[Decimal, str, str, Decimal]):
    """A decimal string of up to 12 digits, 0 or more. A JSON number is refused: as a float it may be inexact."""

    def to_internal_value(self, data: Any) -> Decimal:
        if not isinstance(data, str) or not re.match(MONEY, data) or data.endswith("\n"):
            raise serializers.ValidationError('money is a decimal string of up to 12 digits, as in "14.00"')
        return Decimal(data)


class OrderLineSerializer(CommandSerializer):
    sku = serializers.CharField(max_length=100)
    quantity = serializers.IntegerField(min_value=1, max_value=1_000_000)
    unit_price = MoneyField()


@example(
    {
        "currency": "EUR",
        "lines": [
            {"sku": "TEA-250", "quantity": 2, "unit_price": "12.50"},
            {"sku": "CUP", "quantity": 1, "unit_price": "8.00"},
        ],
    }
)
class PlaceOrderSerializer(CommandSerializer):
    customer_id = serializers.UUIDField(required=False, help_text="required for staff; a customer orders for oneself")
    currency = serializers.ChoiceField(choices=sorted(CURRENCIES))
    lines = OrderLineSerializer(many=True, min_length=1, max_length=500)  # type: ignore[call-arg]

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if "customer_id" not in fields:
            fields["customer_id"] = customer_id(self.context["request"])
        if fields["customer_id"] is None:
            raise serializers.ValidationError({"customer_id": ["staff must name the customer"]})
        currency = fields["currency"]
        errors = [self._too_exact(line, currency) for line in fields["lines"]]
        if any(errors):
            raise serializers.ValidationError({"lines": errors})
        if len(msgspec.json.encode(fields["lines"])) > ORDER_BYTES:
            raise serializers.ValidationError({"lines": [f"more than {ORDER_BYTES} bytes"]})
        exact = Decimal(1).scaleb(-CURRENCIES[currency])
        fields["lines"] = tuple(
            OrderLine(line["sku"], line["quantity"], line["unit_price"].quantize(exact)) for line in fields["lines"]
        )
        return fields

    def _too_exact(self, line: dict[str, Any], currency: str) -> dict[str, list[str]]:
        """Zeros beyond the decimals of the currency do no harm: "14.000" is 14.00 euros."""
        digits = format(line["unit_price"].normalize(), "f")
        if is_money(Decimal(digits), currency):
            return {}
        return {"unit_price": [f"{currency} has {CURRENCIES[currency]} decimals"]}


@example({"payment_reference": "INV-2026-0042"})
class PayOrderSerializer(CommandSerializer):
    payment_reference = serializers.CharField(max_length=200)


@example({"tracking_number": "1Z999AA10123456784"})
class ShipOrderSerializer(CommandSerializer):
    tracking_number = serializers.CharField(max_length=200)


@example({"reason": "changed my mind"})
class CancelOrderSerializer(CommandSerializer):
    reason = serializers.CharField(max_length=500)
