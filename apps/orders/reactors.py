"""What happens to orders when a customer is deactivated."""

from collections.abc import Sequence
from uuid import UUID

from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import RecordedEvent, UnknownEvent
from apps.eventlog.projectors import on
from apps.eventlog.reactors import Reactor, foresees
from apps.orders.events import OrderPlaced
from apps.orders.read import queries
from apps.orders.write.commands import CancelUnpaidOrder
from apps.users.events import UserDeactivated, UserReactivated


class CancelOrdersOfInactiveCustomers(Reactor):
    """Cancels the unpaid orders of a deactivated customer.

    An order may be placed after the deactivation, while the copy of the customers is late. Its own `OrderPlaced` shows
    such an order.
    """

    @on(UserDeactivated)
    def customer_deactivated(self, event: UserDeactivated, recorded: RecordedEvent) -> None:
        unreadable = None
        for order_id in queries.unpaid_orders_of(recorded.stream_id, placed_before=recorded.position):
            try:
                self._cancel(order_id, recorded)
            except UnknownEvent as error:
                unreadable = error
        if unreadable:  # only now, so that one order does not keep the others from being cancelled
            raise unreadable

    @on(OrderPlaced)
    def order_placed(self, event: OrderPlaced, recorded: RecordedEvent) -> None:
        if not queries.customer_is_active(event.customer_id):
            self._cancel(recorded.stream_id, recorded)

    @foresees(UserDeactivated)
    def orders_to_cancel(self, users: Sequence[UUID]) -> str:
        count = queries.count_unpaid_orders(users)
        return (
            f"{count} unpaid order{'s' * (count != 1)} will be cancelled." if count else "No unpaid order is cancelled."
        )

    @foresees(UserReactivated)
    def orders_that_stay(self, users: Sequence[UUID]) -> str:
        return "Orders that were cancelled stay cancelled."

    def _cancel(self, order_id: UUID, cause: RecordedEvent) -> None:
        command = CancelUnpaidOrder(order_id, "the customer was deactivated", "customer_deactivated")
        dispatch(command, cause=cause)
