"""The header fields that mean something to the relay, as a table: what is not in it passes and may repeat (MSG-1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Numbers, not an enumeration: they are looked up and compared for every field of every message, in this order.

# May stand only once; stay where they are
PASS: Final = 0
READ_FROM: Final = 1
READ_SENDER: Final = 2
READ_SUBJECT: Final = 3
READ_TYPE: Final = 4
READ_DISPOSITION: Final = 5
READ_ENCODING: Final = 6
READ_REPLY_TO: Final = 7
# May stand only once; do not stay as they are
REPLACE_DATE: Final = 8
REPLACE_MESSAGE_ID: Final = 9
TAKE_OFF_ONCE: Final = 10
# May repeat; do not stay
TAKE_OFF: Final = 11
TAKE_OFF_TAG: Final = 12
TAKE_OFF_INVOCATION: Final = 13
# May repeat; stay
COUNT_HOP: Final = 14
NOTE: Final = 15
READ_ADDRESSES: Final = 16

# SES's own list of fields that may not appear twice ("Header fields" of its guide), but for DKIM-Signature: mail that
# was signed twice on its way (RSA and Ed25519) is no mistake.
_ONCE: Final = """
    accept-language acceptlanguage archived-at auto-submitted bounces-to comments content-alternative content-base
    content-class content-description content-duration content-id content-language content-length
    content-location content-md5 delivered-to disposition-notification-options
    disposition-notification-to domainkey-signature errors-to importance in-reply-to keywords list-archive
    list-help list-id list-owner list-post list-subscribe list-unsubscribe list-unsubscribe-post message-context
    mime-version organization original-from original-message-id original-recipient original-subject precedence priority
    references return-receipt-to solicitation sensitivity thread-index thread-topic user-agent vbr-info
"""

# What SES reads as instructions and takes off; of repeated ones only the first counts.
_TAGS: Final = """
    x-ses-configuration-set x-ses-message-tags x-ses-source-arn x-ses-from-arn x-ses-return-path-arn
    x-ses-list-management-options x-ses-tenant
"""

# Nobody must own these addresses, but they must be some (MSG-3).
_ADDRESSES: Final = "to cc resent-from resent-sender resent-to resent-cc"

ACTIONS: Final[Mapping[bytes, int]] = {
    **{name.encode(): PASS for name in _ONCE.split()},
    **{name.encode(): TAKE_OFF_TAG for name in _TAGS.split()},
    b"from": READ_FROM,
    b"sender": READ_SENDER,
    b"subject": READ_SUBJECT,
    b"content-type": READ_TYPE,
    b"content-disposition": READ_DISPOSITION,
    b"content-transfer-encoding": READ_ENCODING,
    b"reply-to": READ_REPLY_TO,
    **{name.encode(): READ_ADDRESSES for name in _ADDRESSES.split()},
    b"date": REPLACE_DATE,
    b"message-id": REPLACE_MESSAGE_ID,
    b"return-path": TAKE_OFF_ONCE,
    b"bcc": TAKE_OFF,
    b"received": COUNT_HOP,
    b"feedback-id": NOTE,
    b"x-sesrelay-invocation-id": TAKE_OFF_INVOCATION,
}
"""What is done with a field, by its lower-case name."""
