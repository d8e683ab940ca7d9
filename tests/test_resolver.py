"""The resolver against a name server: what is a fact about a name and what is none, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from sesrelay import resolver
from sesrelay.resolver import DnsTroubleError, Mx, NoSuchNameError, Resolver
from tests.clock import FakeClock
from tests.standins.nameserver import NameServer

TABLE = {
    ("example.org", "MX"): ["20 B.example.org.", "10 a.example.org."],
    ("null.test", "MX"): ["0 ."],
    ("a.example.org", "A"): ["192.0.2.1", "192.0.2.2"],
    ("a.example.org", "AAAA"): ["2001:db8::1"],
    ("v4.test", "A"): ["192.0.2.3"],
    ("text.test", "TXT"): ['"one " "two"', '"three"'],
}


def test_answers_are_read_best_first_and_in_lower_case(runner: asyncio.Runner, clock: FakeClock) -> None:
    async def story() -> None:
        async with NameServer(TABLE) as server:
            asker = Resolver([server.address], clock)
            assert await asker.mx("Example.ORG.") == (Mx(10, "a.example.org"), Mx(20, "b.example.org"))
            assert await asker.mx("null.test") == (Mx(0, ""),)
            assert await asker.mx("v4.test") == ()
            addresses = await asker.addresses("a.example.org")  # within a family the server's order, which changes
            assert set(addresses[:2]) == {"192.0.2.1", "192.0.2.2"}
            assert addresses[2:] == ("2001:db8::1",)
            assert await asker.addresses("v4.test") == ("192.0.2.3",)
            assert await asker.addresses("example.org") == ()
            assert set(await asker.txt("text.test")) == {"one two", "three"}

    runner.run(story())


async def test_a_name_that_does_not_exist_is_a_fact(clock: FakeClock) -> None:
    async with NameServer(TABLE) as server:
        asker = Resolver([server.address], clock)
        for _ in range(2):
            with pytest.raises(NoSuchNameError):
                await asker.mx("gone.test")
        assert server.asked["gone.test", "MX"] == 1
        with pytest.raises(NoSuchNameError):
            await asker.addresses("gone.test")


@pytest.mark.parametrize("name", ["a..b.test", "x" * 64 + ".test", ".".join(["abcdefgh"] * 40)])
async def test_what_cannot_be_a_name_does_not_exist(clock: FakeClock, name: str) -> None:
    with pytest.raises(NoSuchNameError):
        await Resolver(["127.0.0.1:9"], clock).mx(name)


async def test_a_server_that_fails_says_nothing_about_the_name(clock: FakeClock) -> None:
    async with NameServer(TABLE) as server:
        server.failing.add("example.org")
        asker = Resolver([server.address], clock)
        with pytest.raises(DnsTroubleError):
            await asker.mx("example.org")
        server.failing.clear()
        assert len(await asker.mx("example.org")) == 2


async def test_a_silent_server_says_nothing_about_the_name(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "LOOKUP_SECONDS", 0.1)
    async with NameServer(TABLE) as server:
        server.silent.add("example.org")
        with pytest.raises(DnsTroubleError):
            await Resolver([server.address], clock).mx("example.org")


async def test_one_family_that_fails_does_not_hide_the_other(clock: FakeClock) -> None:
    class Half(Resolver):
        async def _ask(self, name: str, kind: str) -> tuple[str, ...]:
            if kind == "AAAA":
                raise DnsTroubleError(name)
            return ("192.0.2.1",) if name == "well.test" else ()

    asker = Half([], clock)
    assert await asker.addresses("well.test") == ("192.0.2.1",)
    with pytest.raises(DnsTroubleError):
        await asker.addresses("unknown.test")


async def test_answers_are_kept_for_their_time(clock: FakeClock) -> None:
    async with NameServer(TABLE, ttl=100) as server:
        asker = Resolver([server.address], clock)
        for _ in range(3):
            await asker.mx("example.org")
        clock.move(99)
        await asker.mx("EXAMPLE.org")
        assert server.asked["example.org", "MX"] == 1
        clock.move(2)
        await asker.mx("example.org")
        assert server.asked["example.org", "MX"] == 2


async def test_the_longest_ttl_is_bounded(clock: FakeClock) -> None:
    async with NameServer(TABLE, ttl=10_000_000) as server:
        asker = Resolver([server.address], clock)
        await asker.mx("example.org")
        clock.move(resolver.LONGEST_SECONDS + 1)
        await asker.mx("example.org")
        assert server.asked["example.org", "MX"] == 2


async def test_the_cache_has_a_bound(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "CACHED_ANSWERS", 2)
    async with NameServer(TABLE) as server:
        asker = Resolver([server.address], clock)
        for name in ("example.org", "null.test", "v4.test", "example.org"):
            await asker.mx(name)
        assert server.asked["example.org", "MX"] == 2


async def test_an_operators_host_is_found_by_the_machines_own_means(clock: FakeClock) -> None:
    assert "127.0.0.1" in await Resolver([], clock).system_addresses("localhost")
    async with NameServer({("smart.test", "A"): ["192.0.2.7"]}) as server:
        asker = Resolver([server.address], clock)
        assert await asker.system_addresses("smart.test") == ("192.0.2.7",)
        assert "127.0.0.1" in await asker.system_addresses("localhost")


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:5353", "192.0.2.1", 5353),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]:5353", "2001:db8::1", 5353),
    ],
)
def test_servers_are_written_with_or_without_a_port(text: str, address: str, port: int) -> None:
    server = resolver._server(text)
    assert (server.address, server.port) == (address, port)


ZONE = {
    ("shop.test", "NS"): ["ns1.shop.test.", "ns2.shop.test."],
    ("ns1.shop.test", "A"): ["127.0.0.1"],
    ("ns2.shop.test", "A"): ["127.0.0.2"],
}
"""What the usual server knows: where the zone is."""
RECORD = ("_amazonses.shop.test", "TXT")


async def published(usual: NameServer, port: int, clock: FakeClock, name: str = RECORD[0]) -> tuple[str, ...] | str:
    try:
        return tuple(sorted(await Resolver([usual.address], clock, owners_port=port).published_txt(name)))
    except (DnsTroubleError, NoSuchNameError) as fault:
        return type(fault).__name__


async def test_a_domains_own_servers_say_what_is_there_now(clock: FakeClock) -> None:
    async with (
        NameServer(ZONE) as usual,
        NameServer({RECORD: ['"old"']}) as first,
        NameServer({RECORD: ['"new" "er"']}, at=("127.0.0.2", first.port)) as second,
    ):
        assert await published(usual, first.port, clock) == ("newer", "old")
        first.failing.add(RECORD[0])
        assert await published(usual, first.port, clock) == ("newer",)
        second.table.clear()
        assert await published(usual, first.port, clock) == ()
        second.failing.add(RECORD[0])
        assert await published(usual, first.port, clock) == "DnsTroubleError"
    assert RECORD not in usual.asked


async def test_only_its_own_server_may_say_that_there_is_nothing(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "OWNER_SECONDS", 1.0)
    async with NameServer(ZONE) as usual, NameServer({}) as own:
        assert await published(usual, own.port, clock) == ()
        own.authoritative = False
        assert await published(usual, own.port, clock) == "DnsTroubleError"
        own.table[RECORD] = ['"there"']
        assert await published(usual, own.port, clock) == ("there",)


async def test_where_no_own_server_can_be_reached_the_usual_one_is_asked(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "OWNER_SECONDS", 0.1)
    async with NameServer(ZONE) as usual, NameServer({}) as own:
        own.silent.add(RECORD[0])
        assert await published(usual, own.port, clock) == "NoSuchNameError"
        usual.table[RECORD] = ['"there"']
        assert await published(usual, own.port, clock) == ("there",)
        usual.failing.add(RECORD[0])
        assert await published(usual, own.port, clock) == "DnsTroubleError"


async def test_a_name_whose_zone_nobody_knows_is_asked_of_the_usual_server(clock: FakeClock) -> None:
    async with NameServer({("_amazonses.lone.test", "TXT"): ['"there"']}) as usual:
        assert await published(usual, 9, clock, "_amazonses.lone.test") == ("there",)
        assert await published(usual, 9, clock, "_amazonses.none.test") == "NoSuchNameError"


async def test_a_cname_is_followed_into_its_own_zone_but_not_for_ever(clock: FakeClock) -> None:
    usual_table = {
        **{("a.test", "NS"): ["ns.a.test."], ("ns.a.test", "A"): ["127.0.0.1"]},
        **{("b.test", "NS"): ["ns.b.test."], ("ns.b.test", "A"): ["127.0.0.2"]},
        # the name is no zone, although what it stands for is one
        ("_amazonses.a.test", "CNAME"): ["b.test."],
    }
    first_table = {("_amazonses.a.test", "CNAME"): ["x.b.test."], ("loop.a.test", "CNAME"): ["loop.b.test."]}
    second_table = {("x.b.test", "TXT"): ['"there"'], ("loop.b.test", "CNAME"): ["loop.a.test."]}
    async with (
        NameServer(usual_table) as usual,
        NameServer(first_table) as first,
        NameServer(second_table, at=("127.0.0.2", first.port)),
    ):
        assert await published(usual, first.port, clock, "_amazonses.a.test") == ("there",)
        assert await published(usual, first.port, clock, "loop.a.test") == "DnsTroubleError"


@pytest.mark.parametrize("name", ["a..b.test", "x" * 64 + ".test"])
async def test_what_cannot_be_a_name_has_no_values(clock: FakeClock, name: str) -> None:
    with pytest.raises(NoSuchNameError):
        await Resolver(["127.0.0.1:9"], clock).published_txt(name)


async def test_a_question_has_an_end_however_many_servers_are_slow(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "PUBLISHED_SECONDS", 0.1)
    async with NameServer(ZONE) as usual, NameServer({}) as own:
        own.silent.add(RECORD[0])
        assert await published(usual, own.port, clock) == "DnsTroubleError"
