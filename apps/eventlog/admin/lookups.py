"""Lookups that staff write into the URL of a list, as in `?placed_at__year=0`. No lookup may be a fault of ours."""

import logging
import sqlite3
from typing import Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest

logger = logging.getLogger(__name__)

# A pattern can take for ever, and on SQLite no other thread of the process runs meanwhile.
REFUSED = ("__regex", "__iregex")
REGULAR = (IncorrectLookupParameters, SuspiciousOperation, PermissionDenied, Http404)


class CheckedLookups(ModelAdmin):  # type: ignore[type-arg]
    """Mixed into every page, also those of Django and knox: a list without its filters answers a wrong lookup.

    Django checks what a lookup is made of, but its value meets the database only when the rows are read.
    """

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return not lookup.endswith(REFUSED) and super().lookup_allowed(lookup, value, request)

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Read the rows of the list. Raises IncorrectLookupParameters if that fails because of the parameters."""
        try:
            return super().get_changelist_instance(request)
        except REGULAR:
            raise
        except Exception as error:
            if not request.GET or _is_outage(error):
                raise
            logger.warning("%s cannot be looked up", request.get_full_path(), exc_info=True)
            raise IncorrectLookupParameters from error


def _is_outage(error: Exception) -> bool:
    """Does the database not answer? SQLite has the same class of errors for a statement that it cannot run."""
    statement = getattr(error.__cause__, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return isinstance(error, OperationalError | InterfaceError) and not statement
