"""`manage.py startservice`: make a service that works, next to those that are there."""

import builtins
import keyword
import re
import subprocess
import sys
import textwrap
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.templates import TemplateCommand
from django.urls import Resolver404, resolve

from apps.eventlog.aggregates import Aggregate

TEMPLATE = Path(__file__).resolve().parent.parent / "service_template"
# What the code of a service imports, and what it calls its own, where the name of an aggregate would stand too.
USED = {"Aggregate", "Any", "Api", "Checkpoint", "Command", "DeadLetter", "Document", "Query", "Request", "Response"}
USED |= {"Scenario", "UUID", "Actor", "api", "admin", "customer", "event", "id", "recorded", "row", "self"}
SERVICES = re.compile(r'^SERVICES = \[\s*("\w+"(?:,\s*"\w+")*),?\s*\](?:  # fmt: skip)?$', re.MULTILINE)
WIDTH = 120  # characters of a line, as in pyproject.toml
LONGEST = 30  # characters of a name: PostgreSQL cuts the names of tables and indexes at 63


class Command(TemplateCommand):
    help = (
        "Makes a service in apps/ with an aggregate, two commands, a read model, API, admin and tests, and enters it "
        "in SERVICES and in .importlinter."
    )
    requires_system_checks = ()
    rewrite_template_suffixes = ((".py-tpl", ".py"),)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("service", help="the name of the service, in the plural: payments")
        parser.add_argument("--aggregate", help="the class of its aggregate; by default Payment for payments")

    def handle(self, service: str, aggregate: str | None = None, **options: Any) -> None:  # type: ignore[override]
        root = Path(settings.BASE_DIR)
        require_new(service, root)
        words = names(service, aggregate)
        entries = [settings_with(root, service), importlinter_with(root, service)]
        folders = [root / "apps" / service, root / "tests" / service]
        for folder in folders:
            folder.mkdir(parents=True)
        template = (
            options | words | {"template": str(TEMPLATE), "extensions": ["py"], "files": [], "exclude": ["tests"]}
        )
        super().handle("app", service, str(folders[0]), **template)
        super().handle("app", service, str(folders[1]), **template | {"template": str(TEMPLATE / "tests")})
        for path, text in entries:
            path.write_text(text)
        self._finish(root, service, folders)
        self.stdout.write(
            f"apps/{service} and tests/{service} are made, with /api/{words['route']}/.\n"
            "Now change it, as docs/how-to/add-a-service.md says; then make check, make test, and manage.py migrate. "
            "docs/how-to/remove-a-service.md says how to take the service away again."
        )

    def _finish(self, root: Path, service: str, folders: list[Path]) -> None:
        """Migrations and locked schemas, by processes that know the service; and the form that `make check` wants."""
        ruff = Path(sys.executable).parent / "ruff"
        if ruff.exists():
            for form in (["check", "--select", "I", "--fix"], ["format"]):
                subprocess.run([ruff, *form, "--quiet", *folders], cwd=root, check=True)
        for command in (["makemigrations", service, "-n", "read_models"], ["lock_schemas"]):
            run = [sys.executable, "manage.py", *command]
            subprocess.run(run, cwd=root, check=True, stdout=subprocess.DEVNULL)
        if (pages := root / "tools" / "reference.py").exists():  # they show the routes of every service
            subprocess.run([sys.executable, pages], cwd=root, check=True)


def require_new(service: str, root: Path) -> None:
    """Raise CommandError unless a service may have this name."""
    taken = {config.label for config in apps.get_app_configs()} | {*settings.DATABASES, "processes", "config"}
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", service) or keyword.iskeyword(service):
        raise CommandError(f"{service!r} is no name for a service: lower case, digits and single _, as in credit_notes")
    if len(service) > LONGEST:
        raise CommandError(f"the name of a service has at most {LONGEST} characters")
    if service in taken or (root / "apps" / service).exists() or (root / "tests" / service).exists():
        raise CommandError(f"{service!r} is taken: by a service, an app, a database or a folder in apps/ or tests/")


def names(service: str, aggregate: str | None) -> dict[str, str]:
    """The forms of the aggregate's name that the templates use. Raises CommandError if it cannot be one."""
    aggregate = aggregate or "".join(part.capitalize() for part in singular(service).split("_"))
    if not re.fullmatch(r"[A-Z][a-zA-Z0-9]*", aggregate) or len(aggregate) > LONGEST:
        raise CommandError(f"{aggregate!r} is no name for an aggregate: it is a class, as in CreditNote")
    one = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", aggregate).lower()
    if {aggregate, one} & (USED | set(dir(builtins))) or keyword.iskeyword(one):
        raise CommandError(f"{aggregate!r} would hide a name that the code of a service uses: give another --aggregate")
    words, many = one.replace("_", " "), plural(one)
    if one in {kind.category for kind in subclasses(Aggregate)}:
        raise CommandError(f"the category {one!r} is another service's: name the aggregate with --aggregate")
    route = many.replace("_", "-")
    if is_taken(path := f"/api/{route}/"):
        raise CommandError(f"{path} is there already: name the aggregate with --aggregate")
    return {
        "aggregate": aggregate,
        "model": aggregate.lower(),
        "one": one,
        "many": many,
        "route": route,
        "words": words,
        "words_a": f"{'an' if words[0] in 'aeiou' else 'a'} {words}",
    }


def is_taken(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True


def singular(word: str) -> str:
    for ending, one in (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("ss", "ss")):
        if word.endswith(ending):
            return word.removesuffix(ending) + one
    return word.removesuffix("s") or word


def plural(word: str) -> str:
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch", "sh")) else f"{word}s"


def subclasses(kind: type[Aggregate]) -> Iterator[type[Aggregate]]:
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


def settings_with(root: Path, service: str) -> tuple[Path, str]:
    """`config/settings.py` with the service in SERVICES."""
    path = root / "config" / "settings.py"
    found = SERVICES.findall(text := path.read_text())
    if len(found) != 1:
        raise CommandError(f'{path.name} has no list SERVICES = [...]: add "{service}" to its list by hand first')
    return path, SERVICES.sub(_in_lines([*re.findall(r"\w+", found[0]), service]), text)


def _in_lines(services: list[str]) -> str:
    """The list of all services, in one line or, if they are many, in a few."""
    names = ", ".join(f'"{each}"' for each in services)
    if len(line := f"SERVICES = [{names}]") <= WIDTH:
        return line
    indented = textwrap.fill(f"{names},", WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 4)
    return f"SERVICES = [\n{indented}\n]  # fmt: skip"


def importlinter_with(root: Path, service: str) -> tuple[Path, str]:
    """`.importlinter` with the service at the three places that are marked [+]."""
    path, last = root / ".importlinter", settings.SERVICES[-1]
    text, marked = path.read_text(), 0
    for old, new in (
        (f" | {last}\n", f" | {last} | {service}\n"),
        (f"    apps.{last}\n", f"    apps.{last}\n    apps.{service}\n"),
        (f"    apps.{last}.models\n", f"    apps.{last}.models\n    apps.{service}.models\n"),
    ):
        marked += text.count(old) == 1
        text = text.replace(old, new)
    if marked != 3:
        raise CommandError(f".importlinter does not list {last} once at each place marked [+]: mend that first")
    return path, text
