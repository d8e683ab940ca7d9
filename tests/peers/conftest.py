"""Real mail programs, each sending through a running relay to a next hop that keeps every byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.lacking import lacking
from tests.peers.guide import block, filled
from tests.peers.samples import assert_only_the_relays_fields_differ, marked
from tests.standins.next_hop import NextHop
from tests.standins.relay import ENDPOINT, RelayStandIn, free_port

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sesrelay-peers"
"""Where tests/peers/install unpacks."""

ARRIVAL_SECONDS = 15

Check = Callable[[str, Callable[[str], object]], None]
Arrived = Callable[[str], bytes]


def program(name: str) -> Path:
    """One that the system has. Skips, or fails, without."""
    found = shutil.which(name)
    if found is None:
        lacking(f"{name} is not installed")
    assert found
    return Path(found)


def unpacked(name: str) -> Path:
    """The folder of one that tests/peers/install brought. Skips, or fails, without."""
    folder = CACHE / name
    if not (folder / ".done").exists():
        lacking(f"{name} is not unpacked: run tests/peers/install")
    return folder


def library(folder: Path, name: str) -> Path:
    """A shared library that was unpacked into ``folder``."""
    found = next(iter(sorted(folder.rglob(name))), None)
    assert found, f"{name} is not in {folder}: remove that folder and run tests/peers/install"
    return found


def own_environment(programs: Path, folder: Path) -> dict[str, str]:
    """For a program of those that were unpacked: its own libraries, and the relay found by its name (not for node)."""
    (folder / "hosts").write_text(f"127.0.0.1 {ENDPOINT}\n")
    wrapper = library(programs, "libnss_wrapper.so")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LD_LIBRARY_PATH": f"{wrapper.parent}:{programs / 'lib' / wrapper.parent.name}",
        "LD_PRELOAD": str(wrapper),
        "NSS_WRAPPER_HOSTS": str(folder / "hosts"),
    }


def perl_libraries(programs: Path) -> str:
    """Where the unpacked modules are, and those of Perl itself on a machine that has the least of it."""
    places = ("usr/share/perl5", "usr/lib/*/perl5/*", "usr/share/perl/5.*", "usr/lib/*/perl/5.*")
    return os.pathsep.join(str(path) for place in places for path in sorted(programs.glob(place)))


def run(arguments: Sequence[str | Path], environment: Mapping[str, str], text: str | bytes = "") -> str:
    """What the program prints. It has to end well."""
    ended = subprocess.run(
        arguments,
        env=dict(environment),
        input=text if isinstance(text, bytes) else text.encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, (ended.stdout + ended.stderr).decode(errors="replace")
    return ended.stdout.decode()


@pytest.fixture(scope="session")
def hop() -> Iterator[NextHop]:
    """Where all mail goes in the end."""
    with NextHop() as made:
        yield made


@pytest.fixture(scope="session")
def relay(tmp_path_factory: pytest.TempPathFactory, hop: NextHop) -> Iterator[RelayStandIn]:
    """The relay between."""
    with RelayStandIn(tmp_path_factory.mktemp("relay"), next_hop=hop.port) as made:
        yield made


@pytest.fixture(scope="session")
def tunnel(tmp_path_factory: pytest.TempPathFactory, relay: RelayStandIn) -> Iterator[int]:
    """The guide's "Setting Up a Secure Tunnel": stunnel adds TLS for those who have none; its port."""
    programs, folder, port = unpacked("stunnel"), tmp_path_factory.mktemp("tunnel"), free_port()
    (folder / "stunnel.conf").write_text(
        "foreground = yes\npid =\n"
        + filled(
            block("stunnel", "stunnel.conf"),
            relay,
            {":2525": f":{port}", f"{ENDPOINT}:465": f"127.0.0.1:{relay.tls_port}"},
        )
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": str(library(programs, "libwrap.so.0").parent)}
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [programs / "usr/bin/stunnel", folder / "stunnel.conf"], env=environment, stdout=log, stderr=log
        )
    deadline = time.monotonic() + 10
    while b"Configuration successful" not in (folder / "log").read_bytes():
        assert running.poll() is None, (folder / "log").read_text()
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.05)
    yield port
    running.terminate()
    running.wait()


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """Not below pytest's own, which are closed to the users that mail servers become."""
    with tempfile.TemporaryDirectory(prefix="sesrelay-peer-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture
def arrived(hop: NextHop) -> Arrived:
    """``arrived(mark)``: the one message that has these words in it."""

    def wait(mark: str) -> bytes:
        octets = mark.encode()
        copies = hop.wait_for(lambda some: any(octets in copy.content for copy in some), ARRIVAL_SECONDS)
        (copy,) = (copy for copy in copies if octets in copy.content)
        return copy.content

    return wait


@pytest.fixture
def arrives_unchanged(arrived: Arrived) -> Check:
    """``arrives_unchanged(sample, send)``: what ``send(message)`` sends comes out at the other end as it went in."""

    def check(sample: str, send: Callable[[str], object]) -> None:
        mark = uuid.uuid4().hex
        sent = marked(sample, mark)
        send(sent)
        assert_only_the_relays_fields_differ(sent, arrived(f"X-Mark: {mark}\r\n"))

    return check
