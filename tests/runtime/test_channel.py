from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
from pathlib import Path
from typing import Any

import pytest

from sesrelay.runtime.channel import Channel, pair


class End:
    """One end that remembers what it heard."""

    def __init__(self, sock: Any) -> None:
        self.heard: list[dict[str, Any]] = []
        self.fds: list[int] = []
        self.ended = asyncio.Event()
        self.channel = Channel(sock, self._hear, self.ended.set)

    def _hear(self, message: dict[str, Any], fds: list[int]) -> None:
        self.heard.append(message)
        self.fds += fds

    async def until(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.heard) < count:
                await asyncio.sleep(0.001)


def test_messages_arrive_whole_and_in_order(runner: asyncio.Runner) -> None:
    async def story() -> None:
        one, two = map(End, pair())
        for number in range(2000):  # more than the socket holds
            assert one.channel.say("count", number=number, filling="x" * 500)
        two.channel.say("back")
        await two.until(2000)
        await one.until(1)
        assert [message["number"] for message in two.heard] == list(range(2000))
        assert one.heard == [{"say": "back"}]
        one.channel.close()
        await asyncio.wait_for(two.ended.wait(), 20)

    runner.run(story())


def test_a_descriptor_travels_and_its_sender_may_close_it(runner: asyncio.Runner) -> None:
    async def story() -> None:
        one, two = map(End, pair())
        reading, writing = os.pipe()
        one.channel.say("here", fds=[writing], sent=lambda: os.close(writing))
        await two.until(1)
        (received,) = two.fds
        os.write(received, b"through")
        os.close(received)
        assert os.read(reading, 100) == b"through"
        assert os.read(reading, 100) == b""
        os.close(reading)
        one.channel.close()
        two.channel.close()

    runner.run(story())


def test_nothing_can_be_said_when_the_other_end_is_gone(runner: asyncio.Runner) -> None:
    async def story() -> None:
        one, two = map(End, pair())
        two.channel.close()
        await asyncio.wait_for(one.ended.wait(), 20)
        assert not one.channel.say("hello")

    runner.run(story())


def test_descriptors_for_which_there_is_no_room_are_left_out_whole(runner: asyncio.Runner) -> None:
    async def story() -> None:
        one, two = map(End, pair())
        first, second = os.pipe()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(first)
        os.close(lowest_free)
        before = len(list(Path("/proc/self/fd").iterdir()))
        one.channel.say("here", fds=[first, second])
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, limits[1]))
        try:
            await two.until(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert two.heard == [{"say": "here"}]
        assert two.fds == []
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        os.close(first)
        os.close(second)
        one.channel.close()
        two.channel.close()

    runner.run(story())


def test_what_the_system_has_no_room_for_now_is_sent_later(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [errno.ENOBUFS, errno.ETOOMANYREFS]

    def send(*arguments: Any) -> int:
        if refusals:
            raise OSError(refusals.pop(), "not now")
        return send_fds(*arguments)

    send_fds = socket.send_fds
    monkeypatch.setattr(socket, "send_fds", send)

    async def story() -> None:
        one, two = map(End, pair())
        sent: list[int] = []
        for number in range(3):
            assert one.channel.say("count", number=number, sent=lambda number=number: sent.append(number))
        assert sent == []
        await two.until(3)
        assert [message["number"] for message in two.heard] == sent == [0, 1, 2]
        one.channel.close()
        two.channel.close()

    runner.run(story())


def test_descriptors_that_were_not_sent_are_given_up_with_the_line(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(*_: Any) -> int:
        raise OSError(errno.ENOBUFS, "not now")

    monkeypatch.setattr(socket, "send_fds", send)

    async def story() -> None:
        one, two = map(End, pair())
        reading, writing = os.pipe()
        one.channel.say("here", fds=[writing], sent=lambda: os.close(writing))
        one.channel.close()
        assert os.read(reading, 100) == b""
        os.close(reading)
        two.channel.close()

    runner.run(story())
