"""The shared cache: values are JSON, and nothing that stands in its table is run."""

import base64
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache, caches
from django.core.cache.backends.db import DatabaseCache
from django.db import connection

from apps.eventlog.database.json_cache import JsonCache
from tests.support.api import PASSWORD, Api

TABLE = settings.CACHES["default"]["LOCATION"]
VALUES: list[Any] = [1, 0, None, "", "é🙂", [1, 2.5, "a"], {"a": {"b": None}}, True]


class Planted:
    """If it is loaded, it makes a folder: so could any other call be made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.folder,)


def write(text: str, key: str) -> None:
    """As somebody who can write the table, and nothing else."""
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {TABLE}")
        row = [cache.make_key(key), text, connection.ops.adapt_datetimefield_value(datetime(2100, 1, 1, tzinfo=UTC))]
        cursor.execute(f"INSERT INTO {TABLE} (cache_key, value, expires) VALUES (%s, %s, %s)", row)


def stored() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT value FROM {TABLE}")
        return [text for [text] in cursor.fetchall()]


def test_a_planted_pickle_is_not_loaded(tmp_path: Path) -> None:
    assert isinstance(caches["default"], JsonCache)
    write(base64.b64encode(pickle.dumps(Planted(tmp_path / "of ours"))).decode(), "a")
    assert (cache.get("a"), cache.get_many(["a"]), "a" in cache) == (None, {}, False)
    assert not (tmp_path / "of ours").exists()
    of_django = DatabaseCache(TABLE, {"VERSION": settings.CACHES["default"]["VERSION"]})
    of_django.get("a")
    assert (tmp_path / "of ours").exists()  # so it was a pickle that does something


@pytest.mark.parametrize("text", ["", "x", "[" * 100_000, "1" * 10_000, "gASVCg==", '"\\ud800'])
def test_what_is_no_json_is_as_good_as_not_there(text: str) -> None:
    write(text, "a")
    assert cache.get("a", "nothing") == "nothing"
    cache.set("a", 1)
    assert cache.get("a") == 1


def test_a_login_counts_on_although_something_else_stands_in_its_place(api: Api) -> None:
    api.customer()
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {TABLE} SET value = 'x'")
    login = {"username": "ann@example.org", "password": "wrong wrong"}
    answers = [api.post("auth/login/", login).status for _ in range(11)]
    assert answers.count(401) >= 9
    assert answers[-1] == 429
    assert PASSWORD not in "".join(stored())


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_comes_back(value: Any) -> None:
    cache.set("a", value)
    assert cache.get("a", "nothing") == value
    assert cache.get_many(["a", "b"]) == {"a": value}
    assert type(cache.get("a")) is type(value)


def test_what_json_has_not_is_refused() -> None:
    for value in (object(), {1, 2}, b"bytes"):
        with pytest.raises(TypeError):
            cache.set("a", value)
    assert stored() == []


def test_add_takes_a_free_place_or_one_that_has_expired() -> None:
    assert [cache.add("a", 1), cache.add("a", 2), cache.get("a")] == [True, False, 1]
    cache.set("a", 3, timeout=-1)
    assert (cache.get("a"), "a" in cache) == (None, False)
    assert [cache.add("a", 4), cache.get("a")] == [True, 4]


def test_touch_moves_the_end_of_what_is_there() -> None:
    assert cache.touch("a") is False
    cache.set("a", 1, timeout=1000)
    assert cache.touch("a", timeout=None) is True
    assert cache.get("a") == 1
    assert cache.touch("a", timeout=-1) is True
    assert (cache.get("a"), cache.touch("a")) == (None, False)


def test_counting_deleting_and_clearing_are_as_in_any_cache() -> None:
    cache.set_many({"a": 1, "b": 2})
    assert cache.incr("a") == 2
    assert cache.get_or_set("c", lambda: [3]) == [3]
    cache.delete("a")
    assert cache.get_many(["a", "b", "c"]) == {"b": 2, "c": [3]}
    cache.clear()
    assert stored() == []


def test_a_full_table_makes_room() -> None:
    small = JsonCache(TABLE, {"OPTIONS": {"MAX_ENTRIES": 10}})
    for number in range(10):
        small.set(f"old-{number}", number, timeout=-1)
    for number in range(30):
        small.set(str(number), number)
    assert small.get("29") == 29
    assert len(stored()) <= 11
