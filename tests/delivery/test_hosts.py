"""Which hosts are tried, in which order, and what is a final no."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sesrelay.delivery.hosts import HostFinder, NoHostError
from tests.delivery.kit import Names, TestRoute

MX = TestRoute(kind="mx")


async def hosts(
    domain: str, names: Names, route: TestRoute = MX, chance: Callable[[], float] = lambda: 0.5
) -> list[str]:
    own = HostFinder(names, 25, frozenset({"relay.example.net"}), frozenset({"192.0.2.99"}), chance)
    return [str(host) async for host in own.hosts(route, domain)]


async def refusal(domain: str, names: Names, route: TestRoute = MX) -> NoHostError:
    with pytest.raises(NoHostError) as caught:
        await hosts(domain, names, route)
    return caught.value


async def test_exchangers_come_in_the_order_of_their_preference() -> None:
    names = Names(
        {"example.org": [(20, "b.test"), (10, "a.test")]},
        {"a.test": ["192.0.2.1", "2001:db8::1"], "b.test": ["192.0.2.2"]},
    )
    assert await hosts("example.org", names) == [
        "a.test [192.0.2.1]:25",
        "a.test [2001:db8::1]:25",
        "b.test [192.0.2.2]:25",
    ]


async def test_exchangers_of_one_preference_share_the_load_by_chance() -> None:
    names = Names({"example.org": [(10, "a.test"), (10, "b.test")]}, {"a.test": ["192.0.2.1"], "b.test": ["192.0.2.2"]})
    throws = iter((0.9, 0.1))
    found = await hosts("example.org", names, chance=lambda: next(throws))
    assert [host.split()[0] for host in found] == ["b.test", "a.test"]


async def test_without_mx_the_domain_itself_is_the_host() -> None:
    assert await hosts("example.org", Names(hosts={"example.org": ["192.0.2.1"]})) == ["example.org [192.0.2.1]:25"]


async def test_a_null_mx_is_a_final_no() -> None:
    no = await refusal("example.org", Names({"example.org": [(0, "")]}))
    assert no.permanent
    assert no.trouble.startswith("556 5.1.10 ")


async def test_a_domain_that_does_not_exist_is_a_final_no() -> None:
    no = await refusal("example.org", Names())
    assert no.permanent
    assert no.trouble == "550 5.4.4 Invalid domain example.org"


async def test_a_silent_dns_is_no_no() -> None:
    names = Names({"example.org": [(10, "a.test")]})
    names.away = True
    assert not (await refusal("example.org", names)).permanent


async def test_an_exchanger_that_does_not_exist_may_come_back() -> None:
    assert not (await refusal("example.org", Names({"example.org": [(10, "a.test")]}))).permanent


async def test_a_dead_exchanger_does_not_hide_the_next() -> None:
    names = Names({"example.org": [(10, "gone.test"), (20, "b.test")]}, {"b.test": ["192.0.2.2"]})
    assert await hosts("example.org", names) == ["b.test [192.0.2.2]:25"]


async def test_of_two_useless_exchangers_the_one_that_may_come_back_decides() -> None:
    names = Names({"example.org": [(10, "gone.test"), (20, "empty.test")]}, {"empty.test": []})
    assert not (await refusal("example.org", names)).permanent


async def test_we_are_an_exchanger_so_only_better_ones_are_tried() -> None:
    names = Names(
        {"example.org": [(10, "a.test"), (20, "relay.example.net"), (30, "c.test")]},
        {"a.test": ["192.0.2.1"], "c.test": ["192.0.2.3"]},
    )
    assert await hosts("example.org", names) == ["a.test [192.0.2.1]:25"]


@pytest.mark.parametrize("exchanger", ["relay.example.net", "other.test"])
async def test_mail_that_would_come_back_to_us_is_a_final_no(exchanger: str) -> None:
    no = await refusal("example.org", Names({"example.org": [(10, exchanger)]}, {"other.test": ["192.0.2.99"]}))
    assert no.permanent
    assert no.trouble.startswith("554 5.4.6 ")


@pytest.mark.parametrize(
    ("domain", "host"),
    [
        ("[192.0.2.1]", "192.0.2.1 [192.0.2.1]:25"),
        ("[IPv6:2001:db8::1]", "2001:db8::1 [2001:db8::1]:25"),
        ("[ipv6:2001:db8::1]", "2001:db8::1 [2001:db8::1]:25"),
    ],
)
async def test_an_address_literal_is_its_own_host(domain: str, host: str) -> None:
    assert await hosts(domain, Names()) == [host]


async def test_a_wrong_literal_is_a_final_no() -> None:
    assert (await refusal("[192.0.2.300]", Names())).permanent


async def test_a_smart_host_has_its_own_port_and_no_exchangers() -> None:
    names = Names({"smart.test": [(10, "wrong.test")]}, {"smart.test": ["192.0.2.1", "192.0.2.99"]})
    route = TestRoute(host="smart.test", port=2526)
    assert await hosts("example.org", names, route) == ["smart.test [192.0.2.1]:2526", "smart.test [192.0.2.99]:2526"]
    assert names.asked == []


async def test_a_smart_host_that_is_not_found_is_never_held_against_the_mail() -> None:
    route = TestRoute(host="smart.test", port=2526)
    assert not (await refusal("example.org", Names(), route)).permanent
    assert not (await refusal("example.org", Names(hosts={"smart.test": []}), route)).permanent


async def test_hosts_are_looked_up_only_as_far_as_they_are_needed() -> None:
    names = Names({"example.org": [(10, "a.test"), (20, "b.test")]}, {"a.test": ["192.0.2.1"]})
    finder = HostFinder(names, 25, frozenset(), frozenset(), lambda: 0.5)
    found = finder.hosts(MX, "example.org")
    assert (await anext(found)).name == "a.test"
    await found.aclose()  # type: ignore[attr-defined]
