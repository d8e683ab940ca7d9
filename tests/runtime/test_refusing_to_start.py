"""What cannot work is said in one line, with exit status 2, and leaves nothing running."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from pysqlite3 import dbapi2

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


def change(house: House, sql: str) -> None:
    """Behind the relay's back."""
    connection = dbapi2.connect(str(house.data / "sesrelay.db"))
    connection.execute(sql)
    connection.commit()
    connection.close()


def test_a_data_folder_of_a_newer_version(house: House) -> None:
    change(house, "UPDATE alembic_version SET version_num = 'from-the-future'")
    (line,) = house.refused()
    assert "newer" in line


def test_a_data_folder_that_is_not_there(house: House) -> None:
    house.settle(data_dir=str(house.data / "nowhere"))
    (line,) = house.refused()
    assert "there is no folder" in line
    assert "(sesrelay init" in line


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_lost_database_is_not_made_anew(house: House) -> None:
    (house.data / "sesrelay.db").unlink()
    before = files(house.data)
    (line,) = house.refused()
    assert f"there is no database {house.data}/sesrelay.db: if there was one, put its backup there" in line
    assert files(house.data) == before


def test_a_wrong_data_folder_stays_as_it_is(house: House, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    house.settle(data_dir=str(elsewhere))
    (line,) = house.refused()
    assert str(house.config) in line
    assert ": data_dir: there is no database" in line
    assert files(elsewhere) == set()


def test_a_file_that_is_no_database(house: House) -> None:
    file = house.data / "sesrelay.db"
    file.write_bytes(b"text" * 1000)
    (line,) = house.refused()
    assert line == f"sesrelay: {file} cannot be used: file is not a database; put its backup there"
    assert file.read_bytes() == b"text" * 1000


def test_tables_without_a_version(house: House) -> None:
    change(house, "DELETE FROM alembic_version")
    (line,) = house.refused()
    assert "the database has tables but no version" in line


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
