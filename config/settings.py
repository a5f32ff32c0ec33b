"""Settings from the environment; `.env` beside manage.py fills in what the environment leaves out."""

import base64
import hashlib
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env.read_env(BASE_DIR / ".env")

# The services above the event log, each with a database alias of its own name.
SERVICES = ["users", "orders"]
EVENTLOG = "eventlog"

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var"))).resolve()

# Data keys of personal fields: the table that holds them, and the key-encryption key that wraps them (32 bytes
# in base64). Without one it follows from SECRET_KEY, which then cannot change without `manage.py rotate_keys`.
PERSONAL_KEYS = "users.PersonalKey"


def key_encryption_key(text: str) -> bytes:
    try:
        key = base64.urlsafe_b64decode(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ImproperlyConfigured("KEY_ENCRYPTION_KEY is 32 bytes in base64: `openssl rand -base64 32` makes one")
    return key


DERIVED_KEY = hashlib.sha256(b"headrace key-encryption key" + SECRET_KEY.encode()).digest()
PREVIOUS_KEY_ENCRYPTION_KEYS = [
    DERIVED_KEY,
    *(key_encryption_key(text) for text in env.list("PREVIOUS_KEY_ENCRYPTION_KEYS", default=[])),
]
KEY_ENCRYPTION_KEY = key_encryption_key(
    env.str("KEY_ENCRYPTION_KEY", default="") or base64.b64encode(DERIVED_KEY).decode()
)

# inline: a command's request also projects its events. worker: `manage.py run_projectors` does.
PROJECTIONS = env.str("PROJECTIONS", default="inline")
if PROJECTIONS not in ("inline", "worker"):
    raise ImproperlyConfigured(f"PROJECTIONS is inline or worker, not {PROJECTIONS!r}")
# How long the first answer to an Idempotency-Key is given again; no less than a day.
IDEMPOTENCY_KEPT = timedelta(hours=max(24, env.int("IDEMPOTENCY_HOURS", default=48)))
# Live streams a customer may have open on one process; staff may have any number.
STREAMS_PER_CUSTOMER = env.int("STREAMS_PER_CUSTOMER", default=10)
# Queries that one login may have waiting for a position on one process.
WAITS_PER_LOGIN = env.int("WAITS_PER_LOGIN", default=20)
# Seconds within which a request must have come, and its answer been taken, unless it goes on at a least pace.
CLIENT_PATIENCE = env.float("CLIENT_PATIENCE", default=30)
# Threads of a server process that one login can hold, for queries, for commands and for requests with a password;
# each pool has one thread more. To hash a password takes 100 MB and every core.
WEB_THREADS = env.int("WEB_THREADS", default=4)
COMMAND_THREADS = env.int("COMMAND_THREADS", default=4)
PASSWORD_THREADS = env.int("PASSWORD_THREADS", default=1)
WEB_QUEUE = env.int("WEB_QUEUE", default=100)  # requests that may wait for the threads of one pool
# Kills the process at a named point of a command; for crash tests only.
FAILPOINT = env.str("FAILPOINT", default="")

# Signs the seals over the log, and checks them; base64, from `manage.py seal_events --new-key`.
SEAL_SIGNING_KEY = env.str("SEAL_SIGNING_KEY", default="")
SEAL_PUBLIC_KEYS = env.list("SEAL_PUBLIC_KEYS", default=[])

INSTALLED_APPS = [
    "config.site.SiteConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "rest_framework",
    "knox",
    "django_filters",
    "django_eventstream",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    f"apps.{EVENTLOG}",
    *(f"apps.{service}" for service in SERVICES),
]

MIDDLEWARE = [
    "apps.eventlog.server.probes.ProbeMiddleware",
    "apps.eventlog.server.compression.ListCompressionMiddleware",
    "apps.eventlog.api.problems.ProblemMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "apps.eventlog.api.problems.SlashMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "apps.eventlog.server.content_security.ContentSecurityPolicyMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "config" / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


# Ends the name of every database: opens those that `replay_events --into <suffix>` has built beside the live ones.
DATABASE_SUFFIX = env.str("DATABASE_SUFFIX", default="")


def suffixed(name: str) -> str:
    return f"{name}_{DATABASE_SUFFIX}" if DATABASE_SUFFIX else name


# Web and workers give up a statement that hangs. What an operator runs (a replay, an import, a migration) may take
# long.
SERVES = Path(sys.argv[0]).name != "manage.py" or sys.argv[1:2] in (["runserver"], ["run_projectors"])


def postgresql_options(given: dict[str, object], *, kept: bool, hosts: int) -> dict[str, object]:
    """The options of a connection, so that nothing waits for ever; those `given` in the URL override them.

    A host that vanishes is noticed within seconds: by keepalives if an answer is awaited, and by `tcp_user_timeout` (in
    ms) if something was sent. A process that was stopped in a transaction must not hold its locks for ever.
    """
    server = "-c idle_in_transaction_session_timeout=30s"
    server += " -c statement_timeout=15s -c lock_timeout=10s" if SERVES else ""
    server += "" if kept else " -c synchronous_commit=off"
    return {
        "connect_timeout": 5,
        "tcp_user_timeout": 5000,
        "keepalives": 1,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        **({"target_session_attrs": "read-write"} if hosts > 1 else {}),
        # Bound by the server, statements are prepared there and planned once.
        "server_side_binding": True,
        "prepare_threshold": 5,
        **given,
        "options": f"{server} {given.get('options', '')}".strip(),  # of two that differ the later one holds
    }


def database(alias: str) -> dict[str, object]:
    """The database of an alias: `<ALIAS>_DATABASE_URL`, or a SQLite file under DATA_DIR, with DATABASE_SUFFIX.

    The log is the truth, so each of its commits is synced. Read databases can be rebuilt, and catch up from
    the checkpoint that a crash leaves them, so theirs are not, but for the one with the data keys of personal fields.
    Where commits are synced, SQLite also overwrites whatever is deleted; elsewhere not the pages of a dropped table.
    """
    kept = alias not in SERVICES or alias == PERSONAL_KEYS.partition(".")[0].lower()
    url = env.str(f"{alias.upper()}_DATABASE_URL", default="")
    if url:
        parsed = env.db_url_config(url)
        if "postgresql" in parsed["ENGINE"]:
            host = unquote(parsed["HOST"])  # a unix socket's directory comes percent-encoded
            options = postgresql_options(parsed.get("OPTIONS", {}), kept=kept, hosts=host.count(",") + 1)
            name = suffixed(parsed["NAME"])
            return {**parsed, "NAME": name, "HOST": host, "OPTIONS": options, "CONN_MAX_AGE": 60}
        file = Path(parsed["NAME"])
    else:
        file = DATA_DIR / f"{alias}.sqlite3"
    file = file.with_stem(suffixed(file.stem))
    file.parent.mkdir(parents=True, exist_ok=True)
    care = "synchronous=FULL; PRAGMA secure_delete=ON" if kept else "synchronous=NORMAL; PRAGMA secure_delete=FAST"
    return {
        "ENGINE": "apps.eventlog.database.sqlite",
        "NAME": file,
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": env.int("SQLITE_TIMEOUT", default=20),
            "init_command": f"PRAGMA journal_mode=WAL; PRAGMA {care}",
        },
    }


DATABASES = {alias: database(alias) for alias in ("default", *SERVICES, EVENTLOG)}
DATABASE_ROUTERS = ["config.routers.ServiceRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTHENTICATION_BACKENDS = ["apps.users.write.logins.PageBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]

NUM_PROXIES = env.int("NUM_PROXIES", default=0)  # in front, trusted to say who asks and whether by TLS

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apps.eventlog.api.authentication.BearerAuthentication",
        "apps.eventlog.api.authentication.CookieAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAdminUser"],
    "DEFAULT_PARSER_CLASSES": ["apps.eventlog.api.strict_json.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "apps.eventlog.api.strict_json.JSONRenderer",
        "rest_framework.renderers.BrowsableAPIRenderer",
    ],
    "DEFAULT_PAGINATION_CLASS": "apps.eventlog.api.pagination.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": ["apps.eventlog.api.filters.StrictFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "apps.eventlog.api.openapi.ApiSchema",
    "EXCEPTION_HANDLER": "apps.eventlog.api.problems.exception_handler",
    "DEFAULT_THROTTLE_RATES": {"login": "10/minute", "registration": "20/hour"},
    "URL_FORMAT_OVERRIDE": None,
    "NUM_PROXIES": NUM_PROXIES,
}
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_TTL": timedelta(hours=10)}
FORCE_SCRIPT_NAME = env.str("SCRIPT_NAME", default="") or None  # the path below which a proxy shows all of it
SPECTACULAR_SETTINGS = {
    "TITLE": "Headrace",
    "DESCRIPTION": "Commands are POST, queries are GET; every change is an event.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.1",
    "SERVERS": [{"url": FORCE_SCRIPT_NAME}] if FORCE_SCRIPT_NAME else [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

# Counts of failed logins and registrations hold across processes.
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "throttle_cache",
        "OPTIONS": {"MAX_ENTRIES": 100_000},  # so that a flood of names does not push the counts out
    }
}

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = ["config.formats"]  # instants as in the API, with seconds

STATIC_URL = f"{FORCE_SCRIPT_NAME or ''}/static/"
WHITENOISE_STATIC_PREFIX = "/static/"
WHITENOISE_USE_FINDERS = True  # served from where the packages have them: nothing to collect

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}

LOGIN_URL = "admin:login"
SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("SECURE_COOKIES", default=not DEBUG)
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if NUM_PROXIES else None
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_HSTS_SECONDS > 0
