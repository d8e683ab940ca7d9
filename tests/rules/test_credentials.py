from __future__ import annotations

import pytest

from sesrelay.rules.credentials import password_matches, smtp_password, smtp_password_v4

EXAMPLE = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    ("secret", "password"),
    [
        ("some+secret+key", "AnkqhOiWEcszZZzTMCQbOY1sPGoLFgMH9zhp4eNgSjo4"),
        ("another+secret+key", "Akwqr0Giwi8FsQFgW3DXWCC2DiiQ/jZjqLDWK8TeTBgL"),
        (EXAMPLE, "An60U4ZD3sd4fg+FvXUjayOipTt8LO4rUUmhpdX6ctDy"),
    ],
)
def test_version_2_is_what_ses_derives(secret: str, password: str) -> None:
    assert smtp_password(secret) == password
    assert password_matches(secret, "anywhere-1", password.encode())


@pytest.mark.parametrize(
    ("secret", "region", "password"),
    [
        ("some+secret+key", "eu-central-1", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2"),
        ("another+secret+key", "eu-central-1", "BBbphbrQmrKMx42d1N6+C7VINYEBGI5v9VsZeTxwskfh"),
        ("some+secret+key", "us-west-1", "BH+jbMzper5WwlwUar9E1ySBqHa9whi0GPo+sJ0mVYJj"),
        ("another+secret+key", "us-west-1", "BKVmjjMDFk/qqw8EROW99bjCS65PF8WKvK5bSr4Y6EqF"),
        (EXAMPLE, "us-east-1", "BLBM/9hSUELfq8Gw+rU1YcBjkOxGbhT2XG763xVLGWL9"),
        (EXAMPLE, "us-west-2", "BF2PynzbSCAjX08zhZZnP/kW+T9P5zs/1Er0pi5vTEmd"),
        (EXAMPLE, "eu-west-1", "BMW5RDrXmmVs0lV7GpI4oLkHXpZ4stDsk6q91z1g38Pk"),
    ],
)
def test_version_4_is_what_ses_derives_and_opens_its_own_region_only(secret: str, region: str, password: str) -> None:
    assert smtp_password_v4(secret, region) == password
    assert password_matches(secret, region, password.encode())
    assert not password_matches(secret, "ap-south-1", password.encode())


@pytest.mark.parametrize("wrong", [b"", b"wrong", EXAMPLE.encode(), smtp_password(EXAMPLE).lower().encode(), b"\xff\0"])
def test_nothing_else_opens(wrong: bytes) -> None:
    assert not password_matches(EXAMPLE, "us-east-1", wrong)
