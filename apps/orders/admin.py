"""The orders service in the admin."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from apps.eventlog.admin.actions import act_with_reason, sending
from apps.eventlog.admin.documents import DocumentAdmin
from apps.eventlog.admin.filters import ValuesFilter
from apps.eventlog.admin.followers import CheckpointAdmin, DeadLetterAdmin
from apps.eventlog.admin.readonly import ReadOnlyAdmin, pretty
from apps.orders.models import Checkpoint, Customer, DeadLetter, Order, OrderSummary, SummarizedOrder
from apps.orders.write.commands import CancelOrder


@admin.register(Order)
class OrderAdmin(DocumentAdmin):
    category = "order"
    list_display = ("id", "status", "total", "currency", "placed_at")
    list_filter = ("status", ("currency", ValuesFilter), "placed_at")
    search_fields = ("=id", "=customer_id")
    actions = ("cancel",)
    exclude = ("lines",)
    readonly_fields = ("order_lines",)

    @admin.display(description="lines")
    def order_lines(self, order: Order) -> SafeString:
        return pretty(order.lines)

    @admin.action(description="Cancel, with a reason")
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
    search_help_text = "A day, a month or a currency: 2026-11, EUR."


@admin.register(SummarizedOrder)
class SummarizedOrderAdmin(ReadOnlyAdmin):
    list_display = ("order_id", "key", "total")
    search_fields = ("=order_id",)


admin.site.register(Checkpoint, CheckpointAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
