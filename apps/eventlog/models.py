"""The tables of the log, and the abstract models that each service has for its projectors and reactors."""

from typing import Any, ClassVar, Self

from django.db import models

from apps.eventlog.events import current_name


class Instant(models.DateTimeField):  # type: ignore[type-arg]
    """An instant with six decimals. SQLite compares instants as texts, and the log writes all of them with six."""

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        value = super().get_db_prep_value(value, connection, prepared)
        return f"{value}.000000" if isinstance(value, str) and "." not in value else value

    def deconstruct(self) -> Any:
        name, _, args, kwargs = super().deconstruct()
        return name, "django.db.models.DateTimeField", args, kwargs  # the column is the same


class StoredEvent(models.Model):
    """One event of the log, for migrations and the admin; everybody else asks `store`.

    Append-only: the database refuses everything but new rows. `log/columns.py` is the list of the columns.
    """

    position = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField(unique=True)
    stream = models.CharField(max_length=200)
    stream_version = models.PositiveIntegerField()
    category = models.CharField(max_length=100)
    type = models.CharField(max_length=200)
    schema_version = models.PositiveSmallIntegerField()
    data = models.JSONField()
    metadata = models.JSONField()
    correlation_id = models.UUIDField(null=True)
    recorded_at = Instant()

    class Meta:
        db_table = "eventlog_event"
        verbose_name = "event"
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["stream", "stream_version"], name="eventlog_event_stream_version")
        ]
        indexes = [
            models.Index(fields=["category", "position"], name="eventlog_event_category"),
            models.Index(fields=["type", "position"], name="eventlog_event_type"),
            models.Index(fields=["correlation_id", "position"], name="eventlog_event_correlation"),
            models.Index(fields=["recorded_at", "position"], name="eventlog_event_recorded_at"),
        ]

    def __str__(self) -> str:
        return f"{self.position} {self.current_type} {self.stream}"

    @property
    def current_type(self) -> str:
        """What the type is called now."""
        return current_name(self.type)


class Import(models.Model):
    """Events of another log, now at the positions `first` to `last` of this one. No reactor takes them."""

    first = models.BigIntegerField(primary_key=True)
    last = models.BigIntegerField(db_index=True)
    imported_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "eventlog_imported"
        ordering = ["first"]

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


class Reservation(models.Model):
    """A value that one stream holds and no other may, such as the e-mail address of an active user."""

    scope = models.CharField(max_length=50)
    key = models.CharField(max_length=64, help_text="a keyed hash of the value")
    stream = models.CharField(max_length=200)
    form = models.PositiveSmallIntegerField(
        db_default=0, help_text="the version of the form of the value; 0 is that of code from before this column"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["scope", "key"], name="eventlog_reservation_once")]
        indexes = [
            models.Index(fields=["stream"], name="eventlog_reservation_stream"),
            models.Index(fields=["scope", "form"], name="eventlog_reservation_form"),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.key}"


class Erasure(models.Model):
    """A person was erased. If an older backup of the data keys is restored, this says which keys to destroy again."""

    subject = models.UUIDField(primary_key=True)
    position = models.BigIntegerField()
    carried_out_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.subject} at {self.position}"


class IdempotencyRecord(models.Model):
    """The first answer to an Idempotency-Key; without an answer, its command is still running."""

    digest = models.CharField(max_length=64, primary_key=True)
    body_digest = models.CharField(max_length=64)
    attempt = models.UUIDField()
    started_at = models.DateTimeField()
    stream = models.CharField(max_length=200, default="")
    version = models.PositiveIntegerField(null=True)
    position = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return self.digest


class Job(models.Model):
    """A rebuild or a check of one projector, started in the admin."""

    class Kind(models.TextChoices):
        REBUILD = "rebuild", "rebuild"
        VERIFY = "verify", "verify"

    id = models.UUIDField(primary_key=True)
    projector = models.CharField(max_length=100)
    kind = models.CharField(max_length=10, choices=Kind)
    started_by = models.CharField(max_length=200)
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()  # the last sign of life
    total = models.PositiveBigIntegerField(default=0)
    done = models.PositiveBigIntegerField(default=0)
    finished_at = models.DateTimeField(null=True)
    outcome = models.TextField(default="")
    differences = models.JSONField(default=list)

    class Meta:
        permissions = [("run_job", "Can rebuild and check read models")]
        ordering = ["-started_at"]
        indexes = [models.Index(fields=["projector", "started_at"], name="eventlog_job_projector")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.projector}"


