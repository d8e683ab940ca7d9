"""Users, groups and policies on a real store: names, limits, what is shown, what a simulation knows."""

from __future__ import annotations

import os

import pytest
from sqlalchemy import insert

from sesrelay.core import accounts, credentials, identities, policies, users
from sesrelay.model.failure import Failed
from sesrelay.model.policy import Owner
from sesrelay.rules.mailboxes import Mailbox
from sesrelay.rules.permission import Request
from sesrelay.rules.policy import Verdict, permissions_of
from sesrelay.store import Store, facts
from sesrelay.store import users as stored
from sesrelay.store.keyring import new_keyring
from sesrelay.store.schema import access_keys
from sesrelay.store.transaction import Transaction
from tests.core.fakes import ACCOUNT, REGION
from tests.rules.test_policy import statement, text

KEYRING = new_keyring(os.urandom)
SENDS = text(statement())
OTHER = "210987654321"


@pytest.fixture
async def opened(store: Store) -> Store:
    def prepare(tx: Transaction) -> None:
        accounts.create(tx, ACCOUNT, "owner@example.com", (REGION,))
        accounts.create(tx, OTHER, "other@example.com", (REGION,))
        for name in ("ada", "bob"):
            users.create(tx, ACCOUNT, name)
        users.create_group(tx, ACCOUNT, "Staff")

    await store.write(prepare)
    return store


def make_key(tx: Transaction, user_name: str | None, account_id: str = ACCOUNT, **options: bool) -> str:
    key = credentials.new_key(os.urandom)
    return credentials.create(
        tx, account_id, user_name, key, keyring=KEYRING, chance=os.urandom, **options
    ).access_key_id


async def test_facts_have_every_policy_of_each_key_s_user(opened: Store) -> None:
    def arrange(tx: Transaction) -> list[str]:
        keys = [make_key(tx, "ada"), make_key(tx, "ada"), make_key(tx, "bob", api=True), make_key(tx, "off")]
        credentials.switch(tx, ACCOUNT, keys[3], credentials.KeyStatus.INACTIVE)
        make_key(tx, "ada", OTHER)
        users.add_to_group(tx, ACCOUNT, "Staff", "ada")
        policies.put(tx, ACCOUNT, Owner("Staff", is_group=True), "House", SENDS)
        policies.put(tx, OTHER, Owner("ada"), "Elsewhere", SENDS)
        policies.put(tx, ACCOUNT, Owner("ada"), "Extra", SENDS)
        return keys

    first, second, third, _ = await opened.write(arrange)
    holders = (await opened.read(lambda tx: facts.load(tx, ACCOUNT, REGION))).active_keys
    assert set(holders) == {first, second, third}
    assert holders[first] is holders[second]
    assert (holders[first].user_name, holders[third].user_name) == ("ada", "bob")
    assert [(one.name, one.group) for one in holders[first].documents] == [
        ("AmazonSesSendingAccess", ""),
        ("Extra", ""),
        ("House", "Staff"),
    ]
    assert [one.name for one in holders[third].documents] == ["AmazonSESFullAccess"]
    assert list(holders[first].documents) == await opened.read(
        lambda tx: policies.show(tx, ACCOUNT, Owner("ada"), None)[1]
    )


async def test_a_user_has_ten_policies_and_ten_groups_at_most(opened: Store) -> None:
    def fill(tx: Transaction) -> None:
        for number in range(10):
            policies.put(tx, ACCOUNT, Owner("ada"), f"p{number}", SENDS)
            policies.put(tx, ACCOUNT, Owner("Staff", is_group=True), f"p{number}", SENDS)
            users.create_group(tx, ACCOUNT, f"g{number}")
            users.add_to_group(tx, ACCOUNT, f"g{number}", "ada")

    await opened.write(fill)
    with pytest.raises(Failed, match="user ada has 10 policies already"):
        await opened.write(lambda tx: policies.put(tx, ACCOUNT, Owner("ada"), "p", SENDS))
    with pytest.raises(Failed, match="group Staff has 10 policies already"):
        await opened.write(lambda tx: policies.put(tx, ACCOUNT, Owner("staff", is_group=True), "p", SENDS))
    with pytest.raises(Failed, match="user ada is in 10 groups already"):
        await opened.write(lambda tx: users.add_to_group(tx, ACCOUNT, "Staff", "ada"))
    replaced = await opened.write(lambda tx: policies.put(tx, ACCOUNT, Owner("ADA"), "p3", SENDS))
    assert (replaced.replaced, replaced.owner.name) == (True, "ada")


