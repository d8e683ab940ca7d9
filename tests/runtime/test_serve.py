"""``sesrelay serve`` from outside: real processes, real sockets."""

from __future__ import annotations

import json
import signal
import smtplib
import socket
import ssl
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
from cryptography import x509

from tests.runtime.house import SENDER, SIMULATOR, House, until
from tests.standins.next_hop import NextHop

PROMISED = {
    "sesrelay_messages_accepted_total", "sesrelay_recipients_total", "sesrelay_queue_recipients",
    "sesrelay_smtp_connections", "sesrelay_refusals_total", "sesrelay_delivery_seconds_bucket",
    "sesrelay_commit_batch_size_bucket",
}  # fmt: skip


def test_a_mail_through_starttls_is_captured(house: House) -> None:
    house.start()
    house.send()
    assert house.states() == {SIMULATOR: "captured"}
    assert house.stop() == 0
    assert house.family() == []


def test_a_mail_through_tls_from_the_first_octet_reaches_the_next_hop(house: House) -> None:
    with NextHop() as hop:
        house.settle(delivery={"routes": [{"domain": "*", "via": f"smtp://127.0.0.1:{hop.port}"}]})
        house.start()
        with smtplib.SMTP_SSL("localhost", house.port("smtp-1"), context=house.trust()) as smtp:
            smtp.login(house.user_name, house.password)
            smtp.sendmail(SENDER, "a@example.com", f"From: {SENDER}\r\n\r\nHello.\r\n")
        (copy,) = hop.wait_for(lambda copies: copies, 30)
        assert copy.recipients == ("a@example.com",)
        assert copy.content.endswith(b"\r\n\r\nHello.\r\n")
        until(lambda: house.states() == {"a@example.com": "delivered"}, "delivered")
        assert house.stop() == 0


def test_a_configuration_may_be_long(house: House) -> None:
    routes = [{"domain": f"customer-number-{number}.example.com", "via": "capture"} for number in range(5000)]
    house.settle(delivery={"routes": routes})
    house.start()
    house.send()
    house.kill(*house.workers()[:1])
    until(lambda: house.get("/readyz")[0] == 503, "not ready")
    until(lambda: house.get("/readyz")[0] == 200, "ready again")
    assert house.stop() == 0


def test_ready_is_a_line_of_its_own_and_log_lines_are_json(house: House) -> None:
    house.start()
    house.stop()
    said = house.said()
    assert said.count("ready") == 1
    for line in said:
        assert line == "ready" or {"time", "level", "event"} <= json.loads(line).keys()


def test_the_node_tells_how_it_is(house: House) -> None:
    house.start()
    house.send()
    assert house.get("/healthz") == (200, "ok\n")
    assert house.get("/readyz") == (200, "ready\n")
    assert house.get("/elsewhere")[0] == 404
    until(lambda: house.metric("sesrelay_messages_accepted_total") == 1, "the message is counted")
    until(lambda: house.metric('sesrelay_recipients_total{outcome="captured"}') == 1, "its fate is counted")
    with pytest.raises(smtplib.SMTPDataError):
        house.session().sendmail("else@example.org", SIMULATOR, "From: else@example.org\r\n\r\nx\r\n")
    until(lambda: house.metric('sesrelay_refusals_total{reason="not-verified"}') == 1, "the refusal is counted")
    names = {line.partition("{")[0].partition(" ")[0] for line in house.get("/metrics")[1].splitlines()}
    assert names >= PROMISED


def test_open_sessions_are_counted(house: House) -> None:
    house.start()
    sessions = [house.session() for _ in range(5)]
    until(lambda: house.metric("sesrelay_smtp_connections") == 5, "five sessions")
    for session in sessions:
        session.quit()
    until(lambda: house.metric("sesrelay_smtp_connections") == 0, "no session")


def test_the_https_port_answers_a_sign_of_life_and_404(house: House) -> None:
    house.start()
    place = f"https://localhost:{house.port('http')}"
    with urllib.request.urlopen(f"{place}/healthz", context=house.trust()) as answer:
        assert answer.read() == b"ok\n"
    with pytest.raises(urllib.error.HTTPError, match="404") as refused:
        urllib.request.urlopen(f"{place}/console/", context=house.trust())
    refused.value.close()


def test_one_addresss_sessions_are_bounded_over_all_workers(house: House) -> None:
    house.settle(smtp={"node_connections_per_address": 4})
    house.start()
    sessions = [house.session() for _ in range(4)]
    for _ in range(6):  # the kernel gives them to any worker
        with pytest.raises(smtplib.SMTPConnectError) as refused:
            smtplib.SMTP("127.0.0.1", house.port("smtp-0"))
        assert refused.value.smtp_code == 421
    house.kill(*house.workers())
    for session in sessions:
        session.close()
    until(lambda: len(house.workers()) == 2, "new workers")
    house.send()


