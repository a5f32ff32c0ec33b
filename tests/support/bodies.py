"""`SHAPES`: bodies of many shapes, each of any size, that a reader may take too long for, or answer with too much."""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

LINE = b'{"sku":"A","quantity":1,"unit_price":"1.00"}'
WRONG_LINE = b'{"sku":"","quantity":0,"unit_price":"x"}'


class Shape(NamedTuple):
    """`make(n)` is a body of about n parts for a command; `base` is the n to begin with."""

    command: str
    base: int
    make: Callable[[int], bytes]

    def body(self, times: int) -> bytes:
        return self.make(self.base * times)


def order(
    lines: bytes, currency: bytes = b'"EUR"', customer: bytes = b'"00000000-0000-0000-0000-000000000000"'
) -> bytes:
    return b'{"customer_id":%b,"currency":%b,"lines":%b}' % (customer, currency, lines)


def rename(value: bytes) -> bytes:
    return b'{"name":%b}' % value


def register(email: str = "a@example.org", name: str = "Ann", password: str = "correct horse battery") -> bytes:
    return msgspec.json.encode({"email": email, "name": name, "password": password})


def list_of(item: bytes, n: int) -> bytes:
    return b"[" + b",".join([item] * n) + b"]"


def keys(n: int, length: int = 1) -> list[bytes]:
    return [b'"%b%x":1' % (b"k" * length, number) for number in range(n)]


def object_of(members: list[bytes]) -> bytes:
    return b"{" + b",".join(members) + b"}"


def deep(n: int, levels: int = 15) -> bytes:
    """A lone surrogate below so many keys, together n bytes long."""
    return (b'{"%b":' % (b"~" * (n // levels))) * levels + rb'"\ud800"' + b"}" * levels


SHAPES = {
    # Lists and objects
    "an order": Shape("order", 60, lambda n: order(list_of(LINE, n))),
    "lines with an error each": Shape("order", 60, lambda n: order(list_of(WRONG_LINE, n))),
    "too many lines": Shape("order", 150, lambda n: order(list_of(WRONG_LINE, n))),
    "10,000 lines with an error each": Shape("order", 1250, lambda n: order(list_of(WRONG_LINE, n))),
    "lines that are no objects": Shape("order", 60, lambda n: order(list_of(b'["x"]', n))),
    "lines with unknown keys": Shape("order", 50, lambda n: order(list_of(object_of(keys(20)), n))),
    "unknown keys": Shape("rename", 120, lambda n: object_of(keys(n))),
    "long unknown keys": Shape("rename", 100, lambda n: object_of(keys(n, 1000))),
    "one long unknown key": Shape("rename", 100_000, lambda n: object_of(keys(1, n))),
    "more keys than may be": Shape("rename", 600, lambda n: object_of(keys(n))),
    "a key twice": Shape("rename", 600, lambda n: object_of([*keys(n), keys(n)[-1]])),
    "every key twice": Shape("rename", 300, lambda n: object_of([*keys(n), *keys(n)])),
    "a long key twice": Shape("rename", 50_000, lambda n: object_of([*keys(1, n), *keys(1, n)])),
    "a long key over a long list": Shape(
        "rename", 1000, lambda n: b'{"%b":%b}' % (b"k" * n * 100, list_of(b"1", n))
    ),
    "a long key over a list with a fault at its end": Shape(
        "rename", 1000, lambda n: b'{"%b":%b}' % (b"k" * n * 100, list_of(b"1", n)[:-1] + b",9007199254740993]")
    ),
    "a fault below long keys": Shape("rename", 100_000, deep),
    "lists in lists": Shape("rename", 100_000, lambda n: rename(b"[" * n + b"]" * n)),
    "objects in objects": Shape("rename", 50_000, lambda n: b'{"a":' * n + b"1" + b"}" * n),
    "empty lists": Shape("rename", 50_000, lambda n: rename(list_of(b"[]", n))),
    "as many empty objects as may be": Shape("rename", 1200, lambda n: rename(list_of(b"{}", n))),
    "numbers": Shape("rename", 50_000, lambda n: rename(list_of(b"1", n))),
    "commas": Shape("rename", 100_000, lambda n: b"," * n),
    # Numbers
    "a long integer": Shape("order", 100_000, lambda n: order(list_of(LINE.replace(b"1,", b"1" * n + b","), 1))),
    "long integers": Shape("rename", 50, lambda n: rename(list_of(b"9" * 4000, n))),
    "a long fraction": Shape("rename", 100_000, lambda n: rename(b"0." + b"1" * n)),
    "a long float that is too large": Shape("rename", 100_000, lambda n: rename(b"9" * n + b"e999")),
    "a long exponent": Shape("rename", 100_000, lambda n: rename(b"1e" + b"9" * n)),
    # Strings
    "a long name": Shape("register", 100_000, lambda n: register(name="x" * n)),
    "a long name of commas": Shape("register", 100_000, lambda n: register(name="," * n)),
    "short escapes": Shape("rename", 50_000, lambda n: rename(b'"' + rb"\n" * n + b'"')),
    "escaped letters": Shape("rename", 20_000, lambda n: rename(b'"' + rb"\u00e9" * n + b'"')),
    "pairs of surrogates": Shape("rename", 10_000, lambda n: rename(b'"' + rb"\ud83d\ude00" * n + b'"')),
    "half a pair after many": Shape("rename", 10_000, lambda n: rename(b'"' + rb"\ud83d\ude00" * n + rb'\ud83d"')),
    "emoji": Shape("rename", 10_000, lambda n: rename(b'"' + "😀".encode() * n + b'"')),
    "a string without an end": Shape("rename", 100_000, lambda n: b'{"name":"' + b"x" * n),
    "escaped quotes without an end": Shape("rename", 50_000, lambda n: b'{"name":"' + rb"\"," * n),
    "quotes": Shape("rename", 100_000, lambda n: b'"' * n),
    "backslashes": Shape("rename", 100_000, lambda n: rename(b'"' + b"\\" * n)),
    "combining characters in a name": Shape("register", 10_000, lambda n: register(name="a" + "\u0300\u0323" * n)),
    "combining characters in an address": Shape(
        "register", 10_000, lambda n: register(email="a" + "\u0300\u0323" * n + "@example.org")
    ),
    "an address of many parts": Shape("register", 50_000, lambda n: register(email="a." * n + "@" + "b." * n)),
    "a long password": Shape("register", 50_000, lambda n: register(password="Aa1 " * n)),
    # Texts that a field refuses, and may echo
    "a long currency": Shape("order", 100_000, lambda n: order(list_of(LINE, 1), currency=b'"' + b"E" * n + b'"')),
    "a long id": Shape("order", 50_000, lambda n: order(list_of(LINE, 1), customer=b'"' + b"{-" * n + b'"')),
    "a long price": Shape("order", 100_000, lambda n: order(list_of(LINE.replace(b"1.00", b"1" * n), 1))),
    "control characters that were escaped": Shape("rename", 20_000, lambda n: b'{"%b":1}' % (rb"\u0001" * n)),
    # Not JSON
    "white space": Shape("rename", 100_000, lambda n: b" \n" * n),
    "white space and a fault": Shape("rename", 100_000, lambda n: rename(b"\n" * n + b"x")),
    "a word": Shape("rename", 100_000, lambda n: rename(b"x" * n)),
    "not UTF-8 at its end": Shape("rename", 100_000, lambda n: rename(b'"' + b"x" * n + b'\xff"')),
}  # fmt: skip
