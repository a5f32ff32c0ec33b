"""Whatever happens between the looks at two databases, the copies fit together."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth import get_user_model
from django.db import connections

from apps.eventlog import store
from apps.eventlog.backup import moment
from apps.eventlog.backup.database_copy import DatabaseCopy
from apps.eventlog.dispatch import dispatch
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.log import queries
from apps.users.models import Checkpoint
from apps.users.write.commands import EraseUser, RegisterUser
from tests.support.api import PASSWORD, Api

ERASED = "users.UserErased"


def registered(name: str) -> UUID:
    """Somebody new, with a login."""
    body = {"email": f"{name.lower()}@example.net", "name": name, "password": PASSWORD}
    return UUID(Api().post("users/", body)["id"])


def after_a_look(monkeypatch: pytest.MonkeyPatch, alias: str, act: Callable[[], object]) -> None:
    """Let something happen once, just after the look at a database that counts at first."""
    looks, counts = [], 2 if alias in moment.LAST else 1
    real = moment.copies_of

    def copies_of(aliases: Any) -> dict[str, DatabaseCopy]:
        copies = real(aliases)
        freeze = copies[alias].freeze

        def and_act() -> None:
            freeze()
            looks.append(alias)
            if len(looks) == counts:
                act()

        copies[alias].freeze = and_act  # type: ignore[method-assign]
        return copies

    monkeypatch.setattr(moment, "copies_of", copies_of)


def plain(ids: Any) -> set[str]:
    return {str(id).replace("-", "") for (id,) in ids}


def assert_they_fit(copies: Mapping[str, DatabaseCopy]) -> None:
    log, keys, logins, users = (copies[alias] for alias in ("eventlog", "keys", "default", "users"))
    events, parameters = queries.page(0, 1000, {"types": ["users.UserRegistered", ERASED]})
    found = log.rows(f"SELECT type, stream FROM ({events}) e", parameters)
    people = {stream.removeprefix("user-").replace("-", "") for _, stream in found}
    erased = {stream.removeprefix("user-").replace("-", "") for type, stream in found if type == ERASED}
    table = PersonalKey._meta.db_table
    assert people <= plain(keys.rows(f"SELECT subject FROM {table}")), "a key is missing"
    destroyed = plain(keys.rows(f"SELECT subject FROM {table} WHERE wrapped IS NULL"))
    assert destroyed <= erased, "somebody is erased, and the log does not know it"
    names = plain(logins.rows(f"SELECT username FROM {get_user_model()._meta.db_table}"))
    real = plain(get_user_model().objects.values_list("username"))
    assert {id for id in people - erased if id in real} <= names, "somebody has no login"
    last = log.rows(*queries.last_between(0, 2**62))[0][0]
    for (position,) in users.rows(f"SELECT position FROM {Checkpoint._meta.db_table}"):
        assert position <= last, "the rows are ahead of the log"


@pytest.mark.parametrize("alias", ["users", "default", "eventlog", "keys"])
@pytest.mark.parametrize("act", ["registers", "erases", "without a login"])
def test_the_copies_fit_whatever_happens_between_them(monkeypatch: pytest.MonkeyPatch, alias: str, act: str) -> None:
    eva = registered("Eva")
    acts: dict[str, Callable[[], object]] = {
        "registers": lambda: registered("Finn"),
        "erases": lambda: dispatch(EraseUser(eva, "asked for")),
        "without a login": lambda: dispatch(RegisterUser(uuid4(), "gina@example.net", "Gina")),
    }
    after_a_look(monkeypatch, alias, acts[act])
    copies = moment.copies_of(connections)
    try:
        moment.freeze(copies)
        happened = store.head()
        assert happened > 1
        registered("Hugo")  # after the instant
        assert_they_fit(copies)
    finally:
        for copy in copies.values():
            copy.release()
