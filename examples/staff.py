#!/usr/bin/env python
"""Make the demo staff login `admin` / `admin`, if the settings allow it. Otherwise close what is left of the demo's.

Everybody knows these logins. So if the server can be reached from elsewhere, they must not open it.
"""

import os
import sys
from pathlib import Path

import django

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.conf import settings
from django.contrib.auth import get_user_model
from knox.models import AuthToken

from examples.demo import PASSWORD, user_id

logins = get_user_model().objects
# The usernames of the demo, and the password of each. A login whose password was changed is not the demo's any more.
DEMO = {"admin": "admin", str(user_id(0)): PASSWORD}


def open_again() -> None:
    if not logins.filter(username="admin").exists():
        logins.create_superuser("admin", password="admin")
    for login in logins.filter(username__in=DEMO):
        if not login.has_usable_password():
            login.set_password(DEMO[login.get_username()])
            login.save()
    print("Staff login: admin / admin (made because DEBUG is on)")


def close() -> None:
    """Take the password, the tokens and, with the password, the sessions of each login of the demo."""
    for login in logins.filter(username__in=DEMO):
        if login.check_password(DEMO[login.get_username()]):
            login.set_unusable_password()
            login.save()
            AuthToken.objects.filter(user=login).delete()
            print(f"The demo login {login.get_username()} is closed")
    if settings.DEBUG:
        print("No demo login, for others may reach the server: set DEMO_LOGIN=1, or run manage.py createsuperuser")


if settings.DEMO_LOGIN:
    open_again()
else:
    close()
