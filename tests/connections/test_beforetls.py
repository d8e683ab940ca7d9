"""A client of TLS before its handshake: whoever has spoken begins at once, whoever leaves costs nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
import structlog

from sesrelay.connections.beforetls import BeforeTls
from sesrelay.connections.handshakes import Handshakes


class Coming(BeforeTls):
    """Notes what becomes of it."""

    failed = "failed"

    def __init__(self, handshakes: Handshakes) -> None:
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        super().__init__(asyncio.get_running_loop(), handshakes, ours, "192.0.2.1")
        self.ours = ours
        self.raises: Exception | None = None
        self.not_opened: list[OSError] = []
        self.opened = self.left = 0

    async def _open(self) -> None:
        self.opened += 1
        if self.raises:
            raise self.raises
        self._taken().close()

    def _not_opened(self, error: OSError) -> None:
        self.not_opened.append(error)

    def _leave(self) -> None:
        super()._leave()
        self.left += 1

    async def until_it_left(self) -> None:
        async with asyncio.timeout(10):
            while not self.left:
                await asyncio.sleep(0)
        assert self.left == 1
        assert self.ours.fileno() == -1
        assert not self._handshakes.under_way


@pytest_asyncio.fixture
async def coming() -> AsyncIterator[Coming]:
    made = Coming(Handshakes())
    yield made
    made.cut()
    made.peer.close()


async def test_who_has_spoken_is_not_waited_for(coming: Coming) -> None:
    coming.peer.send(b"a")
    coming._await_hello()
    assert not coming.silent
    assert coming._handshakes.under_way == 1
    await coming.until_it_left()
    assert coming.opened == 1


async def test_who_is_silent_is_waited_for(coming: Coming) -> None:
    coming._await_hello()
    assert coming.silent
    coming.peer.send(b"a")
    await coming.until_it_left()
    assert coming.opened == 1


@pytest.mark.parametrize("at_once", [False, True])
async def test_who_leaves_without_a_word_costs_no_handshake(coming: Coming, *, at_once: bool) -> None:
    if at_once:
        coming.peer.close()
    coming._await_hello()
    coming.peer.close()
    await coming.until_it_left()
    assert coming.opened == 0


async def test_who_is_cut_before_its_task_ran_leaves_once(coming: Coming) -> None:
    coming.peer.send(b"a")
    coming._await_hello()
    coming.cut()
    await coming.until_it_left()
    assert coming.opened == 0


@pytest.mark.parametrize("raises", [ConnectionResetError(), RuntimeError("a defect")])
async def test_what_a_handshake_meets_is_told_and_the_socket_closed(coming: Coming, raises: Exception) -> None:
    coming.raises = raises
    coming.peer.send(b"a")
    with structlog.testing.capture_logs() as logged:
        coming._await_hello()
        await coming.until_it_left()
    assert coming.not_opened == ([raises] if isinstance(raises, OSError) else [])
    assert [(line["event"], line["client"]) for line in logged] == (
        [] if coming.not_opened else [("failed", "192.0.2.1")]
    )


async def test_a_reader_that_fails_ends_this_connection_only(coming: Coming, monkeypatch: pytest.MonkeyPatch) -> None:
    def want(_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(coming._handshakes, "want", want)
    coming._await_hello()
    with structlog.testing.capture_logs() as logged:
        coming.peer.send(b"a")
        await coming.until_it_left()
    assert [line["event"] for line in logged] == ["failed"]
