"""One handler for each command: load the order, let it decide."""

from apps.eventlog.aggregates import RuleBroken
from apps.eventlog.dispatch import handles
from apps.eventlog.repository import creating, editing, require_owner
from apps.orders.read import queries
from apps.orders.write.aggregates import Order
from apps.orders.write.commands import (
    CancelOrder,
    CancelUnpaidOrder,
    DeliverOrder,
    PayOrder,
    PlaceOrder,
    ShipOrder,
)


@handles(PlaceOrder)
def place_order(command: PlaceOrder) -> None:
    require_owner(command.customer_id)
    if not queries.customer_is_active(command.customer_id):
        raise RuleBroken("only an active customer can place an order")
    with creating(Order, command.order_id) as order:
        order.place(command.customer_id, command.currency, command.lines)


@handles(PayOrder)
def pay_order(command: PayOrder) -> None:
    with editing(Order, command.order_id) as order:
        order.pay(command.payment_reference)


@handles(ShipOrder)
def ship_order(command: ShipOrder) -> None:
    with editing(Order, command.order_id, staff_only=True) as order:
        order.ship(command.tracking_number)


@handles(DeliverOrder)
def deliver_order(command: DeliverOrder) -> None:
    with editing(Order, command.order_id, staff_only=True) as order:
        order.deliver()


@handles(CancelOrder)
def cancel_order(command: CancelOrder) -> None:
    with editing(Order, command.order_id) as order:
        order.cancel(command.reason)


@handles(CancelUnpaidOrder)
def cancel_unpaid_order(command: CancelUnpaidOrder) -> None:
    with editing(Order, command.order_id) as order:
        if order.unpaid:
            order.cancel(command.reason, command.cause)
