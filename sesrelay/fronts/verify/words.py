"""The words and the looks of the pages: plain HTML, no script, nothing from elsewhere, readable on a telephone."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from html import escape
from typing import Final

from sesrelay.core.verifying import LinkFate
from sesrelay.model.identity import LinkState

STYLE: Final = """\
:root { color-scheme: light dark; }
body { margin: 0; padding: 1rem; font: 1.0625rem/1.5 system-ui, sans-serif; }
main { max-width: 34rem; margin: 6vh auto 0; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 1rem; }
p { margin: 0 0 1rem; overflow-wrap: anywhere; }
button { font: inherit; font-weight: 600; width: 100%; max-width: 20rem; min-height: 3rem; padding: .6rem 1rem;
  border: 0; border-radius: .4rem; background: #1456b8; color: #fff; cursor: pointer; }
button:hover { background: #0e4493; }
button:focus-visible { outline: .2rem solid #f5a623; outline-offset: .15rem; }
footer { max-width: 34rem; margin: 3rem auto 0; font-size: .875rem; opacity: .75; }
"""

_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the link is a secret
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}

_TITLES: Final[Mapping[LinkState, str]] = {
    LinkState.OPEN: "Confirm your address",
    LinkState.CONFIRMED: "Thank you: your address is confirmed",
    LinkState.USED: "This address is confirmed already",
    LinkState.EXPIRED: "This link has expired",
    LinkState.FORGED: "This link is not valid",
    LinkState.UNKNOWN: "This address is not waiting for a confirmation",
}

_WORDS: Final[Mapping[LinkState, tuple[str, ...]]] = {
    LinkState.OPEN: (
        "Somebody wants to send mail from <strong>{address}</strong> with {product} "
        "(region {region}, account {account}).",
        "Confirm only if that is you, or somebody whom you trust with your name. If not, close this page: "
        "nothing happens.",
    ),
    LinkState.CONFIRMED: (
        "Mail can now be sent from <strong>{address}</strong> (region {region}, account {account}). "
        "You can close this page.",
    ),
    LinkState.USED: (
        "<strong>{address}</strong> has been confirmed before (region {region}, account {account}). "
        "There is nothing left to do.",
    ),
    LinkState.EXPIRED: (
        "A link is good for 24 hours. <strong>{address}</strong> is not confirmed, and nothing can be sent from it.",
        "Whoever asked for it can have another mail sent to you.",
    ),
    LinkState.FORGED: (
        "It was not made by us, or not all of it was copied. Open the link from the mail once more; if it is broken "
        "over several lines, all of them belong to it.",
    ),
    LinkState.UNKNOWN: (
        "<strong>{address}</strong> was taken off the list of addresses after this link was sent, "
        "so the link is good for nothing any more.",
        "If you want to send from it, let it be added again: you get a new mail.",
    ),
}

_BUTTON: Final = '<form method="post"><button type="submit">Confirm this address</button></form>'


def page(fate: LinkFate, product: str) -> str:
    """The page for what became of a link."""
    link = fate.link
    said = {
        "address": escape(link.address) if link else "",
        "region": escape(link.region) if link else "",
        "account": escape(link.account_id) if link else "",
        "product": escape(product),
    }
    paragraphs = [f"<p>{words.format(**said)}</p>" for words in _WORDS[fate.state]]
    if fate.state is LinkState.OPEN:
        paragraphs.append(_BUTTON)
    return _document(_TITLES[fate.state], paragraphs, product)


def sorry(product: str) -> str:
    """The page when we cannot know."""
    words = "<p>We cannot look at your link just now. It stays as it is: please open it again in a minute.</p>"
    return _document("One moment, please", [words], product)


def _document(title: str, paragraphs: list[str], product: str) -> str:
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title} - {escape(product)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            "<main>",
            f"<h1>{title}</h1>",
            *paragraphs,
            "</main>",
            f"<footer>{escape(product)}</footer>",
            "</body>",
            "</html>",
            "",
        )
    )
