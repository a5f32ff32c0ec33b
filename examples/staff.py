#!/usr/bin/env python
"""Make the demo staff login `admin` / `admin`, if DEBUG is on."""

import os
import sys
from pathlib import Path

import django

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from django.conf import settings
from django.contrib.auth import get_user_model

if settings.DEBUG:
    logins = get_user_model().objects
    if not logins.filter(username="admin").exists():
        logins.create_superuser("admin", password="admin")
    print("Staff login: admin / admin (made because DEBUG is on)")
