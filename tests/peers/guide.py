"""docs/CLIENTS.md as the tests run it: what a reader copies is what each program is configured with here.

A block is known by its heading and by the file name behind its language.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.peers.samples import RECIPIENT, SENDER
from tests.standins.relay import RelayStandIn

DOCS = Path(__file__).parents[2] / "docs" / "CLIENTS.md"

CA = "/etc/ssl/sesrelay/ca.pem"


def _named_blocks() -> Iterator[tuple[tuple[str, str], str]]:
    heading, name, lines = "", None, list[str]()
    for line in DOCS.read_text().splitlines(keepends=True):
        if line.startswith("```"):
            if name:
                yield (heading, name), "".join(lines)
            name, lines = line.partition(" ")[2].strip(), []
        elif name:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("#").strip()


BLOCKS = dict(_named_blocks())


def block(heading: str, name: str) -> str:
    """What stands in the docs."""
    return BLOCKS[heading, name]


def filled(text: str, relay: RelayStandIn, places: Mapping[str, object]) -> str:
    """With this machine's ``places`` for those of the docs, which all have to be there, and the relay's secrets."""
    for documented, ours in places.items():
        assert documented in text, f"{documented} is not in the docs' block:\n{text}"
        text = text.replace(documented, str(ours))
    secrets = {
        CA: str(relay.ca),
        "someone@example.com": SENDER,
        "recipient@example.org": RECIPIENT,
        "USERNAME": relay.user_name,
        "PASSWORD": relay.password,
    }
    for documented, ours in secrets.items():
        text = text.replace(documented, ours)
    return text