def test_a_worker_loads_only_what_it_needs_and_the_supervisor_nearly_nothing(house: House) -> None:
    house.start()
    assert house.process
    supervisor = psutil.Process(house.process.pid)
    loaded = {Path(place.path).name for place in supervisor.memory_maps()}
    assert not [name for name in loaded if name.startswith(("_pydantic_core", "pysqlite", "_sqlite3", "libsqlite"))]
    assert supervisor.memory_info().rss < 45 << 20
    for worker in house.workers():
        assert worker.memory_info().rss < 90 << 20


def test_a_message_under_way_is_finished_before_the_relay_stops(house: House) -> None:
    house.start()
    smtp = house.session()
    smtp.mail(SENDER)
    smtp.rcpt(SIMULATOR)
    smtp.putcmd("DATA")
    assert smtp.getreply()[0] == 354
    smtp.send(f"From: {SENDER}\r\n\r\nhalf a mess".encode())
    idle = house.session()
    assert house.process
    house.process.terminate()
    assert idle.getreply()[0] == 421
    smtp.send(b"age\r\n.\r\n")
    assert smtp.getreply()[0] == 250
    assert house.process.wait(30) == 0
    assert house.states() == {SIMULATOR: "captured"}


def test_nobody_can_connect_to_a_relay_that_stops(house: House) -> None:
    house.start()
    port = house.port("smtp-0")
    house.session()  # keeps a worker busy for a moment
    assert house.process
    house.process.terminate()

    def refused() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), 5):
                return False
        except OSError:
            return True

    until(refused, "connection refused")
    assert house.process.wait(30) == 0


def test_a_stop_that_is_asked_for_twice_does_not_wait(house: House) -> None:
    house.settle(drain_seconds=600)
    house.start()
    smtp = house.session()
    smtp.mail(SENDER)
    smtp.rcpt(SIMULATOR)
    smtp.putcmd("DATA")
    smtp.getreply()
    assert house.process
    house.process.terminate()
    until(lambda: house.events("stopping"), "stopping")
    began = time.monotonic()
    house.process.terminate()
    assert house.process.wait(30) == 0
    assert time.monotonic() - began < 30
    assert house.family() == []


@pytest.mark.parametrize("door", ["smtp-1", "http"])
def test_a_new_certificate_is_served_without_a_restart(house: House, door: str) -> None:
    house.start()

    def served() -> bytes:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        address = ("127.0.0.1", house.port(door))
        with socket.create_connection(address, 30) as plain, context.wrap_socket(plain) as secure:
            return secure.getpeercert(binary_form=True) or b""

    import trustme

    before = served()
    leaf = trustme.CA().issue_cert("localhost")
    leaf.private_key_pem.write_to_path(str(house.data / "certs" / "server.key"))
    leaf.cert_chain_pems[0].write_to_path(str(house.data / "certs" / "server.pem"))
    until(lambda: {served() for _ in range(6)}.isdisjoint({before}), "the new certificate, by every worker")


def test_the_end_of_each_certificate_and_bad_new_ones_are_metrics(house: House) -> None:
    house.start()
    file = house.data / "certs" / "server.pem"
    ends = x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()
    name = f'sesrelay_certificate_expiry_timestamp_seconds{{file="{file}"}}'
    until(lambda: house.metric(name) == ends, "the end is shown")
    assert house.metric("sesrelay_certificate_faults") == 0
    file.write_text("-----BEGIN CERTIFICATE-----\nhalf")
    until(lambda: house.metric("sesrelay_certificate_faults") == 1, "the fault is shown")
    (fault, *_) = house.events("tls.certificate_not_loaded")
    assert "not written to its end" in fault["reason"]
    house.send()


def test_a_region_that_a_reload_brings_gets_its_name_into_the_self_made_certificate(house: House) -> None:
    house.start()
    house.settle(regions=["us-east-1", "eu-west-1"])
    assert house.process
    house.process.send_signal(signal.SIGHUP)
    until(lambda: house.events("reloaded"), "reloaded")
    name = "email-smtp.eu-west-1.sesrelay.localhost"

    def served() -> bool:
        address = ("127.0.0.1", house.port("smtp-1"))
        with socket.create_connection(address, 30) as plain:
            try:
                with house.trust().wrap_socket(plain, server_hostname=name) as secure:
                    return secure.recv(200).startswith(f"220 {name} ".encode())
            except ssl.SSLCertVerificationError:
                return False

    until(served, "a certificate for the new region")
    assert house.events("tls.certificate_renewed")
