"""What reads a request takes time and memory in proportion to its size, and answers in a few kilobytes."""

import asyncio
import math
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.handlers.wsgi import WSGIRequest
from rest_framework.exceptions import APIException
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request

from apps.eventlog.api import idempotency, problems, strict_json
from apps.eventlog.api.conditions import expected_version, has_it_already
from apps.eventlog.api.filters import check_parameters
from apps.eventlog.api.pagination import KeysetPagination
from apps.eventlog.api.problems import ProblemMiddleware, exception_handler, problem
from apps.eventlog.read.viewsets import EventStreamRenderer
from apps.eventlog.server import request_head
from apps.eventlog.server.client import Client, Refusal
from apps.eventlog.server.wsgi_environ import environ_of
from apps.orders.write.serializers import PlaceOrderSerializer
from apps.users.write.serializers import RegisterUserSerializer, RenameUserSerializer
from tests.support.bodies import SHAPES, Shape, register

pytestmark = pytest.mark.django_db(databases=[])  # nothing here asks a database

SIZES = 1, 2, 4, 8
# Seconds and bytes that are too few to tell growth from noise.
QUICK, SMALL = 0.03, 1_000_000
ANSWER = 5000
COMMANDS = {"order": PlaceOrderSerializer, "register": RegisterUserSerializer, "rename": RenameUserSerializer}

Work = Callable[[], bytes]


def read(chunks: list[bytes], command: str, headers: dict[str, str], query: str = "") -> bytes:
    """The answer to a POST as far as its handler: what is wrong with it, or nothing."""
    names = {"content-type": "application/json"} | headers
    scope = {
        "type": "http",
        "method": "POST",
        "http_version": "1.1",
        "path": "/",
        "query_string": query.encode(),
        "headers": [(name.strip().encode(), value.encode()) for name, value in names.items()],
    }
    body = asyncio.run(body_of(chunks))
    if fault := request_head.fault_of(scope):
        return problem(*fault).content
    http = WSGIRequest(environ_of(scope, body))
    return ProblemMiddleware(lambda _: checked(http, command)).__call__(http).content


async def body_of(chunks: list[bytes]) -> bytes:
    client = Client(receiver(chunks), never)
    body = await client.body()
    client.let_go()
    assert not isinstance(body, Refusal), body.reason
    return body


def receiver(chunks: list[bytes]) -> Callable[[], Any]:
    left = iter([*((chunk, True) for chunk in chunks), (b"", False)])

    async def receive() -> dict[str, Any]:
        body, more = next(left)
        return {"type": "http.request", "body": body, "more_body": more}

    return receive


async def never(message: dict[str, Any]) -> None:
    raise AssertionError("nothing is sent before a body is read")


def checked(http: WSGIRequest, command: str) -> Any:
    """What views do with a request's head and body before they look at a database."""
    request = Request(http, parsers=[strict_json.StrictJSONParser()])
    request.user = get_user_model()(username="staff", is_staff=True)
    try:
        assert isinstance(http.COOKIES, dict)
        DefaultContentNegotiation().select_renderer(request, [strict_json.JSONRenderer(), EventStreamRenderer()])
        has_it_already(request, 3)
        expected_version(request)
        idempotency._digest(["key", request.data])
        COMMANDS[command](data=request.data, context={"request": request}).is_valid(raise_exception=True)
        pages = KeysetPagination()
        pages.request = request
        pages._cursor()
        check_parameters(request, {"cursor"})
    except APIException as error:
        return exception_handler(error, {})
    return problem(200)


def seconds(work: Work, tries: int, enough: float = 0.0) -> float:
    """The processor's time for the quickest of some tries, which end once one is quick enough.

    A busy machine makes this thread wait, which does not count, and slows some of the tries.
    """
    best = math.inf
    while tries and best > enough:
        began = time.thread_time()
        answer = work()
        best, tries = min(best, time.thread_time() - began), tries - 1
        assert len(answer) <= ANSWER
    return best


def peak(work: Work) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def hold(works: list[Work]) -> None:
    """Time and memory grow at most as the size does, with much to spare: eightfold, where the square is 64-fold."""
    works[0]()  # what is made once is not counted
    one, one_memory = seconds(works[0], tries=3), peak(works[0])
    for times, work in zip(SIZES[1:], works[1:], strict=True):
        bound = 2.5 * times * one + QUICK
        took, memory = seconds(work, tries=5, enough=bound), peak(work)
        assert took <= bound, f"{one:.4f} s, and {took:.4f} s for {times} times as much"
        assert memory <= 2 * times * one_memory + SMALL, f"{one_memory} bytes, and {memory} for {times} times as much"


