from __future__ import annotations

import pytest

from sesrelay.rules.addresses import is_address, is_host


@pytest.mark.parametrize(
    "text", ["a@b.example", "Ann.O'Hara+x@shop.example", "postmaster@localhost", "a@" + "b" * 63 + ".example"]
)
def test_where_mail_can_go(text: str) -> None:
    assert is_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "a", "a@", "@b.example", "a..b@c.example", ".a@b.example", "a.@b.example", "a,b@c.example",
        "a@b.example,c@d.example", "<a@b.example>", "a b@c.example", "a@b@c.example", '"a"@b.example', "a@b..example",
        "a@.example", "a@b.example.", "a@-b.example", "a@b-.example", "a@192.0.2.1", "a@[192.0.2.1]", "a@b_c.example",
        "a@b.example\r\nBcc: c@d.example", "ä@b.example", "a@bücher.example", "a" * 65 + "@b.example",
        "a@" + "b" * 64 + ".example", "a@" + "b." * 130 + "example",
    ],
)  # fmt: skip
def test_where_mail_cannot_go(text: str) -> None:
    assert not is_address(text)


def test_a_number_is_no_host() -> None:
    assert [is_host(text) for text in ("x1", "1x.example", "192.0.2.1", "7", "")] == [True, True, False, False, False]
