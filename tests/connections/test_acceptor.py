"""What accept(2) may say, and what becomes of the port then."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from sesrelay.connections.acceptor import Acceptor, has_spoken
from tests.lacking import lacking
from tests.standins.troubled import OF_THE_CONNECTION, SHORTAGES, TroubledSocket, named


class Loop:
    """Knows who is asked about which socket, and who is called later."""

    def __init__(self) -> None:
        self.readers: dict[socket.socket, tuple[Callable[..., None], tuple[Any, ...]]] = {}
        self.later: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
        self.no_room: list[int] = []
        """Errors of epoll_ctl(2), which asyncio's loop hands on."""

    def add_reader(self, of: socket.socket, act: Callable[..., None], *arguments: object) -> None:
        if self.no_room:
            raise OSError(self.no_room.pop(), "no room")
        self.readers[of] = act, arguments

    def remove_reader(self, of: socket.socket) -> None:
        self.readers.pop(of, None)

    def call_later(self, seconds: float, act: Callable[..., None], *arguments: object) -> None:
        self.later.append((seconds, act, arguments))

    def turn(self) -> None:
        """Somebody waits at each socket."""
        for act, arguments in list(self.readers.values()):
            act(*arguments)

    def rest_is_over(self) -> None:
        _, act, arguments = self.later.pop()
        act(*arguments)


class Arrival:
    def __init__(self, connection: socket.socket, client: str) -> None:
        self.connection, self.client = connection, client
        self.came = self.was_cut = False
        self.fails: Exception | None = None

    def come(self) -> None:
        self.came = True
        if self.fails:
            raise self.fails

    def cut(self) -> None:
        self.was_cut = True
        self.connection.close()


class Port:
    """An acceptor that listens, and those who came."""

    def __init__(self, *errors: int) -> None:
        self.loop = Loop()
        self.listening = TroubledSocket(*errors)
        self.fails: Exception | None = None
        self.came: list[Arrival] = []
        self.acceptor = Acceptor(self.loop, self._make, not_accepted="not accepted", failed="failed")  # type: ignore[arg-type]
        self.acceptor.listen(self.listening, 10)
        self.clients = [socket.create_connection(self.listening.getsockname()) for _ in range(2)]

    def _make(self, connection: socket.socket, client: str) -> Arrival:
        self.came.append(Arrival(connection, client))
        self.came[-1].fails = self.fails
        return self.came[-1]

    def close(self) -> None:
        self.acceptor.close()
        for client in self.clients:
            client.close()
        for arrival in self.came:
            arrival.connection.close()


@contextmanager
def port(*errors: int) -> Iterator[Port]:
    opened = Port(*errors)
    try:
        yield opened
    finally:
        opened.close()


