"""``init``: one command to a folder that ``serve`` can start on; a second time it changes nothing."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from sesrelay.configuration import load
from tests.fronts.cli.conftest import Cli


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder that is not the database's own."""
    found = (path for path in folder.rglob("*") if path.is_file() and "sesrelay.db" not in path.name)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_init_prints_what_scripts_need(cli: Cli) -> None:
    told = cli.bare("init", "--data", str(cli.folder), "--json").json
    assert told["config"] == str(cli.config)
    assert re.fullmatch(r"[1-9]\d{11}", told["account_id"])
    assert told["regions"] == ["us-east-1"]
    assert Path(told["ca_certificate"]) == cli.folder / "certs/ca.pem"
    assert set(told["credentials"]) == {
        "user_name", "access_key_id", "secret_access_key", "smtp_user_name", "smtp_password", "smtp_password_v4",
    }  # fmt: skip
    assert told["console"] == {
        "url": "https://127.0.0.1:8443/console/",
        "user_name": "postmaster@sesrelay.localhost",
        "password": None,
    }


def test_init_makes_the_account_in_the_sandbox_and_the_service_domain_its_first_identity(made: Cli) -> None:
    account = made("account", "show", "--json").json
    assert account["production"] is False
    assert account["limits"] == {"max_24_hour_send": 200, "max_send_rate": 1.0, "sent_last_24_hours": 0}
    (identity,) = made("identity", "list", "--json").json
    assert (identity["identity"], identity["verification_status"]) == ("relay.test", "Success")
    (key,) = made("credentials", "list", "--json").json
    assert re.fullmatch(r"ses-smtp-user\.\d{8}-\d{6}", key["user_name"])


def test_the_configuration_is_the_documented_one(made: Cli) -> None:
    settings = load(made.config, {})
    assert settings.data_dir == made.folder
    assert settings.service_domain == "relay.test"
    assert [(each.address, each.port, each.mode) for each in settings.listeners] == [
        ("127.0.0.1", 2587, "starttls"),
        ("127.0.0.1", 2465, "tls"),
    ]
    ports = (settings.http.port, settings.metrics.port, settings.feedback.port)
    assert ports == (8443, 9465, 2525)
    assert [(route.domain, route.via) for route in settings.delivery.routes] == [("*", "capture")]
    assert made("check-config").out == "ok\n"


def test_a_second_init_changes_nothing_and_says_so(made: Cli) -> None:
    before, keys = files(made.folder), made("credentials", "list").out
    again = made.bare("init", "--data", str(made.folder), "--service-domain", "other.test")
    assert again.status == 0
    assert "nothing was changed" in again.err
    assert "--service-domain was not heeded" in again.err
    assert again.out == ""
    assert files(made.folder) == before
    assert made("credentials", "list").out == keys
    assert made.bare("init", "--data", str(made.folder), "--json").json["credentials"] is None


def test_an_init_that_was_interrupted_is_finished_by_the_next(made: Cli) -> None:
    (made.folder / "certs/server.pem").unlink()
    (made.folder / "certs/server.key").unlink()
    (made.folder / "certs/ca.pem").unlink()
    (made.folder / "certs/ca.key").unlink()
    told = made.bare("init", "--data", str(made.folder), "--json").json
    assert told["made"] == ["certificates"]
    assert told["account_id"] == "111122223333"
    assert made("check-config").out == "ok\n"


def test_a_bad_name_leaves_nothing_behind(cli: Cli) -> None:
    result = cli.bare("init", "--data", str(cli.folder), "--service-domain", "no dot", "--region", "A B")
    assert result.status == 2
    domain, region = result.err.splitlines()
    assert domain.startswith("--service-domain: a domain name is wanted")
    assert region.startswith("--region: a region name is wanted")
    assert not list(cli.folder.iterdir())


@pytest.mark.parametrize(("option", "value"), [("--account-id", "12"), ("--account-email", "nobody")])
def test_a_bad_account_leaves_nothing_behind(cli: Cli, option: str, value: str) -> None:
    assert repr(value) in cli.bare("init", "--data", str(cli.folder), option, value).line
    assert not cli.folder.exists()


def test_a_database_that_could_not_be_reached_can_be_given_anew(cli: Cli) -> None:
    wrong = ("--database", "postgresql://nobody:geheim@127.0.0.1:1/none", "--service-domain", "wrong.test")
    assert "cannot be reached" in cli.bare("init", "--data", str(cli.folder), *wrong).line
    cli.bare("init", "--data", str(cli.folder), "--service-domain", "right.test")
    settings = load(cli.config, {})
    assert (settings.service_domain, settings.database) == ("right.test", "sqlite")
    assert cli("check-config").out == "ok\n"
    shown = x509.load_pem_x509_certificate((cli.folder / "certs/server.pem").read_bytes())
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "right.test" in names.get_values_for_type(x509.DNSName)


def test_a_server_certificate_that_was_taken_away_is_made_anew_by_the_same_authority(made: Cli) -> None:
    certs = made.folder / "certs"
    authority = (certs / "ca.pem").read_bytes()
    for name in ("server.pem", "server.key"):
        (certs / name).unlink()
    assert made.bare("init", "--data", str(made.folder), "--json").json["made"] == ["certificates"]
    assert (certs / "ca.pem").read_bytes() == authority
    shown = x509.load_pem_x509_certificate((certs / "server.pem").read_bytes())
    shown.verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    assert made("check-config").out == "ok\n"


