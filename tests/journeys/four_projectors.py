"""`manage.py` of a site whose service `orders` has two more projectors: four follow the orders.

python -m tests.journeys.four_projectors migrate           makes the tables of the two
python -m tests.journeys.four_projectors run_projectors --service orders
"""

import sys

import django
from django.core.management import execute_from_command_line

django.setup(set_prefix=False)

from django.db import connections, models  # noqa: E402

from apps.eventlog.events import RecordedEvent  # noqa: E402
from apps.eventlog.projectors import RowProjector, on  # noqa: E402
from apps.orders.events import OrderPaid, OrderPlaced  # noqa: E402


class OrderReference(models.Model):
    id = models.UUIDField(primary_key=True)
    version = models.PositiveIntegerField()
    updated_at = models.DateTimeField()
    reference = models.TextField(default="")

    class Meta:
        app_label = "orders"

    def __str__(self) -> str:
        return self.reference


class OrderItems(models.Model):
    id = models.UUIDField(primary_key=True)
    version = models.PositiveIntegerField()
    updated_at = models.DateTimeField()
    items = models.PositiveIntegerField(default=0)

    class Meta:
        app_label = "orders"

    def __str__(self) -> str:
        return f"{self.items} items"


class OrderReferenceProjector(RowProjector):
    model, category = OrderReference, "order"

    @on(OrderPaid)
    def paid(self, row: OrderReference, event: OrderPaid, recorded: RecordedEvent) -> None:
        row.reference = event.payment_reference


class OrderItemsProjector(RowProjector):
    model, category = OrderItems, "order"

    @on(OrderPlaced)
    def placed(self, row: OrderItems, event: OrderPlaced, recorded: RecordedEvent) -> None:
        row.items = sum(line.quantity for line in event.lines)


if __name__ == "__main__":
    if sys.argv[1] == "migrate":
        with connections["orders"].schema_editor() as editor:
            editor.create_model(OrderReference)
            editor.create_model(OrderItems)
    else:
        execute_from_command_line(sys.argv)