def test_one_is_accepted_in_a_turn() -> None:
    with port() as opened:
        opened.loop.turn()
        assert [(one.came, one.client) for one in opened.came] == [(True, "127.0.0.1")]
        assert not opened.came[0].connection.getblocking()
        opened.loop.turn()
        opened.loop.turn()  # nobody waits any more
        assert len(opened.came) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_accepted_socket_is_like_any_other(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    accepted: list[socket.socket] = []

    class Kept(Arrival):
        def come(self) -> None:
            accepted.append(self.connection)

    loop = Loop()
    acceptor = Acceptor(loop, Kept, not_accepted="not accepted", failed="failed")  # type: ignore[arg-type]
    try:
        listening = socket.create_server((host, 0), family=family)
    except OSError:
        lacking("no IPv6 here")
    acceptor.listen(listening, 10)
    with socket.create_connection(listening.getsockname()[:2]) as client:
        loop.turn()
        (ours,) = accepted
        with ours:
            assert (ours.family, ours.type, ours.proto) == (family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            assert ours.getpeername() == client.getsockname()
            assert not ours.get_inheritable()
            client.send(b"a")
            assert ours.recv(2) == b"a"
        assert client.recv(1) == b""
    acceptor.close()


@pytest.mark.parametrize("error", OF_THE_CONNECTION, ids=named(OF_THE_CONNECTION))
def test_what_a_connection_met_while_it_waited_is_no_trouble_of_ours(error: int) -> None:
    with port(error) as opened, structlog.testing.capture_logs() as logged:
        opened.loop.turn()
        assert not opened.came
        opened.loop.turn()
        assert len(opened.came) == 1
        assert not opened.loop.later
    assert not logged


NOT_OF_THE_CONNECTION = (*SHORTAGES, errno.EINVAL)


@pytest.mark.parametrize("error", NOT_OF_THE_CONNECTION, ids=named(NOT_OF_THE_CONNECTION))
def test_what_would_come_again_at_once_rests_the_socket(error: int) -> None:
    with port(error) as opened, structlog.testing.capture_logs() as logged:
        opened.loop.turn()
        assert not opened.loop.readers
        assert [seconds for seconds, _, _ in opened.loop.later] == [1.0]
        opened.loop.rest_is_over()
        opened.loop.turn()
        assert len(opened.came) == 1
    assert [line["event"] for line in logged] == ["not accepted"]
    assert not any("exc_info" in line for line in logged)


def test_a_rest_lasts_until_the_loop_has_room_for_the_socket() -> None:
    with port(errno.ENOMEM) as opened, structlog.testing.capture_logs() as logged:
        opened.loop.turn()
        opened.loop.no_room = [errno.ENOMEM, errno.ENOSPC]
        for _ in range(3):
            assert not opened.loop.readers
            opened.loop.rest_is_over()
        opened.loop.turn()
        assert len(opened.came) == 1
    assert [line["event"] for line in logged] == ["not accepted"] * 2
    assert not opened.loop.later


def test_a_shortage_is_told_of_once_until_somebody_was_accepted() -> None:
    lasting = (errno.EMFILE, errno.EMFILE, errno.ENFILE, errno.EMFILE)
    with port(*lasting) as opened, structlog.testing.capture_logs() as logged:
        for _ in lasting:
            opened.loop.turn()
            opened.loop.rest_is_over()
        assert len(logged) == 3
        opened.loop.turn()
        opened.listening.errors += [errno.EMFILE]
        opened.loop.turn()
    assert [line["reason"] for line in logged] == [
        os.strerror(number) for number in (errno.EMFILE, errno.ENFILE, errno.EMFILE, errno.EMFILE)
    ]


def test_a_socket_that_was_closed_while_it_rested_stays_closed() -> None:
    with port(errno.EMFILE) as opened:
        opened.loop.turn()
        opened.acceptor.close()
        opened.loop.rest_is_over()
        assert not opened.loop.readers
        assert opened.listening.fileno() == -1


def test_an_arrival_that_fails_is_cut_and_the_next_one_comes() -> None:
    with port() as opened, structlog.testing.capture_logs() as logged:
        opened.fails = RuntimeError("a defect")
        opened.loop.turn()
        assert opened.came[0].was_cut
        opened.fails = None
        opened.loop.turn()
        assert opened.came[1].came
        assert not opened.came[1].was_cut
    assert [(line["event"], line["client"]) for line in logged] == [("failed", "127.0.0.1")]


def test_a_connection_that_is_passed_on_comes_like_any_other() -> None:
    with port() as opened:
        accepted, _ = opened.listening.accept()
        opened.acceptor.take(accepted)
        assert opened.came[0].client == "127.0.0.1"
        assert not accepted.getblocking()
        gone = socket.socket()  # has no peer any more
        opened.acceptor.take(gone)
        assert gone.fileno() == -1
        assert len(opened.came) == 1


def test_whether_a_client_has_spoken_is_asked_without_taking_what_it_said() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        assert has_spoken(ours) is None
        theirs.send(b"ab")
        assert has_spoken(ours) is True
        assert ours.recv(10) == b"ab"
        theirs.close()
        assert has_spoken(ours) is False
