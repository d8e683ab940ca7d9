"""From ``identity add`` to the first mail, over real processes: an address by its link, a domain by its record."""

from __future__ import annotations

import asyncio
import re
import smtplib
import ssl
import time
import urllib.error
import urllib.request
from contextlib import closing
from email import message_from_string, policy
from pathlib import Path

import pytest
from pysqlite3 import dbapi2

from sesrelay.model.clock import SECOND, Micros
from tests.runtime.house import House, program, until
from tests.standins.nameserver import NameServer

ANN = "Ann@shop.test"


def send_from(house: House, sender: str) -> None:
    with house.session() as session:
        session.sendmail(sender, "to@example.com", f"From: {sender}\r\n\r\nHello.\r\n")


def source(house: House, recipient: str) -> str:
    """The mail to a recipient, as it was captured; "" until there is one."""
    for message in house.command("message", "list"):
        if [each["address"] for each in message["recipients"]] == [recipient]:
            shown = program("--config", str(house.config), "message", "source", message["message_id"]).stdout
            return str(message_from_string(shown, policy=policy.default).as_string())
    return ""


def open_page(url: str, trust: ssl.SSLContext, data: bytes | None = None) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, data, context=trust, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_an_address_is_verified_by_the_link_in_a_mail_through_the_relays_own_queue(house: House) -> None:
    house.start()
    house.command("identity", "add", ANN)
    with pytest.raises(smtplib.SMTPDataError, match="not verified"):
        send_from(house, ANN)
    mail = until(lambda: source(house, ANN), "a mail with a link")
    (path,) = re.findall(r"https://\S+?(/verify/\S+)", mail)
    url = f"https://localhost:{house.port('http')}{path}"
    status, page = open_page(url, house.trust())
    assert (status, '<form method="post">' in page) == (200, True)
    assert house.command("identity", "show", ANN)["verification_status"] == "Pending"
    assert "address is confirmed" in open_page(url, house.trust(), b"")[1]
    assert house.command("identity", "show", ANN)["verification_status"] == "Success"
    send_from(house, ANN)
    assert "confirmed already" in open_page(url, house.trust(), b"")[1]
    assert open_page(url[:-2], house.trust())[0] == 404


def alive_until(house: House) -> Micros:
    """Of the worker that has renewed itself least lately."""
    with closing(dbapi2.connect(f"file:{house.data}/sesrelay.db?mode=ro", uri=True)) as connection:
        (found,) = connection.execute("SELECT min(alive_until) FROM incarnations WHERE dead = 0").fetchone()
    return Micros(found or 0)


async def test_a_domain_is_verified_by_its_record_and_its_account_is_told_once(house: House, tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("0")

    def later() -> bool:
        """Some seconds pass, and every worker has renewed itself in the new hour, as it must in time."""
        seconds = int(offset.read_text()) + 8
        offset.write_text(str(seconds))
        now = round(time.time() + seconds) * SECOND
        return bool(until(lambda: alive_until(house) > now + 25 * SECOND, "all workers have renewed themselves"))

    async with NameServer({("shop.test", "TXT"): ['"v=spf1 -all"']}) as server:
        house.settle(dns={"nameservers": [server.address]})

        def story() -> str:
            house.start({"SESRELAY_CLOCK_OFFSET_FILE": str(offset)})
            token = house.command("identity", "add", "shop.test")["verification_token"]
            until(lambda: later() and server.asked["_amazonses.shop.test", "TXT"], "the first question")
            assert house.command("identity", "show", "shop.test")["verification_status"] == "Pending"
            server.table["amazonses.shop.test", "TXT"] = [f'"{token}"']
            until(
                lambda: later() and any(each["answer"] == "found" for each in house.events("domain asked about")),
                "the record is found",
            )
            assert house.command("identity", "show", "shop.test")["verification_status"] == "Success"
            send_from(house, "anybody@sub.shop.test")
            mail = until(lambda: source(house, "postmaster@sesrelay.localhost"), "the news")
            assert house.stop() == 0
            return mail

        assert "Domain Verification SUCCESS" in await asyncio.to_thread(story)
