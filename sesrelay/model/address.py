"""A mail address as the envelope has it: a local part and a domain, 7-bit, without display name."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """``local@domain``; the local part keeps its case (ID-2), compare domains by ``domain_key``."""

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def domain_key(self) -> str:
        """The domain as it is compared and looked up: lower case, without a final dot."""
        return self.domain.lower().rstrip(".")


def split(address: str) -> Address:
    """``a@b`` taken apart at its last ``@``; without one the domain is empty."""
    local, at, domain = address.rpartition("@")
    return Address(local, domain) if at else Address(address, "")


def domain_of(address: str) -> str:
    """The domain of an address as it is compared: lower case, no final dot; empty when there is none."""
    return address.rpartition("@")[2].lower().rstrip(".") if "@" in address else ""
