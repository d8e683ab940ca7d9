from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from sesrelay.runtime import listeners
from sesrelay.runtime.listeners import DoorFault, Doors, Passer
from sesrelay.runtime.plan import Door

LOCAL = "127.0.0.1"


@pytest.fixture
def doors() -> Iterator[Doors]:
    made = Doors()
    yield made
    made.close()


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((LOCAL, 0)) as other:
        yield other.getsockname()[1]


def test_each_worker_gets_a_socket_of_its_own_on_one_port(doors: Doors) -> None:
    opened = doors.open([Door("smtp-0", LOCAL, 0)], 3)["smtp-0"]
    assert len({sock.fileno() for sock in opened.sockets}) == 3
    assert {sock.getsockname() for sock in opened.sockets} == {(LOCAL, opened.port)}


def test_connections_are_spread_over_the_sockets(doors: Doors) -> None:
    opened = doors.open([Door("smtp-0", LOCAL, 0)], 2)["smtp-0"]
    opened.sockets[1].listen()
    clients = [socket.create_connection((LOCAL, opened.port)) for _ in range(60)]
    served: Counter[int] = Counter()
    for number, sock in enumerate(opened.sockets):
        while True:
            try:
                sock.accept()[0].close()
            except BlockingIOError:
                break
            served[number] += 1
    for client in clients:
        client.close()
    assert served.total() == 60
    assert min(served.values()) >= 10


def test_a_port_in_use_is_a_line_with_address_and_port(doors: Doors, taken: int) -> None:
    with pytest.raises(DoorFault, match=rf"^cannot listen on 127\.0\.0\.1 port {taken}: Address already in use$"):
        doors.open([Door("smtp-0", LOCAL, taken)], 2)


def test_a_kernel_without_ipv6_is_a_line_with_address_and_port(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_family(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))

    monkeypatch.setattr(socket, "socket", no_family)
    with pytest.raises(DoorFault, match="cannot listen on ::1 port 4711: Address family not supported by protocol"):
        doors.open([Door("smtp-0", "::1", 4711)], 1)


def test_another_relays_port_is_a_port_in_use_although_it_could_be_shared(doors: Doors) -> None:
    other = Doors()
    port = other.open([Door("smtp-0", LOCAL, 0)], 2)["smtp-0"].port
    with pytest.raises(DoorFault, match="Address already in use"):
        doors.open([Door("smtp-0", LOCAL, port)], 2)
    other.close()


def test_one_that_fails_closes_those_opened_with_it(doors: Doors, taken: int) -> None:
    free = Door("smtp-0", LOCAL, doors.open([Door("x", LOCAL, 0)], 1)["x"].port)
    doors.close()
    with pytest.raises(DoorFault):
        doors.open([free, Door("smtp-1", LOCAL, taken)], 1)
    with socket.create_server((LOCAL, free.port)):
        pass


def test_a_reload_keeps_the_sockets_that_are_open(doors: Doors) -> None:
    before = doors.open([Door("smtp-0", LOCAL, 0)], 2)["smtp-0"]
    fixed = Door("smtp-0", LOCAL, before.port)
    same = doors.open([Door("smtp-0", LOCAL, 0)], 2)["smtp-0"]
    assert same is before
    doors.settle([before])
    assert doors.open([fixed], 2)["smtp-0"] is not before  # chosen by the system or by the operator: two doors


def test_what_is_no_longer_wanted_is_closed_after_a_reload(doors: Doors) -> None:
    opened = doors.open([Door("smtp-0", LOCAL, 0), Door("smtp-1", LOCAL, 0)], 3)
    old_port = opened["smtp-1"].port
    doors.settle([opened["smtp-0"]])
    with socket.create_server((LOCAL, old_port)):
        pass


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_fewer_workers_serve_all_sockets_that_more_had(doors: Doors, workers: int) -> None:
    opened = doors.open([Door("smtp-0", LOCAL, 0)], 4)["smtp-0"]
    doors.settle([opened])
    assert doors.open([opened.door], workers)["smtp-0"] is opened
    served = [sock for number in range(workers) for sock in opened.of(number, workers)]
    assert sorted(map(id, served)) == sorted(map(id, opened.sockets))


def test_a_reload_that_failed_leaves_what_was_there(doors: Doors) -> None:
    opened = doors.open([Door("smtp-0", LOCAL, 0)], 2)["smtp-0"]
    doors.settle([opened])
    more = doors.open([opened.door, Door("smtp-1", LOCAL, 0)], 3)
    new_port = more["smtp-1"].port
    doors.withdraw()
    assert len(opened.sockets) == 2
    assert all(sock.fileno() >= 0 for sock in opened.sockets)
    with socket.create_server((LOCAL, new_port)):
        pass


