"""What the program's exit status means, and that a failure is one clear line."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite

from sesrelay import __version__
from sesrelay.configuration import load
from sesrelay.fronts.cli import welcome
from sesrelay.fronts.cli.main import RESERVED
from sesrelay.fronts.cli.main import cli as program
from sesrelay.runtime.clock import chance
from sesrelay.store.keyring import create, new_keyring
from tests.fronts.cli.conftest import Cli


def test_a_configuration_that_is_not_there_is_one_line(cli: Cli) -> None:
    for command in (("account", "list"), ("check-config",), ("queue", "list"), ("verify-data",)):
        result = cli(*command)
        assert result.status == 2
        assert result.line == f"{cli.config}: cannot be read: No such file or directory"


def test_the_environment_names_the_configuration(made: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESRELAY_CONFIG", str(made.config))
    assert made.bare("account", "show", "--json").json["account_id"] == "111122223333"


def test_the_configuration_may_be_named_behind_the_command(made: Cli) -> None:
    assert made.bare("check-config", "--config", str(made.config)).out == "ok\n"
    assert made.bare("--config", "nowhere", "account", "list", f"--config={made.config}", "--json").status == 0
    command = [sys.executable, "-m", "sesrelay", "serve", "--config", "nowhere.yaml"]
    served = subprocess.run(command, capture_output=True, text=True, check=False)
    assert served.returncode == 2
    assert "nowhere.yaml: cannot be read" in served.stderr


def test_check_config_names_every_fault(made: Cli) -> None:
    text = made.config.read_text().replace("workers: auto", "workers: -1") + "smpt: {}\n"
    made.config.write_text(text)
    workers, last = text.splitlines().index("workers: -1") + 1, len(text.splitlines())
    result = made("check-config")
    assert result.status == 2
    assert result.err.splitlines() == [
        f"{made.config}:{workers}: workers: auto or a number from 1 to 256 is wanted",
        f"{made.config}:{last}: smpt: there is no such setting: did you mean smtp?",
    ]
    told = made("check-config", "--json")
    assert told.status == 2
    document = json.loads(told.out)
    assert document["ok"] is False
    assert [fault["line"] for fault in document["faults"]] == [workers, last]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda certs: (certs / "server.pem").unlink(), "tls.certificate: "),
        (lambda certs: (certs / "server.key").unlink(), "tls.private_key: "),
        (lambda certs: (certs / "server.pem").write_text("no certificate"), "is no PEM file with a certificate"),
        (lambda certs: (certs / "server.key").write_text("no key"), "is no PEM file with a private key"),
        (lambda certs: (certs / "server.pem").write_bytes((certs / "ca.pem").read_bytes()), "is not the certif"),
    ],
)
def test_check_config_looks_at_the_certificate(made: Cli, spoil: object, words: str) -> None:
    spoil(made.folder / "certs")  # type: ignore[operator]
    result = made("check-config")
    assert result.status == 2
    assert words in result.line
    assert f"{made.config}:" in result.line


def test_check_config_looks_at_the_keyring_and_the_data_folder_too(made: Cli) -> None:
    (made.folder / "keyring").chmod(0o644)
    assert "keyring: keyring" in made("check-config").line
    assert "chmod 600" in made("check-config").line
    made.config.write_text(made.config.read_text().replace("data_dir: .", "data_dir: nowhere"))
    (made.folder / "certs/server.pem").unlink()
    keys = [fault["key"] for fault in json.loads(made("check-config", "--json").out)["faults"]]
    assert keys == ["tls.certificate", "data_dir", "keyring"]


def test_the_wrong_keyring_is_refused_and_nothing_is_touched(made: Cli) -> None:
    (made.folder / "keyring").unlink()
    assert made("account", "list").status == 2
    assert "is missing" in made("account", "list").line
    create(made.folder / "keyring", new_keyring(chance))
    result = made("credentials", "list")
    assert result.status == 2
    assert "not the one that this database was made with" in result.line


def test_a_database_of_a_newer_program_is_refused(made: Cli) -> None:
    connection = sqlite.connect(made.folder / "sesrelay.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    for command in (("account", "list"), ("migrate",)):
        result = made(*command)
        assert result.status == 2
        assert "made by a newer sesrelay" in result.line


def test_an_empty_database_waits_for_migrate(made: Cli) -> None:
    made.config.write_text(made.config.read_text().replace("data_dir: .", "data_dir: elsewhere"))
    (made.folder / "elsewhere").mkdir()
    result = made("account", "list")
    assert result.status == 2
    assert "migrate" in result.line
    assert made("migrate", "--json").json == {"applied": ["0001"]}
    assert made("migrate").out == "nothing to do\n"
    assert made("account", "list", "--json").json == []
    assert "no account yet" in made("account", "show").line


def test_a_database_that_is_away_is_one_line_and_status_1(made: Cli) -> None:
    text = made.config.read_text().replace('"sqlite"', '"postgresql://nobody:geheim@127.0.0.1:1/none"')
    made.config.write_text(text)
    result = made("account", "list")
    assert result.status == 1
    assert "cannot be reached" in result.line
    assert "geheim" not in result.err


def test_a_data_folder_that_is_not_there_is_one_line(made: Cli) -> None:
    made.config.write_text(made.config.read_text().replace("data_dir: .", "data_dir: nowhere"))
    result = made("account", "list")
    assert result.status == 2
    line = made.config.read_text().splitlines().index("data_dir: nowhere") + 1
    assert result.line == f"{made.config}:{line}: data_dir: there is no folder {made.folder}/nowhere"


def test_help_and_version_go_to_stdout() -> None:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "sesrelay", *arguments], capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return done.stdout

    assert run("--version") == f"sesrelay, version {__version__}\n"
    for command in ("init", "serve", "check-config", "account", "verify-data"):
        assert command in run("--help")


def test_wrong_usage_is_status_2(made: Cli) -> None:
    assert "No such command" in made.usage("frobnicate")
    assert "No such option" in made.usage("account", "list", "--frobnicate")
    assert "Missing option" in made.bare("init").err


def test_no_reserved_name_is_a_command() -> None:
    assert not RESERVED & set(program.commands)


def test_every_command_has_its_help(made: Cli) -> None:
    def walk(*path: str) -> None:
        result = made(*path, "--help")
        assert result.status == 0
        assert result.err == ""
        listed = result.out.partition("Commands:\n")[2]
        for line in listed.splitlines():
            name, _, about = line.strip().partition(" ")
            assert about.strip(), (*path, name)
            walk(*path, name)

    walk()


def test_the_welcome_has_three_mails_that_can_be_pasted(made: Cli) -> None:
    settings = load(made.config, {})
    credentials = made("credentials", "create", "--json").json
    text = welcome.text(settings, "var/sesrelay.yaml", credentials)
    assert text.count("First mail, by") == 3
    for needed in ("127.0.0.1:2587", "127.0.0.1:2465", credentials["smtp_password"], str(made.folder / "certs/ca.pem")):
        assert needed in text
    python = text.partition("First mail, by Python:\n")[2].partition("First mail, by Postfix")[0]
    assert isinstance(ast.parse(python).body[1], ast.With)
    dialogue = text.partition("openssl s_client")[2].partition("First mail, by Python")[0].strip().splitlines()
    assert [line.split()[0] for line in dialogue[1:6]] == ["EHLO", "AUTH", "MAIL", "RCPT", "DATA"]
    assert dialogue[-2:] == [".", "QUIT"]


def test_the_paths_it_prints_are_short_inside_the_working_folder(made: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made.folder.parent)
    settings = load(Path("var/sesrelay.yaml"), {})
    credentials = made("credentials", "create", "--json").json
    assert "-CAfile var/certs/ca.pem" in welcome.text(settings, "var/sesrelay.yaml", credentials)
