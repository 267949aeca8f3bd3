"""The packet engine's TCP against a peer that the test plays itself: handshake and data (RFC 9293, 6298)."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.native.client_lab import ClientLab, client_lab, missing
from tests.native.client_peer import ACK, PSH, SYN
from tests.native.client_scripted import REPLY, Run, close_down

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module")
def lab() -> Iterator[ClientLab]:
    with client_lab() as made:
        yield made


def test_four_segments_make_a_connection(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, syn = run.peer.expect_syn()
        assert syn.options[:4] == b"\x02\x04\x05\xb4"
        connection.send(flags=SYN | ACK, options=b"\x02\x04\x05\xb4\x01\x03\x03\x07")
        request = connection.receive()
        assert request.flags == ACK | PSH
        assert request.payload.startswith(b"GET /x HTTP/1.1\r\n")
        assert b"\r\nHost: " in request.payload
        connection.take(request)
        connection.send(REPLY[:400])
        connection.send(REPLY[400:800], flags=ACK)
        connection.send(REPLY[800:], flags=ACK | PSH)
        close_down(connection)
        connection.silence(0.3)
        summary = run.summary()
    assert summary["replies"] == 1
    counters = summary["engine_counters"]
    assert counters["retransmissions"] == counters["not_understood"] == counters["bad_checksums"] == 0


def test_syn_is_sent_again_after_the_initial_rto_and_twice_that(lab: ClientLab) -> None:
    with Run(lab, "--initial-rto", "300ms", "--timeout", "4s") as run:
        connection, first = run.peer.expect_syn()
        second, third = connection.receive(), connection.receive()
        assert first.sequence == second.sequence == third.sequence
        assert second.at - first.at == pytest.approx(0.3, abs=0.08)
        assert third.at - second.at == pytest.approx(0.6, abs=0.08)
        connection.send(flags=SYN | ACK)
        connection.start = connection.sequence
        connection.take(connection.receive())
        connection.send(REPLY)
        close_down(connection)
        assert run.summary()["engine_counters"]["retransmissions"] == 2


def test_request_is_sent_again_until_acknowledged(lab: ClientLab) -> None:
    with Run(lab, "--minimum-rto", "150ms") as run:
        connection, first = run.peer.accept()
        second, third = connection.receive(), connection.receive()
        assert first.payload == second.payload == third.payload
        assert second.at - first.at == pytest.approx(0.15, abs=0.08)
        assert third.at - second.at == pytest.approx(0.3, abs=0.08)
        connection.send(REPLY)
        close_down(connection)
        run.summary()


def test_segments_in_any_order_twice_and_overlapping(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        pieces = [(900, 1200), (300, 600), (300, 600), (450, 960), (870, 930), (0, 150), (0, 330)]
        for begin, end in pieces:
            connection.send(REPLY[begin:end], at=begin)
        answers = [connection.receive() for _ in pieces[:5]]
        assert {answer.acknowledged for answer in answers} == {connection.start}, "nothing in order arrived yet"
        connection.send(REPLY[1200:], at=1200)
        connection.sequence = (connection.start + len(REPLY)) % (1 << 32)
        close_down(connection)
        counters = run.summary()["engine_counters"]
    assert counters["out_of_order"] == 5
    assert counters["duplicates"] >= 1


def test_corrupted_segments_are_dropped_and_counted(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        connection.send(b"\xee" * 1000, at=0, corrupt=True)
        connection.send(REPLY[300:600], at=300, corrupt=True)
        connection.silence(0.2)
        connection.send(REPLY)
        close_down(connection)
        assert run.summary()["engine_counters"]["bad_checksums"] == 2


def test_window_scaling_is_used_only_when_both_sides_do(lab: ClientLab) -> None:
    with Run(lab, "--receive-buffer", "1048576") as run:
        connection, _ = run.peer.accept(options=b"\x01\x03\x03\x07")
        connection.send(REPLY[:1])
        assert connection.receive().window << 5 == pytest.approx(1048576, rel=0.01)
        connection.send(REPLY[1:])
        close_down(connection)
        run.summary()
    with Run(lab, "--receive-buffer", "1048576") as run:
        connection, first = run.peer.accept()
        assert first.window == 65535
        connection.send(REPLY)
        close_down(connection)
        run.summary()


def test_delayed_ack_after_40_ms_and_at_once_for_two_segments(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept(options=b"\x02\x04\x02\x18")
        began = time.monotonic()
        connection.send(REPLY[:100])
        delayed = connection.receive()
        assert delayed.at - began == pytest.approx(0.04, abs=0.03)
        assert delayed.at - began >= 0.039
        began = time.monotonic()
        connection.send(REPLY[100 : 100 + 2 * 536])
        assert connection.receive().at - began < 0.035
        connection.send(REPLY[100 + 2 * 536 :])
        close_down(connection)
        run.summary()


def test_request_waits_for_a_zero_window_and_probes_it(lab: ClientLab) -> None:
    with Run(lab, "--minimum-rto", "100ms") as run:
        connection, _ = run.peer.expect_syn()
        connection.send(flags=SYN | ACK, window=0)
        connection.start = connection.sequence
        assert connection.receive().payload == b""
        probe = connection.receive()
        assert probe.payload == b"G"
        connection.send(window=0)  # still closed: the byte was not taken
        assert connection.receive().payload == b"G"
        connection.take(probe)
        connection.send(window=20)
        request = connection.receive()
        assert len(request.payload) <= 20
        seen = probe.payload + request.payload
        while b"\r\n\r\n" not in seen:
            connection.acknowledged = (request.sequence + len(request.payload)) % (1 << 32)
            connection.send()
            request = connection.receive()
            seen += request.payload
        assert seen.startswith(b"GET /x HTTP/1.1\r\n")
        connection.take(request)
        connection.send(REPLY)
        close_down(connection)
        run.summary()


def test_three_duplicate_acks_resend_before_the_timer(lab: ClientLab) -> None:
    with Run(lab, "--minimum-rto", "1500ms", "--uri", "/" + "y" * 900) as run:
        connection, first = run.peer.accept(options=b"\x02\x04\x02\x18")
        second = connection.receive()
        assert (second.sequence - first.sequence) % (1 << 32) == 536
        for _ in range(3):
            connection.send(acknowledged=first.sequence)
        again = connection.receive(1.0)
        assert again.sequence == first.sequence
        connection.take(second)
        connection.send(REPLY)
        close_down(connection)
        run.summary()


def test_keep_alive_probes_are_answered(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        connection.send(at=-1)  # as Linux probes: nothing, one before the next byte
        assert connection.receive().acknowledged == connection.sequence
        connection.send(b"\0", at=-1)
        assert connection.receive().acknowledged == connection.sequence
        connection.send(REPLY)
        close_down(connection)
        assert run.summary()["engine_counters"]["keep_alives"] == 2


def test_syn_ack_again_is_acknowledged_again(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        connection.send(flags=SYN | ACK, at=-1)
        answer = connection.receive()
        assert answer.flags == ACK
        assert answer.acknowledged == connection.sequence
        connection.send(REPLY)
        close_down(connection)
        assert run.summary()["engine_counters"]["peer_retransmissions"] == 1
