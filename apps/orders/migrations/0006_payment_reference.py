"""Orders are found by their payment reference."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0005_dead_letter_index")]

    operations = [
        migrations.AddIndex(
            model_name="order",
            index=models.Index(fields=["payment_reference"], name="orders_order_payment"),
        ),
    ]
