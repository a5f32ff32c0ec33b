"""The page of the management commands, made from their help: every command of Headrace with its options."""

from argparse import Action, ArgumentParser, _SubParsersAction
from collections.abc import Iterator

from django.core.management import get_commands, load_command_class

INTRODUCTION = """# The management commands

`manage.py` stands for `.venv/bin/python manage.py`. This page is made from the help of the commands by
`make reference`; `manage.py <command> --help` shows the same. Django's own commands are there too (`migrate`, `shell`,
`createsuperuser`), and every command takes Django's options, such as `--verbosity`.

"""
DJANGOS = {
    *("help", "version", "verbosity", "settings", "pythonpath", "traceback", "no_color", "force_color"),
    "skip_checks",
}


def page() -> str:
    found = sorted((name, app) for name, app in get_commands().items() if app.startswith("apps."))
    return INTRODUCTION + "\n".join(line for name, app in found for line in _command(name, app))


def _command(name: str, app: str) -> Iterator[str]:
    command = load_command_class(app, name)
    yield f"## {name}\n"
    if command.help:
        yield f"{_text(command.help)}\n"
    for words, parser in _parsers(name, command.create_parser("manage.py", name)):
        yield from _use(words, parser)


def _parsers(words: str, parser: ArgumentParser) -> Iterator[tuple[str, ArgumentParser]]:
    """The parser of a command, or those of its acts: `dead_letters retry`."""
    acts = [action for action in parser._actions if isinstance(action, _SubParsersAction)]  # noqa: SLF001
    yield from ((f"{words} {name}", act) for each in acts for name, act in each.choices.items())
    if not acts:
        yield words, parser


def _use(words: str, parser: ArgumentParser) -> Iterator[str]:
    actions = [action for action in parser._actions if action.dest not in DJANGOS]  # noqa: SLF001
    yield f"```\n{_usage(words, actions)}\n```\n"
    if actions:
        yield "| option | meaning |\n| --- | --- |"
        yield from (f"| {_names(action)} | {_meaning(action)} |" for action in actions)
        yield ""


def _usage(words: str, actions: list[Action]) -> str:
    required = [
        action.metavar or action.dest for action in actions if not action.option_strings and action.nargs != "?"
    ]
    optional = [f"[{action.metavar or action.dest}]" for action in actions if action.nargs == "?"]
    options = ["[options]"] if any(action.option_strings for action in actions) else []
    return " ".join(["manage.py", words, *map(str, required), *map(str, optional), *options])


def _names(action: Action) -> str:
    value = "" if action.nargs == 0 else f" {_value(action)}"
    names = [f"`{each}{value}`" for each in action.option_strings]
    return ", ".join(names) or f"`{action.metavar or action.dest}`"


def _value(action: Action) -> str:
    if action.dest == "database":  # whose choices are the aliases
        return "ALIAS"
    choices = "\\|".join(map(str, action.choices)) if action.choices else ""
    return str(action.metavar or choices or action.dest.upper())


def _meaning(action: Action) -> str:
    return _text(action.help or "").replace("|", r"\|")


def _text(text: str) -> str:
    """On one line, and as Markdown reads it: what argparse writes as %% is one %."""
    return " ".join(text.replace("%%", "%").replace("<", "&lt;").replace("*", r"\*").split())
