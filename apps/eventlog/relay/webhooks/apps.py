"""Webhooks as a Django app of their own, so that their tables are in `default`: they are no history."""

from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    name = "apps.eventlog.relay.webhooks"
    label = "webhooks"
    verbose_name = "Webhooks"
