"""What the live stream sends is one message to every client, wherever the client breaks lines."""

from uuid import uuid4

import msgspec

from apps.eventlog import store
from apps.eventlog.live.messages import Message
from apps.users.events import UserRegistered

BREAKS = ["\n", "\r", "\v", "\f", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]  # those of str.splitlines


def test_no_character_of_an_event_ends_a_line_of_its_message() -> None:
    name = "".join(f"a{character}" for character in BREAKS)
    store.append(stream := f"user-{uuid4()}", [UserRegistered("a@example.org", name)], expected_version=0)
    [recorded] = store.read_stream(stream)
    text = Message.of(recorded, None).text.decode()
    assert len(name.splitlines()) == len(BREAKS)
    assert text.splitlines() == [*text.rstrip("\n").split("\n"), ""]
    data = next(line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: "))
    assert msgspec.json.decode(data)["data"]["name"] == name
