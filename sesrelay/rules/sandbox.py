"""Whom an account in the sandbox may write to, and what is the mailbox simulator's (LIM-1, LIM-4, SIM-1)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sesrelay.model.account import VerifiedIdentities
from sesrelay.model.address import domain_of
from sesrelay.rules.verification import covering_identity

_AMAZON: Final = "simulator.amazonses.com"


class SimulatorBox(StrEnum):
    """The simulator's mailboxes; every other address at its domains is ``OTHER``."""

    SUCCESS = "success"
    BOUNCE = "bounce"
    OUT_OF_OFFICE = "ooto"
    COMPLAINT = "complaint"
    SUPPRESSED = "suppressionlist"
    OTHER = ""


_BOXES: Final = {box.value: box for box in SimulatorBox}


def simulator_domains(service_domain: str) -> frozenset[str]:
    """The domains of the simulator: Amazon's, so that today's tests work unchanged, and the relay's own."""
    return frozenset((_AMAZON, f"simulator.{service_domain.lower()}"))


def is_simulated(address: str, domains: frozenset[str]) -> bool:
    """Whether mail to this address stays in the relay and is played by the simulator."""
    return domain_of(address) in domains


def simulator_box(address: str, domains: frozenset[str]) -> SimulatorBox | None:
    """Which box of the simulator an address is, without regard to case and label; None: not the simulator's."""
    if not is_simulated(address, domains):
        return None
    box, _, _ = address.rpartition("@")[0].lower().partition("+")
    return _BOXES.get(box, SimulatorBox.OTHER)


def forbidden_in_sandbox(
    recipients: tuple[str, ...], verified: VerifiedIdentities, simulator: frozenset[str]
) -> list[str]:
    """The recipients that an account in the sandbox may not write to, in order, as spelled."""
    return [
        address
        for address in dict.fromkeys(recipients)
        if not is_simulated(address, simulator) and covering_identity(address, verified) is None
    ]
