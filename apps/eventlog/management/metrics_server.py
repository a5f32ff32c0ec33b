"""Serves the metrics of a worker that no server shares its counts with, by `run_projectors --metrics-port`."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from apps.eventlog.api.monitoring_token import is_monitoring
from apps.eventlog.monitoring import instruments
from apps.eventlog.read.exposition import exposition

PATIENCE = 10.0  # seconds for which a client may keep a thread waiting


class Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE

    def do_GET(self) -> None:
        if self.path != "/metrics":
            self._answer(404, b"only /metrics is here\n")
        elif not (settings.DEBUG or is_monitoring(self.headers.get("Authorization", ""))):
            self._answer(401, b"METRICS_TOKEN is needed, as a bearer token\n", {"WWW-Authenticate": "Bearer"})
        else:
            text, content_type = exposition(self.headers.get("Accept", ""))
            self._answer(200, text, {"Content-Type": content_type})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape each few seconds is no news."""


def serve_metrics(host: str, port: int) -> None:
    """Serve from now on, in a thread. Raises CommandError if that cannot be, or if nobody could be let in."""
    if not (settings.METRICS_TOKEN or settings.DEBUG):
        raise CommandError("--metrics-port needs METRICS_TOKEN, without which nobody may read the metrics")
    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        raise CommandError(f"the metrics cannot be served at {host}:{port}: {error}") from error
    server.daemon_threads = True
    instruments.keep_apart(f"{host}-{port}".replace(":", "-"))
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
