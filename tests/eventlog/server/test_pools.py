"""The pools of the bridge: fair between clients, bounded, and not for those who have left."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from apps.eventlog.server.client import Left
from apps.eventlog.server.lanes import COMMANDS, PASSWORDS, QUERIES, lane_of, whose
from apps.eventlog.server.pools import Full, Pool


class Somebody:
    left = False


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


def begin(pool: Pool, work: Any, owner: str, client: Any = None) -> asyncio.Task[Any]:
    return asyncio.ensure_future(pool.run(work, client or Somebody(), owner))


def test_one_client_holds_all_threads_but_one() -> None:
    async def test() -> None:
        pool, go_on = Pool("test", threads=2, places=20), threading.Event()
        hanging = [begin(pool, lambda: go_on.wait(20), "greedy") for _ in range(5)]
        assert await begin(pool, lambda: "answer", "other") == "answer"
        assert not any(task.done() for task in hanging)
        go_on.set()
        assert await asyncio.gather(*hanging) == [True] * 5

    run(test())


def test_one_client_fills_half_of_the_queue_and_all_of_them_the_whole() -> None:
    async def test() -> None:
        pool, go_on = Pool("test", threads=1, places=4), threading.Event()
        hanging = [begin(pool, lambda: go_on.wait(20), owner) for owner in ("greedy", "other")]
        while pool.waiting or len(pool.running) < 2:
            await asyncio.sleep(0.01)
        hanging += [begin(pool, lambda: True, "greedy") for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await begin(pool, lambda: True, "greedy")
        hanging += [begin(pool, lambda: True, owner) for owner in ("b", "c")]
        await asyncio.sleep(0)
        with pytest.raises(Full):
            await begin(pool, lambda: True, "d")
        go_on.set()
        assert await asyncio.gather(*hanging) == [True] * 6

    run(test())


def test_a_request_whose_client_has_left_does_not_run_and_gives_up_its_place() -> None:
    async def test() -> None:
        pool, go_on, ran = Pool("test", threads=1, places=2), threading.Event(), []
        hanging = [begin(pool, lambda: go_on.wait(20), owner) for owner in ("a", "b")]
        while pool.waiting or len(pool.running) < 2:
            await asyncio.sleep(0.01)
        gone = [Somebody(), Somebody()]
        leaving = [begin(pool, lambda: ran.append(1), f"c{n}", client) for n, client in enumerate(gone)]
        await asyncio.sleep(0)
        for client in gone:
            client.left = True
        stays = begin(pool, lambda: "answer", "d")
        go_on.set()
        assert await stays == "answer"
        assert [type(each) for each in await asyncio.gather(*leaving, return_exceptions=True)] == [Left, Left]
        assert await asyncio.gather(*hanging) == [True, True]
        assert ran == []

    run(test())


def test_what_a_request_raises_comes_back_and_the_thread_goes_on() -> None:
    async def test() -> None:
        pool = Pool("test", threads=1, places=2)
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                await begin(pool, lambda: 1 / 0, "a")
        assert await begin(pool, lambda: 1, "a") == 1
        while pool.running:  # the thread says so a moment later
            await asyncio.sleep(0.01)


def test_of_many_requests_of_several_clients_none_is_forgotten() -> None:
    async def test() -> None:
        pool = Pool("test", threads=2, places=10_000)
        jobs = [begin(pool, lambda: time.sleep(0.0001), f"{number % 3}") for number in range(1000)]
        await asyncio.gather(*jobs)
        while len(pool.idle) < 3:
            await asyncio.sleep(0.01)
        assert not pool.waiting
        assert not pool.running

    run(test())

    run(test())


@pytest.mark.parametrize(
    ("method", "body", "media_type", "lane"),
    [
        ("GET", b'{"password": ""}', "application/json", QUERIES),
        ("HEAD", b"", "", QUERIES),
        ("POST", b'{"name": "Ann"}', "application/json", COMMANDS),
        ("POST", rb'{"name": "J\u00f6rg"}', "application/json; charset=utf-8", COMMANDS),
        ("POST", b'{"password": "x"}', "application/json", PASSWORDS),
        ("POST", rb'{"p\u0061ssword": "x"}', "application/json", PASSWORDS),
        ("POST", rb'{"\u0070\u0061\u0073\u0073word": "x"}', "application/json", PASSWORDS),
        ("POST", b"username=a&p%61ssword=b", "application/x-www-form-urlencoded", PASSWORDS),
        ("POST", b"+AHA-assword", "multipart/form-data; boundary=x; charset=utf-7", PASSWORDS),
    ],
)
def test_the_method_and_the_body_tell_the_pool(method: str, body: bytes, media_type: str, lane: str) -> None:
    assert lane_of({"REQUEST_METHOD": method, "CONTENT_TYPE": media_type}, body) == lane


def test_who_brings_a_password_is_known_by_address_and_others_by_login() -> None:
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_AUTHORIZATION": "Bearer x", "HTTP_COOKIE": "sessionid=y"}
    assert whose(environ, QUERIES) == "Bearer x"
    assert whose(environ, PASSWORDS) == "10.0.0.1"
    assert whose({"REMOTE_ADDR": "10.0.0.1"}, COMMANDS) == "10.0.0.1"
