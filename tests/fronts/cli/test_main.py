"""What the program's exit status means, and that a failure is one clear line."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import insert

from sesrelay import __version__
from sesrelay.configuration import load
from sesrelay.fronts.cli import welcome
from sesrelay.fronts.cli.main import RESERVED
from sesrelay.fronts.cli.main import cli as program
from sesrelay.fronts.cli.session import Session
from sesrelay.runtime.clock import chance
from sesrelay.store.keyring import create, new_keyring
from sesrelay.store.migrations import REVISIONS
from sesrelay.store.schema import statistics
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
    change(made, "UPDATE alembic_version SET version_num = '9999'")
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
    assert made("migrate", "--json").json == {"applied": list(REVISIONS)}
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


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("limits", "set"), "say --quota N"),
        (("identity", "records", "a.test", "--csv", "--json"), "one of them"),
        (("policy", "show"), "name one user"),
        (("identity", "list", "--region", "nowhere-1"), "not one of the regions"),
    ],
)
def test_wrong_usage_is_said_without_the_database(made: Cli, command: tuple[str, ...], words: str) -> None:
    text = made.config.read_text().replace('"sqlite"', '"postgresql://nobody:geheim@127.0.0.1:1/none"')
    made.config.write_text(text)
    assert words in made.usage(*command)


def test_a_data_folder_that_is_not_there_is_one_line(made: Cli) -> None:
    made.config.write_text(made.config.read_text().replace("data_dir: .", "data_dir: nowhere"))
    result = made("account", "list")
    assert result.status == 2
    line = made.config.read_text().splitlines().index("data_dir: nowhere") + 1
    words = f"there is no folder {made.folder}/nowhere (sesrelay init --data makes one)"
    assert result.line == f"{made.config}:{line}: data_dir: {words}"


def test_a_lost_database_is_refused_by_every_command_and_made_by_none(made: Cli) -> None:
    (made.folder / "sesrelay.db").unlink()
    before = sorted(made.folder.rglob("*"))
    for command in (("account", "list"), ("identity", "add", "a.test"), ("verify-data",), ("check-config",)):
        result = made(*command)
        assert result.status == 2
        assert f"data_dir: there is no database {made.folder}/sesrelay.db" in result.line
    assert sorted(made.folder.rglob("*")) == before


@pytest.mark.parametrize("command", [("account", "list"), ("migrate",), ("check-config",)])
def test_a_file_that_is_no_database_is_one_line_and_is_left_alone(made: Cli, command: tuple[str, ...]) -> None:
    file = made.folder / "sesrelay.db"
    file.write_bytes(b"text" * 1000)
    result = made(*command)
    assert result.status == 2
    assert f"{file} cannot be used: file is not a database" in result.line
    assert file.read_bytes() == b"text" * 1000


@pytest.mark.parametrize("command", [("account", "list"), ("migrate",), ("check-config",)])
def test_tables_without_a_version_are_one_line_and_are_left_alone(made: Cli, command: tuple[str, ...]) -> None:
    change(made, "DELETE FROM alembic_version")
    result = made(*command)
    assert result.status == 2
    assert "the database has tables but no version: nothing was touched" in result.line


def test_check_config_looks_into_the_database_and_names_every_fault(both: Cli) -> None:
    text = both.config.read_text().replace('["us-east-1"]', '["eu-west-1"]')
    both.config.write_text(text)
    assert both("check-config").out == "ok\n", "a region in which nothing waits may go"
    session = Session(str(both.config))
    row = {column.name: 0 for column in statistics.c} | {"account_id": "111122223333", "region": "us-east-1"}
    session.write(lambda tx: tx.change(insert(statistics).values(row | {"accepted": 2, "delivered": 1})))
    (both.folder / "keyring").unlink()
    create(both.folder / "keyring", new_keyring(chance))
    result = both("check-config")
    assert result.status == 2
    keyring, regions = result.err.splitlines()
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines, 1) if line.startswith("keyring:"))
    assert keyring.startswith(f"{both.config}:{at}: keyring: the keyring is not the one")
    at = next(number for number, line in enumerate(lines, 1) if line.startswith("regions:"))
    assert regions.startswith(f"{both.config}:{at}: regions: region us-east-1 is configured no longer")
    assert "mail to 1 recipients" in regions


def test_check_config_finds_another_version_and_a_database_that_is_away(made: Cli) -> None:
    change(made, "UPDATE alembic_version SET version_num = '9999'")
    assert ": database: the database was made by a newer sesrelay" in made("check-config").line
    text = made.config.read_text().replace('"sqlite"', '"postgresql://nobody:geheim@127.0.0.1:1/none"')
    made.config.write_text(text)
    assert made("check-config").status == 1, "as serve does: it may come back"
    result = made("check-config", "--json")
    assert result.status == 1
    (fault,) = json.loads(result.out)["faults"]
    assert fault["key"] == "database"
    assert "PostgreSQL cannot be reached" in fault["text"]
    assert "geheim" not in fault["text"]


def test_check_config_makes_no_tables(made: Cli) -> None:
    made.config.write_text(made.config.read_text().replace("data_dir: .", "data_dir: elsewhere"))
    (made.folder / "elsewhere").mkdir()
    (made.folder / "elsewhere/sesrelay.db").touch()
    for _ in range(2):
        assert "the database is empty" in made("check-config").line


def change(made: Cli, sql: str) -> None:
    """Behind the program's back."""
    connection = sqlite.connect(made.folder / "sesrelay.db")
    connection.execute(sql)
    connection.commit()
    connection.close()


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


@pytest.mark.parametrize("argument", ["", "--account="])
def test_an_empty_argument_never_means_everybody(made: Cli, argument: str) -> None:
    arguments = ("--account", argument) if not argument else (argument,)
    assert "is empty" in made.usage("account", "close", *arguments)
    assert "an unset variable?" in made.usage("queue", "remove", *arguments)
    assert made("account", "show", "--json").json["closed"] is False


def test_an_argument_that_is_no_text_is_refused(made: Cli) -> None:
    assert "argument 5 is not UTF-8 text" in made.usage("account", "show", "\udcff")


def test_what_was_typed_is_shown_on_one_short_line_that_commands_no_terminal(made: Cli) -> None:
    result = made("account", "show", "\x1b[2J\n" + "9" * 100_000)
    assert result.status == 1
    assert result.line.startswith("sesrelay: there is no account ?[2J?999")
    assert len(result.line) < 1100
    assert len(made.usage("account", "x" * 100_000)) < 1100


def test_two_accounts_for_one_command_are_refused(made: Cli) -> None:
    assert "say the account once" in made.usage("account", "show", "111122223333", "--account", "444455556666")
