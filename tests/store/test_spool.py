"""The spool: a big message comes in by pieces and becomes a file that nobody had to read again."""

from __future__ import annotations

import errno
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zlib_ng.zlib_ng import crc32, crc32_combine

from sesrelay.store.segments import SYSTEM_DISK, Disk
from sesrelay.store.spool import HEADER_GROWTH, SpoolWriter, mapped, put_header


@given(st.binary(max_size=2000), st.binary(max_size=2000))
def test_the_checksum_of_two_strings_together_follows_from_that_of_each(first: bytes, second: bytes) -> None:
    combined = crc32_combine(crc32(first), crc32(second), len(second))
    assert combined == crc32(second, crc32(first)) == zlib.crc32(first + second)


@given(st.binary(max_size=50), st.sampled_from([0, 1, 65_535, 65_536, 10_485_760]))
def test_the_checksum_combines_over_long_strings_as_well(first: bytes, length: int) -> None:
    second = bytes(length)
    assert crc32_combine(zlib.crc32(first), zlib.crc32(second), length) == zlib.crc32(second, zlib.crc32(first))


@given(
    header=st.binary(max_size=5000),
    chunks=st.lists(st.binary(max_size=5000), max_size=10),
    final=st.binary(max_size=5000),
)
def test_the_final_header_ends_where_the_body_begins(
    header: bytes, chunks: list[bytes], final: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("spool") / "a.000001.spool"
    writer = SpoolWriter(path, header)
    for chunk in chunks:
        writer.write(chunk)
    spooled = writer.finish()
    body = b"".join(chunks)
    assert (spooled.header, spooled.body_length, spooled.body_crc32) == (header, len(body), zlib.crc32(body))
    offset = put_header(replace(spooled, header=final), SYSTEM_DISK)
    assert path.read_bytes()[offset:] == final + body


def test_the_reserved_room_takes_a_header_that_grew_and_no_more(tmp_path: Path) -> None:
    header = b"h" * 70_000
    spooled = SpoolWriter(tmp_path / "a.000001.spool", header).finish()
    put_header(replace(spooled, header=header + b"x" * HEADER_GROWTH), SYSTEM_DISK)
    with pytest.raises(OSError, match="in room for"):
        put_header(replace(spooled, header=b"x" * (spooled.reserved + 1)), SYSTEM_DISK)


def test_a_spooled_body_is_read_from_where_it_begins(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "a.000001.spool", b"A: b\r\n\r\n")
    writer.write(b"body")
    spooled = writer.finish()
    with mapped(spooled) as octets:
        assert octets[spooled.reserved :] == b"body"
    writer.discard()
    with pytest.raises(OSError, match="No such file"), mapped(spooled):
        pass


def test_a_message_that_is_not_wanted_leaves_no_file(tmp_path: Path) -> None:
    half = SpoolWriter(tmp_path / "a.000001.spool", b"\r\n")
    half.write(b"x")
    half.discard()
    whole = SpoolWriter(tmp_path / "a.000002.spool", b"\r\n")
    whole.finish()
    whole.discard()
    whole.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_to_whoever_brings_the_message(tmp_path: Path) -> None:
    def full(_descriptor: int, _buffers: Sequence[bytes | memoryview]) -> int:
        raise OSError(errno.ENOSPC, "injected")

    writer = SpoolWriter(tmp_path / "a.000001.spool", b"\r\n", Disk(write=full))
    with pytest.raises(OSError, match="injected"):
        writer.write(b"x")
    writer.discard()
    assert list(tmp_path.iterdir()) == []
