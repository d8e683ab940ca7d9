"""What an operator changes about a user counts at the next message of every open session, in every worker."""

from __future__ import annotations

import json
import smtplib
from pathlib import Path
from typing import Any

import pytest

from tests.standins.next_hop import NextHop
from tests.standins.relay import DOMAIN, RelayStandIn
from tests.standins.senders import connect

SESSIONS = 8
"""Enough that each of two workers has some, whatever the kernel does."""


def send(session: smtplib.SMTP, recipient: str) -> tuple[int, bytes]:
    """The reply to the final dot."""
    for verb, argument in (("mail", f"FROM:<app@{DOMAIN}>"), ("rcpt", f"TO:<{recipient}>")):
        assert session.docmd(verb, argument)[0] == 250
    return session.data(f"From: App <app@{DOMAIN}>\r\nSubject: x\r\n\r\nx\r\n")


def policy(folder: Path, **statement: Any) -> str:
    path = folder / "policy.json"
    allow = {"Effect": "Allow", "Action": "ses:SendRawEmail", "Resource": "*"}
    path.write_text(json.dumps({"Version": "2012-10-17", "Statement": [allow | statement]}))
    return str(path)


def login_answer(relay: RelayStandIn) -> tuple[int, bytes | str]:
    """What a new session gets for its login."""
    try:
        connect(relay).close()
    except smtplib.SMTPAuthenticationError as refused:
        return refused.smtp_code, refused.smtp_error
    return 235, b""


@pytest.mark.timeout(300)
def test_policies_and_deletion_count_at_the_next_message_and_login(database_url: str, tmp_path: Path) -> None:
    with NextHop() as hop, RelayStandIn(tmp_path, next_hop=hop.port, database=database_url, workers=2) as relay:
        shown, listed = relay.commands([["account", "show"], ["user", "list"]])
        account, user = shown["account_id"], listed[0]["user_name"]
        sessions = [connect(relay) for _ in range(SESSIONS)]
        assert {send(session, "to@us.example")[0] for session in sessions} == {250}

        to_us = {"ForAllValues:StringLike": {"ses:Recipients": "*@us.example"}}
        relay.command("policy", "set", user, "--file", policy(tmp_path, Condition=to_us))
        assert {send(session, "to@us.example")[0] for session in sessions} == {250}
        denied = (
            f"Access denied: User `arn:aws:iam::{account}:user/{user}' is not authorized to perform "
            f"`ses:SendRawEmail' on resource `arn:aws:ses:us-east-1:{account}:identity/{DOMAIN}'"
        )
        assert {send(session, "to@them.example") for session in sessions} == {(554, denied.encode())}

        elsewhere = {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}
        relay.command("policy", "set", user, "--file", policy(tmp_path, Condition=elsewhere))
        no = (535, b"User not authorized to call the SES SMTP endpoint")
        assert {login_answer(relay) for _ in range(SESSIONS)} == {no}

        relay.command("policy", "set", user, "--file", policy(tmp_path))
        assert {send(session, "to@them.example")[0] for session in sessions} == {250}
        relay.command("credentials", "delete", user)
        gone = (554, b"Access denied: User is not authorized to perform `ses:SendRawEmail'")
        assert {send(session, "to@us.example") for session in sessions} == {gone}
        for session in sessions:
            session.close()
