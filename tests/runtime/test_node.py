from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sesrelay.runtime import node

HOLD = """
import sys, pathlib
from sesrelay.runtime import node
node.lock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_relay_on_one_folder_is_told_who_holds_it(tmp_path: Path) -> None:
    first = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout
    assert first.stdout.readline() == "held\n"
    with pytest.raises(node.NodeBusy, match=rf"another relay runs on the data folder .* \(process {first.pid}\)"):
        node.lock(tmp_path)
    first.communicate()
    os.close(node.lock(tmp_path))


def test_workers_that_outlive_their_supervisor_keep_the_folder(tmp_path: Path) -> None:
    fd = node.lock(tmp_path)
    worker = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[fd])
    os.close(fd)
    (node.run_folder(tmp_path) / "lock").write_text("999999999\n")
    with pytest.raises(node.NodeBusy, match="the workers of one that was killed"):
        node.lock(tmp_path)
    worker.communicate(b"\n")
    os.close(node.lock(tmp_path))


def test_a_missing_data_folder_is_said_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(node.NodeFault, match=r"does not exist .*sesrelay init"):
        node.lock(tmp_path / "nowhere")


def test_a_nodes_name_is_made_once(tmp_path: Path) -> None:
    made = node.name(tmp_path, lambda octets: b"\xab" * octets)
    assert made.endswith("-ababab")
    assert node.name(tmp_path, os.urandom) == made


def test_ports_are_told_whole(tmp_path: Path) -> None:
    node.run_folder(tmp_path).mkdir()
    node.tell_ports(tmp_path, {"smtp-0": ["127.0.0.1", 2587]})
    assert json.loads((tmp_path / "run" / "ports.json").read_text()) == {"smtp-0": ["127.0.0.1", 2587]}
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["ports.json"]


def test_a_copied_folder_is_another_node_on_another_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Mail-1.example.com")
    first = node.name(tmp_path, os.urandom)
    assert first.startswith("mail-1-example-com-")
    monkeypatch.setattr(socket, "gethostname", lambda: "mail-2.example.com")
    assert node.name(tmp_path, os.urandom).startswith("mail-2-example-com-")


def test_what_is_counted_lies_in_memory_and_is_private(tmp_path: Path) -> None:
    data, memory, given = tmp_path / "data", tmp_path / "shm", tmp_path / "run"
    for folder in (data, memory, given, node.run_folder(data)):
        folder.mkdir()
    made = node.metrics_folder(data, "", memory)
    assert made.parent == memory
    assert made.stat().st_mode & 0o777 == 0o700
    (made / "counter_1.db").touch()
    assert node.metrics_folder(data, "", memory) == made
    assert list(made.iterdir()) == [], "counts of an earlier run"
    assert node.metrics_folder(data, f"{given}:{tmp_path}", memory).parent == given
    assert node.metrics_folder(tmp_path, "", memory) != made


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    memory, other = tmp_path / "shm", tmp_path / "other"
    for folder in (memory, other, node.run_folder(tmp_path)):
        folder.mkdir()
    (other / "file").touch()
    made = node.metrics_folder(tmp_path, "", memory)
    made.rmdir()
    made.symlink_to(other)
    assert node.metrics_folder(tmp_path, str(tmp_path / "nowhere"), memory) == tmp_path / "run" / "metrics"
    assert (other / "file").exists()
