"""Events from columns: where there are many, one call of C a column makes them faster than one a row."""

from collections.abc import Sequence
from itertools import starmap
from typing import Any

import msgspec

from apps.eventlog.events import RecordedEvent

raws = msgspec.json.Decoder(list[msgspec.Raw]).decode


def of_columns(*columns: Sequence[Any]) -> list[RecordedEvent]:
    """The events of columns in the order of FIELDS. Raises ValueError where one is shorter than the others."""
    return list(starmap(RecordedEvent, zip(*columns, strict=True)))
