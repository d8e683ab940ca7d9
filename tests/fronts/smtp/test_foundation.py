"""What we correct of aiosmtpd 1.4.6, and that every private name that we touch is still there."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterator
from typing import Any

import aiosmtpd
import aiosmtpd.smtp
import pytest
import structlog

from sesrelay.fronts.smtp import foundation
from sesrelay.fronts.smtp.foundation import Foundation
from sesrelay.fronts.smtp.server import SmtpServer
from tests.fronts.smtp.house import GREETING, OK, House


class Bare(Foundation):
    """As little as a subclass must have."""

    touched = 0

    def touch(self) -> None:
        self.touched += 1


def complete(loop: asyncio.AbstractEventLoop) -> Bare:
    """A connection whose coroutine was needed."""
    made = Bare(loop)
    made.become_complete()
    return made


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def stock(loop: asyncio.AbstractEventLoop) -> aiosmtpd.smtp.SMTP:
    return aiosmtpd.smtp.SMTP(None, hostname="localhost", enable_SMTPUTF8=True, loop=loop)


def test_the_version_is_the_one_that_was_read() -> None:
    assert aiosmtpd.__version__ == "1.4.6"


def test_a_connection_has_every_attribute_that_aiosmtpds_constructor_makes(loop: asyncio.AbstractEventLoop) -> None:
    theirs, ours = vars(stock(loop)), vars(complete(loop))
    assert theirs.keys() - ours.keys() == {"_auth_methods", "_smtp_methods"}
    own = {"loop", "_timeout_handle", "_loop", "_closed", "_strong_reader", "_stream_reader_wr", "_client_connected_cb"}
    for name in theirs.keys() & ours.keys() - own:
        assert ours[name] == theirs[name], name


def test_no_connection_shares_what_changes(loop: asyncio.AbstractEventLoop) -> None:
    first, second = complete(loop), complete(loop)
    assert first._handle_hooks == {}
    mutable = [name for name, value in vars(first).items() if isinstance(value, dict | list | set) and value]
    assert mutable == []
    assert first._closed is not second._closed


def test_making_a_connection_reflects_nothing(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    complete(loop)

    def forbidden(*_: Any) -> Any:
        raise AssertionError("reflection for each connection costs 0.6 ms")

    monkeypatch.setattr(inspect, "getmembers", forbidden)
    monkeypatch.setattr(inspect, "signature", forbidden)
    monkeypatch.setattr("socket.getfqdn", forbidden)
    complete(loop)


def test_what_is_set_already_stays(loop: asyncio.AbstractEventLoop) -> None:
    connection = Bare(loop)
    connection.hostname = "of our own"
    connection.transport = transport = asyncio.Transport()
    connection.become_complete()
    assert (connection.hostname, connection.transport) == ("of our own", transport)


def test_no_connection_changes_the_limits_of_another(loop: asyncio.AbstractEventLoop) -> None:
    first = Bare(loop)
    assert first.command_size_limits["MAIL"] == foundation.LONGEST_LINE
    assert dict(first.command_size_limits) == {}


@pytest.mark.parametrize(
    "name",
    ["_handle_client", "_cb_client_connected", "_reset_timeout", "_timeout_cb", "_set_rset_state", "handle_exception"],
)
def test_a_method_that_we_lean_on_or_replace_is_there(name: str) -> None:
    assert callable(getattr(aiosmtpd.smtp.SMTP, name))


@pytest.mark.parametrize(
    "name", ["_smtp_methods", "_reset_timeout", "_handler_coroutine", "_reader", "_writer", "push", "handle_exception"]
)
def test_a_name_that_we_replace_is_used_by_aiosmtpd(name: str) -> None:
    assert f"self.{name}" in inspect.getsource(aiosmtpd.smtp.SMTP)


def test_streams_keep_their_transport_where_we_put_the_encrypted_one(loop: asyncio.AbstractEventLoop) -> None:
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, lambda *_: None, loop)
    assert {"_transport", "_over_ssl"} <= vars(protocol).keys()
    assert "_transport" in vars(reader)
    assert "self._transport = transport" in inspect.getsource(asyncio.StreamWriter)


def test_every_command_is_answered_by_our_session_and_never_by_aiosmtpds_parser() -> None:
    for name in dir(aiosmtpd.smtp.SMTP):
        if name.startswith("smtp_"):
            assert name in vars(SmtpServer), name


def test_a_method_is_bound_to_the_connection_that_calls_it(loop: asyncio.AbstractEventLoop) -> None:
    connection = Bare(loop)
    assert connection._smtp_methods["EHLO"].__self__ is connection


def test_there_is_no_timer_for_each_connection(loop: asyncio.AbstractEventLoop) -> None:
    connection = complete(loop)
    connection._reset_timeout()
    assert connection.touched == 1
    connection._timeout_handle.cancel()
    assert not loop._scheduled


def test_aiosmtpd_logs_no_dialogue_whatever_the_level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert not aiosmtpd.smtp.log.isEnabledFor(logging.INFO)


def test_an_exception_in_a_command_is_temporary_and_its_text_stays_here(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = house.connect(house.open()[1])
    client.expect(GREETING)
    house.settle()
    session = house.made[0]._session

    class Broken:
        awaits_response = False

        def command(self, line: bytes) -> None:
            raise RuntimeError("the secret of the house")

    with structlog.testing.capture_logs() as logs:
        monkeypatch.setattr(house.made[0], "_session", Broken())
        client.say(b"EHLO me\r\n", b"451 4.3.0 Temporary service failure\r\n")
        monkeypatch.setattr(house.made[0], "_session", session)
    assert [(entry["event"], str(entry["exc_info"])) for entry in logs] == [
        ("smtp.command_failed", "the secret of the house")
    ]
    client.say(b"NOOP\r\n", OK)
