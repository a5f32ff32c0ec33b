"""Whose personal fields have a data key (never the key itself), and who was erased."""

from django.contrib import admin

from apps.eventlog.admin.readonly import ReadOnlyAdmin
from apps.eventlog.encryption.models import PersonalKey
from apps.eventlog.models import Erasure


@admin.register(PersonalKey)
class PersonalKeyAdmin(ReadOnlyAdmin):
    is_machinery = True
    list_display = ("subject", "wrapped_by", "destroyed_at")
    search_fields = ("=subject",)
    fields = ("subject", "wrapped_by", "destroyed_at")
    actions = None


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdmin):
    is_machinery = True
    list_display = ("subject", "position", "carried_out_at")
    search_fields = ("=subject",)
    actions = None