class Relay(models.Model):
    """What a relay has last said of itself. Its place is where the events go; nothing depends on this row."""

    target = models.CharField(max_length=400, primary_key=True)
    only = models.JSONField()  # which events it sends, by condition
    position = models.BigIntegerField(default=0)
    event_id = models.UUIDField(null=True)
    beat_at = models.DateTimeField()
    error = models.TextField(default="")  # what keeps it from going on

    class Meta:
        ordering = ["target"]

    def __str__(self) -> str:
        return self.target


class Seal(models.Model):
    """The content of a batch of events when it was sealed. Append-only; each seal continues the one before."""

    number = models.BigIntegerField(primary_key=True)
    after = models.BigIntegerField()  # the batch begins beyond this position
    until = models.BigIntegerField()  # the last position of the batch
    gaps = models.JSONField()  # [first, last] of positions without an event, because their appends were rolled back
    events = models.PositiveIntegerField()
    root = models.CharField(max_length=64)
    previous = models.CharField(max_length=64)
    sealed_at = models.DateTimeField()
    digest = models.CharField(max_length=64)
    signature = models.CharField(max_length=88, default="")
    leaves = models.BinaryField()  # the hash of each event, 32 bytes: verify_log can say which one was changed
    # Not empty if this seal begins a new chain at the beginning of the log, by the word of an operator.
    reason = models.CharField(max_length=500, default="", db_default="")

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return f"{self.number} up to {self.until}"


class Checkpoint(models.Model):
    """How far a reader has come: everything at or before `position` has taken effect.

    The log is the reader's own while it has the event `event_id` at the position `event_position`. A projector's is the
    event at its `position`. A reactor's is the last that the log had when it had reacted, for the events of its
    reaction must be there too. If the two positions do not fit, the checkpoint is from before this column, and the
    event is not known. The database refuses to move a position forward without its event, as older code does.
    """

    objects: ClassVar[models.Manager[Self]]

    name = models.CharField(max_length=100, primary_key=True)
    position = models.BigIntegerField(default=0)
    event_id = models.UUIDField(null=True)
    event_position = models.BigIntegerField(default=0, db_default=0)
    trail = models.JSONField(null=True)  # of a reactor: earlier checkpoints, see delivery/trail.py
    log_went_back = models.BooleanField(default=False, db_default=False)  # found by the reader, which has stopped
    updated_at = models.DateTimeField(auto_now=True)
    attempts = models.PositiveIntegerField(default=0)  # begun at this position and not ended, see delivery/claims.py
    singly_until = models.BigIntegerField(default=0)  # deliver one event at a time up to this position

    class Meta:
        abstract = True
        ordering = ["name"]

    def __str__(self) -> str:
        return f"{self.name} at {self.position}"


class DeadLetter(models.Model):
    """An event that a projector or reactor could not take, or a later event of the same stream, which waits for it.

    The row stays after somebody has settled it.
    """

    class Status(models.TextChoices):
        WAITING = "waiting", "waiting"  # an earlier event of the stream failed
        FAILED = "failed", "failed"
        RETRIED = "retried", "retried"  # a retry succeeded
        SKIPPED = "skipped", "skipped"  # left out for ever, also in replays, for the `reason`

    objects: ClassVar[models.Manager[Self]]

    projector = models.CharField(max_length=100)
    stream = models.CharField(max_length=200)
    position = models.BigIntegerField()
    event_id = models.UUIDField(null=True)  # unknown if the row is older than this column
    status = models.CharField(max_length=10, choices=Status)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(default="")
    parked_at = models.DateTimeField(auto_now_add=True)
    settled_at = models.DateTimeField(null=True)
    settled_by = models.CharField(max_length=200, default="")
    reason = models.CharField(max_length=500, default="")
    acts = models.JSONField(default=list)  # what operators did, oldest first: {act, by, at, outcome}

    class Meta:
        abstract = True
        ordering = ["projector", "position"]
        constraints = [models.UniqueConstraint(fields=["projector", "position"], name="%(app_label)s_dead_letter_once")]
        # Django names this index, because a name with the label of the app may have 30 characters and no more.
        indexes = [models.Index(fields=["projector", "stream"])]

    def __str__(self) -> str:
        return f"{self.projector} {self.stream} at {self.position}"


