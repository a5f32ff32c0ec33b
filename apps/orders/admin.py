"""The orders service in the admin."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from apps.eventlog.admin import CheckpointAdmin, DeadLetterAdmin, DocumentAdmin, ReadOnlyAdmin, send_with_reason
from apps.orders.models import Checkpoint, Customer, DeadLetter, Order, OrderSummary
from apps.orders.write.commands import CancelOrder


@admin.register(Order)
class OrderAdmin(DocumentAdmin):
    category = "order"
    list_display = ("id", "status", "total", "currency", "customer_id", "placed_at", "updated_at")
    list_filter = ("status", "currency")
    search_fields = ("=id", "=customer_id")
    date_hierarchy = "placed_at"
    actions = ("cancel",)

    @admin.action(description="Cancel, with a reason")
    def cancel(self, request: HttpRequest, orders: QuerySet[Order]) -> HttpResponse | None:
        return send_with_reason(self, request, orders, "Cancel", CancelOrder)


@admin.register(Customer)
class CustomerAdmin(ReadOnlyAdmin):
    list_display = ("name", "active", "version", "updated_at")
    list_filter = ("active",)
    search_fields = ("name", "=id")


@admin.register(OrderSummary)
class OrderSummaryAdmin(ReadOnlyAdmin):
    list_display = ("day", "currency", "orders", "revenue")
    list_filter = ("currency",)


admin.site.register(Checkpoint, CheckpointAdmin)
admin.site.register(DeadLetter, DeadLetterAdmin)