def works_of(shape: Shape) -> list[Work]:
    bodies = [shape.body(times) for times in SIZES]
    return [lambda body=body: read([body], shape.command, {}) for body in bodies]  # type: ignore[misc]


@pytest.mark.parametrize("name", SHAPES)
def test_a_body_is_read_in_proportion_to_its_size(name: str) -> None:
    works = works_of(SHAPES[name])
    hold(works)
    assert peak(works[-1]) <= 20 * len(SHAPES[name].body(SIZES[-1])) + 10 * SMALL  # 500 lines have 1,500 errors


def test_a_body_of_many_chunks_is_read_in_proportion_to_their_number() -> None:
    for base, chunk in ((2000, b"x"), (2000, b"xy"), (2000, b"")):
        hold([lambda n=base * times, chunk=chunk: read([chunk] * n, "rename", {}) for times in SIZES])  # type: ignore[misc]


# Each of some size, as headers and as a query; names that differ by spaces alone are sent as one, several times.
HEADS: dict[str, Callable[[int], tuple[dict[str, str], str]]] = {
    "backslashes in a cookie": lambda n: ({"cookie": 'a="' + "\\" * n + '"'}, ""),
    "octal numbers in a cookie": lambda n: ({"cookie": 'a="' + r"\101" * (n // 4) + '"'}, ""),
    "cookies with a few backslashes each": lambda n: ({"cookie": r'a="\\";' * (n // 8)}, ""),
    "cookies": lambda n: ({"cookie": "a=b;" * (n // 4)}, ""),
    "semicolons in Content-Type": lambda n: ({"content-type": "application/json" + ";" * n}, ""),
    "semicolons in quotes in Content-Type": lambda n: ({"content-type": 'application/json;x="' + ";" * n}, ""),
    "continued parameters": lambda n: ({"content-type": "a/b" + "".join(f";a*{i}=x" for i in range(n // 8))}, ""),
    "types in Accept": lambda n: ({"accept": "a/b," * (n // 4)}, ""),
    "semicolons in quotes in Accept": lambda n: ({"accept": 'a/b;x="' + ";" * n}, ""),
    "tags in If-None-Match": lambda n: ({"if-none-match": '"1",' * (n // 4)}, ""),
    "quotes in If-None-Match": lambda n: ({"if-none-match": '"' * n}, ""),
    "digits in If-Match": lambda n: ({"if-match": f'"{"1" * n}"'}, ""),
    "a header many times": lambda n: ({"x-a" + " " * i: "x" for i in range(n // 10)}, ""),
    "parameters": lambda n: ({}, "&".join(f"{i:x}=1" for i in range(n // 4))),
    "a parameter many times": lambda n: ({}, "a=1&" * (n // 4)),
    "escapes in a parameter": lambda n: ({}, "a=" + "%20" * (n // 3)),
    "a long cursor": lambda n: ({}, "cursor=" + "a:" * (n // 2)),
    "a compressed cursor": lambda n: ({}, "cursor=." + "e" * n + ":1:x"),
}


def head_works(name: str, base: int = 4000) -> list[Work]:
    heads_of_sizes = [HEADS[name](base * times) for times in SIZES]
    return [lambda head=head: read([register()], "register", *head) for head in heads_of_sizes]  # type: ignore[misc]


@pytest.mark.parametrize("name", HEADS)
def test_a_head_is_read_in_proportion_to_its_size(name: str) -> None:
    hold(head_works(name))


def test_the_measure_finds_a_parser_that_counts_each_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def counting(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if any(keys.count(key) > 1 for key in keys):
            raise ValueError("a key is there twice")
        return dict(pairs)

    works = works_of(SHAPES["a key twice"])
    hold(works)
    monkeypatch.setattr(strict_json, "_object", counting)
    with pytest.raises(AssertionError, match=" s for "):
        hold(works)


def test_the_measure_finds_an_answer_that_echoes_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    plants: list[tuple[str, Callable[..., Any], str]] = [
        ("shortened", lambda text, size=0: text, "a fault below long keys"),
        ("_first", lambda errors: {"errors": list(errors)}, "unknown keys"),
    ]
    for function, plant, name in plants:
        with monkeypatch.context() as planted, pytest.raises(AssertionError, match=f"<= {ANSWER}"):
            planted.setattr(problems, function, plant)
            hold(works_of(SHAPES[name]))


def test_the_measure_finds_a_head_without_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_head, "fault_of", lambda scope: None)
    for name in ("backslashes in a cookie", "semicolons in quotes in Content-Type"):
        with pytest.raises(AssertionError, match=" s for "):
            hold(head_works(name, 1500))