@pytest.mark.parametrize(("missing", "left"), [("server.pem", "server.key"), ("server.key", "server.pem")])
def test_half_a_server_certificate_is_named_and_left_alone(made: Cli, missing: str, left: str) -> None:
    certs = made.folder / "certs"
    (certs / missing).unlink()
    kept = (certs / left).read_bytes()
    result = made.bare("init", "--data", str(made.folder))
    assert result.status == 1
    assert result.line.startswith(
        f"sesrelay: {certs / missing} is missing, and {certs / left} is there: put it back, or"
    )
    assert (certs / left).read_bytes() == kept
    (certs / left).unlink()
    assert made.bare("init", "--data", str(made.folder), "--json").json["made"] == ["certificates"]


@pytest.mark.parametrize("missing", ["ca.key", "ca.pem"])
def test_half_an_authority_is_named(made: Cli, missing: str) -> None:
    for name in ("server.pem", "server.key", missing):
        (made.folder / "certs" / name).unlink()
    assert f"certs/{missing} is missing" in made.bare("init", "--data", str(made.folder)).line


@pytest.mark.parametrize("spoil", ["ca.key", "ca.pem"])
def test_half_an_authority_signs_nothing(made: Cli, spoil: str) -> None:
    for name in ("server.pem", "server.key"):
        (made.folder / "certs" / name).unlink()
    (made.folder / "certs" / spoil).write_text("not PEM")
    result = made.bare("init", "--data", str(made.folder))
    assert result.status == 1
    assert "no CA that init made" in result.line


def test_a_folder_that_cannot_be_made_is_one_clear_line(cli: Cli) -> None:
    cli.folder.write_text("a file")
    assert cli.bare("init", "--data", str(cli.folder / "below")).line.startswith(f"sesrelay: {cli.folder}")


def test_secrets_are_for_their_owner_only(made: Cli) -> None:
    for name in ("sesrelay.yaml", "keyring", "certs/server.key", "certs/ca.key"):
        assert (made.folder / name).stat().st_mode & 0o077 == 0, name


def test_two_regions_share_one_account_and_one_certificate(cli: Cli) -> None:
    arguments = ("--region", "us-east-1", "--region", "eu-west-1", "--service-domain", "relay.test", "--json")
    told = cli.bare("init", "--data", str(cli.folder), *arguments).json
    assert set(told["credentials"]["smtp_password_v4"]) == {"us-east-1", "eu-west-1"}
    assert [row["region"] for row in cli("account", "list", "--json").json] == ["eu-west-1", "us-east-1"]
    assert cli("identity", "show", "relay.test", "--region", "eu-west-1", "--json").json["identity"] == "relay.test"
    assert common_names(cli) == ["email.us-east-1.relay.test", "email.eu-west-1.relay.test"]


def common_names(cli: Cli) -> list[str | bytes]:
    """In the subject of the server's certificate."""
    shown = x509.load_pem_x509_certificate((cli.folder / "certs/server.pem").read_bytes())
    return [one.value for one in shown.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)]


@pytest.mark.parametrize(
    ("service_domain", "name"),
    [
        (f"{'a' * 40}.test", f"email.us-east-1.{'a' * 40}.test"),
        (f"{'a' * 55}.test", f"{'a' * 55}.test"),
        (f"{'a' * 60}.{'b' * 10}.test", "localhost"),
    ],
)
def test_a_common_name_has_64_characters_at_most(cli: Cli, service_domain: str, name: str) -> None:
    cli.bare("init", "--data", str(cli.folder), "--service-domain", service_domain, "--json")
    assert common_names(cli) == [name]


@pytest.mark.parametrize(
    "name",
    [
        "email-smtp.us-east-1.relay.test", "email.us-east-1.relay.test", "relay.test", "localhost", "127.0.0.1", "::1",
    ],
)  # fmt: skip
def test_every_name_of_the_relay_verifies_by_its_own_ca_and_strict_rules(made: Cli, name: str) -> None:
    certs = made.folder / "certs"
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certs / "server.pem", certs / "server.key")
    theirs = ssl.create_default_context(cafile=str(certs / "ca.pem"))
    theirs.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ours.wrap_bio(up, down, server_side=True)
    client = theirs.wrap_bio(down, up, server_hostname=name)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    peer = client.getpeercert()
    assert peer is not None
    assert peer["subject"] == ((("commonName", "email.us-east-1.relay.test"),),)


def test_a_second_node_needs_the_keyring_of_the_first(both: Cli, tmp_path: Path) -> None:
    database = load(both.config, {}).database
    if database == "sqlite":
        (both.folder / "keyring").unlink()
        other = both.folder
    else:
        other = tmp_path / "second"
    result = both.bare("init", "--data", str(other), "--service-domain", "relay.test", "--database", database)
    assert result.status == 2
    assert f"copy it from the node that made it to {other}/keyring" in result.line
    assert not (other / "keyring").exists()
    if other != both.folder:
        (other / "keyring").write_bytes((both.folder / "keyring").read_bytes())
        (other / "keyring").chmod(0o600)
        told = both.bare("init", "--data", str(other), "--json").json
        assert (told["account_id"], told["credentials"]) == ("111122223333", None)
