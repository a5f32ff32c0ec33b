"""The orders service as a Django app."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "apps.orders"
