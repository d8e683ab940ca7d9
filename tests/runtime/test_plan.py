"""The check of the configuration in a process of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import psutil
import pytest

from sesrelay.runtime import plan
from sesrelay.runtime.plan import PlanFault
from tests.clock import FakeClock


async def test_a_check_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nimport signal\nsignal.pause()\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    clock, before = FakeClock(), set(psutil.Process().children())
    reading = asyncio.create_task(plan.read(Path("sesrelay.yaml"), clock))
    await clock.advance(plan.CHECK_SECONDS - 1)
    assert not reading.done()
    await clock.advance(2)
    with pytest.raises(PlanFault, match="the check of the configuration took longer than 60 seconds") as fault:
        await reading
    assert fault.value.passing
    assert set(psutil.Process().children()) <= before


async def test_a_check_that_breaks_off_says_nothing_of_the_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho half\nexit 7\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    clock = FakeClock()
    reading = asyncio.create_task(plan.read(Path("sesrelay.yaml"), clock))
    while not reading.done():
        await clock.advance(0.01)
    with pytest.raises(PlanFault, match="the check of the configuration ended with 7") as fault:
        await reading
    assert fault.value.passing