async def test_deleting_leaves_nothing_behind_for_the_next_of_that_name(opened: Store) -> None:
    def arrange(tx: Transaction) -> None:
        policies.put(tx, ACCOUNT, Owner("ada"), None, SENDS)
        policies.put(tx, ACCOUNT, Owner("Staff", is_group=True), None, SENDS)
        users.add_to_group(tx, ACCOUNT, "Staff", "ada")
        users.delete(tx, ACCOUNT, "ada")
        users.delete_group(tx, ACCOUNT, "Staff")
        users.create(tx, ACCOUNT, "ada")
        users.create_group(tx, ACCOUNT, "Staff")

    await opened.write(arrange)
    ada = await opened.read(lambda tx: users.show(tx, ACCOUNT, "ada"))
    staff = await opened.read(lambda tx: users.show_group(tx, ACCOUNT, "staff"))
    assert (ada.policies, ada.groups, staff.users, staff.policies) == ((), (), (), ())


async def test_lists_come_in_pages(opened: Store) -> None:
    pages = (users.page, users.page_of_groups)
    for page, names in zip(pages, (["ada", "bob"], ["Staff"]), strict=True):
        found, after = await opened.read(lambda tx, page=page: page(tx, ACCOUNT, None))
        assert [getattr(one, "user_name", None) or one.group_name for one in found] == names
        assert await opened.read(lambda tx, page=page, after=after: page(tx, ACCOUNT, after)) == ([], None)


async def test_credentials_give_a_policy_only_to_who_has_none(opened: Store) -> None:
    def arrange(tx: Transaction) -> None:
        policies.put(tx, ACCOUNT, Owner("Staff", is_group=True), "House", text(statement("Deny")))
        users.add_to_group(tx, ACCOUNT, "Staff", "bob")
        for name in ("ada", "bob", None):
            make_key(tx, name)

    await opened.write(arrange)
    listed = await opened.read(lambda tx: users.page(tx, ACCOUNT, None)[0])
    assert [user.policies for user in listed] == [("AmazonSesSendingAccess",), (), ("AmazonSesSendingAccess",)]
    assert not await opened.read(lambda tx: policies.never_sends(tx, ACCOUNT, "ada"))
    assert await opened.read(lambda tx: policies.never_sends(tx, ACCOUNT, "bob"))


async def test_a_key_without_a_user_can_send_nothing_and_be_deleted(opened: Store) -> None:
    """What an older version may have left behind when a key was made and its user deleted at the same moment."""

    def orphan(tx: Transaction) -> str:
        key = make_key(tx, "ada")
        stored.delete_user(tx, ACCOUNT, "ada")
        tx.change(insert(access_keys).values(_row(key)))
        return key

    key = await opened.write(orphan)
    holder = (await opened.read(lambda tx: facts.load(tx, ACCOUNT, REGION))).active_keys[key]
    assert holder.documents == ()
    assert not permissions_of(holder).may_always_send
    await opened.write(lambda tx: credentials.delete(tx, ACCOUNT, key))
    assert await opened.read(lambda tx: credentials.list_keys(tx, ACCOUNT)) == []


def _row(access_key_id: str) -> dict[str, object]:
    whose = {"account_id": ACCOUNT, "user_name": "ada", "status": "Active"}
    return {"access_key_id": access_key_id, "master_key_id": "m", "nonce": b"n", "secret": b"s", **whose}


async def test_a_simulation_knows_the_region_s_identities(opened: Store) -> None:
    def arrange(tx: Transaction) -> None:
        identities.add(tx, ACCOUNT, REGION, "example.com", verified=True, most=9, chance=os.urandom)
        here = statement(resource=f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/example.com")
        policies.put(tx, ACCOUNT, Owner("ada"), None, text(here))

    await opened.write(arrange)
    for address, verdict in (("a@mail.example.com", Verdict.YES), ("a@example.org", Verdict.NO)):
        mailbox = (Mailbox(address, address),)
        request = Request(authors=mailbox, others=mailbox, recipients=("x@y.example",), client_address="::1", at=0)
        (decided,) = await opened.read(lambda tx, asked=request: policies.simulate(tx, ACCOUNT, REGION, "ada", asked))
        assert decided.decision.verdict is verdict
    with pytest.raises(Failed, match="is not known in region eu-west-1"):
        await opened.read(lambda tx: policies.simulate(tx, ACCOUNT, "eu-west-1", "ada", Request()))


async def test_what_cannot_be_set_changes_nothing(opened: Store) -> None:
    for account_id, owner, name, document in (
        (ACCOUNT, Owner("ada"), "a b", SENDS),
        (ACCOUNT, Owner("nobody"), None, SENDS),
        (ACCOUNT, Owner("Nowhere", is_group=True), None, SENDS),
        ("1", Owner("ada"), None, SENDS),
        (ACCOUNT, Owner("ada"), None, "{"),
    ):
        with pytest.raises(Failed):
            await opened.write(lambda tx, a=account_id, o=owner, n=name, d=document: policies.put(tx, a, o, n, d))
    assert await opened.read(lambda tx: policies.show(tx, ACCOUNT, Owner("ada"), None)) == (Owner("ada"), [])
