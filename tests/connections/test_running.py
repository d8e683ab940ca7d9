"""Work that begins at once does so in the turn in which it is begun, on both event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from sesrelay.connections.running import run_now


@pytest.fixture(params=["asyncio", "uvloop"])
def factory(request: pytest.FixtureRequest) -> Callable[[], asyncio.AbstractEventLoop]:
    if request.param == "asyncio":
        return asyncio.new_event_loop
    return pytest.importorskip("uvloop").new_event_loop


def test_it_goes_on_when_what_it_waits_for_is_there(factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    said: list[object] = []

    async def main() -> None:
        first, second = asyncio.Future[str](), asyncio.Future[str]()

        async def work() -> None:
            said.append("begun")
            said.append(await first)
            said.append(await second)

        tasks = asyncio.all_tasks()
        run_now(work(), said.append)
        assert said == ["begun"]
        assert asyncio.all_tasks() == tasks
        first.set_result("first")
        second.set_result("second")  # before it is waited for
        while len(said) < 4:
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(main(), 10))
    assert said == ["begun", "first", "second", None]


@pytest.mark.parametrize("waits", [False, True])
def test_what_it_raises_is_told_and_not_raised(
    factory: Callable[[], asyncio.AbstractEventLoop], *, waits: bool
) -> None:
    trouble = OSError("a defect")
    told: list[object] = []

    async def main() -> None:
        future = asyncio.Future[None]()

        async def work() -> None:
            if waits:
                await future
            raise trouble

        run_now(work(), told.append)
        assert told == ([] if waits else [trouble])
        future.set_result(None)
        while not told:
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(main(), 10))
    assert told == [trouble]
