"""``certificate``: what clients are shown, and new ones from the relay's own CA; what check-config says of them."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.fronts.cli.conftest import Cli


def replace(made: Cli, *names: str, place: str = "server", days: float = 100) -> None:
    """Another CA's certificate in place of the self-made one."""
    ends = datetime.now().astimezone() + timedelta(days=days)
    leaf = trustme.CA().issue_cert(*names, not_after=ends)
    certs = made.folder / "certs"
    for name in (f"{place}.key", f"{place}.pem"):
        (certs / name).unlink(missing_ok=True)
    leaf.private_key_pem.write_to_path(str(certs / f"{place}.key"))
    leaf.cert_chain_pems[0].write_to_path(str(certs / f"{place}.pem"))


def test_show_tells_names_kind_and_end(made: Cli) -> None:
    (told,) = made("certificate", "show", "--json").json
    assert told["certificate"] == str(made.folder / "certs/server.pem")
    assert told["key"] == "RSA"
    assert "email-smtp.us-east-1.relay.test" in told["names"]
    assert told["issuer"] == "CN=sesrelay's own CA"
    assert told["days_left"] == 823  # begins a day ago, and the day of today is not whole
    line = made("certificate", "show").out.splitlines()[1]
    assert line.startswith(str(made.folder / "certs/server.pem"))


def test_renew_makes_a_new_one_for_the_same_key_with_the_names_of_new_regions(made: Cli) -> None:
    certs = made.folder / "certs"
    before, key = (certs / "server.pem").read_bytes(), (certs / "server.key").read_bytes()
    made.config.write_text(made.config.read_text().replace('["us-east-1"]', '["us-east-1", "eu-west-1"]'))
    assert re.fullmatch(rf"{certs}/server.pem: renewed until [\dT:.-]+Z\n", made("certificate", "renew").out)
    assert (certs / "server.pem").read_bytes() != before
    assert (certs / "server.key").read_bytes() == key
    (told,) = made("certificate", "show", "--json").json
    assert "email-smtp.eu-west-1.relay.test" in told["names"]
    assert made("check-config").err == ""


def test_renew_with_a_new_key(made: Cli) -> None:
    key = (made.folder / "certs/server.key").read_bytes()
    (told,) = made("certificate", "renew", "--new-key", "--json").json
    assert told["days_left"] == 823
    assert (made.folder / "certs/server.key").read_bytes() != key
    assert made("check-config").out == "ok\n"


def test_renew_with_a_ca_that_is_kept_elsewhere(made: Cli, tmp_path: Path) -> None:
    (tmp_path / "safe").mkdir()
    (made.folder / "certs/ca.key").rename(tmp_path / "safe/ca.key")
    assert "ca.key is not there: --authority says where the CA is" in made("certificate", "renew").line
    (tmp_path / "safe/ca.pem").write_bytes((made.folder / "certs/ca.pem").read_bytes())
    assert made("certificate", "renew", "--authority", str(tmp_path / "safe")).status == 0


def test_renew_leaves_other_peoples_certificates_alone(made: Cli) -> None:
    replace(made, "email-smtp.us-east-1.relay.test")
    before = (made.folder / "certs/server.pem").read_bytes()
    result = made("certificate", "renew")
    assert result.status == 1
    assert "has signed none of the certificates" in result.line
    assert (made.folder / "certs/server.pem").read_bytes() == before


def test_a_certificate_that_cannot_be_read_is_one_line(made: Cli) -> None:
    (made.folder / "certs/server.pem").write_text("x")
    assert "server.pem: is no PEM file with a certificate" in made("certificate", "show").line
    assert made("certificate", "renew").status == 1


def tls_line(made: Cli) -> int:
    (line,) = (n for n, text in enumerate(made.config.read_text().splitlines(), 1) if text.startswith("tls:"))
    return line


@pytest.mark.parametrize(
    ("days", "words"),
    [(20.5, "expires in 20 days"), (1.5, "expires tomorrow"), (-2, "has expired: clients refuse it")],
)
def test_check_config_warns_of_the_end_and_is_content(made: Cli, days: float, words: str) -> None:
    replace(made, "email-smtp.us-east-1.relay.test", days=days)
    result = made("check-config")
    assert (result.status, result.out) == (0, "ok\n")
    place = f"{made.config}:{tls_line(made)}: tls.certificate: {made.folder}/certs/server.pem"
    assert result.err == f"warning: {place}: {words}\n"
    told = made("check-config", "--json").json
    assert told["ok"] is True
    assert [warning["key"] for warning in told["warnings"]] == ["tls.certificate"]


def test_check_config_names_the_endpoints_that_no_certificate_is_for(made: Cli) -> None:
    made.config.write_text(made.config.read_text().replace('["us-east-1"]', '["us-east-1", "eu-west-1"]'))
    result = made("check-config")
    assert result.status == 0
    assert "no certificate is for email-smtp.eu-west-1.relay.test: clients will refuse it" in result.err
    replace(made, "*.eu-west-1.relay.test", place="europe")
    further = 'tls: {certificates: [{certificate: "certs/europe.pem", private_key: "certs/europe.key"}]}'
    made.config.write_text(re.sub(r"^tls: .*$", further, made.config.read_text(), flags=re.MULTILINE))
    assert made("check-config").err == ""
    assert len(made("certificate", "show", "--json").json) == 2


def test_check_config_says_which_of_several_certificates_is_bad(made: Cli) -> None:
    replace(made, "a.example", place="a")
    replace(made, "b.example", place="b")
    lines = [
        "tls:",
        "  certificates:",
        "    - {certificate: certs/a.pem, private_key: certs/a.key}",
        "    - certificate: certs/b.pem",
        "      private_key: certs/a.key",
        "    - {certificate: certs/b.pem, private_key: certs/none.key}",
        "    - {certificate: certs/b.pem}",
    ]
    text = re.sub(r"^tls: .*$", "\n".join(lines[:-1]), made.config.read_text(), flags=re.MULTILINE)
    made.config.write_text(text)
    first = tls_line(made)
    faults = json.loads(made("check-config", "--json").out)["faults"]
    assert [(fault["line"], fault["key"]) for fault in faults] == [
        (first + 3, "tls.certificates[1].certificate"),
        (first + 5, "tls.certificates[2].private_key"),
    ]
    assert "is not the certificate of the key" in faults[0]["text"]
    made.config.write_text(text.replace(lines[-2], lines[-1]))
    assert "tls.certificates[2].private_key: is missing" in made("check-config").line
