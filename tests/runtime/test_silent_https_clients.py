"""Eight hundred clients that say nothing to the HTTPS port, few file descriptors: mail and health checks go on."""

from __future__ import annotations

import json
import resource
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.runtime.house import House, until

MANY = 800


@pytest.fixture(params=["before TLS", "behind TLS"])
def crowd(request: pytest.FixtureRequest, house: House) -> Iterator[list[socket.socket]]:
    """They come from eight addresses, and stay."""
    house.settle(workers=2)
    house.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)))
    trust = house.trust()
    trust.check_hostname = False
    held: list[socket.socket] = []
    for number in range(MANY):
        with suppress(OSError):
            held.append(
                socket.create_connection(("127.0.0.1", house.port("http")), 60, (f"127.0.{1 + number % 8}.1", 0))
            )
            if request.param == "behind TLS":
                held[-1].settimeout(5)
                held[-1] = trust.wrap_socket(held[-1])
    yield held
    for each in held:
        each.close()


def health(house: House) -> bytes:
    """What the HTTPS port says to a health check."""
    raw = socket.create_connection(("127.0.0.1", house.port("http")), 30, ("127.0.99.1", 0))
    trust = house.trust()
    trust.check_hostname = False
    with trust.wrap_socket(raw) as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return client.recv(100).partition(b"\r\n")[0]


def test_silent_clients_of_https_take_nothing_from_smtp(house: House, crowd: list[socket.socket]) -> None:
    for _ in range(10):
        house.send()
    assert health(house) == b"HTTP/1.1 200 OK"
    assert [house.get(page)[0] for page in ("/healthz", "/readyz", "/metrics")] == [200, 200, 200]
    until(lambda: house.metric('sesrelay_http_refusals_total{reason="crowd"}') > MANY / 2, "they are counted")
    # Who makes room in the midst of a handshake is gone a turn later.
    until(lambda: house.metric("sesrelay_http_connections") <= 24, "no more than the port has places")
    lines = house.events("http.refused")
    assert len({line["client"] for line in lines}) <= 9
    assert len(lines) <= 3 * 9 * 2  # one for each peer, worker and minute
    # a reload and a stop are not kept waiting
    house.reload()
    house.send()
    assert house.stop() == 0
    assert not house.events("worker ended; starting another")
    assert "Too many open files" not in json.dumps(house.said())
