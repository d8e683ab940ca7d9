"""No secret is ever where somebody may read it: a whole journey, with everything going wrong, and then a search.

Real processes log in with right, wrong and malformed credentials, mail is accepted, refused and tried at a next hop,
login and acceptance raise; then stderr, metrics, the answers, the command lines and every file of the data folder are
searched for secret keys, passwords and tokens, in raw, base64 and percent form.
"""

from __future__ import annotations

import base64
import io
import json
import smtplib
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from sesrelay.fronts.cli.main import run
from tests.runtime.house import SENDER, House, until
from tests.standins.relay import free_port

TROUBLE = """
import pathlib
from sesrelay.core import accept, login

def raising_while_there_is(file, function):
    def stands_in(*arguments, **named):
        if pathlib.Path(file).exists():
            raise RuntimeError("injected: the database is away")
        return function(*arguments, **named)
    return stands_in

login.password_matches = raising_while_there_is({file!r}, login.password_matches)
accept.Acceptance.accept = raising_while_there_is({file!r}, accept.Acceptance.accept)
"""
WRONG = "Wr0ng-but-s0mebodys/Password+typed"
OWN_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYOURSECRETA"
NEXT_HOPS = "Sm4rt-h0st:passw/rd"


def plain(user: str, password: str) -> str:
    return base64.b64encode(f"\0{user}\0{password}".encode()).decode()


def forms(user: str, secret: str) -> set[bytes]:
    """How a secret may be written, whole or its beginning."""
    raw = secret.encode()
    return {
        raw, raw[:16], base64.b64encode(raw)[:20], raw.hex().encode(), quote(secret, safe="").encode(),
        repr(secret).encode()[1:-1], plain(user, secret).encode(), base64.b64encode(b"\0" + raw)[:20],
    }  # fmt: skip


def provoke(house: House, user: str, right: str) -> bytes:
    """Every AUTH that can go right or wrong; what the client was told."""
    heard = b""
    for line in (
        f"AUTH PLAIN {plain(user, WRONG)}", f"AUTH PLAIN {plain(right, user)}", f"AUTH PLAIN x {plain(user, right)}",
        f"AUTH PLAIN {plain(user, right)}!", plain(user, right), right, f"AUTH {right}", f"MAIL FROM:<{right}>",
        f"EHLO {right}", f"AUTH PLAIN {plain(user, right)}",
    ):  # fmt: skip
        with smtplib.SMTP_SSL("localhost", house.port("smtp-1"), context=house.trust()) as smtp:
            smtp.ehlo()
            code, text = smtp.docmd(line)
            heard += b"%d %b\n" % (code, text)
    for name, password in ((user, WRONG), (right, user), (user, right)):  # the second has taken one for the other
        with smtplib.SMTP_SSL("localhost", house.port("smtp-1"), context=house.trust()) as smtp:
            smtp.ehlo()
            smtp.docmd("AUTH LOGIN")
            smtp.docmd(base64.b64encode(name.encode()).decode())
            code, text = smtp.docmd(base64.b64encode(password.encode()).decode())
            heard += b"%d %b\n" % (code, text)
            if code == 235:
                smtp.mail(SENDER)
                smtp.rcpt("b@example.com")
                heard += b"%d %b\n" % smtp.data(f"From: {SENDER}\r\n\r\nHello.\r\n")
    return heard


class Program:
    """``sesrelay`` in this process: what it said is kept."""

    def __init__(self, house: House, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.house, self.capfd, self.monkeypatch = house, capfd, monkeypatch
        self.said: list[str] = []

    def __call__(self, *arguments: str, stdin: str = "", status: int = 0) -> str:
        """What it wrote on stdout."""
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        self.capfd.readouterr()
        assert run(["--config", str(self.house.config), *arguments]) == status
        out, err = self.capfd.readouterr()
        self.said.append(err)
        return str(out)


@pytest.mark.timeout(300)
def test_no_secret_is_anywhere_that_it_can_be_read(
    house: House, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = tmp_path / "trouble"
    (tmp_path / "sitecustomize.py").write_text(TROUBLE.format(file=str(trouble)))
    via = f"smtp://customer:{quote(NEXT_HOPS, safe='')}@127.0.0.1:{free_port()}"
    house.settle(delivery={"routes": [{"domain": "*", "via": via}]})
    cli = Program(house, capfd, monkeypatch)
    created = json.loads(cli("credentials", "create", "--user", "second", "--json"))
    cli("credentials", "import", "--access-key-id", "AKIAIOSFODNN7EXAMPLE", stdin=OWN_SECRET)
    cli("credentials", "import", "--access-key-id", "AKIAIOSFODNN7EXAMPLE", stdin=OWN_SECRET, status=1)
    cli("credentials", "import", "--access-key-id", "x", stdin=OWN_SECRET, status=1)
    cli("credentials", "import", "--access-key-id", "AKIAIOSFODNN7EXAMPL2", stdin=f"{WRONG} x", status=1)
    seen = [*cli.said, cli("credentials", "list"), cli("credentials", "list", "--json")]

    house.start({"PYTHONPATH": f"{tmp_path}:{Path.cwd()}", "PYTHONASYNCIODEBUG": "1"})
    assert house.process
    user, right = created["smtp_user_name"], created["smtp_password"]
    well = provoke(house, user, right)
    assert well.count(b"235 ") == 2
    assert b"250 Ok 0100" in well
    trouble.touch()
    ill = provoke(house, user, right)
    assert ill.count(b"454 Temporary authentication failure") >= 5
    assert b"injected" not in ill
    trouble.unlink()
    until(lambda: any("injected" in line for line in house.said()), "the trouble is logged")
    until(lambda: json.loads(cli("queue", "list", "--json"))[0]["attempts"] >= 1, "the next hop was tried")
    message = json.loads(cli("message", "list", "--json"))[0]["message_id"]
    seen += [cli("message", "show", message), cli("queue", "list")]
    seen += [" ".join(process.cmdline()) for process in house.family()]
    seen += [well.decode(), ill.decode(), house.get("/metrics")[1]]
    files = {path: path.read_bytes() for path in house.data.rglob("*") if path.is_file()}
    assert house.stop() == 0
    files |= {path: path.read_bytes() for path in house.data.rglob("*") if path.is_file() and path not in files}
    places = {"answers": "\n".join(seen).encode(), "stderr": house.errors.read_bytes()}
    places |= {str(path.relative_to(house.data)): octets for path, octets in files.items() if path != house.config}

    secrets = {right, created["secret_access_key"], OWN_SECRET, WRONG, *created["smtp_password_v4"].values(), NEXT_HOPS}
    needles = set().union(*(forms(user, secret) for secret in secrets))
    found = {(place, needle) for place, octets in places.items() for needle in needles if needle in octets}
    assert found == set()
    assert len(places["stderr"]) > 1000
    assert any(place.endswith(".db") for place in places), sorted(places)


@pytest.mark.parametrize("via", ["smtp://u:{}@host:99999", "smtp://u:{}@", "ftp://u:{}@host", "smtp://u:{}@host/x"])
def test_a_bad_route_is_named_without_its_password(
    house: House, via: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    house.settle(delivery={"routes": [{"domain": "*", "via": via.format(quote(NEXT_HOPS, safe=""))}]})
    cli = Program(house, capfd, monkeypatch)
    said = cli("check-config", status=2) + cli.said[0]
    assert "routes" in said
    assert not [form for form in forms("u", NEXT_HOPS) if form in said.encode()]