def test_no_connection_goes_to_the_socket_of_a_worker_that_is_not_there_yet(doors: Doors) -> None:
    opened = doors.open([Door("smtp-0", LOCAL, 0)], 1)["smtp-0"]
    doors.settle([opened])
    doors.open([opened.door], 3)
    clients = [socket.create_connection((LOCAL, opened.port)) for _ in range(30)]
    doors.withdraw()
    for client in clients:
        opened.sockets[0].accept()[0].close()
        assert client.recv(1) == b""
        client.close()


def test_all_addresses_of_a_port_can_take_the_place_of_one(doors: Doors) -> None:
    one = doors.open([Door("smtp-0", LOCAL, 0)], 2)["smtp-0"]
    doors.settle([one])
    every = doors.open([Door("smtp-0", "0.0.0.0", one.port)], 2)["smtp-0"]
    doors.settle([every])
    with socket.create_connection((LOCAL, one.door.port or every.port)):
        pass


def test_a_socket_of_systemd_that_was_not_wanted_for_a_while_is_had_again() -> None:
    with socket.create_server((LOCAL, 0)) as passed:
        door = Door("smtp-0", LOCAL, passed.getsockname()[1])
        doors = Doors([passed])
        doors.settle([doors.open([door], 2)["smtp-0"]])
        doors.settle([])
        again = doors.open([door], 2)["smtp-0"]
        assert again.sockets == [passed]
        assert passed.fileno() >= 0


async def test_a_connection_that_nobody_can_take_waits_for_somebody() -> None:
    with socket.create_server((LOCAL, 0)) as sock, socket.create_connection(sock.getsockname()) as client:
        sock.setblocking(False)
        taken: list[socket.socket] = []
        somebody = asyncio.Event()

        def give(connection: socket.socket) -> bool:
            if somebody.is_set():
                taken.append(connection)
            return somebody.is_set()

        passer = Passer(sock, give)
        async with asyncio.timeout(10):
            while passer._in_hand is None:
                await asyncio.sleep(0.001)
            somebody.set()
            while not taken:
                await asyncio.sleep(0.001)
        assert taken[0].getpeername() == client.getsockname()
        passer.close()
        taken[0].close()


async def test_a_rest_lasts_until_the_loop_has_room_for_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, errors, taken = asyncio.get_running_loop(), [errno.ENOMEM, errno.ENOSPC], []
    add_reader = loop.add_reader

    def crowded(of: int, *act: object) -> None:
        if of == sock.fileno() and errors and taken:  # of epoll_ctl(2)
            raise OSError(errors.pop(), "no room")
        add_reader(of, *act)  # type: ignore[arg-type]

    def give(connection: socket.socket) -> bool:
        taken.append(connection)
        return len(taken) > 1

    monkeypatch.setattr(loop, "add_reader", crowded)
    monkeypatch.setattr(listeners, "REST_SECONDS", 0)
    with socket.create_server((LOCAL, 0)) as sock:
        sock.setblocking(False)
        passer = Passer(sock, give)
        with socket.create_connection(sock.getsockname()), socket.create_connection(sock.getsockname()):
            async with asyncio.timeout(10):
                while len(taken) < 3:  # the first is offered twice
                    await asyncio.sleep(0.001)
        assert not errors
        passer.close()
    for connection in taken:
        connection.close()


def test_an_ipv6_listener_leaves_ipv4_to_others(doors: Doors) -> None:
    try:
        opened = doors.open([Door("smtp-0", "::1", 0)], 1)["smtp-0"]
    except DoorFault:
        pytest.skip("this machine has no IPv6")
    with socket.create_connection(("::1", opened.port)):
        pass


def test_a_socket_of_systemd_is_used_by_all_and_not_multiplied() -> None:
    passed = socket.create_server((LOCAL, 0))
    port = passed.getsockname()[1]
    doors = Doors([passed])
    opened = doors.open([Door("smtp-0", LOCAL, port)], 4)["smtp-0"]
    assert opened.shared
    assert opened.sockets == [passed]
    assert doors.unused() == []
    doors.close()


def test_a_socket_of_systemd_that_nobody_wants_is_named() -> None:
    passed = socket.create_server((LOCAL, 0))
    assert Doors([passed]).unused() == [f"{LOCAL}:{passed.getsockname()[1]}"]
    passed.close()
