"""The configuration file: what is right loads, what is wrong is named with file, line and key, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sesrelay.configuration import DEFAULT_FILE, BadConfiguration, load, locate
from sesrelay.fronts.cli.example import example, tables
from sesrelay.settings import Settings, public_url

GOOD = """\
service_domain: Relay.Example.NET
data_dir: data
listeners:
  - {address: "127.0.0.1", port: 2587, mode: starttls, region: us-east-1}
  - {address: "::1", port: 2465, mode: tls}
http: {address: "127.0.0.1", port: 8443}
delivery:
  routes:
    - {domain: "*.test", via: "smtp://127.0.0.1:2526"}
    - {domain: "*", via: mx}
  retry: {max_age_hours: 14}
"""


def read(folder: Path, text: str, **environ: str) -> Settings:
    file = folder / "sesrelay.yaml"
    file.write_text(text)
    return load(file, environ)


def faults(folder: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(BadConfiguration) as caught:
        read(folder, text, **environ)
    return [str(fault).removeprefix(f"{folder}/") for fault in caught.value.faults]


def test_a_good_file_loads_and_what_it_leaves_out_has_its_default(tmp_path: Path) -> None:
    settings = read(tmp_path, GOOD)
    assert settings.service_domain == "relay.example.net"
    assert settings.listeners[1].address == "::1"
    assert settings.delivery.routes[0].via == "smtp://127.0.0.1:2526"
    assert settings.metrics.port == 9465
    assert settings.workers == "auto"


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    settings = read(tmp_path, GOOD + "tls: {certificate: /elsewhere/server.pem}\n")
    assert settings.data_dir == tmp_path / "data"
    assert settings.keyring == tmp_path / "keyring"
    assert settings.tls.private_key == tmp_path / "certs/server.key"
    assert settings.tls.certificate == Path("/elsewhere/server.pem")


def test_every_fault_is_named_with_file_line_and_key_at_once(tmp_path: Path) -> None:
    text = """\
service_domain: relay.example.net
data_dir: data
listners: []
listeners:
  - {address: localhost, port: 2587}
  - address: "127.0.0.1"
    port: 70000
    mode: ssl
regions: us-east-1
workers: many
http:
  prot: 8443
retention: {bodies_days: soon}
delivery:
  routes:
    - {domain: "*", via: "http://next.example"}
