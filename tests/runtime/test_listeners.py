from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator

import pytest

from sesrelay.runtime.listeners import DoorFault, Doors
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
    with pytest.raises(DoorFault):
        doors.open([fixed], 2)  # chosen by the system or by the operator: two different doors


def test_what_is_no_longer_wanted_is_closed_after_a_reload(doors: Doors) -> None:
    opened = doors.open([Door("smtp-0", LOCAL, 0), Door("smtp-1", LOCAL, 0)], 3)
    old_port = opened["smtp-1"].port
    doors.keep([opened["smtp-0"]], 2)
    assert len(opened["smtp-0"].sockets) == 2
    with socket.create_server((LOCAL, old_port)):
        pass


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
