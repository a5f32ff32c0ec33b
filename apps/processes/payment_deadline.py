"""An order that nobody pays does not wait for ever."""

from datetime import timedelta

from django.conf import settings

from apps.eventlog.events import RecordedEvent
from apps.eventlog.processes import Process, on, timer
from apps.orders.events import OrderCancelled, OrderPaid, OrderPlaced
from apps.orders.write.commands import CancelUnpaidOrder


class PaymentDeadline(Process):
    """Cancels an order that is not paid within the setting PAYMENT_DEADLINE. An instance is an order.

    A change of the setting counts for orders that are placed after it. If it is off, timers that are set already do
    nothing.
    """

    @on(OrderPlaced)
    def placed(self, event: OrderPlaced, recorded: RecordedEvent) -> None:
        deadline: timedelta | None = settings.PAYMENT_DEADLINE
        if deadline is not None:
            self.wake("expired", at=recorded.recorded_at + deadline)

    @on(OrderPaid)
    def paid(self, event: OrderPaid, recorded: RecordedEvent) -> None:
        self.clear("expired")

    @on(OrderCancelled)
    def cancelled(self, event: OrderCancelled, recorded: RecordedEvent) -> None:
        self.clear("expired")

    @timer("expired")
    def expired(self) -> None:
        if settings.PAYMENT_DEADLINE is not None:
            self.send(CancelUnpaidOrder(self.id, "the order was not paid in time", "payment_deadline"))
