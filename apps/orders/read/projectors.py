"""From the events of orders and users: the rows of orders, a copy of the customers, and the summary."""

from collections.abc import Sequence
from decimal import Decimal

from apps.eventlog.events import ERASED, RecordedEvent
from apps.eventlog.projectors import Projector, RowProjector, on
from apps.orders.events import OrderCancelled, OrderDelivered, OrderPaid, OrderPlaced, OrderShipped
from apps.orders.models import Customer, Order, OrderSummary, SummarizedOrder
from apps.users.events import UserDeactivated, UserErased, UserReactivated, UserRegistered, UserRenamed

PLACED, PAID, SHIPPED, DELIVERED, CANCELLED = (
    Order.Status
)  # because Order.Status.PLACED takes half as long as decoding an event


class OrderProjector(RowProjector):
    """One row for each order."""

    model, category = Order, "order"

    @on(OrderPlaced)
    def placed(self, row: Order, event: OrderPlaced, recorded: RecordedEvent) -> None:
        row.customer_id, row.currency, row.status = event.customer_id, event.currency, PLACED
        row.lines, total = [], Decimal(0)
        for line in event.lines:
            total += (amount := line.amount)
            price = str(line.unit_price)
            row.lines.append({"sku": line.sku, "quantity": line.quantity, "unit_price": price, "amount": str(amount)})
        row.total = str(total)
        row.placed_at, row.placed_position = recorded.recorded_at, recorded.position

    @on(OrderPaid)
    def paid(self, row: Order, event: OrderPaid, recorded: RecordedEvent) -> None:
        row.status, row.payment_reference = PAID, event.payment_reference

    @on(OrderShipped)
    def shipped(self, row: Order, event: OrderShipped, recorded: RecordedEvent) -> None:
        row.status, row.tracking_number = SHIPPED, event.tracking_number

    @on(OrderDelivered)
    def delivered(self, row: Order, event: OrderDelivered, recorded: RecordedEvent) -> None:
        row.status = DELIVERED

    @on(OrderCancelled)
    def cancelled(self, row: Order, event: OrderCancelled, recorded: RecordedEvent) -> None:
        row.status, row.cancel_reason = CANCELLED, event.reason


class CustomerProjector(RowProjector):
    """One row for each customer, from the events of users."""

    model, category = Customer, "user"

    @on(UserRegistered)
    def registered(self, row: Customer, event: UserRegistered, recorded: RecordedEvent) -> None:
        row.name, row.active = event.name, True

    @on(UserRenamed)
    def renamed(self, row: Customer, event: UserRenamed, recorded: RecordedEvent) -> None:
        row.name = event.name

    @on(UserDeactivated)
    def deactivated(self, row: Customer, event: UserDeactivated, recorded: RecordedEvent) -> None:
        row.active = False

    @on(UserReactivated)
    def reactivated(self, row: Customer, event: UserReactivated, recorded: RecordedEvent) -> None:
        row.active = True

    @on(UserErased)
    def erased(self, row: Customer, event: UserErased, recorded: RecordedEvent) -> None:
        row.name, row.active = ERASED, False


class SummaryProjector(Projector):
    """One row for each day and currency, over all orders that were placed and not cancelled."""

    models, categories = (OrderSummary, SummarizedOrder), ("order",)

    def project(self, events: Sequence[RecordedEvent]) -> None:
        summarized = self.table(SummarizedOrder)
        news = [(recorded, recorded.event) for recorded in events]
        cancelled = [recorded.stream_id for recorded, event in news if isinstance(event, OrderCancelled)]
        entries = self.find(SummarizedOrder, cancelled)
        changes: dict[str, tuple[int, Decimal]] = {}

        def change(key: str, orders: int, revenue: Decimal) -> None:
            before = changes.get(key, (0, Decimal(0)))
            changes[key] = before[0] + orders, before[1] + revenue

        for recorded, event in news:
            if isinstance(event, OrderPlaced):
                entry = self._entry(recorded, event)
                entries[entry.order_id] = entry
                change(entry.key, 1, Decimal(entry.total))
            elif isinstance(event, OrderCancelled):
                entry = entries.pop(recorded.stream_id)
                change(entry.key, -1, -Decimal(entry.total))
        if cancelled:
            summarized.objects.filter(order_id__in=cancelled).delete()
        self.upsert(SummarizedOrder, list(entries.values()))
        if changes:
            self._write(self.find(OrderSummary, changes), changes)

    def _entry(self, recorded: RecordedEvent, event: OrderPlaced) -> SummarizedOrder:
        key = f"{recorded.recorded_at:%Y-%m-%d} {event.currency}"
        return self.table(SummarizedOrder)(order_id=recorded.stream_id, key=key, total=str(event.total))

    def _write(self, rows: dict[str, OrderSummary], changes: dict[str, tuple[int, Decimal]]) -> None:
        table = self.table(OrderSummary)
        for key, (orders, revenue) in changes.items():
            day, currency = key.split()
            row = rows.setdefault(key, table(key=key, day=day, currency=currency, orders=0, revenue="0"))
            row.orders, row.revenue = row.orders + orders, str(Decimal(row.revenue) + revenue)
        if empty := [key for key, row in rows.items() if not row.orders]:
            table.objects.filter(pk__in=empty).delete()
        self.upsert(OrderSummary, [row for row in rows.values() if row.orders])
