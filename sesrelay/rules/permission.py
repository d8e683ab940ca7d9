"""What is asked of a user's policies: at login, for each message, by operators who want to know beforehand (CRED-5).

A message is sent from identities: those that cover its authors, its Sender and its envelope sender. All must be
allowed, and each author by itself, so that a second mailbox in From is no way around a condition on the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from sesrelay.model.account import AccountFacts
from sesrelay.model.clock import Micros
from sesrelay.model.policy import KeyHolder
from sesrelay.model.refusal import Refusal, Refused
from sesrelay.rules import conditions
from sesrelay.rules.conditions import Context, Values
from sesrelay.rules.mailboxes import Mailbox, display_name
from sesrelay.rules.policy import SEND_RAW_EMAIL, Decision, Permissions, Verdict, permissions_of
from sesrelay.rules.verification import covering_identity

NO_RESOURCE: Final = "*"
"""Where IAM wants a resource and the action has none."""
_OF_AUTHORS: Final = (conditions.FROM_ADDRESS, conditions.FROM_DISPLAY_NAME)
_OF_MAIL: Final = frozenset((*_OF_AUTHORS, conditions.FEEDBACK_ADDRESS, conditions.RECIPIENTS))


class Request(NamedTuple):
    """What somebody wants to do, as far as policies can be about it. None: not known."""

    action: str = SEND_RAW_EMAIL
    authors: tuple[Mailbox, ...] | None = None
    """From's mailboxes."""
    others: tuple[Mailbox, ...] = ()
    """Sender's, and the envelope sender, which comes last."""
    recipients: tuple[str, ...] | None = None
    client_address: str | None = None
    at: Micros | None = None
    user_agent: str | None = ""
    """"": there is none, as in SMTP."""
    resource: str | None = None
    """In place of the identities of the senders."""


def may_log_in(holder: KeyHolder, facts: AccountFacts, client_address: str) -> bool:
    """False: whatever the message will be, this client's mail would be refused.

    The time is not looked at: it goes on while the session is open.
    """
    permissions = permissions_of(holder)
    request = Request(client_address=client_address or None)
    return permissions.may_always_send or all(
        decision.verdict is not Verdict.NO for _, decision in decisions(permissions, facts, request)
    )


def check(holder: KeyHolder, facts: AccountFacts, request: Request) -> None:
    """Raises Refused(NOT_AUTHORIZED) with user, action and the first resource for which the answer is no."""
    for resource, decision in decisions(permissions_of(holder), facts, request):
        if decision.verdict is not Verdict.YES:
            user = user_arn(facts.account_id, holder.user_name)
            raise Refused(Refusal.NOT_AUTHORIZED, user, request.action, resource)


def decisions(permissions: Permissions, facts: AccountFacts, request: Request) -> Iterator[tuple[str, Decision]]:
    """(resource, decision) for everything that must be allowed; resource "": not known."""
    known, unknown = _known(request), _unknown(request)
    if not is_sending(request.action):
        yield NO_RESOURCE, permissions.decide(request.action, NO_RESOURCE, _context(known, unknown - _OF_MAIL))
        return
    for author, resource in _senders(facts, request):
        context = _context(known | _of_author(author) if author else known, unknown)
        yield resource or "", permissions.decide(request.action, resource, context)


def is_sending(action: str) -> bool:
    """Whether an action sends mail: then it is about an identity, and has the keys of a message."""
    return action.lower().startswith("ses:send")


def user_arn(account_id: str, user_name: str) -> str:
    """A user as IAM names it."""
    return f"arn:aws:iam::{account_id}:{f'user/{user_name}' if user_name else 'root'}"


def identity_arn(facts: AccountFacts, address: str) -> str:
    """The identity whose settings count for an address (ID-5); the address itself when nothing covers it."""
    name = covering_identity(address, facts.verified) or address
    return f"arn:aws:ses:{facts.region}:{facts.account_id}:identity/{name}"


def _senders(facts: AccountFacts, request: Request) -> Iterator[tuple[Mailbox | None, str | None]]:
    """(author, identity's ARN) for everybody who sends it; Sender and envelope stand beside the first author."""
    if request.authors is None:
        yield None, request.resource
        return
    if request.resource is not None:
        yield from ((author, request.resource) for author in request.authors)
        return
    each = [(author, author) for author in request.authors]
    each += [(request.authors[0], other) for other in request.others]
    yield from dict.fromkeys((author, identity_arn(facts, mailbox.address)) for author, mailbox in each)


def _context(known: dict[str, Values], unknown: frozenset[str]) -> Context:
    return lambda key: None if key in unknown else known.get(key, ())


def _known(request: Request) -> dict[str, Values]:
    """By SMTP and by HTTPS, everything comes over TLS."""
    known: dict[str, Values] = {conditions.SECURE_TRANSPORT: ("true",)}
    if request.client_address:
        known[conditions.SOURCE_IP] = (request.client_address,)
    if request.user_agent:
        known[conditions.USER_AGENT] = (request.user_agent,)
    if request.at is not None:
        known |= conditions.moment(request.at)
    if request.recipients and is_sending(request.action):
        known[conditions.RECIPIENTS] = request.recipients
    if request.others and is_sending(request.action):
        known[conditions.FEEDBACK_ADDRESS] = (request.others[-1].address,)
    return known


def _of_author(author: Mailbox) -> dict[str, Values]:
    name = display_name(author)
    found: dict[str, Values] = {conditions.FROM_ADDRESS: (author.address,)}
    return found | {conditions.FROM_DISPLAY_NAME: (name,)} if name else found


def _unknown(request: Request) -> frozenset[str]:
    given = {
        (conditions.SOURCE_IP,): request.client_address,
        (conditions.USER_AGENT,): request.user_agent,
        (conditions.CURRENT_TIME, conditions.EPOCH_TIME): request.at,
        (conditions.RECIPIENTS,): request.recipients,
        (conditions.FEEDBACK_ADDRESS,): request.others or None,
        _OF_AUTHORS: request.authors,
    }
    return frozenset(key for keys, value in given.items() if value is None for key in keys)
