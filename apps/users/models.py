"""The read models of the users service, and the checkpoints and dead letters of its projectors and reactors."""

from typing import ClassVar

from django.db import models

from apps.eventlog import models as eventlog


class User(models.Model):
    """A user, with the history of events and a time slider."""

    class Status(models.TextChoices):
        ACTIVE = "active", "active"
        INACTIVE = "inactive", "inactive"

    subject_field: ClassVar[str] = "id"

    id = models.UUIDField(primary_key=True)
    version = models.PositiveIntegerField()
    email = models.CharField(max_length=254)
    mailbox = models.CharField(max_length=800, db_default="", help_text="the address as it is compared and searched")
    name = models.CharField(max_length=200)
    status = models.CharField(max_length=10, choices=Status)
    registered_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        permissions = [("erase_user", "Can erase user for ever")]
        ordering = ["-registered_at", "-id"]
        indexes = [
            models.Index(fields=["registered_at", "id"], name="users_user_registered"),
            models.Index(fields=["status", "registered_at", "id"], name="users_user_status"),
            models.Index(fields=["mailbox", "registered_at", "id"], name="users_user_mailbox"),
        ]

    def __str__(self) -> str:
        return f"{self.name} <{self.email}>"


class Checkpoint(eventlog.Checkpoint):
    pass


class DeadLetter(eventlog.DeadLetter):
    pass
