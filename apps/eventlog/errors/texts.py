"""What may be kept of an error: its kind, its message without values, and the line of code.

A message may quote whatever the code has read: a name, an address, a whole row. In a dead letter, a job or a log file
it would stay when the person is erased. So of a message stays only what somebody has written beforehand: the texts and
names in the code that raised the error, the words of Python and of the database, and ids. All else reads `…`.
"""

import linecache
import re
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
KERNEL = Path(__file__).resolve().parents[1]
LONGEST = 1000  # characters of a message that are looked at

# What the interpreter says, between the names and values that it puts in.
PYTHON = """
division by zero|modulo by zero|division or modulo by zero|integer|float|decimal|out of range|index out of range|
pop from empty list|object has no attribute|object is not|subscriptable|iterable|callable|unhashable type|
unsupported operand type(s) for|and|not supported between instances of|must be|not|to|
invalid literal for int() with base 10|could not convert string to float|
codec can't decode byte|codec can't encode character|in position|
ordinal not in range(128)|invalid start byte|invalid continuation byte|unexpected end of data|is not in list|
missing|required positional argument|required positional arguments|got an unexpected keyword argument|takes|
positional argument but|positional arguments but|was given|were given|not enough values to unpack|
too many values to unpack|expected|got|cannot unpack non-iterable|maximum recursion depth exceeded|is not defined|
cannot access local variable|where it is not associated with a value|can only concatenate|str|int|bytes|bool|list|dict|
tuple|set|NoneType|None|object|module|function|method|type|utf-8|ascii|is not JSON serializable
"""
PLACEHOLDER = re.compile(r"%(?:\(\w+\))?[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]|\{[^{}]*\}")
ID = re.compile(r"\b(?:\w+-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
# What msgspec says of a value that does not fit. It names types and fields in backquotes.
FITTING = re.compile(
    r"(?:Expected `[^`]*`(?:, got `[^`]*`)?|Object missing required field `\w+`)(?: - at `[\w$.\[\]]*`)?"
)
QUOTES = "\"'\u201c\u201d\u201e\xab\xbb\u2039\u203a\u2018\u2019"  # of the languages that PostgreSQL speaks
QUOTED = re.compile(rf"[{QUOTES}](?:.*[{QUOTES}]|.*)", re.DOTALL)  # a value may have quotes in it, so up to the last
IDENTIFIERS = ("schema_name", "table_name", "column_name", "datatype_name", "constraint_name")
IN_STATEMENT = "42"  # PostgreSQL's class of errors about the statement itself, which has no values
OWN_FUNCTION = re.compile(r"PL/pgSQL function \"?(?:\w+\.)?(?:eventlog|keys)_")
VALUE = re.compile(r"[^\s!-/:-@\[-`{-~](?:.*[^\s!-/:-@\[-`{-~])?", re.DOTALL)  # with no punctuation around it


class Impersonal(Exception):
    """Base of the kernel's own errors whose message never has a value of an event or a row. It is kept whole."""


def described(error: BaseException) -> str:
    """The kind of an error, its message without values, and the line of code, for a record of a failure."""
    where = "" if isinstance(error, Impersonal) else _line_of_code(error)
    return f"{without_values(error)} ({where})" if where else without_values(error)


def without_values(error: BaseException) -> str:
    """The kind of an error and its message, with `…` for whatever may be a value of an event or a row.

    It is a text that every database takes.
    """
    message = _message(error).replace("\0", "…").encode(errors="backslashreplace").decode()
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _message(error: BaseException) -> str:
    if isinstance(error, Impersonal):
        return str(error)
    if (raised := _by_database(error)) is not None:
        return _said_by_database(raised)
    try:
        text = str(error)[:LONGEST]
    except Exception:  # a `__str__` of somebody's own
        return "…"
    if type(error).__module__.partition(".")[0] == "msgspec" and FITTING.fullmatch(text):
        return text
    return _only(text, _written(error))


def _by_database(error: BaseException) -> Any:
    """The error of the driver if a database has refused a statement or does not answer, otherwise None."""
    for each in (error, error.__cause__):
        if getattr(each, "sqlstate", None) or getattr(each, "sqlite_errorname", None) or _is_away(each):
            return each
    return None


def _is_away(error: Any) -> bool:
    """Is this what PostgreSQL's client says of a connection? It has read no row."""
    kind = type(error)
    return kind.__module__.startswith("psycopg") and kind.__name__ in ("OperationalError", "InterfaceError")


def _said_by_database(error: Any) -> str:
    """The code and the first line, without the DETAIL, which quotes the row, and without quoted values."""
    code = getattr(error, "sqlstate", None) or getattr(error, "sqlite_errorname", "")
    diagnosis = getattr(error, "diag", None)
    context = getattr(diagnosis, "context", None) or ""
    if "at RAISE" in context and not OWN_FUNCTION.search(context):
        return f"{code} …"  # a function of somebody's own may say anything
    message = getattr(diagnosis, "message_primary", None) or str(error).partition("\n")[0]
    if code and not code.startswith(IN_STATEMENT) and QUOTED.search(_unnamed(message, diagnosis)):
        message = QUOTED.sub("…", message)
    return f"{code} {message}".strip()


def _unnamed(message: str, diagnosis: Any) -> str:
    """The message without the names of tables and the like, which are quoted too."""
    for name in filter(None, (getattr(diagnosis, each, None) for each in IDENTIFIERS)):
        message = message.replace(f'"{name}"', "")
    return message


def _only(text: str, pieces: Iterable[str]) -> str:
    """The text with `…` for everything but these pieces, where they stand as whole words, and ids."""
    kept = bytearray(len(text))
    for start, end in [found.span() for found in ID.finditer(text)] + [
        span for piece in pieces for span in _places(piece, text)
    ]:
        kept[start:end] = b"\1" * (end - start)
    parts, start = [], 0
    for end in range(1, len(text) + 1):
        if end == len(text) or kept[end] != kept[start]:
            part = text[start:end]
            parts.append(part if kept[start] else VALUE.sub("…", part))
            start = end
    return "".join(parts)


def _places(piece: str, text: str) -> Iterator[tuple[int, int]]:
    start = text.find(piece)
    while start >= 0:
        end = start + len(piece)
        if not (_joined(text[start - 1 : start], piece[0]) or _joined(piece[-1], text[end : end + 1])):
            yield start, end
        start = text.find(piece, start + 1)


def _joined(one: str, other: str) -> bool:
    """Do two characters stand in one word?"""
    return bool(re.fullmatch(r"\w\w", one + other))


def _written(error: BaseException) -> set[str]:
    """Every text and name in the code that raised an error, whole or between placeholders; and Python's own words."""
    texts = set(PYTHON.replace("\n", "").split("|"))
    for code, names in _code_of(error):
        texts.update(_texts(code.co_consts))
        texts.update((*code.co_names, *code.co_varnames))
        texts.update(_texts(names.get(name) for name in code.co_names))
    pieces = {piece for text in texts for piece in PLACEHOLDER.split(text)}
    return {piece for piece in pieces if re.search(r"\w", piece)}


def _texts(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple | frozenset):
            yield from _texts(value)


def _code_of(error: BaseException) -> Iterator[tuple[CodeType, dict[str, Any]]]:
    """The code on the way to an error and that of its class, each with the names of its module."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        yield frame.f_code, frame.f_globals
    for kind in type(error).__mro__:
        if code := getattr(made := vars(kind).get("__init__"), "__code__", None):
            yield code, made.__globals__  # type: ignore[union-attr]


def _line_of_code(error: BaseException) -> str:
    """The last line of the project's own code on the way to an error, if possible one of a service."""
    ways = [(Path(frame.f_code.co_filename), frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    ours = [way for way in ways if way[0].is_relative_to(ROOT) and "site-packages" not in way[0].parts]
    services = [way for way in ours if not way[0].is_relative_to(KERNEL)]
    return _shown(*(services or ours)[-1]) if ours else ""


def _shown(file: Path, frame: FrameType, line: int) -> str:
    code = linecache.getline(str(file), line).strip()
    return f"{file.relative_to(ROOT)}, line {line}, in {frame.f_code.co_name}: {code}"
