"""Reservations by two versions of the code: they never reserve side by side, and `migrate` makes the old ones new."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import OperationalError, connections

from apps.eventlog import reservations, store
from apps.eventlog.dispatch import dispatch
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.models import Reservation
from apps.eventlog.reservations import Outdated
from apps.users.events import UserRegistered
from apps.users.write import login_names
from apps.users.write.aggregates import EMAIL, User
from apps.users.write.commands import ChangeEmail, DeactivateUser, ReactivateUser, RegisterUser
from tests.journeys.deployment import eventually
from tests.support.api import Api
from tests.support.erase import lifted
from tests.support.exported import document, import_lines

ADDRESS, SAME = "jörg@bücher.example", "jörg@xn--bcher-kva.example"  # one mailbox, which older code took for two


def register(email: str = ADDRESS) -> UUID:
    id = uuid4()
    dispatch(RegisterUser(id, email, "Jörg"))
    return id


def as_older_code_has_it(email: str, id: UUID) -> None:
    """Make a reservation that of code which compares addresses as they are written and knows no form."""
    Reservation.objects.filter(stream=f"user-{id}").update(key=reservations.keyed_hash(EMAIL, email), form=0)


def insert(row: dict[str, object]) -> None:
    """Insert a reservation as older code does: if there is none of the value, and else do nothing."""
    sqlite = connections["eventlog"].vendor == "sqlite"
    into = "INSERT OR IGNORE INTO" if sqlite else "INSERT INTO"
    marks = ", ".join(["%s"] * len(row))
    statement = f"{into} eventlog_reservation ({', '.join(row)}) VALUES ({marks})"
    with connections["eventlog"].cursor() as cursor:
        cursor.execute(statement if sqlite else f"{statement} ON CONFLICT DO NOTHING", list(row.values()))


def migrate() -> str:
    err = StringIO()
    call_command("migrate", verbosity=0, stdout=StringIO(), stderr=err)
    return err.getvalue()


def test_code_from_before_the_forms_cannot_reserve() -> None:
    row: dict[str, object] = {"scope": EMAIL, "key": "k", "stream": f"user-{uuid4()}"}
    for _ in range(2):  # in a scope without reservations, and in one that has some
        with pytest.raises(OperationalError, match="an older version of the code may not reserve"):
            insert(row)
        register(f"{uuid4()}@example.org")
    insert({**row, "form": 1})
    assert Reservation.objects.get(key="k").form == 1


def test_nothing_is_reserved_beside_the_reservations_of_older_code(api: Api, tmp_path: Path) -> None:
    id, other = register(), register("other@example.org")
    dispatch(DeactivateUser(other, "left"))
    as_older_code_has_it(ADDRESS, id)
    refused = api.staff.post("users/", {"email": SAME, "name": "Jörg"})
    assert (refused.status, refused.headers["Retry-After"]) == (503, "60")
    assert "rebuild_reservations" in refused["detail"]
    for command in (ChangeEmail(id, "new@example.org"), ReactivateUser(other)):
        with pytest.raises(Outdated):
            dispatch(command)
    with pytest.raises(ValidationError, match="rebuild_reservations"):
        login_names.require_no_address(SAME)
    with pytest.raises(CommandError, match="rebuild_reservations"):
        import_lines(tmp_path, document())
    assert api.staff.post(f"users/{id}/rename/", {"name": "J"}).status == 202
    dispatch(DeactivateUser(id, "left"))  # which reserves nothing
    migrate()
    assert not Reservation.objects.exists()


def test_migrate_makes_them_again(api: Api) -> None:
    people = {email: register(email) for email in (ADDRESS, "ann@example.org")}
    for email, id in people.items():
        as_older_code_has_it(email, id)
    assert migrate() == ""
    assert set(Reservation.objects.values_list("form", flat=True)) == {User.holds_form}
    assert reservations.reserved_by(EMAIL, SAME) == f"user-{people[ADDRESS]}"
    assert api.staff.post("users/", {"email": SAME, "name": "Jörg"}).status == 409
    assert api.staff.post("users/", {"email": "new@example.org", "name": "New"}).status == 201


def test_two_holders_of_what_is_one_value_now_are_named_and_one_has_to_give_it_back(api: Api) -> None:
    first, second = register(ADDRESS), uuid4()
    as_older_code_has_it(ADDRESS, first)
    store.append(f"user-{second}", [UserRegistered(SAME, "Jörg")], expected_version=0)  # as older code let it happen
    key = reservations.keyed_hash(EMAIL, SAME)
    Reservation.objects.create(scope=EMAIL, key=key, stream=f"user-{second}", form=1)
    Reservation.objects.update(form=0)
    said = migrate()
    assert f"user-{first}" in said
    assert f"user-{second}" in said
    body = {"email": "new@example.org", "name": "New"}
    assert api.staff.post("users/", body).status == 503
    dispatch(DeactivateUser(second, "twice"))
    call_command("rebuild_reservations", "--no-progress", stdout=StringIO())
    assert api.staff.post("users/", body).status == 201


def test_what_cannot_be_read_keeps_its_reservation_and_holds_up_nobody(api: Api) -> None:
    id, other = register("ann@example.org"), register("bob@example.org")
    for email, person in (("ann@example.org", id), ("bob@example.org", other)):
        as_older_code_has_it(email, person)
    with connections["keys"].cursor() as cursor, lifted(cursor):
        PersonalKey.objects.filter(subject=id).delete()
    assert "verify_keys" in migrate()
    assert api.staff.post("users/", {"email": "ann@example.org", "name": "Ann"}).status == 409
    assert api.staff.post("users/", {"email": "new@example.org", "name": "New"}).status == 201


def test_a_later_form_begins_with_a_rebuild_and_ends_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    register()
    monkeypatch.setattr(User, "holds_form", 2)
    with pytest.raises(Outdated):
        register("new@example.org")
    reservations.rebuild()
    register("new@example.org")
    monkeypatch.setattr(User, "holds_form", 1)
    with pytest.raises(OperationalError, match="an older version of the code may not reserve"):
        register("late@example.org")


@contextmanager
def registering(id: UUID) -> Iterator[None]:
    """Code with the form before is at a registration, and commits it when the block ends."""
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        try:
            with store.unit():
                reservations.reserve(EMAIL, "late@example.org", f"user-{id}", 1)
                store.append(f"user-{id}", [UserRegistered("late@example.org", "Late")], expected_version=0)
                begun.set()
                release.wait(30)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(work)
        assert begun.wait(30)
        try:
            yield
        finally:
            release.set()
            ended.result()


WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'eventlog_reservation'::regclass"


@pytest.mark.postgres
def test_a_registration_of_older_code_that_is_under_way_is_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    register()

    def rebuild() -> None:
        try:
            reservations.rebuild()
        finally:
            connections.close_all()

    def waits() -> bool:
        with connections["eventlog"].cursor() as cursor:
            cursor.execute(WAITING)
            return bool(cursor.fetchone()[0])

    with ThreadPoolExecutor(1) as pool:
        with registering(uuid4()):
            monkeypatch.setattr(User, "holds_form", 2)
            rebuilt = pool.submit(rebuild)
            eventually(lambda: rebuilt.done() or waits())
        rebuilt.result()
    assert list(Reservation.objects.values_list("form", flat=True)) == [2, 2]
