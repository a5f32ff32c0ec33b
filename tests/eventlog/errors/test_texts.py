"""Whatever code may do to a value, what is kept of the error does not have it, and still says what is wrong."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from django.core.exceptions import ValidationError
from django.db import Error, IntegrityError, connections, models
from hypothesis import example, given
from hypothesis import strategies as st

from apps.eventlog.aggregates import RuleBroken
from apps.eventlog.errors.texts import Impersonal, described, without_values
from apps.users.models import User

NAME = "Hipparchia O'Quux"
NUMBER = 5550199


@dataclass
class Person:
    name: str
    phone: int


class Named(Exception):
    def __init__(self, name: str) -> None:
        super().__init__(f"nobody is called {name} here")


class Colour(Enum):
    RED = "red"


class Pair(msgspec.Struct):
    n: int
    colour: Colour = Colour.RED


class Bad(Exception):
    def __str__(self) -> str:
        raise RuntimeError(NAME)


RATES = {"EUR": 1}
NO_RATE = "no rate for {}"


def raising(message: Any) -> None:
    raise ValueError(message)


def formatted(name: str) -> None:
    raise ValueError(f"no rate for {name}, nor for {NUMBER}, in EUR!")


def percent(name: str) -> None:
    raise ValueError("no rate for %s in %05d" % (name, NUMBER))  # noqa: UP031


def from_constant(name: str) -> None:
    raise LookupError(NO_RATE.format(name))


def refused(name: str) -> None:
    if name:
        raise RuleBroken("only a paid order can be shipped")


def asserted(name: str) -> None:
    assert not name, f"there is a name: {name}"


def missing_attribute(name: str) -> None:
    getattr(None, name)


# What the code does with the value, and what is kept. `…` stands for the value.
KEPT: dict[str, tuple[Callable[[Any], object], str]] = {
    "a key": (lambda v: RATES[v], 'KeyError: "…"'),
    "a number as key": (lambda v: RATES[NUMBER + len(v)], "KeyError: …"),
    "a key of the code's": (lambda v: {}["stock"], "KeyError: 'stock'"),
    "a whole number": (int, 'ValueError: invalid literal for int() with base 10: "…"'),
    "a float": (float, 'ValueError: could not convert string to float: "…"'),
    "an f-string": (formatted, "ValueError: no rate for …, nor for …, in EUR!"),
    "percent": (percent, "ValueError: no rate for … in …"),
    "a constant": (from_constant, "LookupError: no rate for …"),
    "made elsewhere": (raising, "ValueError: …"),
    "a whole object": (lambda v: raising(Person(v, NUMBER)), "ValueError: Person(…)"),
    "its class": (lambda v: (_ for _ in ()).throw(Named(v)), "Named: nobody is called … here"),
    "a rule": (refused, "RuleBroken: only a paid order can be shipped"),
    "an assertion": (asserted, "AssertionError: there is a name: …"),
    "an attribute": (lambda v: getattr(None, v), "AttributeError: 'NoneType' object has no attribute '…'"),
    "an attribute of the code's": (lambda v: v.total, "AttributeError: 'str' object has no attribute 'total'"),
    "in a list": (lambda v: [v].index(Person(v, NUMBER)), "ValueError: Person(…) is not in list"),
    "an argument": (lambda v: formatted(**{v: 1}), "TypeError: formatted() got an unexpected keyword argument '…'"),
    "types": (lambda v: v + NUMBER, 'TypeError: can only concatenate str (not "int") to str'),
    "a date": (date.fromisoformat, 'ValueError: …"'),
    "a year": (lambda v: date(NUMBER, 1, 1), "ValueError: …"),
    "bytes": (lambda v: f"{v}\xff".encode("latin-1").decode(), "UnicodeDecodeError: 'utf-8' codec can't decode byte"),
    "JSON": (json.loads, "JSONDecodeError: Expecting value: line … column … (char …)"),
    "no JSON": (lambda v: json.dumps({v: Person}), "TypeError: Object of type type is not JSON serializable"),
    "a field": (models.UUIDField().to_python, 'ValidationError: ["…'),
    "a decimal": (Decimal, "InvalidOperation: [<"),
    "an id": (UUID, "ValueError: badly formed hexadecimal UUID string"),
    "of the wrong type": (
        lambda v: msgspec.convert({"n": v}, Pair),
        "ValidationError: Expected `int`, got `str` - at `$.n`",
    ),
    "of no choice": (lambda v: msgspec.convert({"n": 1, "colour": v}, Pair), "ValidationError: …"),
    "an enumeration": (Colour, 'ValueError: "…" is not a valid …'),
    "no row": (lambda v: User.objects.get(name=v), "DoesNotExist: User matching query does not exist."),
    "its own text": (lambda v: (_ for _ in ()).throw(Bad()), "Bad: …"),
    "nothing": (lambda v: (_ for _ in ()).throw(ValueError()), "ValueError"),
}


def failing(act: Callable[[Any], object], value: Any = NAME) -> Exception:
    try:
        act(value)
    except Exception as error:
        return error
    raise AssertionError("nothing failed")


@pytest.mark.parametrize(("act", "kept"), KEPT.values(), ids=KEPT)
def test_a_message_is_kept_without_the_value(act: Callable[[Any], object], kept: str) -> None:
    error = failing(act)
    assert without_values(error).startswith(kept)
    for value in ("Hipparchia", "Quux", str(NUMBER), str(NUMBER + len(NAME))):
        assert value not in described(error)


@given(st.text(min_size=4, alphabet=st.characters(categories=["L", "N", "P", "S", "Z"])))
@example("'a' \"b\" `c`")
@example("😀 Ann < User: Ann >")
def test_no_text_shows_through(text: str) -> None:
    value = f"Xq{text}qX"
    for act in (int, float, RATES.__getitem__, raising, formatted, percent, from_constant, asserted, missing_attribute):
        kept = without_values(failing(act, value))
        assert not {"Xq", "qX"} & set(kept.replace("…", " ").split()), kept
        assert value not in kept


def test_ids_stay_because_the_log_has_them_anyway() -> None:
    id = uuid4()
    assert (
        without_values(failing(formatted, f"order-{id}")) == f"ValueError: no rate for order-{id}, nor for …, in EUR!"
    )


def test_the_line_of_code_is_that_of_the_service() -> None:
    kept = described(failing(lambda v: models.UUIDField().to_python(v)))
    where = "(tests/eventlog/errors/test_texts.py, line "
    assert where in kept
    assert kept.endswith("in <lambda>: kept = described(failing(lambda v: models.UUIDField().to_python(v))))")


def test_an_error_of_the_kernels_own_is_kept_whole() -> None:
    class Moved(Impersonal):
        pass

    assert described(failing(lambda v: (_ for _ in ()).throw(Moved("at position 12")))) == "Moved: at position 12"


def statement(sql: str, *values: Any) -> Exception:
    def act(name: Any) -> None:
        with connections["users"].cursor() as cursor:
            cursor.execute(sql, [name if value is NAME else value for value in values])

    return failing(act)


def twice(name: str) -> None:
    row = {"version": 1, "email": name, "name": name, "registered_at": date(2026, 1, 1), "updated_at": date(2026, 1, 1)}
    for _ in range(2):
        User.objects.bulk_create([User(id=UUID(int=7), status="active", **row)])


@pytest.mark.filterwarnings("ignore:DateTimeField")
def test_a_database_says_what_is_wrong_and_no_row() -> None:
    error = failing(twice)
    assert isinstance(error, IntegrityError)
    code = "23505 duplicate key value" if connections["users"].vendor == "postgresql" else "SQLITE_CONSTRAINT"
    assert without_values(error).startswith(f"IntegrityError: {code}")
    assert "users_user" in without_values(error)


REFUSED = {
    "a check": ("INSERT INTO planted VALUES (%s)", 'IntegrityError: 23514 new row for relation "planted" violates'),
    "a type": ("SELECT CAST(%s AS uuid)", "DataError: 22P02 invalid input syntax for type uuid: …"),
    "an instant": ("SELECT CAST(%s AS timestamptz)", "DataError: 22007 invalid input syntax for type timestamp"),
    "a length": (
        "INSERT INTO planted_short VALUES (%s)",
        "DataError: 22001 value too long for type character varying(3)",
    ),
    "a function": ("SELECT planted(%s)", "ProgrammingError: P0001 …"),
    "a table": ('SELECT %s FROM "nowhere"', 'ProgrammingError: 42P01 relation "nowhere" does not exist'),
}


@pytest.fixture
def planted() -> Any:
    with connections["users"].cursor() as cursor:
        cursor.execute("CREATE TABLE planted (name text CHECK (length(name) < 3))")
        cursor.execute("CREATE TABLE planted_short (name varchar(3))")
        cursor.execute(
            "CREATE FUNCTION planted(name text) RETURNS void LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'nobody is called %', name; END $$"
        )
        yield
        cursor.execute("DROP TABLE planted; DROP TABLE planted_short; DROP FUNCTION planted")


@pytest.mark.postgres
@pytest.mark.parametrize(("sql", "kept"), REFUSED.values(), ids=REFUSED)
def test_postgresql_keeps_its_code_and_message_without_detail(planted: Any, sql: str, kept: str) -> None:
    error = statement(sql.replace("%%", "%"), NAME)
    assert isinstance(error, Error)
    assert NAME in str(error) or "short" in sql or "nowhere" in sql  # so there was something to leave out
    assert without_values(error).startswith(kept)
    assert "Hipparchia" not in described(error)


def test_a_validation_error_of_django_says_where(settings: Any) -> None:
    error = failing(lambda v: (_ for _ in ()).throw(ValidationError({"name": [f"{v} is taken"]})))
    assert "Hipparchia" not in described(error)
