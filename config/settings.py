"""Settings from the environment. A file `.env` in the folder of manage.py sets what the environment does not."""

import base64
import hashlib
import re
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from django.core.exceptions import ImproperlyConfigured

from config import postgresql
from config.environment import Environment, is_weak
from config.postgresql import Process
from config.replicas import replicas

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment()
env.read_env(BASE_DIR / ".env")

# The services above the event log, each with a database alias of its own name.
SERVICES = ["users", "orders"]
EVENTLOG = "eventlog"
KEYS = "keys"  # the data keys of personal fields, apart from the log and its backups
PROCESSES = "processes"  # business processes that span services or wait for time
OWN_DATABASES = (*SERVICES, PROCESSES, EVENTLOG, KEYS)  # apps with a database alias of their own name
SERVED = env.choice("SERVE", (*SERVICES, PROCESSES))
LEFT_OUT = tuple(name for name in (*SERVICES, PROCESSES) if name not in SERVED)  # their databases may be away

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")
if not DEBUG and is_weak(SECRET_KEY):
    raise ImproperlyConfigured(
        "SECRET_KEY is weak or a sample: it takes 50 characters by chance, as from "
        "`python -c 'import secrets; print(secrets.token_urlsafe(50))'`"
    )
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"] if DEBUG else [])
# Logins that everybody knows, for a first look.
DEMO_LOGIN = DEBUG and env.bool("DEMO_LOGIN", default=True)
DATA_DIR = Path(env.str("DATA_DIR", default=str(BASE_DIR / "var"))).resolve()

# The key-encryption key (32 bytes in base64) wraps the data keys of personal fields. Without it, a key is derived from
# SECRET_KEY, and when SECRET_KEY changes, `manage.py rotate_keys` must run.


def key_encryption_key(text: str, name: str = "KEY_ENCRYPTION_KEY") -> bytes:
    try:
        key = base64.urlsafe_b64decode(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ImproperlyConfigured(f"{name}: a key is 32 bytes in base64; `openssl rand -base64 32` makes one")
    return key


def seconds(text: str, name: str) -> float:
    """The seconds of a duration such as 2s, 30m, 12h or 14d."""
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)([smhd])", text)
    if match is None:
        raise ImproperlyConfigured(f"{name}: a duration is a number and a unit, such as 2s, 30m, 12h or 14d")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


DERIVED_KEY = hashlib.sha256(b"headrace key-encryption key" + SECRET_KEY.encode()).digest()
PREVIOUS_KEY_ENCRYPTION_KEYS = [
    DERIVED_KEY,
    *(
        key_encryption_key(text, "PREVIOUS_KEY_ENCRYPTION_KEYS")
        for text in env.list("PREVIOUS_KEY_ENCRYPTION_KEYS", default=[])
    ),
]
KEY_ENCRYPTION_KEY = key_encryption_key(
    env.str("KEY_ENCRYPTION_KEY", default="") or base64.b64encode(DERIVED_KEY).decode()
)

# inline: the request of a command also projects its events. worker: `manage.py run_projectors` projects them.
PROJECTIONS = env.str("PROJECTIONS", default="inline")
if PROJECTIONS not in ("inline", "worker"):
    raise ImproperlyConfigured("PROJECTIONS is inline or worker")
