"""What nginx and haproxy as they are in deploy/ let through: TLS 1.2 and 1.3 with strong ciphers, and nothing else."""

import socket
import ssl
import warnings
from pathlib import Path

import httpx
import pytest

from tests.journeys.balancers import HAPROXY, NGINX, Balancer, certificate
from tests.journeys.deployment import Deployment
from tests.journeys.test_rolling_restarts import BEHIND_TLS

STRONG = "ECDHE+AESGCM:ECDHE+CHACHA20"
# What the certificate of the tests could do, and what encrypts without authenticating.
WEAK = ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES256-SHA384"]
Version = ssl.TLSVersion
CLIENTS = [
    *[(version, STRONG, True) for version in (Version.TLSv1_2, Version.TLSv1_3)],
    *[(version, "ALL:@SECLEVEL=0", False) for version in (Version.TLSv1, Version.TLSv1_1)],
    *[(Version.TLSv1_2, cipher, False) for cipher in WEAK],
]


def context(protocol: int, version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    """One side that speaks this version alone, and these ciphers alone unless it is TLS 1.3, which has good ones."""
    made = ssl.SSLContext(protocol)
    with warnings.catch_warnings(action="ignore"):
        made.minimum_version = made.maximum_version = version
    made.set_ciphers(ciphers)
    return made


def client(version: ssl.TLSVersion, ciphers: str) -> ssl.SSLContext:
    made = context(ssl.PROTOCOL_TLS_CLIENT, version, ciphers)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def is_taken(port: int, version: ssl.TLSVersion, ciphers: str) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            with client(version, ciphers).wrap_socket(connection) as wrapped:
                return wrapped.version() is not None
        except (ssl.SSLError, ConnectionResetError):
            return False


def agree(version: ssl.TLSVersion, ciphers: str, file: Path) -> bool:
    """Does a server that takes everything agree with this client? Both are here, without a network."""
    permissive = context(ssl.PROTOCOL_TLS_SERVER, version, "ALL:@SECLEVEL=0")
    permissive.load_cert_chain(file)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client(version, ciphers).wrap_bio(back, there)
    theirs = permissive.wrap_bio(there, back, server_side=True)
    for side in (ours, theirs) * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return False
    return theirs.version() is not None


@pytest.mark.parametrize("kind", [NGINX, HAPROXY])
def test_a_balancer_takes_modern_tls_alone(deployment: Deployment, tmp_path: Path, kind: str) -> None:
    with deployment.server(**BEHIND_TLS) as server:
        balancer = Balancer(kind, tmp_path / kind, (server.port, server.port))
        with balancer.running():
            taken = [(*each[:2], is_taken(balancer.port, *each[:2])) for each in CLIENTS]
            plain = httpx.get(f"http://127.0.0.1:{balancer.plain}/api/users/")
            past = httpx.get(f"{server.url}/api/users/")
            with balancer.client() as browser:
                sent = browser.get("/api/users/").headers["Strict-Transport-Security"]
    assert taken == CLIENTS
    assert (plain.status_code, plain.headers["Location"][:9]) == (301, "https://1")
    assert (past.status_code, past.headers["Location"][:9]) == (301, "https://1")
    assert sent == "max-age=3600; includeSubDomains; preload"


@pytest.mark.parametrize(("version", "ciphers"), [each[:2] for each in CLIENTS])
def test_each_of_these_clients_agrees_with_a_server_that_takes_everything(
    tmp_path: Path, version: ssl.TLSVersion, ciphers: str
) -> None:
    assert agree(version, ciphers, certificate(tmp_path))
