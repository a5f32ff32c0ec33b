"""`Idempotency-Key`: the same request sent again gets the first answer and makes no second event."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import msgspec
from django.db.models import Q
from django.utils import timezone
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request

from apps.eventlog import store
from apps.eventlog.commands import Outcome
from apps.eventlog.models import IdempotencyRecord
from apps.eventlog.reservations import keyed_hash

# A command that has not answered after this time is taken for dead with its process.
ABANDONED = timedelta(seconds=30)
SCOPE = "idempotency"
CLEARED = ""  # the digest of a body whose person was erased; any body gets the first answer


class KeyReused(APIException):
    status_code = 422
    default_detail = "this Idempotency-Key was sent with another body"


class StillRunning(APIException):
    status_code = 409
    default_detail = "the first request with this Idempotency-Key is still running"

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait


class Abandoned(APIException):
    """This request took so long that another request took its key. Its append is rolled back."""

    status_code = 409
    default_detail = "another request has taken this Idempotency-Key"


@dataclass
class Once:
    """A request that has taken its key, or the `answer` to the first request with that key."""

    digest: str
    attempt: UUID
    answer: Outcome | None = None

    def complete(self, outcome: Outcome) -> None:
        """Keep the answer; called in the transaction of the append."""
        mine = IdempotencyRecord.objects.filter(digest=self.digest, attempt=self.attempt)
        if not mine.update(stream=outcome.stream, version=outcome.version, position=outcome.position):
            raise Abandoned

    def forget(self) -> None:
        """Free the key: if a refused command is sent again, it is decided again."""
        IdempotencyRecord.objects.filter(digest=self.digest, attempt=self.attempt, version=None).delete()


def begin(request: Request) -> Once | None:
    """Take the request's key, or find its answer; None without a key.

    Raises ValidationError for a malformed key, `KeyReused` and `StillRunning`.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not (0 < len(key) <= 255 and key.isprintable()):
        raise ValidationError({"Idempotency-Key": ["1 to 255 printable characters"]})
    digest, body = _digests(request, key)
    once = Once(digest, uuid4())
    record = _take(once, body)
    if record.attempt == once.attempt or _taken_over(record, once, body):
        return once
    if record.body_digest not in (body, CLEARED):
        raise KeyReused
    if record.version is None or record.position is None:
        # A running command ends soon, and one that died with its process is given up when ABANDONED has passed.
        running = timezone.now() - record.started_at
        raise StillRunning(1 if running.total_seconds() < 2 else (ABANDONED - running).total_seconds())
    once.answer = Outcome(record.stream, record.version, record.position)
    return once


def _digests(request: Request, key: str) -> tuple[str, str]:
    """The digests of a request and of its body. A body may have a password or a name, so they are keyed.

    Versions before this stored the inner digests themselves; one of theirs is found until it expires.
    """
    principal = request.user.get_username()  # empty for nobody
    path = request.path.lower()  # an id in capitals is the same id
    digest, body = _digest([principal, request.method, path, key]), _digest([key, request.data])
    if IdempotencyRecord.objects.filter(digest=digest).exists():
        return digest, body
    return keyed_hash(SCOPE, digest), keyed_hash(SCOPE, body)


def _take(once: Once, body: str) -> IdempotencyRecord:
    """Record the key for this attempt unless another attempt is alive. Returns the record that is then there."""
    now = timezone.now()
    mine = IdempotencyRecord(digest=once.digest, body_digest=body, attempt=once.attempt, started_at=now)
    IdempotencyRecord.objects.bulk_create([mine], ignore_conflicts=True)
    dead = Q(version=None, started_at__lt=now - ABANDONED)
    IdempotencyRecord.objects.filter(dead, digest=once.digest).update(
        attempt=once.attempt, started_at=now, body_digest=body
    )
    record = IdempotencyRecord.objects.filter(digest=once.digest).first()
    return record or _take(once, body)  # another request was refused and has just freed the key


def _taken_over(record: IdempotencyRecord, once: Once, body: str) -> bool:
    """If the event of an answer is not in the log, which went back, the answer is none: this attempt has the key.

    The record lies in the same database and was written with the event, so a restored backup has both or neither. This
    is for one that was restored in parts.
    """
    if not record.version or store.position_of(record.stream, record.version) == record.position:
        return False
    now, blank = timezone.now(), {"stream": "", "version": None, "position": None}
    known = IdempotencyRecord.objects.filter(digest=once.digest, attempt=record.attempt)
    return bool(known.update(attempt=once.attempt, started_at=now, body_digest=body, **blank))


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
