from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sesrelay.rules import datauris
from sesrelay.rules.datauris import DataUris

FOUND = [
    b'<img src="data:image/png;base64,iVBOR">',
    b"<img src='data:image/png;base64,iVBOR'>",
    b"<img src=data:image/png;base64,iVBOR>",
    b'<IMG SRC = "DATA:image/png;base64,iVBOR">',
    b'<img\r\nalt="a > b"\r\nsrc="\r\n data:,x">',
    b'<img alt="a < b" src="data:,x">',
    b"<img alt='it&quot;s >' src=\"data:image/svg+xml;charset=utf8,<svg/>\">",
    b"<img/src=data:,x>",
    b'<a href="data:text/html,<b>hi</b>">x</a>',
    b'<image xlink:href="data:image/png;base64,AA"/>',
    b'<td background="data:image/gif;base64,R0lG">',
    b'<div style="background: url(data:image/gif;base64,R0lG)">',
    b"<div style='background: url( \"data:image/gif;base64,R0lG\" )'>",
    b'<div style="background: url(&quot;data:image/gif;base64,R0lG&quot;)">',
    b"<style>.a { background: URL('data:image/gif;base64,R0lG') }</style>",
    b"<style></style><p>x</p><style type='text/css'>a{b:url(data:,x)}",
    b'<!--[if mso]><v:fill src="data:image/png;base64,AA"/><![endif]-->',
    b'<img src="data:text/plain; charset=utf-8,hello">',
    b'<img src="data:;base64,AAAA">',
    b'<img src="data:,x"',
]

PASSED = [
    b"",
    b"data:",
    b"<p>data:image/png;base64,iVBOR</p>",
    b'<p>Write src="data:image/png;base64,iVBOR" for it</p>',
    b'<p>Write &lt;img src="data:image/png;base64,iVBOR"&gt; for it</p>',
    b'<a href="https://example.com/?q=data:,x">',
    b'<a href="https://example.com/data:,x">',
    b'<img src="cid:data:,x">',
    b'<img src="cid:data">',
    b'<img src="data:">',
    b'<img src="data:image/png">',
    b"<p>background: url(data:image/gif;base64,R0lG)</p>",
    b"<style>a{}</style><p>url(data:,x)</p>",
    b"<p>a=data:,x",
    b"<p>(data: one, two)</p>",
    b"<b>x</b> src = data:image/png;base64,iVBOR",
    b"metadata:,",
    b'<p title="Data: 12/05/2026, 13:00">',
    b"<p>x</p> src='data:,x' < b",
    b"< < < < < < < < < < < < < < < < < < <img src=data",
]


@pytest.mark.parametrize("html", FOUND)
def test_a_data_uri_is_found(html: bytes) -> None:
    assert DataUris().found_in(b"<html><body>" + html)


@pytest.mark.parametrize("html", FOUND)
def test_it_is_found_in_utf_16(html: bytes) -> None:
    assert DataUris().found_in(html.decode().encode("utf-16"))


@pytest.mark.parametrize("html", PASSED)
def test_what_only_looks_like_one_passes(html: bytes) -> None:
    assert not DataUris().found_in(b"<html><body>" + html)


@given(st.sampled_from([*FOUND, *PASSED]), st.sampled_from([*FOUND, *PASSED]), st.data())
def test_it_does_not_matter_where_the_text_is_cut(one: bytes, two: bytes, data: st.DataObject) -> None:
    text = b"<body> " + one + b" </body></style></p><p>\"'> " * 2 + two
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    search = DataUris()
    found = any(search.found_in(text[start:end]) for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True))
    assert found == DataUris().found_in(text)


def test_a_style_element_may_have_begun_long_before() -> None:
    search = DataUris()
    assert not search.found_in(b"<style>" + b"a{b:c}\n" * 20_000)
    assert not search.found_in(b"a{b:c}\n" * 20_000)
    assert search.found_in(b"a{b:url(data:,x)}")


def test_a_style_element_that_ended_long_before_is_none() -> None:
    search = DataUris()
    assert not search.found_in(b"<style>" + b"a{b:c}\n" * 20_000 + b"</style>" + b"text " * 20_000)
    assert not search.found_in(b"url(data:,x)")


def test_nobody_looks_closer_at_very_many() -> None:
    assert not DataUris().found_in(b"<p> a=data:,x" * datauris.MOST_SUSPECTS)
    assert DataUris().found_in(b"<p> a=data:,x" * (datauris.MOST_SUSPECTS + 1))
    assert not DataUris().found_in(b"data: " * datauris.MOST_WORDS)
    assert DataUris().found_in(b"data: " * (datauris.MOST_WORDS + 1))


@given(
    st.lists(
        st.sampled_from([b"<", b">", b'"', b"'", b"=", b"data:", b",", b" ", b"url(", b"<style", b"a", b"\0", b"/"])
    )
)
def test_whatever_the_text_is_there_is_an_answer(words: list[bytes]) -> None:
    assert DataUris().found_in(b"".join(words)) in (True, False)
