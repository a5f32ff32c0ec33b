"""nginx and haproxy as they are shipped in deploy/, with ports, names and a certificate of this run."""

import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.journeys.deployment import ROOT, eventually, free_port

NGINX, HAPROXY = "nginx", "haproxy"
# What nginx's own file has around conf.d; nobody's files of this machine are touched.
AROUND = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/headrace.conf;
}}
"""


@cache
def certificate(directory: Path) -> Path:
    """A file with a certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now, names = datetime.now(UTC), x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
    signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    file = directory / "certificate.pem"
    file.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    return file


class Balancer:
    """`port` speaks TLS; `plain` is the one that leads there."""

    def __init__(self, kind: str, directory: Path, webs: tuple[int, int] = (8001, 8002)) -> None:
        directory.mkdir()
        self.kind, self.directory, self.webs = kind, directory, webs
        self.port, self.plain, self.certificate = free_port(), free_port(), certificate(directory)
        self.url = f"https://127.0.0.1:{self.port}"
        self.file = directory / "nginx.conf"
        if kind == NGINX:
            self.file.write_text(AROUND.format(directory=directory))
            (directory / "headrace.conf").write_text(self._nginx())
        else:
            self.file = directory / "haproxy.cfg"
            self.file.write_text(self._haproxy())

    def _nginx(self) -> str:
        text = self._at_these_webs((ROOT / "deploy/nginx/headrace.conf").read_text())
        text = re.sub(r"/etc/headrace/tls/\w+\.pem", str(self.certificate), text)
        text = re.sub(r".*listen \[::\].*\n", "", text).replace("listen 80", f"listen 127.0.0.1:{self.plain}")
        return text.replace("listen 443", f"listen 127.0.0.1:{self.port}").replace("shop.example.org", "127.0.0.1")

    def _haproxy(self) -> str:
        text = self._at_these_webs((ROOT / "deploy/haproxy/haproxy.cfg").read_text())
        text = text.replace("/etc/headrace/tls/headrace.pem", str(self.certificate)).replace(
            "/dev/log", "stdout format raw"
        )
        return text.replace("bind :80", f"bind 127.0.0.1:{self.plain}").replace(
            "bind :443", f"bind 127.0.0.1:{self.port}"
        )

    def _at_these_webs(self, text: str) -> str:
        for shipped, port in zip((8001, 8002), self.webs, strict=True):
            assert f"127.0.0.1:{shipped}" in text
            text = text.replace(f"127.0.0.1:{shipped}", f"127.0.0.1:{port}")
        return text

    def check(self) -> subprocess.CompletedProcess[str]:
        """What the program itself says of the file."""
        command = ["nginx", "-t", "-c"] if self.kind == NGINX else ["haproxy", "-c", "-f"]
        return subprocess.run([*command, str(self.file)], capture_output=True, text=True, check=False)

    @contextmanager
    def running(self) -> Iterator["Balancer"]:
        command = ["nginx", "-c"] if self.kind == NGINX else ["haproxy", "-db", "-f"]
        with (self.directory / "output.log").open("ab") as log:
            process = subprocess.Popen([*command, str(self.file)], stdout=log, stderr=log)
        try:
            eventually(self._answers)
            yield self
        finally:
            process.kill()
            process.wait(timeout=10)

    def _answers(self) -> bool:
        with suppress(httpx.TransportError), self.client() as client:
            return client.get("/livez").status_code == 200
        return False

    def client(self, token: str = "") -> httpx.Client:
        """A client that trusts this balancer alone."""
        trust = ssl.create_default_context(cafile=str(self.certificate))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.url, verify=trust, headers=headers, timeout=20)