# How long an order may stay unpaid before it is cancelled: 14d, 12h, 30m, 2s; None if it is off.
PAYMENT_DEADLINE = env.duration("PAYMENT_DEADLINE", default="14d")
# How long the answer to an Idempotency-Key is kept; at least a day.
IDEMPOTENCY_KEPT = timedelta(hours=max(24, env.int("IDEMPOTENCY_HOURS", default=48)))
# How many live streams a customer may have open at one process. Staff may have any number.
STREAMS_PER_CUSTOMER = env.int("STREAMS_PER_CUSTOMER", default=10)
# How many queries of one login may wait for a position at one process.
WAITS_PER_LOGIN = env.int("WAITS_PER_LOGIN", default=20)
# How many commands a login may send to one process in a minute.
COMMANDS_PER_MINUTE = max(1, env.int("COMMANDS_PER_MINUTE", default=600))
STAFF_COMMANDS_PER_MINUTE = max(1, env.int("STAFF_COMMANDS_PER_MINUTE", default=120_000))
# How many tokens a login may have. One more ends the oldest.
TOKENS_PER_LOGIN = max(1, env.int("TOKENS_PER_LOGIN", default=20))
# Seconds within which a request must have come, and its answer been taken, unless it goes on at a least pace.
CLIENT_PATIENCE = env.float("CLIENT_PATIENCE", default=30)
# Seconds for which a server goes on serving after SIGTERM, while balancers find out that it stops.
DRAIN_SECONDS = max(0.0, env.float("DRAIN_SECONDS", default=0 if DEBUG else 1))
# Threads of a server process that one login can hold, for queries, for commands and for requests with a password;
# each pool has one thread more. To hash a password takes 100 MB and every core.
WEB_THREADS = env.int("WEB_THREADS", default=4)
COMMAND_THREADS = env.int("COMMAND_THREADS", default=4)
PASSWORD_THREADS = env.int("PASSWORD_THREADS", default=1)
WEB_QUEUE = env.int("WEB_QUEUE", default=100)  # requests that may wait for the threads of one pool
# May webhooks go to this machine, to private networks, and by http?
WEBHOOKS_PRIVATE = env.bool("WEBHOOKS_PRIVATE", default=False)
WEBHOOKS_TIMEOUT = max(0.1, env.float("WEBHOOKS_TIMEOUT", default=15))  # seconds for which an endpoint may take
# When an event that an endpoint has not taken is sent again, after the first attempt; after the last it is set aside.
WEBHOOKS_RETRIES = sorted(
    seconds(text, "WEBHOOKS_RETRIES")
    for text in env.list("WEBHOOKS_RETRIES", default=["5s", "1m", "5m", "30m", "2h", "6h", "14h", "28h", "48h", "72h"])
)
# Reads /metrics and the status, and nothing else.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
# Where the processes of a server share what they count. It must not be shared with those of another server.
METRICS_DIR = Path(env.str("METRICS_DIR", default=str(DATA_DIR / "metrics"))).resolve()
# Kills the process at a named point of a command; for crash tests only.
FAILPOINT = env.str("FAILPOINT", default="")

# The folder of pg_dump and pg_restore, for backups; without it, the usual places are searched.
POSTGRES_BIN = env.str("POSTGRES_BIN", default="")

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
    f"apps.{EVENTLOG}.encryption",
    f"apps.{EVENTLOG}.relay.webhooks",
    *(f"apps.{service}" for service in SERVICES),
    f"apps.{PROCESSES}",
]

