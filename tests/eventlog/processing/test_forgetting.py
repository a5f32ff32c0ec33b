"""What a process keeps about a person goes with the person, and nothing else does."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from apps.eventlog import store
from apps.eventlog.delivery.dead_letters import open_dead_letters
from apps.eventlog.dispatch import dispatch
from apps.eventlog.events import ERASED, Personal, RecordedEvent
from apps.eventlog.privacy.subject_report import stored_about
from apps.eventlog.processes import Process, on, timer
from apps.eventlog.processing import settling, tables, taking
from apps.users.events import UserRegistered
from apps.users.write.commands import EraseUser, RegisterUser, RenameUser
from tests.eventlog.events import ParcelSent
from tests.support.fulfilment import run

NAME = "Hipparchia"
NOBODY = UUID(int=7)


class Parcels(Process):
    """Keeps the name of a person who registers, and where a parcel goes; the command that it sends always fails."""

    called: Personal[str] = ""
    places: Personal[list[str]] = []
    step: str = "new"

    @on(UserRegistered)
    def registered(self, event: UserRegistered, recorded: RecordedEvent) -> None:
        self.called, self.step = event.name, "registered"
        self.send(RenameUser(NOBODY, event.name))

    @on(ParcelSent)
    def parcel_sent(self, event: ParcelSent, recorded: RecordedEvent) -> None:
        self.places = [*self.places, event.address]

    @timer("never")
    def never(self) -> None:
        """Is not set."""


del Process.registry["Parcels"]


@pytest.fixture(autouse=True)
def parcels(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    settings.PAYMENT_DEADLINE = None
    monkeypatch.setitem(Process.registry, "Parcels", Parcels)


def person(name: str = NAME) -> UUID:
    dispatch(RegisterUser(id := uuid4(), f"{id}@example.org", name))
    return id


def send(parcel: str, *people: UUID) -> None:
    events = [ParcelSent(each, f"the house of {each}") for each in people]
    store.append(f"parcel-{parcel}", events, expected_version=0)


def kept() -> dict[str, dict[str, Any]]:
    return {row.key: row.state for row in tables.instances().objects.filter(process="Parcels")}


def commands() -> dict[str, tuple[str, str, str]]:
    rows = tables.commands().objects.filter(process="Parcels")
    return {row.key: (row.content["name"], row.status, row.error.partition(" (")[0]) for row in rows}


@pytest.mark.parametrize("batch", [1, 200])
@pytest.mark.parametrize("met_before", [True, False], ids=["known", "not yet known"])
def test_an_erasure_clears_states_and_commands_of_that_person_alone(
    met_before: bool, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(taking, "BATCH", batch)
    ann, bob = person(), person("Bob")
    send("1", ann, bob)
    send("2", bob)
    if met_before:
        run()
        assert kept()[str(ann)] == {"called": NAME, "places": [], "step": "registered"}
        assert commands()[str(ann)][0] == NAME
    dispatch(EraseUser(ann, "by letter"))
    run()
    states, sent = kept(), commands()
    assert states[str(ann)] == {"called": ERASED, "places": [], "step": "registered"}
    assert states[str(bob)] == {"called": "Bob", "places": [], "step": "registered"}
    assert states["2"]["places"] == [f"the house of {bob}"]
    assert states["1"]["places"][0] == ERASED  # what is kept with it of others goes too: nobody can tell them apart
    assert (sent[str(ann)][0], sent[str(bob)][0]) == (ERASED, "Bob")
    assert NAME not in str([states, sent])


def test_the_report_about_a_person_has_what_processes_keep() -> None:
    ann = person()
    run()
    held = [(entry["source"], entry["value"]) for _, entry in stored_about(ann)]
    assert ("processes_instance", {"called": NAME, "places": [], "step": "registered"}) in held
    assert ("processes_outgoingcommand", {"user_id": str(NOBODY), "name": NAME}) in held


def test_what_cannot_be_taken_is_cleared_too_and_a_retry_brings_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(process: Parcels, event: UserRegistered, recorded: RecordedEvent) -> None:
        raise ValueError(f"{event.name} is no name")

    with monkeypatch.context() as broken:
        broken.setattr(Parcels, "registered", fails)
        ann = person()
        run()
        tables.dead_letters().objects.update(error=f"as older code wrote it: {NAME}")
        dispatch(EraseUser(ann, "by letter"))
        run()
    [letter] = open_dead_letters(tables.ALIAS)
    assert letter.error == f"as older code wrote it: {ERASED}"
    assert settling.retry(Parcels, letter.stream, by="ann") == (1, "")
    assert kept()[str(ann)]["called"] == ERASED


def test_of_a_command_that_is_gone_from_the_code_every_text_goes() -> None:
    ann = person()
    run()
    tables.commands().objects.update(command="users.GreetUser", status="sent")
    dispatch(EraseUser(ann, "by letter"))
    run()
    assert tables.commands().objects.get().content == {"user_id": ERASED, "name": ERASED}


def test_an_erasure_that_ends_the_process_again_and_again_is_set_aside_and_can_be_retried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ann = person()
    run()
    with monkeypatch.context() as broken:
        broken.setattr(taking, "forget_erased", lambda *arguments: 1 / 0)
        dispatch(EraseUser(ann, "by letter"))
        run()
    [letter] = open_dead_letters(tables.ALIAS).filter(projector="Parcels")
    assert kept()[str(ann)]["called"] == NAME
    assert settling.retry(Parcels, letter.stream, by="ann") == (1, "")
    assert kept()[str(ann)]["called"] == ERASED
