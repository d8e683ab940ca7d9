"""``python -m tests.fuzz TARGET [FOLDER …] [-max_total_time=SECONDS …]``: a target under libFuzzer (``make fuzz``).

What it finds is written into the folder that it is started in; it goes into tests/samples/fuzz/TARGET with its mend.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["sesrelay"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {'|'.join(TARGETS)} [folder] [libFuzzer's options]")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


main()
