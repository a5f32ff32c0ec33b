"""The orders service in the admin."""

from django.contrib import admin

from apps.eventlog.admin import CheckpointAdmin, DeadLetterAdmin, ReadOnlyAdmin
from apps.orders.models import Checkpoint, Customer, DeadLetter, Order, OrderSummary


@admin.register(Order)
class OrderAdmin(ReadOnlyAdmin):
    list_display = ("id", "status", "total", "currency", "customer_id", "placed_at", "updated_at")
    list_filter = ("status", "currency")
    search_fields = ("=id", "=customer_id")
    date_hierarchy = "placed_at"


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
