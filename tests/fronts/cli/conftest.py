"""``cli(…)``: the program run in this process, on a data folder of the test's own, on both databases."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sesrelay.fronts.cli.main import run
from tests.databases import Postgres


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; fails when there is anything beside it."""
        assert self.status == 0, self.err
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """The one line on stderr that says why it failed."""
        assert self.status != 0
        assert self.out == ""
        (line,) = self.err.splitlines()
        return line


class Cli:
    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._capfd = capfd
        self._monkeypatch = monkeypatch

    @property
    def config(self) -> Path:
        return self.folder / "sesrelay.yaml"

    def bare(self, *arguments: str, stdin: str = "") -> Result:
        """The program without ``--config``."""
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        self._capfd.readouterr()
        status = run(list(arguments))
        out, err = self._capfd.readouterr()
        return Result(status, out, err)

    def __call__(self, *arguments: str, stdin: str = "") -> Result:
        """The program with this folder's configuration."""
        return self.bare("--config", str(self.config), *arguments, stdin=stdin)

    def usage(self, *arguments: str) -> str:
        """The error of a command that was called wrongly."""
        result = self(*arguments)
        assert result.status == 2
        assert result.out == ""
        return result.err.splitlines()[-1]


@pytest.fixture
def cli(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Without a data folder."""
    return Cli(tmp_path / "var", capfd, monkeypatch)


INIT = ("--service-domain", "relay.test", "--account-id", "111122223333", "--json")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder on SQLite as ``init`` makes it; it may be copied, since no name in it is absolute."""
    folder = tmp_path_factory.mktemp("template") / "var"
    with contextlib.redirect_stdout(io.StringIO()):
        assert run(["init", "--data", str(folder), *INIT]) == 0
    return folder


@pytest.fixture
def made(cli: Cli, template: Path) -> Cli:
    """With a data folder on SQLite: service domain relay.test, account 111122223333."""
    shutil.copytree(template, cli.folder)
    return cli


@pytest.fixture(params=["sqlite", "postgresql"])
def both(cli: Cli, request: pytest.FixtureRequest) -> Cli:
    """As ``made``, on each database."""
    if request.param == "sqlite":
        made: Cli = request.getfixturevalue("made")
        return made
    server: Postgres = request.getfixturevalue("postgres_server")
    done = cli.bare("init", "--data", str(cli.folder), "--database", server.emptied(), *INIT)
    assert done.status == 0, done.err
    return cli
