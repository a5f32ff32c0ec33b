"""The digits of an id are read in either case (RFC 9562), wherever a request, an option or a search names one."""

from io import StringIO

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.test import Client

from apps.eventlog.read.serializers import StreamQuerySerializer
from tests.support.api import Api


def test_paths_bodies_and_filters_take_ids_in_either_case(api: Api) -> None:
    ann, staff = api.customer(), api.staff
    order = ann.place()
    shown, upper = ann.get(f"orders/{order}/"), f"orders/{order.upper()}/"
    assert (shown.status, ann.get(upper).json) == (200, shown.json)
    assert ann.get(f"{upper}?version=1").json == shown.json
    other = staff.place(customer=ann.user_id.upper())
    owned = staff.get(f"orders/?customer={ann.user_id.upper()}")["results"]
    assert {document["id"] for document in owned} == {order, other}
    paid = ann.post(f"{upper}pay/", {"payment_reference": "p"}, Idempotency_Key="k")
    again = ann.post(f"orders/{order}/pay/", {"payment_reference": "p"}, Idempotency_Key="k")
    assert (paid.status, paid.json, paid["id"]) == (202, again.json, order)
    types = [event["type"] for event in ann.get(f"{upper}history/")["results"]]
    assert types == ["orders.OrderPlaced", "orders.OrderPaid"]
    feed = staff.get(f"events/?stream=order-{order.upper()}")["results"]
    assert [event["type"] for event in feed] == types
    same = staff.get(f"events/?correlation_id={feed[0]['metadata']['correlation_id'].upper()}")["results"]
    assert [event["position"] for event in same] == [feed[0]["position"]]


def test_filters_options_and_searches_take_the_name_of_a_stream_in_either_case(api: Api) -> None:
    order = api.customer().place()
    upper = f"order-{order.upper()}"
    query = StreamQuerySerializer(data={"stream": upper})
    assert query.is_valid()
    assert query.validated_data == {"stream": f"order-{order}"}
    out = StringIO()
    call_command("replay_events", "--list", "--stream", upper, stdout=out)
    assert out.getvalue().count("orders.OrderPlaced") == 1
    browser = Client()
    browser.force_login(get_user_model().objects.create_superuser("admin"))
    for path, term in (("eventlog/storedevent/", upper), ("orders/order/", order.upper())):
        page = browser.get(f"/admin/{path}", {"q": term})
        assert len(page.context_data["cl"].result_list) == 1  # type: ignore[attr-defined]


def test_a_name_that_is_no_uuid_is_taken_as_it_is(api: Api) -> None:
    for path in ("events/?stream=order-ABC", f"events/?stream=ORDER-{'A' * 36}"):
        assert api.staff.get(path)["results"] == []
