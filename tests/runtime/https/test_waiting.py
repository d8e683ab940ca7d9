"""How long a client has made us wait, as values."""

from __future__ import annotations

from sesrelay.runtime.https.waiting import PROGRESS_OCTETS, Taking


def test_who_has_taken_everything_makes_nobody_wait() -> None:
    taking = Taking()
    assert taking.seconds(0, untaken=0, taken=0) is None
    assert taking.seconds(10, untaken=5, taken=0) == 0
    assert taking.seconds(20, untaken=0, taken=5) is None
    assert taking.seconds(30, untaken=5, taken=5) == 0


def test_who_takes_octet_by_octet_is_waited_for() -> None:
    taking = Taking()
    assert [taking.seconds(now, untaken=100_000, taken=now) for now in (5, 15, 25)] == [0, 10, 20]


def test_time_begins_anew_with_so_much_of_a_large_answer() -> None:
    taking = Taking()
    assert taking.seconds(0, untaken=100_000, taken=7) == 0
    assert taking.seconds(10, untaken=100_000, taken=PROGRESS_OCTETS + 6) == 10
    assert taking.seconds(20, untaken=100_000, taken=PROGRESS_OCTETS + 7) == 0
    assert taking.seconds(30, untaken=100_000, taken=PROGRESS_OCTETS + 8) == 10


def test_small_answers_that_are_taken_count_although_the_next_one_is_on_its_way() -> None:
    taking = Taking()
    assert [taking.seconds(look, untaken=300, taken=300 * look) for look in range(100)] == [0] * 100
