"""What has had its time is cleared, and nothing else."""

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from knox.models import AuthToken

from apps.eventlog import store
from apps.eventlog.api import expiry
from apps.eventlog.models import IdempotencyRecord
from tests.support.api import PASSWORD, Api

ANN = {"email": "ann@example.org", "name": "Ann", "password": PASSWORD}


def test_an_answer_is_kept_for_a_day_at_least_and_then_cleared(api: Api) -> None:
    assert timedelta(hours=24) <= settings.IDEMPOTENCY_KEPT
    first = api.post("users/", ANN, Idempotency_Key="k")
    IdempotencyRecord.objects.update(started_at=timezone.now() - settings.IDEMPOTENCY_KEPT + timedelta(minutes=1))
    expiry.clear()
    assert api.post("users/", ANN, Idempotency_Key="k").json == first.json
    IdempotencyRecord.objects.update(started_at=timezone.now() - settings.IDEMPOTENCY_KEPT - timedelta(minutes=1))
    out = StringIO()
    call_command("clear_expired", stdout=out)
    assert "1 answers" in out.getvalue()
    assert api.post("users/", ANN, Idempotency_Key="k").status == 409  # judged anew: the address is taken by now
    assert store.head() == 1


def test_expired_tokens_and_sessions_go_and_living_ones_stay(api: Api) -> None:
    ann = api.customer()
    Client().force_login(get_user_model().objects.get())
    old = AuthToken.objects.create(get_user_model().objects.get())[0]
    AuthToken.objects.filter(pk=old.pk).update(expiry=timezone.now() - timedelta(seconds=1))
    assert expiry.clear() == {"answers": 0, "tokens": 1, "sessions": 0, "deliveries": 0}
    assert ann.get("orders/").status == 200
    Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert expiry.clear() == {"answers": 0, "tokens": 0, "sessions": 1, "deliveries": 0}


def test_many_are_cleared_a_batch_at_a_time(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    monkeypatch.setattr(expiry, "BATCH", 10)
    old = timezone.now() - settings.IDEMPOTENCY_KEPT - timedelta(hours=1)
    IdempotencyRecord.objects.bulk_create(
        IdempotencyRecord(digest=str(number), body_digest="", attempt="0" * 32, started_at=old) for number in range(25)
    )
    assert expiry.clear()["answers"] == 25
    assert IdempotencyRecord.objects.count() == 0