"""
    assert faults(tmp_path, text) == [
        "sesrelay.yaml:3: listners: there is no such setting: did you mean listeners?",
        "sesrelay.yaml:5: listeners[0].address: an IPv4 or IPv6 address is wanted, such as 127.0.0.1, 0.0.0.0 or ::",
        "sesrelay.yaml:7: listeners[1].port: must be less than or equal to 65535",
        "sesrelay.yaml:8: listeners[1].mode: must be 'starttls' or 'tls'",
        "sesrelay.yaml:9: regions: a list is wanted",
        "sesrelay.yaml:10: workers: auto or a number from 1 to 256 is wanted",
        "sesrelay.yaml:12: http.prot: there is no such setting: did you mean port?",
        "sesrelay.yaml:13: retention.bodies_days: a number is wanted",
        "sesrelay.yaml:16: delivery.routes[0].via: must be mx, capture, smtp://[user:password@]host[:port] or smtps://…",
    ]


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    assert faults(tmp_path, "data_dir: x\n") == ["sesrelay.yaml: service_domain: is missing"]
    assert len(faults(tmp_path, "")) == 2


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ("regions: [eu-west-1]\n", "sesrelay.yaml:4: listeners[0].region: us-east-1 is not one of regions"),
        ("regions: [us-east-1, us-east-1]\n", "sesrelay.yaml:12: regions: each region may be named once"),
        ("regions: []\n", "sesrelay.yaml:12: regions: at least one is wanted"),
        ("regions: [US-EAST-1]\n", "sesrelay.yaml:12: regions[0]: a region name is wanted: "),
        (
            "smtp: {failed_login_first_seconds: 5}\n",
            "sesrelay.yaml:12: smtp.failed_login_longest_seconds_per_key: must not be shorter than",
        ),
        ("metrics: {port: 8443}\n", "sesrelay.yaml:12: metrics.port: port 8443 on 127.0.0.1 is taken by http.port"),
        ("database: mysql://x:secret@y/z\n", "sesrelay.yaml:12: database: must be sqlite, or postgresql://"),
        ("dns: {nameservers: [ns1.example]}\n", "sesrelay.yaml:12: dns.nameservers[0]: address or address:port"),
        ("events: {allow_networks: [127.0.0.1/8]}\n", "sesrelay.yaml:12: events.allow_networks[0]: a network"),
        ("api: {actions_per_second: -1}\n", "sesrelay.yaml:12: api.actions_per_second: must be greater than or"),
        ("http: {}\n", "sesrelay.yaml:12: http: stands twice, first in line 6"),
        ("smtp: &x {a: *x}\n", "sesrelay.yaml:12: smtp.a: refers to itself"),
        ("feedback: [1]\n", "sesrelay.yaml:12: feedback: a section with keys is wanted"),
    ],
)
def test_what_cannot_hold_together_is_a_fault_with_its_line(tmp_path: Path, more: str, fault: str) -> None:
    first = faults(tmp_path, GOOD + more)[0]
    assert first.startswith(fault)
    assert "secret" not in first


def test_a_route_behind_one_that_takes_everything_is_a_fault(tmp_path: Path) -> None:
    text = (
        "service_domain: a.example\ndata_dir: x\ndelivery:\n  routes:\n    - {domain: '*'}\n    - {domain: b.example}\n"
    )
    assert faults(tmp_path, text) == [
        "sesrelay.yaml:6: delivery.routes[1]: is never reached: the route before it takes every domain"
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: [1,\nb: }\n", "sesrelay.yaml:2: "),
        ("a: 1\n\tb: 2\n", "sesrelay.yaml:2: "),
        ("- a\n- b\n", "sesrelay.yaml:1: must be `key: value` lines"),
        ("a: 1\n---\nb: 2\n", "sesrelay.yaml:2: expected a single document in the stream, but found another"),
        ("a: 1\nb: \x01\n", "sesrelay.yaml:2: has a character that YAML does not allow: U+0001"),
    ],
)
def test_a_file_that_is_no_yaml_is_one_fault_with_its_line(tmp_path: Path, text: str, fault: str) -> None:
    (only,) = faults(tmp_path, text)
    assert only.startswith(fault)


def test_a_file_that_is_not_there_or_not_text_is_one_fault(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r"none\.yaml: cannot be read: No such file or directory"):
        load(tmp_path / "none.yaml", {})
    (tmp_path / "bad.yaml").write_bytes(b"service_domain: a.example\ndata_dir: \xff\n")
    with pytest.raises(BadConfiguration, match=r"bad\.yaml:2: is not UTF-8 text"):
        load(tmp_path / "bad.yaml", {})


def test_the_environment_comes_over_the_file(tmp_path: Path) -> None:
    settings = read(
        tmp_path,
        GOOD,
        SESRELAY_SERVICE_DOMAIN="other.example",
        SESRELAY_HTTP__PORT="9443",
        SESRELAY_DELIVERY__RETRY__MAX_AGE_HOURS="2",
        SESRELAY_LISTENERS__0__PORT="12587",
        SESRELAY_DNS__NAMESERVERS='["127.0.0.1:5353"]',
        SESRELAY_CONFIG="/not/a/setting",
        SESRELAY_KILL_AT="before-commit:3",
    )
    assert settings.service_domain == "other.example"
    assert settings.http.port == 9443
    assert settings.http.address == "127.0.0.1"
    assert settings.delivery.retry.max_age_hours == 2
    assert settings.delivery.routes[1].via == "mx"
    assert settings.listeners[0].port == 12587
    assert settings.dns.nameservers == ("127.0.0.1:5353",)


def test_a_fault_of_the_environment_names_the_variable(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        GOOD,
        SESRELAY_HTTP__PORT="x",
        SESRELAY_SERVICE_DOMIAN="a.example",
        SESRELAY_HTPT__PORT="1",
        SESRELAY_LISTENERS__7__PORT="1",
    )
    assert found == [
        "SESRELAY_HTPT__PORT: htpt.port: there is no such setting: did you mean http?",
        "SESRELAY_LISTENERS__7__PORT: listeners[7].port: cannot be set: what is above it is no such list or mapping",
        "SESRELAY_SERVICE_DOMIAN: service_domian: there is no such setting: did you mean service_domain?",
        "SESRELAY_HTTP__PORT: http.port: a whole number is wanted",
    ]


def test_the_option_then_the_environment_then_etc_name_the_file() -> None:
    assert locate("a.yaml", {"SESRELAY_CONFIG": "b.yaml"}) == Path("a.yaml")
    assert locate(None, {"SESRELAY_CONFIG": "b.yaml"}) == Path("b.yaml")
    assert locate(None, {}) == DEFAULT_FILE


ROOT = Path(__file__).parent.parent


def test_the_example_is_printed_from_the_settings() -> None:
    assert (ROOT / "config/sesrelay.yaml").read_text() == example(), "python -m sesrelay.fronts.cli.example > config/…"


def test_the_example_says_what_the_defaults_are() -> None:
    printed = load(ROOT / "config/sesrelay.yaml", {})
    minimal = Settings.model_validate({"service_domain": "relay.example.net", "data_dir": "/var/lib/sesrelay"})
    paths = {"tls", "keyring"}
    assert printed.model_dump(exclude=paths) == minimal.model_dump(exclude=paths)


def test_every_setting_is_documented() -> None:
    operating = (ROOT / "docs/OPERATING.md").read_text()
    printed = operating.partition("<!-- settings -->\n")[2].partition("<!-- end of settings -->")[0]
    assert printed == tables(), "python -m sesrelay.fronts.cli.example --tables"


def test_every_setting_says_what_it_means_and_in_which_unit() -> None:
    rows = [line.split(" | ") for line in tables().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    for key, _, meaning in rows:
        assert len(meaning) > 8, key
        for unit in ("seconds", "hours", "days", "minutes", "octets"):
            name = key.strip("|` ")
            assert not name.endswith(f"_{unit}") or unit in meaning.lower(), f"{name} does not name its unit"


@pytest.mark.parametrize(
    ("http", "url"),
    [
        ({}, "https://127.0.0.1:8443"),
        ({"address": "::1"}, "https://[::1]:8443"),
        ({"address": "0.0.0.0"}, "https://relay.example.net:8443"),
        ({"address": "192.0.2.1", "port": 443}, "https://relay.example.net"),
        ({"public_url": "https://mail.example.net/relay/"}, "https://mail.example.net/relay"),
    ],
)
def test_links_lead_where_the_world_reaches_us(http: dict[str, object], url: str) -> None:
    settings = Settings.model_validate({"service_domain": "relay.example.net", "data_dir": "/x", "http": http})
    assert public_url(settings) == url


@pytest.mark.parametrize(
    "url", ["mail.example.net", "ftp://x", "https://", "https://x/?a", "https://x y", "https://x:0"]
)
def test_a_public_url_is_one(url: str) -> None:
    with pytest.raises(ValueError, match="a URL is wanted"):
        Settings.model_validate({"service_domain": "relay.example.net", "data_dir": "/x", "http": {"public_url": url}})


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 61, "Bücher"])
def test_the_products_name_fits_into_a_header(name: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        Settings.model_validate({"service_domain": "relay.example.net", "data_dir": "/x", "product_name": name})