class ProcessInstance(models.Model):
    """What a process remembers for one key: its state, as JSON values. The id is the process and the key."""

    objects: ClassVar[models.Manager[Self]]

    id = models.CharField(max_length=301, primary_key=True)
    process = models.CharField(max_length=100)
    key = models.CharField(max_length=200)
    state = models.JSONField(default=dict)
    position = models.BigIntegerField()  # of the last event that it has taken
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True
        ordering = ["-updated_at", "-id"]
        indexes = [
            models.Index(fields=["updated_at", "id"], name="%(app_label)s_instance_updated"),
            models.Index(fields=["key"], name="%(app_label)s_instance_key"),
        ]

    def __str__(self) -> str:
        return self.id


class Timer(models.Model):
    """When a process wants to be called for a key. The row goes when the timer has fired.

    The id is the process, the key and the name. `position` and `event_id` are those of the event that led to it.
    """

    objects: ClassVar[models.Manager[Self]]

    id = models.CharField(max_length=402, primary_key=True)
    process = models.CharField(max_length=100)
    key = models.CharField(max_length=200)
    name = models.CharField(max_length=100)
    at = models.DateTimeField()
    position = models.BigIntegerField()
    event_id = models.UUIDField()
    attempts = models.PositiveIntegerField(default=0)  # begun and not ended, see processing/firing.py

    class Meta:
        abstract = True
        ordering = ["at", "id"]
        indexes = [
            models.Index(fields=["process", "at", "id"], name="%(app_label)s_timer_due"),
            models.Index(fields=["at", "id"], name="%(app_label)s_timer_at"),
            models.Index(fields=["key"], name="%(app_label)s_timer_key"),
        ]

    def __str__(self) -> str:
        return self.id


class OutgoingCommand(models.Model):
    """A command that a process sends, in the order of `number` for each key.

    `position` and `event_id` are those of the event that led to it, `sent_position` that of its own last event.
    """

    class Status(models.TextChoices):
        WAITING = "waiting", "waiting"
        SENT = "sent", "sent"
        FAILED = "failed", "failed"  # every attempt failed; the later ones of its key wait
        SKIPPED = "skipped", "skipped"

    objects: ClassVar[models.Manager[Self]]

    number = models.BigAutoField(primary_key=True)
    command_id = models.UUIDField(unique=True)
    process = models.CharField(max_length=100)
    key = models.CharField(max_length=200)
    command = models.CharField(max_length=200)  # its name: orders.CancelUnpaidOrder
    content = models.JSONField()
    position = models.BigIntegerField()
    event_id = models.UUIDField()
    status = models.CharField(max_length=10, choices=Status, default=Status.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    try_at = models.DateTimeField()  # not before this instant; while an attempt goes on, nobody else tries
    error = models.TextField(default="")
    sent_at = models.DateTimeField(null=True)
    sent_position = models.BigIntegerField(null=True)

    class Meta:
        abstract = True
        ordering = ["-number"]
        indexes = [
            models.Index(fields=["process", "key", "number"], name="%(app_label)s_command_of_key"),
            models.Index(
                fields=["try_at", "number"], name="%(app_label)s_command_waiting", condition=models.Q(status="waiting")
            ),
            models.Index(fields=["process", "sent_position"], name="%(app_label)s_command_sent"),
        ]

    def __str__(self) -> str:
        return f"{self.command} for {self.key}"


class ProcessDeadLetter(DeadLetter):
    """An event, a timer or a command that a process could not deal with. What is later for the same key waits for it.

    `timer` and `at` say which timer it is; `command_id` is that of a command. The event is then the one that led to it.
    """

    key = models.CharField(max_length=200)
    timer = models.CharField(max_length=100, default="")
    at = models.DateTimeField(null=True)
    command_id = models.UUIDField(null=True)

    class Meta(DeadLetter.Meta):
        abstract = True
        constraints = []  # one event may lead to several of them
        indexes = [
            models.Index(fields=["projector", "stream"], name="%(app_label)s_dead_letter_stream"),
            models.Index(fields=["projector", "key"], name="%(app_label)s_dead_letter_key"),
        ]
