"""The orders service in the admin."""

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.safestring import SafeString

from apps.eventlog.admin.actions import Act, action, send
from apps.eventlog.admin.documents import DocumentAdmin
from apps.eventlog.admin.filters import ValuesFilter
from apps.eventlog.admin.html import is_id, link, stream_link, table
from apps.eventlog.admin.readers import CheckpointAdmin, DeadLetterAdmin
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.orders.models import Checkpoint, Customer, DeadLetter, Order, OrderSummary, SummarizedOrder
from apps.orders.write.commands import CancelOrder, DeliverOrder, PayOrder, ShipOrder

NAMED = 50  # customers with a name that somebody searches orders by


def unless(*statuses: str) -> Callable[[Order], str]:
    """Why an action is not possible, unless the order has one of these statuses."""
    return lambda order: "" if order.status in statuses else f"it is {order.status}"


@admin.register(Order)
class OrderAdmin(DocumentAdmin):
    category = "order"
    owners = {"user": "customer_id"}
    list_display = ("id", "placed_at", "status", "customer", "amount")
    list_filter = ("status", ("currency", ValuesFilter), "placed_at")
    search_fields = ("=id", "=customer_id", "=payment_reference")
    search_hint = (
        "An id or its beginning, of the order, its customer or an event; a customer's name; a payment reference."
    )
    actions = ("pay", "ship", "deliver", "cancel")
    fields = (
        *("id", "version", "status", "customer", "currency", "total", "order_lines"),
        *("payment_reference", "tracking_number", "cancel_reason", "placed_at", "placed_position", "updated_at"),
    )
    readonly_fields = ("customer", "order_lines")
    pay = action(Act("Pay", send(PayOrder), asks="payment reference", unless=unless("placed"), longest=200))
    ship = action(Act("Ship", send(ShipOrder), asks="tracking number", unless=unless("paid"), longest=200))
    deliver = action(Act("Deliver", send(DeliverOrder, with_text=False), asks="", unless=unless("shipped")))
    cancel = action(
        Act("Cancel", send(CancelOrder), unless=unless("placed", "paid")), description="Cancel, with a reason"
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        name = Customer.objects.filter(id=OuterRef("customer_id")).order_by().values("name")
        return super().get_queryset(request).annotate(customer_name=Subquery(name))

    def other_way(self, term: str) -> Q | None:
        """The orders of the customers with such a name too; a whole id is no name."""
        if is_id(term):
            return super().other_way(term)
        named = Customer.objects.filter(name__icontains=term).order_by().values_list("pk", flat=True)[:NAMED]
        found, events = list(named), super().other_way(term)
        by_name = Q(customer_id__in=found) if found else None
        return by_name | events if by_name and events else by_name or events

    @admin.display(description="total")
    def amount(self, order: Order) -> str:
        return f"{order.total} {order.currency}"

    @admin.display
    def customer(self, order: Any) -> SafeString:
        return stream_link(f"user-{order.customer_id}", order.customer_name or order.customer_id)

    @admin.display(description="lines")
    def order_lines(self, order: Order) -> SafeString:
        columns = ("sku", "quantity", "unit_price", "amount")
        return table(
            ["SKU", "Quantity", "Unit price", "Amount"], [[line[name] for name in columns] for line in order.lines]
        )


@admin.register(Customer)
class CustomerAdmin(DocumentAdmin):
    category, is_copy, findable = "user", True, False
    owners = {"user": "id"}
    list_display = ("name", "active", "user", "version", "updated_at")
    list_filter = ("active",)
    search_fields = ("name", "=id")
    search_hint = "Part of a name, or an id or its beginning."
    actions = None
    fields = ("id", "version", "name", "active", "user", "orders", "updated_at")
    readonly_fields = ("user", "orders")

    @admin.display
    def user(self, customer: Customer) -> SafeString:
        return stream_link(f"user-{customer.pk}", "the user")

    @admin.display
    def orders(self, customer: Customer) -> SafeString:
        return link("their orders", "orders_order_changelist", customer_id=customer.pk)


@admin.register(OrderSummary)
class OrderSummaryAdmin(ReadOnlyAdmin):
    list_display = ("day", "currency", "orders", "revenue")
    search_fields = ("key",)
    search_hint = "A day, a month or a currency: 2026-11, EUR."


@admin.register(SummarizedOrder)
class SummarizedOrderAdmin(ReadOnlyAdmin):
    is_machinery = True
    list_display = ("order_id", "key", "total")
    search_fields = ("=order_id",)


admin.site.register(Checkpoint, CheckpointAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
