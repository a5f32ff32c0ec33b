"""The order: placed -> paid -> shipped -> delivered, cancelled from placed or paid."""

from uuid import UUID

from apps.eventlog.aggregates import Aggregate, applies
from apps.orders.events import Cause, OrderCancelled, OrderDelivered, OrderLine, OrderPaid, OrderPlaced, OrderShipped


class Order(Aggregate):
    category = "order"

    customer_id: UUID | None = None
    status = ""

    @property
    def owner(self) -> UUID | None:
        return self.customer_id

    @property
    def unpaid(self) -> bool:
        return self.status == "placed"

    def place(self, customer_id: UUID, currency: str, lines: tuple[OrderLine, ...]) -> None:
        self.require(self.version == 0, "an order is placed once")
        self.require(lines, "an order has at least one line")
        self.record(OrderPlaced(customer_id, currency, lines))

    def pay(self, payment_reference: str) -> None:
        self.require(self.status == "placed", "only a placed order can be paid")
        self.record(OrderPaid(payment_reference))

    def ship(self, tracking_number: str) -> None:
        self.require(self.status == "paid", "only a paid order can be shipped")
        self.record(OrderShipped(tracking_number))

    def deliver(self) -> None:
        self.require(self.status == "shipped", "only a shipped order can be delivered")
        self.record(OrderDelivered())

    def cancel(self, reason: str, cause: Cause = "requested") -> None:
        self.require(self.status in ("placed", "paid"), "only a placed or paid order can be cancelled")
        self.record(OrderCancelled(reason, cause))

    @applies(OrderPlaced)
    def _placed(self, event: OrderPlaced) -> None:
        self.customer_id, self.status = event.customer_id, "placed"

    @applies(OrderPaid)
    def _paid(self, event: OrderPaid) -> None:
        self.status = "paid"

    @applies(OrderShipped)
    def _shipped(self, event: OrderShipped) -> None:
        self.status = "shipped"

    @applies(OrderDelivered)
    def _delivered(self, event: OrderDelivered) -> None:
        self.status = "delivered"

    @applies(OrderCancelled)
    def _cancelled(self, event: OrderCancelled) -> None:
        self.status = "cancelled"
