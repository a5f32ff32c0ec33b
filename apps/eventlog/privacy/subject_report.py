"""Everything that is stored about one person: from the log, the read models, the records of failures, the login."""

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from heapq import merge
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.db.models import Model
from knox.models import AuthToken

from apps.eventlog import store
from apps.eventlog.events import DomainEvent, RecordedEvent
from apps.eventlog.models import DeadLetter, IdempotencyRecord, Job, OutgoingCommand, ProcessInstance
from apps.eventlog.privacy.traces import is_about, streams_of

Entry = dict[str, Any]
Row = tuple[str, list[Entry]]  # a key, and an entry for each field
# Reads CHUNK rows: from the row with a key on, or from the first; with True, towards the first, or from the last.
Source = Callable[[str | None, bool], list[Row]]

CHUNK = 100


class Location(NamedTuple):
    """Where a value is: the number of its source, the key of its row there, and the number of its field."""

    source: int
    key: str
    field: int


def stored_about(
    subject: UUID, after: Location | None = None, *, backwards: bool = False
) -> Iterator[tuple[Location, Entry]]:
    """Each value and where it was found: `{source, where, field, value}`, and its location.

    With `after`, the values beyond that location; `backwards`, those before it, the last one first. From the log come
    the events of the person's own streams, and the events that name the person as their `subject`. From a read model
    come the rows whose `subject_field` is the person. Then come dead letters, the instances of processes whose key is
    the person with what they send, what jobs have found, records of requests, and the login with its tokens, sessions
    and lines in the log of the admin. What SERVE leaves out is not looked for. Reads CHUNK rows at a time, so memory
    stays constant.
    """
    step = -1 if backwards else 1
    for number, source in list(enumerate(_sources(subject)))[::step]:
        if after and number * step < after.source * step:
            continue
        start = after.key if after and number == after.source else None
        for key, entries in _rows(source, start, backwards):
            for field, entry in list(enumerate(entries))[::step]:
                if not (after and key == start and field * step <= after.field * step):
                    yield Location(number, key, field), entry


def _rows(source: Source, start: str | None, backwards: bool) -> Iterator[Row]:
    """The rows of a source, chunk by chunk."""
    rows = source(start, backwards)
    yield from rows
    while len(rows) == CHUNK:
        last = rows[-1][0]
        rows = source(last, backwards)
        yield from (row for row in rows if row[0] != last)


def _sources(subject: UUID) -> list[Source]:
    """The log, and each table with rows about people, always in the same order."""
    tables = [
        partial(_of_table, model, {column: subject}, [field.attname for field in model._meta.concrete_fields])
        for model in _models()
        if (column := getattr(model, "subject_field", None))
    ]
    return [partial(_of_log, subject), *tables, *_traces(subject), *_login(subject)]


def _models(base: type[Model] = Model) -> list[type[Model]]:
    """Those of the databases that this process has."""
    here = [model for model in apps.get_models() if model._meta.app_label not in settings.LEFT_OUT]
    return [model for model in here if issubclass(model, base)]


def _traces(subject: UUID) -> list[Source]:
    mine = {"stream__in": streams_of(subject)}
    fields = ["projector", "stream", "position", "error", "reason", "acts"]
    keyed = {"key": str(subject)}
    return [
        *[partial(_of_table, model, mine, fields) for model in _models(DeadLetter)],
        *[partial(_of_table, model, keyed, ["process", "state"]) for model in _models(ProcessInstance)],
        *[partial(_of_table, model, keyed, ["process", "command", "content"]) for model in _models(OutgoingCommand)],
        partial(_of_table, IdempotencyRecord, mine, ["stream", "position", "started_at"]),
        partial(_of_rows, lambda: _jobs(subject)),
    ]


def _login(subject: UUID) -> list[Source]:
    fields = ["username", "email", "first_name", "last_name", "date_joined", "last_login"]
    login = get_user_model()._default_manager.filter(username=str(subject)).values_list("pk", flat=True).first()
    lines = {"content_type__app_label": "auth", "content_type__model": "user", "object_id": str(login)}
    return [
        partial(_of_table, get_user_model(), {"pk": login}, fields),
        partial(_of_table, AuthToken, {"user": login}, ["created", "expiry"]),
        partial(_of_rows, lambda: _sessions(login)),
        partial(_of_table, LogEntry, lines, ["action_time", "object_repr", "change_message"]),
    ]


def _jobs(subject: UUID) -> list[Row]:
    """What each job has found in the person's rows."""
    table = Job._meta.db_table
    jobs = Job.objects.exclude(differences=[]).order_by("pk")
    found = [(str(job.pk), [each for each in job.differences if is_about(subject, each)]) for job in jobs]
    return [(key, [_entry(table, key, "differences", mine)]) for key, mine in found if mine]


def _sessions(login: Any) -> list[Row]:
    """The sessions of a login, each by a hash of its key, for the key opens the session."""
    table = Session._meta.db_table
    mine = [row for row in Session.objects.iterator() if row.get_decoded().get(SESSION_KEY) == str(login)]
    named = [(sha256(row.session_key.encode()).hexdigest()[:16], row.expire_date) for row in mine]
    return [(name, [_entry(table, name, "expire_date", until)]) for name, until in sorted(named)]


def _of_rows(read: Callable[[], list[Row]], start: str | None, backwards: bool) -> list[Row]:
    """A chunk of rows that no query can choose; they are few."""
    rows = read()[:: -1 if backwards else 1]
    ahead = [row for row in rows if start is None or (row[0] <= start if backwards else row[0] >= start)]
    return ahead[:CHUNK]


def _of_log(subject: UUID, start: str | None, backwards: bool) -> list[Row]:
    """By position, and each event once: an event in a person's own stream may also name the person."""
    after, end = 0, store.safe_position()
    if start is not None:
        after, end = (0, int(start)) if backwards else (int(start) - 1, end)
    read = partial(store.read_page, after=after, end=end, limit=CHUNK, backwards=backwards)
    histories = [read(stream=stream) for stream in streams_of(subject)]
    naming = [kind for kind in DomainEvent.types.values() if kind.subject]
    histories += [read(types=[kind.type], naming=(kind.subject, str(subject))) for kind in naming]
    position = attrgetter("position")
    merged = groupby(merge(*histories, key=position, reverse=backwards), position)
    return [_of_event(next(same)) for _, same in islice(merged, CHUNK)]


def _of_event(recorded: RecordedEvent) -> Row:
    where = f"{recorded.stream} {recorded.type} at position {recorded.position}"
    return str(recorded.position), [_entry("log", where, field, value) for field, value in recorded.data.items()]


def _of_table(
    model: type[Model], where: dict[str, Any], fields: list[str], start: str | None, backwards: bool
) -> list[Row]:
    bound = {} if start is None else {"pk__lte" if backwards else "pk__gte": start}
    rows = model._default_manager.filter(**where, **bound).order_by("-pk" if backwards else "pk")[:CHUNK]
    table = model._meta.db_table
    return [(str(row.pk), [_entry(table, str(row.pk), name, getattr(row, name)) for name in fields]) for row in rows]


def _entry(source: str, where: str, field: str, value: Any) -> Entry:
    return {"source": source, "where": where, "field": field, "value": value}
