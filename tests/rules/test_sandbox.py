from __future__ import annotations

import pytest

from sesrelay.model.account import VerifiedIdentities
from sesrelay.rules.sandbox import SimulatorBox, forbidden_in_sandbox, is_simulated, simulator_box, simulator_domains

SIMULATOR = simulator_domains("Relay.Example.net")


@pytest.mark.parametrize(
    ("address", "box"),
    [
        ("success@simulator.amazonses.com", SimulatorBox.SUCCESS),
        ("BOUNCE@Simulator.AmazonSES.com", SimulatorBox.BOUNCE),
        ("bounce+any.thing@simulator.amazonses.com", SimulatorBox.BOUNCE),
        ("bounce-label@simulator.amazonses.com", SimulatorBox.OTHER),
        ("ooto@simulator.relay.example.net", SimulatorBox.OUT_OF_OFFICE),
        ("complaint@SIMULATOR.relay.example.net", SimulatorBox.COMPLAINT),
        ("suppressionlist+1@simulator.relay.example.net", SimulatorBox.SUPPRESSED),
        ("hi@simulator.amazonses.com", SimulatorBox.OTHER),
        ("success@amazonses.com", None),
        ("success@sub.simulator.amazonses.com", None),
        ("success@simulator.example.net", None),
        ("success", None),
    ],
)
def test_the_simulators_boxes(address: str, box: SimulatorBox | None) -> None:
    assert simulator_box(address, SIMULATOR) is box
    assert is_simulated(address, SIMULATOR) == (box is not None)


def test_in_the_sandbox_recipients_are_verified_or_simulated() -> None:
    verified = VerifiedIdentities(frozenset({"me@example.com"}), frozenset({"own.example"}))
    recipients = (
        "a@x.example",
        "me+1@example.com",
        "b@sub.own.example",
        "bounce@simulator.amazonses.com",
        "a@x.example",
    )
    assert forbidden_in_sandbox(recipients, verified, SIMULATOR) == ["a@x.example"]
