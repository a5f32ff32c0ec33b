"""E-mail addresses: one mailbox is one user and two mailboxes are two, wherever an address enters or is looked up."""

from pathlib import Path
from urllib.parse import quote

import pytest
from django.core.management import CommandError

from apps.eventlog import store
from apps.users.events import is_email
from apps.users.models import User
from apps.users.write.aggregates import is_name
from tests.support.api import PASSWORD, Api
from tests.support.exported import document, import_lines

# One mailbox in two forms.
SAME = [
    ("anna@example.org", "ANNA@Example.ORG."),
    ("Zoe\u0308@example.org", "zoë@example.org"),
    ("jörg@bücher.example", "JÖRG@xn--bcher-kva.example"),
    ("anna@bücher.example", "anna@BU\u0308CHER.example"),
    ("анна@пример.рф", "АННА@xn--e1afmkfd.xn--p1ai"),
    ("anna@例え。jp", "anna@例え.jp"),
    ("anna@\uff45xample.org", "anna@example.org"),
    ("straße@example.org", "STRASSE@example.org"),
]
# Two mailboxes that look alike.
OTHER = [
    ("anna@faß.example", "anna@fass.example"),
    ("an.na@example.org", "anna@example.org"),
    ("anna+a@example.org", "anna@example.org"),
    ("аnna@example.org", "anna@example.org"),  # the first letter is Cyrillic
    ("anna@example.org", "anna@example.com"),
    ("\uff41nna@example.org", "anna@example.org"),  # NFC keeps a full-width letter of the local part
]
INVALID = [
    *["", "anna", "@example.org", "anna@", "anna@@example.org", "an na@example.org", ".anna@example.org"],
    *["anna.@example.org", "an..na@example.org", "anna@example", "anna@-a.example", "anna@a..example", "anna@.org"],
    *["anna@exa mple.org", "anna@127.0.0.1", "anna@[127.0.0.1]", "an\u200bna@example.org", "an\u00a0na@example.org"],
    *["anna\n@example.org", "anna@example.org\n", "anna@xn--a.example", "anna@" + "a" * 64 + ".example"],
    *["a" * 243 + "@example.org", "\ue000@example.org", "anna@ex_ample.org", "<anna@example.org>"],
]


def register(api: Api, email: str, name: str = "Anna") -> int:
    return api.staff.post("users/", {"email": email, "name": name, "password": PASSWORD}).status


@pytest.mark.parametrize(("email", "same"), SAME)
def test_one_mailbox_is_one_user_however_it_is_written(api: Api, email: str, same: str, tmp_path: Path) -> None:
    anna = api.customer(email)
    assert register(api, same) == 409
    bob = api.customer("bob@example.net")
    assert bob.post(f"users/{bob.user_id}/change-email/", {"email": same, "password": PASSWORD}).status == 409
    assert api.post("auth/login/", {"username": same, "password": PASSWORD}).status == 200
    staff = api.staff
    assert [user["id"] for user in staff.get(f"users/?email={quote(same)}")["results"]] == [anna.user_id]
    assert User.objects.get(id=anna.user_id).email == email  # as the person writes it
    line = document(type="users.UserRegistered", data={"email": same, "name": "B"})
    line["stream"] = line["stream"].replace("thing", "user")
    with pytest.raises(CommandError, match="both hold one email"):
        import_lines(tmp_path, line)
    assert anna.post(f"users/{anna.user_id}/change-email/", {"email": same, "password": PASSWORD}).status == 202
    assert api.post("auth/login/", {"username": email, "password": PASSWORD}).status == 200


@pytest.mark.parametrize(("email", "other"), OTHER)
def test_two_mailboxes_are_two_users_however_alike(api: Api, email: str, other: str) -> None:
    anna, bob = api.customer(email, "Anna"), api.customer(other, "Bob")
    for person, address in ((anna, email), (bob, other)):
        found = api.staff.get(f"users/?email={quote(address)}")["results"]
        assert [user["id"] for user in found] == [person.user_id]


def test_the_admin_finds_a_user_by_any_form_of_the_address(api: Api) -> None:
    api.customer("jörg@bücher.example", "Jörg")
    api.customer("anna@example.org", "Anna")
    staff = api.staff.client
    staff.post("/admin/login/", {"username": "admin", "password": PASSWORD, "next": "/admin/"})
    for term in ("JÖRG@xn--bcher-kva.EXAMPLE", " jo\u0308rg@bücher.example. ", "bücher"):
        page = staff.get("/admin/users/user/", {"q": term}).content.decode()
        assert [name in page for name in ("jörg@bücher.example", "anna@example.org")] == [True, False], term


@pytest.mark.parametrize("email", INVALID)
def test_what_is_no_address_is_refused(api: Api, email: str) -> None:
    assert not is_email(email)
    answer = api.staff.post("users/", {"email": email, "name": "Anna"})
    # Blanks around a value of the API are taken away before anybody looks at it.
    assert answer.status == (201 if is_email(email.strip()) else 400)


def test_the_rarer_forms_of_rfc_6531_are_addresses() -> None:
    for local in (
        "o'neil",
        "a!#$%&'*+/=?^_`{|}~-",
        '"an na"',
        '"a@b"',
        "δοκιμή",
        "用户",
        "अजय",
        "a" * 64,
        "\U0001f600",
    ):
        assert is_email(f"{local}@example.org"), local
    for domain in ("δοκιμή.gr", "xn--jxalpdlp.gr", "a-b.example", "a.b.c.d.museum", "1and1.example"):
        assert is_email(f"anna@{domain}"), domain


def test_the_longest_forms_of_an_address_have_their_row(api: Api) -> None:
    for number, letter in enumerate("\ufb03\u1fb7\u0390a"):  # the mailbox of some is three times as long
        email = letter * 240 + "@example.org"
        if is_email(email):
            assert register(api, email, f"N{number}") == 201
            assert User.objects.filter(email=email).exists()


NAMELESS = [
    "",
    " ",
    "\u200b",
    "\u2800",
    "\u3164\u00a0",
    "\u00ad",
    "\u202e",
    "a\nb",
    "a\0b",
    "\x9b",
    "[erased]",
    " [erased] ",
]


@pytest.mark.parametrize("name", NAMELESS)
def test_a_name_has_something_to_read_and_no_control_character(api: Api, name: str) -> None:
    anna = api.customer()
    for person, path, body in (
        (api.staff, "users/", {"email": "b@example.org", "name": name}),
        (anna, f"users/{anna.user_id}/rename/", {"name": name}),
    ):
        answer = person.post(path, body)
        assert answer.status == 400
        assert "/name" in str(answer.json)
    assert store.head() == 1


def test_names_of_every_script_are_names() -> None:
    for name in (
        "Ann",
        "王",
        "Żółć",
        "محمد",
        "நிலா",
        "👩‍🔬",
        "O\u2019Neil",
        "erased",
        "e\u0301",
        "X Æ A-12",
        "ゑ",
        "\u0e33",
    ):
        assert is_name(name), name
