"""What staff write into the URL of a list or a page is answered, whatever it is: never a fault of ours."""

from typing import Any
from urllib.parse import quote

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import OperationalError, models
from django.test import Client
from knox.models import AuthToken

from tests.support.history import make_history

HUGE, LONG = "1" + "0" * 25, "9" * 5000
NUMBERS = [
    "exact=-1",
    f"exact={HUGE}",
    f"gt=-{HUGE}",
    "lt=1e3",
    "exact=x",
    "in=1,x",
    f"in={HUGE}",
    f"gte={LONG}",
    "range=1",
]
EDGES = ["gt=0001-01-01T00:00:00+13:59", "lt=9999-12-31T23:00:00-12:00", "gte=0000-01-01", "exact=2026-02-30"]
YEARS = ["year=-5", f"year={HUGE}", f"year__gt={LONG}", "iso_year=10000", "iso_year__lt=0", "week=99", "hour=25"]
TEXTS = [
    "regex=(a+)+$",
    "iregex=[",
    "contains=%25",
    f"exact={'x' * 20_000}",
    "isnull=perhaps",
    "nothing=1",
    "exact=%00",
]
JSON = ["contains={}", "a__b__c=1", "has_key=[", "0__gt=x", "exact={", f"{'__'.join('a' * 60)}=1", 'a"b=1']
BY_KIND: list[tuple[Any, list[str]]] = [
    (models.DateField, [*EDGES, *YEARS]),
    (models.IntegerField, NUMBERS),
    (models.JSONField, JSON),
    (models.UUIDField, ["exact=zzz", "gt=1", "in=a", "icontains=%"]),
    (models.BinaryField, ["exact=x", "contains=y"]),
    (models.Field, TEXTS),
]


@pytest.fixture
def browser() -> Client:
    """Staff, with something in most of the lists."""
    make_history(users=2, commands=12)
    call_command("seal_events", verbosity=0)
    staff = get_user_model().objects.create_superuser("admin")
    AuthToken.objects.create(staff)
    client = Client(raise_request_exception=False)
    client.force_login(staff)
    return client


def statuses(browser: Client, paths: list[str]) -> dict[str, int]:
    """The paths that are answered with a status of 500 or more."""
    found = {path[:200]: browser.get(path).status_code for path in paths}
    return {path: status for path, status in found.items() if status >= 500}


def pages() -> list[tuple[str, type[models.Model]]]:
    return [(f"/admin/{m._meta.app_label}/{m._meta.model_name}/", m) for m in admin.site._registry]


def test_no_lookup_of_any_list_is_a_fault_of_ours(browser: Client) -> None:
    paths = []
    for path, model in pages():
        for kind, values in BY_KIND:
            if fields := [field.name for field in model._meta.concrete_fields if isinstance(field, kind)]:
                paths += [f"{path}?{fields[-1]}__{quote(value, safe='=%&')}" for value in values]
    assert len(paths) > 300
    assert statuses(browser, paths) == {}


def test_no_search_page_or_id_is_a_fault_of_ours(browser: Client) -> None:
    surrogate = quote("\ud83d".encode(errors="surrogatepass"))
    odd = [HUGE, LONG, "-1", "²", "%00", "%ff", "_5F", surrogate]
    paths = []
    for path, _ in pages():
        paths += [
            f"{path}?{name}={text}" for name, text in zip(("q", "p", "q", "q", "q", "p", "o", "q"), odd, strict=True)
        ]
        paths += [f"{path}{text}/change/" for text in odd] + [f"{path}{HUGE}/{view}/" for view in ("history", "delete")]
    assert statuses(browser, paths) == {}


def test_a_pattern_is_refused_and_a_wrong_lookup_leaves_the_whole_list(browser: Client) -> None:
    assert browser.get("/admin/users/user/?name__regex=^A").status_code == 400
    answer = browser.get("/admin/auth/user/?last_login__year=0", follow=True)
    assert answer.redirect_chain == [("/admin/auth/user/?e=1", 302)]
    assert b"admin" in answer.content


def test_an_outage_is_not_taken_for_a_wrong_lookup(browser: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*arguments: Any) -> None:
        raise OperationalError("the server closed the connection")

    page: Any = next(page for model, page in admin.site._registry.items() if model is get_user_model())
    monkeypatch.setattr(type(page), "get_changelist", gone)
    assert browser.get("/admin/auth/user/?is_staff__exact=1").status_code == 503
