"""The queries of the orders service."""

from collections.abc import Sequence
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery

from apps.orders.models import Customer, Order, OrderSummary
from apps.orders.read.projectors import CustomerProjector, OrderProjector

IN_A_FORM = 200  # customers


def orders() -> QuerySet[Order]:
    """All orders, each with the present name of its customer."""
    name = Customer.objects.filter(id=OuterRef("customer_id")).order_by().values("name")
    return Order.objects.annotate(customer_name=Subquery(name))


def order_at(order_id: UUID, position: int) -> Order | None:
    """The order as it was at a position of the log, with the name that its customer had then."""
    order = OrderProjector.row_at(order_id, position)
    if order is not None:
        customer = CustomerProjector.row_at(order.customer_id, position)
        order.customer_name = customer.name if customer else None
    return order


def summaries() -> QuerySet[OrderSummary]:
    return OrderSummary.objects.all()


def unpaid_orders_of(customer_id: UUID, placed_before: int) -> list[UUID]:
    """The ids of the orders that a customer placed before a position of the log and has not paid."""
    rows = Order.objects.filter(customer_id=customer_id, status="placed", placed_position__lt=placed_before)
    return list(rows.values_list("id", flat=True))


def count_unpaid_orders(customer_ids: Sequence[UUID]) -> int:
    """How many orders of these customers are not paid, as the rows have it now."""
    return Order.objects.filter(customer_id__in=customer_ids, status="placed").count()


def customers_who_may_order() -> QuerySet[Customer]:
    """The customers for whom an order can be placed, those that changed last first, as many as fit into a form."""
    return Customer.objects.filter(active=True)[:IN_A_FORM]


def customer_is_active(customer_id: UUID) -> bool:
    """May this customer order? A customer who has just registered may not be in the copy yet: then the log is asked."""
    customer = CustomerProjector.row(customer_id) or CustomerProjector.row_at(customer_id)
    return customer is not None and customer.active
