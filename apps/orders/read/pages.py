"""The page of orders: a form that places one, and the orders as they change. Customers see theirs, staff those of all.

The page is a query. Its script sends the commands to the API, with the session of the one who looks at it.
"""

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.eventlog.api.options import page
from apps.eventlog.commands import Actor
from apps.orders.events import CURRENCIES
from apps.orders.models import Customer
from apps.orders.read import queries

COMMON = ("EUR", "USD", "GBP", "JPY")  # currencies that stand first in the form


@page("GET", "HEAD")
@login_required
def orders(request: HttpRequest) -> HttpResponse:
    """For staff who may see customers, the form has those who may order; others type an id."""
    actor, staff = Actor.of(request.user), request.user.is_staff
    may_order = actor.may("orders.change_order") if staff else True
    context = {
        "customer": None if staff else _customer(actor.name),
        "customers": queries.customers_who_may_order() if may_order and actor.may("orders.view_customer") else None,
        "chosen": request.GET.get("customer", ""),
        "currencies": [*COMMON, *sorted(CURRENCIES.keys() - set(COMMON))],
        "may_order": may_order,
        "may_see": not staff or actor.may("orders.view_order"),
        "may_watch": not staff or actor.may("eventlog.view_storedevent"),
    }
    return render(request, "orders/orders.html", context)


def _customer(username: str) -> Customer | None:
    """The customer of a login, whose username is the id; None if the copy has no such customer yet."""
    try:
        return Customer.objects.filter(pk=UUID(username)).first()
    except ValueError:
        return None
