"""What the orders service can be asked about."""

from uuid import UUID

from django.db import InterfaceError, OperationalError
from django.db.models import OuterRef, QuerySet, Subquery

from apps.eventlog import store
from apps.orders.models import Customer, Order, OrderSummary
from apps.orders.read.projectors import CustomerProjector, OrderProjector


def orders() -> QuerySet[Order]:
    """Orders with the name their customer has now."""
    name = Customer.objects.filter(id=OuterRef("customer_id")).order_by().values("name")
    return Order.objects.annotate(customer_name=Subquery(name))


def order_at(order_id: UUID, position: int) -> Order | None:
    """The order as of a position of the log, with the name its customer had then."""
    order = OrderProjector.row_at(order_id, position)
    if order is not None:
        customer = CustomerProjector.row_at(order.customer_id, position)
        order.customer_name = customer.name if customer else None
    return order


def name_is_older(order_id: UUID, version: int) -> bool:
    """Was everything about its customer recorded before the order reached this version?

    Then whoever has seen this version has seen the name that the customer has now, but for one case: who looked
    while the copy of the customers was behind the orders, as during its rebuild or with a dead letter open.
    False also where the log cannot be asked.
    """
    try:
        order = store.position_of(f"order-{order_id}", version)
        customer = Order.objects.filter(id=order_id).values_list("customer_id", flat=True).first()
        return order is not None and (store.position_of(f"user-{customer}") or 0) <= order
    except (OperationalError, InterfaceError):
        return False


def summaries() -> QuerySet[OrderSummary]:
    return OrderSummary.objects.all()


def unpaid_orders_of(customer_id: UUID, placed_before: int) -> list[UUID]:
    """The orders a customer placed before a position of the log and has not paid."""
    rows = Order.objects.filter(customer_id=customer_id, status="placed", placed_position__lt=placed_before)
    return list(rows.values_list("id", flat=True))


def customer_is_active(customer_id: UUID) -> bool:
    """May this customer order? One who has just registered may not be in the copy yet, so the log is asked."""
    customer = Customer.objects.filter(id=customer_id).first() or CustomerProjector.row_at(customer_id)
    return customer is not None and customer.active
