"""The relay's memory, and the only place with SQL in it."""

from sesrelay.store.accepting import Accepted, AcceptOrder, Judge
from sesrelay.store.database import StoreOptions
from sesrelay.store.looking import look
from sesrelay.store.migrating import migrate
from sesrelay.store.store import Store
from sesrelay.store.transaction import Transaction

__all__ = ["AcceptOrder", "Accepted", "Judge", "Store", "StoreOptions", "Transaction", "look", "migrate"]
