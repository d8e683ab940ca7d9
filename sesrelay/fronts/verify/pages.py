"""What the owner of an address sees behind the link in his mail: one button, and what became of it (ID-6).

Looking changes nothing, so that a program that follows links in mails confirms nothing; the button sends a POST.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from sesrelay.core.verifying import LinkFate
from sesrelay.fronts.verify.words import HEADERS, page, sorry
from sesrelay.model.identity import LinkState

log = structlog.get_logger()
PATH: Final = "/verify/{text:path}"

STATUS: Final[Mapping[LinkState, int]] = {
    LinkState.OPEN: 200,
    LinkState.CONFIRMED: 200,
    LinkState.USED: 200,
    LinkState.EXPIRED: 410,
    LinkState.FORGED: 404,
    LinkState.UNKNOWN: 404,
}


class Verifying(Protocol):
    """What of ``core.verifying.Verifying`` is used here."""

    async def look(self, text: str) -> LinkFate: ...

    async def confirm(self, text: str) -> LinkFate: ...


def routes(verifying: Verifying, product: str) -> list[Route]:
    """For the application of the HTTPS port."""

    async def answer(request: Request) -> Response:
        verb = verifying.confirm if request.method == "POST" else verifying.look
        return await _answer(verb, request.path_params["text"], product)

    return [Route(PATH, answer, methods=["GET", "POST"])]


async def _answer(verb: Callable[[str], Awaitable[LinkFate]], text: str, product: str) -> Response:
    try:
        fate = await verb(text)
    except Exception:
        log.exception("a verification link could not be looked at")
        return HTMLResponse(sorry(product), 503, {**HEADERS, "Retry-After": "60"})
    if fate.state is LinkState.CONFIRMED and fate.link is not None:
        log.info("address confirmed", address=fate.link.address, account=fate.link.account_id)
    return HTMLResponse(page(fate, product), STATUS[fate.state], HEADERS)
