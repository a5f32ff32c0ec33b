"""URLs of the orders service. Each resource has one, for commands and queries. `pages` are those for people."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from apps.orders.read.pages import orders
from apps.orders.read.viewsets import OrderReadViewSet
from apps.orders.write.viewsets import OrderWriteViewSet


class OrderViewSet(OrderWriteViewSet, OrderReadViewSet):
    """Commands by POST, queries by GET."""


router = SimpleRouter(use_regex_path=False)
router.register("orders", OrderViewSet, basename="order")

urlpatterns = [path("", include(router.urls))]
pages = [path("orders/", orders, name="orders")]
