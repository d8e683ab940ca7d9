"""From the next hop's no to the sender's mailbox, over real processes."""

from __future__ import annotations

import asyncio

from tests.runtime.house import SENDER, House, until
from tests.standins.receiver import Behaviour, Receiver


def answer(argument: str) -> str:
    return "550 5.1.1 <gone@example.com>: no such user" if "gone@" in argument else "250 2.1.5 Ok"


async def test_a_refused_recipient_is_told_to_the_sender_once(house: House) -> None:
    async with Receiver(Behaviour(rcpt=answer)) as receiver:
        house.settle(delivery={"routes": [{"domain": "*", "via": f"smtp://127.0.0.1:{receiver.port}"}]})

        def story() -> dict[str, str]:
            house.start()
            house.send("gone@example.com", text="Are you there?")
            until(lambda: house.states().get(SENDER) == "delivered", "the bounce is delivered")
            states = house.states()
            assert house.stop() == 0
            return states

        assert await asyncio.to_thread(story) == {"gone@example.com": "bounced", SENDER: "delivered"}
        (bounce,) = receiver.received
    assert bounce.mail_from == ""
    assert bounce.recipients == (SENDER,)
    assert b"550 5.1.1 <gone@example.com>: no such user" in bounce.content
    assert b"Final-Recipient: rfc822;" in bounce.content
