"""What cannot work is said in one line, with exit status 2, and leaves nothing running."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

import pytest

from tests.runtime.house import PATIENCE, House, program


def test_a_second_relay_on_one_data_folder(house: House, tmp_path: Path) -> None:
    house.start()
    assert house.process
    first = house.process
    second = program("--config", str(house.config), "serve")
    assert second.returncode == 2
    assert second.stderr == (f"sesrelay: another relay runs on the data folder {house.data} (process {first.pid})\n")
    house.send()


def test_a_port_in_use(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        house.settle(listeners=[{"address": "127.0.0.1", "port": port, "mode": "starttls"}])
        assert house.refused() == [f"sesrelay: cannot listen on 127.0.0.1 port {port}: Address already in use"]


def test_the_metrics_port_in_use(house: House) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        house.settle(metrics={"address": "127.0.0.1", "port": port})
        assert house.refused() == [f"sesrelay: cannot listen on 127.0.0.1 port {port}: Address already in use"]


def test_a_certificate_that_is_not_there(house: House) -> None:
    (house.data / "certs" / "server.pem").unlink()
    (line,) = house.refused()
    assert "tls.certificate" in line
    assert "No such file or directory" in line
    assert str(house.config) in line


def test_a_setting_that_is_wrong(house: House) -> None:
    house.settle(workers=0)
    (line,) = house.refused()
    assert "workers" in line


def test_another_keyring_than_the_datas(house: House, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert program("init", "--data", str(other)).returncode == 0
    shutil.copy(other / "keyring", house.data / "keyring")
    (line,) = house.refused()
    assert "keyring" in line


def test_a_keyring_that_is_not_there(house: House) -> None:
    (house.data / "keyring").unlink()
    (line,) = house.refused()
    assert "keyring" in line


def test_a_data_folder_of_a_newer_version(house: House) -> None:
    from pysqlite3 import dbapi2

    connection = dbapi2.connect(str(house.data / "sesrelay.db"))
    connection.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
    connection.commit()
    connection.close()
    (line,) = house.refused()
    assert "newer" in line


@pytest.mark.parametrize("missing", ["data", "nowhere"])
def test_a_data_folder_that_is_not_there(house: House, missing: str) -> None:
    house.settle(data_dir=str(house.data / missing))
    (line,) = house.refused()
    assert "does not exist (sesrelay init" in line


def test_a_region_in_which_mail_waits(house: House) -> None:
    house.settle(delivery={"routes": [{"domain": "*", "via": "smtp://127.0.0.1:1"}]})
    house.start()
    house.send("to@example.org")
    assert house.stop() == 0
    house.settle(regions=["eu-west-1"])
    (line,) = [line for line in house.refused() if not line.startswith("{")]
    assert "us-east-1" in line
    assert "mail to 1 recipients waits" in line


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    done = program("--config", str(tmp_path / "none.yaml"), "serve")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "none.yaml" in done.stderr


def test_a_database_that_is_away_may_come_back_so_the_status_is_1(house: House) -> None:
    house.settle(database="postgresql://nobody:wrong@127.0.0.1:1/none")
    assert house.begin().wait(PATIENCE) == 1
    (line,) = house.said()
    assert "wrong" not in line
    assert house.family() == []
