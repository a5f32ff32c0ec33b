"""The commands of the orders service over HTTP."""

from uuid import UUID

import uuid_utils.compat as uuids
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.eventlog.api.command_serializer import NothingSerializer
from apps.eventlog.api.command_viewset import CommandViewSet, takes
from apps.orders.write.commands import CancelOrder, DeliverOrder, PayOrder, PlaceOrder, ShipOrder
from apps.orders.write.serializers import (
    CancelOrderSerializer,
    PayOrderSerializer,
    PlaceOrderSerializer,
    ShipOrderSerializer,
)


class OrderWriteViewSet(CommandViewSet):
    """The commands, by POST only."""

    problems = {"create": (404,)}

    @takes(PlaceOrderSerializer, PlaceOrder)
    def create(self, request: Request) -> Response:
        """Place an order for oneself, or as staff for a customer."""
        return self.send(PlaceOrder(uuids.uuid7(), **self.fields()), created=True)

    @takes(PayOrderSerializer, PayOrder)
    @action(detail=True, methods=["post"])
    def pay(self, request: Request, pk: UUID) -> Response:
        """Pay a placed order."""
        return self.send(PayOrder(pk, **self.fields()))

    @takes(ShipOrderSerializer, ShipOrder)
    @action(detail=True, methods=["post"])
    def ship(self, request: Request, pk: UUID) -> Response:
        """Ship a paid order; for staff."""
        return self.send(ShipOrder(pk, **self.fields()))

    @takes(NothingSerializer, DeliverOrder)
    @action(detail=True, methods=["post"])
    def deliver(self, request: Request, pk: UUID) -> Response:
        """Record that a shipped order has arrived; for staff."""
        return self.send(DeliverOrder(pk, **self.fields()))

    @takes(CancelOrderSerializer, CancelOrder)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: UUID) -> Response:
        """Cancel an order that is not shipped yet."""
        return self.send(CancelOrder(pk, **self.fields()))
