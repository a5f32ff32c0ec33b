"""Variables of the environment, taken as they are written. An error names the variable and never its value."""

import math
import os
import re
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

LINE = re.compile(r"(?:export\s+)?(\w+)\s*=\s*(.*)", re.DOTALL)
ON, OFF = ("true", "on", "ok", "y", "yes", "1"), ("false", "off", "n", "no", "0")
SWITCH = dict.fromkeys(ON, True) | dict.fromkeys(OFF, False)
SECRET_LENGTH, SECRET_VARIETY = 50, 5  # characters and different ones, as in Django's own check
SAMPLE = re.compile(r"insecure|change.?me|change.?this|replace.?me|your.?(own.?)?secret|secret.?key", re.IGNORECASE)
UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
LONGEST = 365_000 * UNITS["d"]  # seconds; an instant that lies so far ahead can still be written
DURATION = re.compile(r"([0-9]{1,12})([dhms])", re.ASCII)
EACH = "EACH_DATABASE_URL"  # of every database that has no URL of its own
ENGINES = ("django.db.backends.postgresql", "django.db.backends.sqlite3")


def _switch(text: str) -> bool:
    return SWITCH[text.strip().lower()]


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


# By the type that a setting asks for: how to read a text, and what to call it if that fails.
READ: dict[Any, tuple[Callable[[str], Any], str]] = {
    None: (str, "a text"),
    str: (str, "a text"),
    bool: (_switch, "on or off"),
    int: (int, "a whole number"),
    float: (_number, "a number"),
    list: (_items, "a comma-separated list"),
}


class Environment(environ.Env):  # type: ignore[misc]
    """`env.str("NAME", default=...)` and likewise `bool`, `int`, `float` and `list`.

    django-environ itself takes a value that begins with `$` for the name of another variable, which it prints if there
    is none. An empty variable counts as one that is not set.
    """

    def get_value(
        self, var: Any, cast: Any = None, default: Any = environ.Env.NOTSET, parse_default: bool = False
    ) -> Any:
        """The value of a variable, or the default. Raises ImproperlyConfigured if there is none, or of another type."""
        text = os.environ.get(var, "")
        if not text:
            if default is self.NOTSET:
                raise ImproperlyConfigured(f"{var} must be set")
            return default
        read, kind = READ[cast]
        try:
            text.encode()
            return read(text)
        except (ValueError, LookupError):
            raise ImproperlyConfigured(f"{var} is not {kind}") from None

    def choice(self, var: str, known: Sequence[str]) -> list[str]:
        """The known names that a comma-separated list names; all if it is not set. Raises ImproperlyConfigured."""
        chosen = self.list(var, default=list(known))
        if not chosen or not set(chosen) <= set(known):
            raise ImproperlyConfigured(f"{var} is a comma-separated list of {', '.join(known)}, or left out for all")
        return [name for name in known if name in chosen]

    def duration(self, var: str, default: str) -> timedelta | None:
        """A time such as `14d`, `12h`, `30m` or `2s`; None for `off`. Raises ImproperlyConfigured."""
        text = self.str(var, default=default).strip().lower()
        if text in OFF:
            return None
        match = DURATION.fullmatch(text)
        if not match or int(match[1]) > LONGEST // UNITS[match[2]]:
            raise ImproperlyConfigured(f"{var} is a time as in 14d, 12h, 30m or 2s, of at most 1000 years, or off")
        return timedelta(seconds=int(match[1]) * UNITS[match[2]])

    def database(self, var: str, alias: str = "") -> dict[str, Any]:
        """The database that a URL names, for DATABASES; {} if it is not set. Raises ImproperlyConfigured.

        If it is not set, an alias has the URL of `EACH`, with its name in place of `{alias}`.
        """
        url = self.str(var, default="")
        if not url and alias and (each := self.str(EACH, default="")):
            if "{alias}" not in each:
                raise ImproperlyConfigured(f"{EACH} has no {{alias}}, so all databases would be one")
            var, url = EACH, each.replace("{alias}", alias)
        try:
            with warnings.catch_warnings(action="error"):  # they print the password
                found: dict[str, Any] = self.db_url_config(url) if url else {}
            if url and not (found["ENGINE"] in ENGINES and found["NAME"]):
                raise ValueError
        except Exception:
            form = "postgres://user:password@host:port/name or sqlite:///path"
            raise ImproperlyConfigured(f"{var} is not {form}, with %40 for an @ in the password and so on") from None
        return found

    @classmethod
    def read_env(cls, env_file: Path, *arguments: Any, **more: Any) -> None:
        """Set what the lines `NAME=value` of a file name and the environment does not. Raises ImproperlyConfigured."""
        try:
            lines = env_file.read_bytes().decode().split("\n")
        except OSError:
            return
        except UnicodeDecodeError:
            raise ImproperlyConfigured(f"{env_file} is not UTF-8") from None
        for number, line in enumerate(map(str.strip, lines), start=1):
            if line and not line.startswith("#"):
                if not (match := LINE.fullmatch(line)):
                    raise ImproperlyConfigured(f"{env_file}, line {number}: not NAME=value")
                os.environ.setdefault(match[1], _unquoted(match[2]))


def is_weak(secret: str) -> bool:
    """May somebody guess this key: is it short, of few different characters, or copied from a sample?"""
    return len(secret) < SECRET_LENGTH or len(set(secret)) < SECRET_VARIETY or SAMPLE.search(secret) is not None


def _unquoted(value: str) -> str:
    """What quotes enclose. Within double quotes a backslash may escape a quote, a backslash or a `$`, as in a shell."""
    if len(value) < 2 or value[0] != value[-1] or value[0] not in "'\"":
        return value
    inner = value[1:-1]
    return re.sub(r"\\([^rnt])", r"\1", inner) if value[0] == '"' else inner
