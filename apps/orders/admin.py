"""The orders service in the admin."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from apps.eventlog.admin.actions import act_with_reason, sending
from apps.eventlog.admin.documents import DocumentAdmin
from apps.eventlog.admin.filters import ValuesFilter
from apps.eventlog.admin.html import link, table
from apps.eventlog.admin.readers import CheckpointAdmin, DeadLetterAdmin
from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.orders.models import Checkpoint, Customer, DeadLetter, Order, OrderSummary, SummarizedOrder
from apps.orders.write.commands import CancelOrder


@admin.register(Order)
class OrderAdmin(DocumentAdmin):
    category = "order"
    list_display = ("placed_at", "status", "total", "currency", "id")
    list_display_links = ("placed_at", "id")
    list_filter = ("status", ("currency", ValuesFilter), "placed_at")
    search_fields = ("=id", "=customer_id")
    search_hint = "The id of an order, or of a customer."
    actions = ("cancel",)
    fields = (
        *("id", "version", "status", "customer", "currency", "total", "order_lines"),
        *("payment_reference", "tracking_number", "cancel_reason", "placed_at", "placed_position", "updated_at"),
    )
    readonly_fields = ("customer", "order_lines")

    @admin.display
    def customer(self, order: Order) -> SafeString:
        customer = Customer._default_manager.filter(pk=order.customer_id).first()
        return link(customer.name if customer else order.customer_id, "orders_customer_change", order.customer_id)

    @admin.display(description="lines")
    def order_lines(self, order: Order) -> SafeString:
        columns = ("sku", "quantity", "unit_price", "amount")
        return table(
            ["SKU", "Quantity", "Unit price", "Amount"], [[line[name] for name in columns] for line in order.lines]
        )

    @admin.action(description="Cancel, with a reason", permissions=["act"])
    def cancel(self, request: HttpRequest, orders: QuerySet[Order]) -> HttpResponse | None:
        return act_with_reason(self, request, orders, "Cancel", sending(request, CancelOrder))


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
    list_display = ("name", "active", "version", "updated_at")
    list_filter = ("active",)
    search_fields = ("name", "=id")


@admin.register(OrderSummary)
class OrderSummaryAdmin(ReadOnlyAdmin):
    list_display = ("day", "currency", "orders", "revenue")
    search_fields = ("key",)
    search_hint = "A day, a month or a currency: 2026-11, EUR."


@admin.register(SummarizedOrder)
class SummarizedOrderAdmin(ReadOnlyAdmin):
    list_display = ("order_id", "key", "total")
    search_fields = ("=order_id",)


admin.site.register(Checkpoint, CheckpointAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
