"""What the log's own database keeps about a person besides events and reservations, cleared when they are erased."""

from uuid import UUID

from apps.eventlog.models import IdempotencyRecord, Job
from apps.eventlog.projectors import categories


def streams_of(subject: UUID) -> list[str]:
    """The names of the streams that are a person's own, whether they exist or not."""
    return [f"{category}-{subject}" for category in sorted(categories())]


def clear(subject: UUID) -> None:
    """Clear the digests of the person's requests, and what jobs have found in the person's rows. Safe to repeat.

    The records of the requests stay until they expire: if one is sent again, it gets its first answer, and does not
    register the person anew.
    """
    IdempotencyRecord.objects.filter(stream__in=streams_of(subject)).update(body_digest="")
    for job in Job.objects.exclude(differences=[]):
        others = [difference for difference in job.differences if not is_about(subject, difference)]
        if others != job.differences:
            Job.objects.filter(pk=job.pk).update(differences=others)


def is_about(subject: UUID, difference: list[str]) -> bool:
    """Is this difference, `[table, key, field]`, one of a row with the person's id as its key?"""
    return difference[1].lower() == str(subject)
