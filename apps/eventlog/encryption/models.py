"""The table of the data keys. It is in a database of its own, so that a backup of the log opens nothing."""

from django.db import models


class PersonalKey(models.Model):
    """The data key of one person, wrapped by a key-encryption key; None once it is destroyed.

    The database refuses to delete a row, to bring a destroyed key back, and to replace a key by anything but a newer
    wrapping of it.
    """

    subject = models.UUIDField(primary_key=True)
    wrapped = models.BinaryField(null=True)
    wrapped_by = models.CharField(max_length=16, default="", help_text="which key-encryption key")
    # Counts how often the key was wrapped anew. A dump from before can then never replace the newer wrapping.
    rewraps = models.PositiveIntegerField(default=0)
    destroyed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["subject"]
        indexes = [models.Index(fields=["wrapped_by", "subject"], name="keys_personal_key_by")]

    def __str__(self) -> str:
        return f"key of {self.subject}"
