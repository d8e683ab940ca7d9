"""One run of a command: the configuration, the store opened for as long as the command needs it, and what is meant
when account or region are left out.

A command works beside a running ``serve`` as well as without one: it is one more process on the same database.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from functools import cached_property, partial, wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from sesrelay import configuration
from sesrelay.core import accounts
from sesrelay.model.clock import Clock
from sesrelay.runtime.clock import chance, system_clock
from sesrelay.settings import Settings
from sesrelay.store import Store, StoreOptions, Transaction
from sesrelay.store.keyring import Keyring
from sesrelay.store.keyring import load as load_keyring

T = TypeVar("T")
C = TypeVar("C")
P = ParamSpec("P")


class Session:
    """What ``--config`` and the environment say, and the means to work on it."""

    def __init__(self, config: str | None) -> None:
        self.path = configuration.locate(config, os.environ)
        self.clock: Clock = system_clock()
        self.chance = chance

    @cached_property
    def settings(self) -> Settings:
        """The configuration. Raises BadConfiguration."""
        return configuration.load(self.path, os.environ)

    @cached_property
    def keyring(self) -> Keyring:
        """The master keys. Raises KeyringError, which is a StoreError."""
        return load_keyring(self.settings.keyring)

    def options(self, *, empty: bool = False) -> StoreOptions:
        """How the store is opened; this process takes no mail in hand. Raises BadConfiguration without a folder.

        ``empty``: there need not be a database in it.
        """
        configuration.check_folder(self.settings, self.path, empty=empty)
        return StoreOptions(
            database=self.settings.database,
            data_dir=self.settings.data_dir,
            node="cli",
            incarnation=f"cli-{chance(8).hex()}",
            keyring=self.keyring,
        )

    def run(self, story: Callable[[Store], Awaitable[T]]) -> T:
        """Opens the store, lets ``story`` work with it, closes it. Raises StoreError, BadConfiguration, OSError."""

        async def told() -> T:
            store = Store.open(self.options(), self.clock)
            await store.start()
            try:
                return await story(store)
            finally:
                await store.close()

        return asyncio.run(told())

    def write(self, verb: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One verb in one transaction that may write."""
        return self.run(lambda store: store.write(partial(_call, verb, args, kwargs)))

    def read(self, verb: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """One verb in one transaction that only reads."""
        return self.run(lambda store: store.read(partial(_call, verb, args, kwargs)))

    def walk(self, page: Callable[[Transaction, C | None], tuple[list[T], C | None]]) -> list[T]:
        """Everything that pages give, each read in a transaction of its own."""

        async def gather(store: Store) -> list[T]:
            found, after = await store.read(lambda tx: page(tx, None))
            while after is not None:
                more, after = await store.read(partial(_turn, page, after))
                found += more
            return found

        return self.run(gather)

    def account(self, given: str | None) -> str:
        """``--account``, or the only account there is. Failed: there is none such."""
        if given is None:
            return self.read(accounts.the_only_one)
        return self.read(lambda tx: accounts.known(tx, given))

    def region(self, given: str | None) -> str:
        """``--region``, or the only region that is configured. click.UsageError: not one of them, or several."""
        regions = self.settings.regions
        if given is None and len(regions) > 1:
            raise click.UsageError(f"there are several regions: say which one with --region ({', '.join(regions)})")
        if given is not None and given not in regions:
            raise click.UsageError(f"{given} is not one of the regions of {self.path} ({', '.join(regions)})")
        return given or regions[0]


def _call(verb: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], tx: Transaction) -> T:
    return verb(tx, *args, **kwargs)


def _turn(page: Callable[[Transaction, C | None], T], after: C, tx: Transaction) -> T:
    return page(tx, after)


def program() -> str:
    """How this program was called, as one would type it again."""
    called = Path(sys.argv[0])
    if called.name != "sesrelay" or shutil.which("sesrelay") == str(called):
        return "sesrelay"
    return relative(called)


def relative(path: Path) -> str:
    """A path as one would type it here: relative to the working folder when it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def pass_session(command: Callable[Concatenate[Session, P], T]) -> Callable[P, T]:
    """Gives a command its session; ``--config`` stands in front of the command, or behind it."""

    @click.option("--config", metavar="FILE", expose_value=False, hidden=True, callback=_config_behind)
    @wraps(command)
    def with_session(*args: P.args, **kwargs: P.kwargs) -> T:
        root = click.get_current_context().find_root()
        return command(Session(root.params.get("config")), *args, **kwargs)

    return with_session


def _config_behind(context: click.Context, _: click.Parameter, given: str | None) -> None:
    if given is not None:
        context.find_root().params["config"] = given


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
account_option = click.option("--account", "account_id", metavar="ID", help="The account; needed with several.")
region_option = click.option("--region", metavar="R", help="The region; needed with several.")


def pass_place(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command its session, and the account and region that are meant: said, or the only ones there are."""

    @account_option
    @region_option
    @pass_session
    @wraps(command)
    def at_place(session: Session, /, *, account_id: str | None, region: str | None, **kwargs: Any) -> None:
        where = session.region(region)
        command(session, account_id=session.account(account_id), region=where, **kwargs)

    return at_place