MIDDLEWARE = [
    "apps.eventlog.server.visits.VisitMiddleware",
    "apps.eventlog.server.probes.ProbeMiddleware",
    "apps.eventlog.server.compression.ListCompressionMiddleware",
    "apps.eventlog.server.error_pages.ErrorPagesMiddleware",
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


# A suffix of the name of every database, to open those that `replay_events --into <suffix>` has built.
DATABASE_SUFFIX = env.str("DATABASE_SUFFIX", default="")


def suffixed(name: str) -> str:
    return f"{name}_{DATABASE_SUFFIX}" if DATABASE_SUFFIX else name


# Web and workers give up a statement that hangs. What an operator runs (a replay, an import, a migration) may take
# long.
SERVING = (["runserver"], ["run_projectors"], ["relay_events"])
SERVES = Path(sys.argv[0]).name != "manage.py" or sys.argv[1:2] in SERVING
# Somebody at a shell may hold an append open, so only a command of its own may.
TAKES_LONG = not SERVES and sys.argv[1:2] not in ([], ["shell"])
# By which `log_status` and PostgreSQL name a process of Headrace.
PROGRAM = f"headrace {sys.argv[1]}" if Path(sys.argv[0]).name == "manage.py" and sys.argv[1:] else "headrace"


def database(alias: str) -> dict[str, object]:
    """The database of an alias, with DATABASE_SUFFIX.

    It is that of `<ALIAS>_DATABASE_URL`, or that of EACH_DATABASE_URL with the alias, or a SQLite file under DATA_DIR.

    The log, the data keys, the processes and `default` cannot be rebuilt, so each of their commits is synced to the
    disk. The read databases are not synced: after a crash of the server they catch up from their checkpoint, or are
    rebuilt.
    If its commits are synced, SQLite also overwrites what is deleted. Otherwise it does not overwrite the pages of a
    dropped table, which would slow each rebuild.
    """
    kept, variable = alias not in SERVICES, f"{alias.upper()}_DATABASE_URL"
    if parsed := env.database(variable, alias):
        if "postgresql" in parsed["ENGINE"]:
            host = unquote(parsed["HOST"])  # a unix socket's directory comes percent-encoded
            given, hosts = parsed.get("OPTIONS", {}), host.count(",") + 1
            made = postgresql.connection(variable, given, process=Process(PROGRAM, SERVES), kept=kept, hosts=hosts)
            return {**parsed, "NAME": suffixed(parsed["NAME"]), "HOST": host, "CONN_MAX_AGE": 60, **made}
        file = Path(parsed["NAME"])
    else:
        file = DATA_DIR / f"{alias}.sqlite3"
    file = file.with_stem(suffixed(file.stem))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
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


# In the order in which `migrate` goes through them: the keys come before `users`, where they were.
DATABASES = {alias: database(alias) for alias in ("default", KEYS, *SERVED, EVENTLOG)}
REPLICAS = replicas(
    env, SERVICES, DATABASES, partial(postgresql.connection, process=Process(PROGRAM, SERVES), kept=False)
)
DATABASE_ROUTERS = ["config.routers.ServiceRouter"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# How many characters a new password has at least.
PASSWORD_LENGTH = max(8, env.int("PASSWORD_LENGTH", default=8))
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
    for name, options in (
        ("UserAttributeSimilarityValidator", {}),
        ("MinimumLengthValidator", {"min_length": PASSWORD_LENGTH}),
        ("CommonPasswordValidator", {}),
        ("NumericPasswordValidator", {}),
    )
] + [{"NAME": "apps.users.write.credentials.PasswordRule"}]
AUTHENTICATION_BACKENDS = ["apps.users.write.logins.PageBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]

NUM_PROXIES = env.int(
    "NUM_PROXIES", default=0
)  # proxies in front that are trusted to report a client's address, and whether it uses TLS

# How many tries there may be in a period: failed logins of an account from one network address, of an account, and from
# one network address; registrations from one network address; changes of one's own e-mail address. `login_account` is
# larger than `login_address`, so that no single address can lock an account out.
RATES = {
    "login": "10/minute",
    "login_account": "100/hour",
    "login_address": "90/hour",
    "registration": "20/hour",
    "change_email": "10/hour",
}


def rate(scope: str, default: str) -> str:
    name = f"{scope.upper()}_RATE"
    text = env.str(name, default=default)
    if not re.fullmatch(r"[1-9][0-9]{0,5}/(second|minute|hour|day)", text):
        raise ImproperlyConfigured(f"{name} is like 10/minute or 200/hour, not {text!r}")
    return text


REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apps.eventlog.api.authentication.BearerAuthentication",
        "apps.eventlog.api.authentication.CookieAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["apps.eventlog.api.access.DeclaredAccess"],
    "DEFAULT_PARSER_CLASSES": ["apps.eventlog.api.strict_json.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": [
        "apps.eventlog.api.strict_json.JSONRenderer",
        "apps.eventlog.api.strict_json.PageRenderer",
    ],
    "DEFAULT_PAGINATION_CLASS": "apps.eventlog.api.pagination.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": ["apps.eventlog.api.filters.StrictFilterBackend"],
    "DEFAULT_SCHEMA_CLASS": "apps.eventlog.api.openapi.ApiSchema",
    "EXCEPTION_HANDLER": "apps.eventlog.api.problems.exception_handler",
    "DEFAULT_THROTTLE_RATES": {scope: rate(scope, default) for scope, default in RATES.items()},
    "URL_FORMAT_OVERRIDE": None,
    "NUM_PROXIES": NUM_PROXIES,
}
LOGIN_LASTS = timedelta(hours=10)  # a token and a session; then the person logs in again
REST_KNOX = {"AUTH_HEADER_PREFIX": "Bearer", "TOKEN_TTL": LOGIN_LASTS}
FORCE_SCRIPT_NAME = env.str("SCRIPT_NAME", default="") or None  # the path under which a proxy serves the whole site
SPECTACULAR_SETTINGS = {
    "TITLE": "Headrace",
    "DESCRIPTION": "Commands are POST, queries are GET; every change is an event.",
    "VERSION": "0.2.0",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": "/api",  # operations are named by what follows
    "SERVERS": [{"url": FORCE_SCRIPT_NAME or "/", "description": "where this document comes from"}],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,  # 180 currencies
    "POSTPROCESSING_HOOKS": [
        "apps.eventlog.api.openapi_enums.tell_apart",
        "drf_spectacular.hooks.postprocess_schema_enums",
        "apps.eventlog.api.openapi.declare_tags",
    ],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SWAGGER_UI_SETTINGS": {"tryItOutEnabled": True, "defaultModelsExpandDepth": -1},
}

# In the database, so that all processes share the counts of failed logins and registrations.
CACHES = {
    "default": {
        "BACKEND": "apps.eventlog.database.json_cache.JsonCache",
        "LOCATION": "throttle_cache",
        "VERSION": 2,  # of the keys; those of version 1 have pickles, which older code may still read
        "OPTIONS": {"MAX_ENTRIES": 100_000},  # so many that a flood of names does not push the counts out
    }
}

TEST_RUNNER = "tests.support.runner.Runner"  # of `manage.py test`; docs/reference/test-kit.md

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
FORMAT_MODULE_PATH = ["config.formats"]  # instants as in the API, with seconds

STATIC_URL = f"{FORCE_SCRIPT_NAME or ''}/static/"
WHITENOISE_STATIC_PREFIX = "/static/"
WHITENOISE_USE_FINDERS = True  # files are served from their packages, so collectstatic need not run
# Where collectstatic puts them. It is no STATIC_ROOT, because WhiteNoise would look for that folder at every start.
COLLECTED = {"location": env.str("STATIC_ROOT", default=str(DATA_DIR / "static"))}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage", "OPTIONS": COLLECTED},
}

LOG_FORMAT = env.str("LOG_FORMAT", default="text")
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO").upper()
if LOG_FORMAT not in ("text", "json"):
    raise ImproperlyConfigured("LOG_FORMAT is text or json")
if LOG_LEVEL not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
    raise ImproperlyConfigured("LOG_LEVEL is DEBUG, INFO, WARNING, ERROR or CRITICAL")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"new": {"()": "apps.eventlog.monitoring.lines.SaysMore"}},
    "formatters": {"line": {"()": "apps.eventlog.monitoring.lines.LineFormatter", "form": LOG_FORMAT}},
    "handlers": {"stderr": {"class": "apps.eventlog.monitoring.lines.LineHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # What Django and uvicorn say goes where everything goes. Their lines for each request are left out: they have
        # the path, and ours says more.
        "django": {"handlers": [], "level": LOG_LEVEL if LOG_LEVEL != "DEBUG" else "INFO"},
        "django.request": {"filters": ["new"]},
        "django.server": {"handlers": [], "propagate": False},
        "django_eventstream": {"level": "WARNING"},
        "uvicorn": {"handlers": [], "propagate": True},
        "uvicorn.access": {"handlers": [], "propagate": False},
    },
}

LOGIN_URL = "login"
# A page of the orders service. `/` leads customers there when they have logged in.
CUSTOMERS_HOME = "orders" if "orders" in SERVED else ""
LOGIN_REDIRECT_URL = "admin:index"  # if the page of the login was asked to lead to another site
SECURE_CONTENT_TYPE_NOSNIFF = True
SESSION_COOKIE_AGE = int(LOGIN_LASTS.total_seconds())
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("SECURE_COOKIES", default=not DEBUG)
# Browsers take a cookie named so from this host alone and by TLS alone, so no neighbour in the domain can plant one.
# That takes the path `/`. Below a path, what lies beside it must not get the cookies, so there the path is named.
COOKIES = "__Host-" if SESSION_COOKIE_SECURE and not FORCE_SCRIPT_NAME else ""
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = f"{COOKIES}sessionid", f"{COOKIES}csrftoken"
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = FORCE_SCRIPT_NAME or "/"
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if NUM_PROXIES else None
SECURE_REDIRECT_EXEMPT = [r"^metrics$"]  # scraped within the network, past the proxy that ends TLS
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_HSTS_SECONDS > 0
