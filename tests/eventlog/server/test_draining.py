"""A server that stops refuses new connections, and answers those that it has taken."""

import socket
import sys

import pytest

from apps.eventlog.server.draining import refuse_openings


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is Linux's")
def test_who_has_connected_is_taken_and_nobody_else_connects() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as early, socket.socket() as late:
        early.connect(listening.getsockname())
        refuse_openings([listening])
        early.sendall(b"first")
        late.settimeout(0.3)
        with pytest.raises(TimeoutError):
            late.connect(listening.getsockname())
        taken, _ = listening.accept()
        assert taken.recv(10) == b"first"
        taken.close()
