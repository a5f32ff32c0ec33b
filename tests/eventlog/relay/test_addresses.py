"""What may be called: no address of this machine or of a private network, however it is written or found."""

import socket
from typing import Any

import pytest

from apps.eventlog.relay.webhooks import addresses
from apps.eventlog.relay.webhooks.messages import Parcel
from apps.eventlog.relay.webhooks.sender import Sender
from tests.support.receiver import Receiver, answers

pytestmark = pytest.mark.django_db(databases=[])  # nothing here asks a database

PRIVATE = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.254 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.1
192.0.2.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
:: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:8.8.8.8 fe80::1 fe80::1%lo fec0::1 fc00::1 fd00:ec2::254 ff02::1
64:ff9b::127.0.0.1 64:ff9b::a00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1 2001::1 2001:db8::1 2002:7f00:1::
2002:808:808::1 3fff::1 5f00::1
"""
PUBLIC = ["1.1.1.1", "8.8.8.8", "192.0.9.1", "2606:4700::1111", "2a00:1450:4001::1", "64:ff9b::808:808"]
# Ways to write 127.0.0.1 that a resolver may read.
DISGUISES = ["127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "localhost", "LOCALHOST", "[::1]"]
DISGUISES += ["[::ffff:7f00:1]", "0", "[::]", "127.0.0.1."]
BROKEN = [
    "",
    "x",
    "//example.org",
    "https://",
    "https:///x",
    "https://[::1",
    "javascript:alert(1)",
    "file:///etc/passwd",
]
BROKEN += ["https://exa mple.org/", "https://example.org:port/", "gopher://example.org/", "https://\x00/"]


@pytest.mark.parametrize("address", PRIVATE.split())
def test_an_address_that_not_everybody_can_reach_is_refused(address: str) -> None:
    assert not addresses.is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_called(address: str) -> None:
    assert addresses.is_public(address)


@pytest.mark.parametrize("text", BROKEN)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(addresses.Refused):
        addresses.checked_url(text)


def sent(url: str) -> str:
    """The error of one request."""
    with Sender() as sender:
        sender.send([Parcel("key", url, {"webhook-id": "x"}, b"{}")])
        [answer] = sender.answers(10, 0)
    return answer.error


@pytest.mark.parametrize("host", DISGUISES)
def test_a_connection_to_this_machine_is_refused_as_it_is_made(host: str, receiver: Receiver) -> None:
    """Also if the name had another address when the endpoint was made: nothing is asked here but the connection."""
    error = sent(f"http://{host}:{receiver.port}/a")
    assert error
    assert "204" not in error
    assert receiver.tried["a"] == []


def test_a_name_with_a_public_and_a_private_address_is_refused(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = socket.getaddrinfo

    def two_faced(host: Any, port: Any, *more: Any, **options: Any) -> Any:
        if host != "two.example":
            return usual(host, port, *more, **options)
        kinds = socket.AF_INET, socket.SOCK_STREAM, 6, ""
        return [(*kinds, ("192.0.9.1", port)), (*kinds, ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", two_faced)
    assert sent(f"http://two.example:{receiver.port}/a") == "not called: 127.0.0.1 is not a public address"
    assert receiver.tried["a"] == []
    with pytest.raises(addresses.Refused):
        addresses.require_allowed("https://two.example/", 5)


def test_a_name_that_answers_with_another_address_the_next_time_gains_nothing(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = iter(["192.0.9.1", *["127.0.0.1"] * 5])

    def rebinding(host: Any, port: Any, *_: Any, **__: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(faces), port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    addresses.require_allowed("https://rebinding.example/", 5)
    assert sent(f"http://rebinding.example:{receiver.port}/a").startswith("not called")
    assert receiver.tried["a"] == []


def test_a_name_that_nobody_knows_or_that_hangs_does_not_stop_an_endpoint_from_being_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses.require_allowed("https://nowhere.invalid/", 5)
    monkeypatch.setattr(addresses, "look_up", lambda *_: addresses.Future())
    addresses.require_allowed("https://hangs.example/", 0.01)


def test_with_private_addresses_allowed_this_machine_is_called_and_no_redirect_followed(
    receiver: Receiver, settings: Any
) -> None:
    settings.WEBHOOKS_PRIVATE = True
    receiver.behave("a", answers(307, f"location: {receiver.url('trap')}\r\n"))
    assert sent(receiver.url("a")) == "the answer was 307"
    assert (len(receiver.tried["a"]), receiver.tried["trap"]) == (1, [])


@pytest.fixture
def receiver() -> Any:
    with Receiver() as found:
        yield found
