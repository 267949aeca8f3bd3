"""The packet engine's TCP against a peer that the test plays itself, segment by segment (RFC 9293, 6298, 5961)."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator

import pytest

from tests.native.client_lab import SCRIPTED, ClientLab, Line, client_lab, finish, missing
from tests.native.client_peer import ACK, FIN, PSH, RST, SYN, Connection, ScriptedPeer

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

BODY = bytes(range(256)) * 5
REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
CRC = f"{zlib.crc32(BODY):08x}"
ONE = (
    "--uri",
    "/x",
    "--rate",
    "10",
    "--arrival",
    "deterministic",
    "--warm-up",
    "0s",
    "--window",
    "90ms",
    "--seed",
    "3",
)
"""Exactly one connection: one start falls into the window with this seed (asserted in every summary)."""


@pytest.fixture(scope="module")
def lab() -> Iterator[ClientLab]:
    with client_lab() as made:
        yield made


class Run:
    """One connection of loadgen with a peer played by the test."""

    def __init__(self, lab: ClientLab, *flags: str) -> None:
        self.peer = ScriptedPeer(lab)
        # A request is not sent again while the test takes its time, unless the test wants it.
        base = (*ONE, "--timeout", "2s", "--minimum-rto", "1s", "--body-crc32", CRC, *self.peer.flags)
        self.process = lab.program("loadgen", *base, *flags, target=SCRIPTED)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.__exit__()
        self.process.kill()
        self.process.communicate()

    def summary(self, **errors: int) -> Line:
        """Its summary: one attempt, completed unless an error class is named."""
        line = finish(self.process, timeout_s=15)[-1]
        assert line["attempted"] == 1
        assert {name: count for name, count in line["errors"].items() if count} == errors
        assert line["completed"] == 1 - sum(errors.values())
        return line


def close_down(connection: Connection) -> None:
    """The client's FIN, ours, and its last ACK."""
    while True:
        segment = connection.receive()
        if segment.flags & FIN:
            break
        assert segment.flags == ACK
    connection.take(segment)
    connection.send(flags=FIN | ACK)
    last = connection.receive()
    assert last.flags == ACK
    assert last.acknowledged == connection.sequence


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


def test_refused(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.expect_syn()
        connection.acknowledged = (connection.acknowledged - 5) % (1 << 32)
        connection.send(flags=RST | ACK)  # not for this SYN: ignored, but for a reset in return
        connection.acknowledged = (connection.acknowledged + 5) % (1 << 32)
        connection.send(flags=RST | ACK)
        run.summary(connrefused=1)


def test_reset_in_sequence_ends_the_connection(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        connection.send(REPLY[:500])
        connection.send(flags=RST | ACK)
        assert run.summary(connreset=1)["engine_counters"]["resets_received"] == 1


def test_guessed_resets_do_not(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        connection.send()
        connection.send(flags=RST, at=100)  # inside the window: a challenge ACK
        assert connection.receive().flags == ACK
        connection.send(flags=RST, at=-100)
        connection.send(flags=RST, at=50_000_000)
        connection.silence(0.2)
        connection.send(REPLY)
        close_down(connection)
        assert run.summary()["engine_counters"]["resets_received"] == 3


def test_segment_of_a_former_connection_is_reset_while_connecting(lab: ClientLab) -> None:
    with Run(lab, "--initial-rto", "300ms") as run:
        connection, syn = run.peer.expect_syn()
        connection.send(flags=ACK, acknowledged=12345)  # TIME_WAIT's answer to a SYN that it does not like
        reset = connection.receive()
        assert (reset.flags, reset.sequence) == (RST, 12345)
        assert connection.receive().sequence == syn.sequence
        connection.send(flags=SYN | ACK)
        connection.start = connection.sequence
        connection.take(connection.receive())
        connection.send(REPLY)
        close_down(connection)
        run.summary()


def test_timeout_resets_and_forgets(lab: ClientLab) -> None:
    with Run(lab, "--timeout", "400ms") as run:
        connection, request = run.peer.accept()
        while not (segment := connection.receive()).flags & RST:
            assert segment.payload == request.payload
        assert segment.at - request.at == pytest.approx(0.4, abs=0.1)
        run.summary(client_timo=1)


def test_fin_instead_of_a_reply_is_an_error(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        connection.send(REPLY[:700], flags=ACK | FIN)
        while not connection.receive().flags & RST:
            pass
        assert run.summary(other=1)["other_reasons"]["early_close"] == 1


def test_fin_with_the_last_byte_of_the_reply(lab: ClientLab) -> None:
    """The server closes first, in the same segment: CLOSING, and nothing is left behind."""
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        connection.send(REPLY, flags=ACK | PSH | FIN)
        fin = connection.receive()
        assert fin.flags & FIN
        connection.take(fin)
        acks = fin
        while acks.acknowledged != connection.sequence:
            acks = connection.receive()
        connection.send()
        run.summary()


def test_simultaneous_close(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        connection.send(REPLY)
        fin = connection.receive()
        assert fin.flags & FIN
        connection.send(flags=FIN | ACK)  # crosses it: does not acknowledge it
        last = connection.receive()
        assert last.acknowledged == connection.sequence
        connection.take(fin)
        connection.send()
        connection.silence(0.3)
        run.summary()


def test_lost_fin_and_lost_last_ack(lab: ClientLab) -> None:
    with Run(lab, "--minimum-rto", "150ms") as run:
        connection, _ = run.peer.accept()
        connection.send(REPLY)
        first = connection.receive()
        again = connection.receive()
        assert first.flags & again.flags & FIN
        assert again.sequence == first.sequence
        connection.take(first)
        connection.send()  # FIN_WAIT_2
        connection.send(flags=FIN | ACK)
        assert connection.receive().acknowledged == connection.sequence
        run.summary()


def test_fin_again_is_acknowledged_though_the_connection_is_gone(lab: ClientLab) -> None:
    with Run(lab, "--rate", "2", "--window", "1400ms") as run:
        connection, _ = run.peer.accept()
        connection.send(REPLY)
        fin = connection.receive()
        connection.take(fin)
        sequence = connection.sequence
        connection.send(flags=FIN | ACK)
        last = connection.receive()
        connection.sequence = sequence
        connection.send(flags=FIN | ACK)  # our side did not get the ACK
        again = connection.receive()
        assert (again.flags, again.sequence, again.acknowledged) == (ACK, last.sequence, last.acknowledged)


def test_data_after_the_client_closed_is_reset(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        connection.send(REPLY)
        connection.take(connection.receive())
        connection.send(b"and more")
        assert connection.receive().flags & RST
        run.summary()


def test_reset_after_the_client_closed_harms_nothing(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        connection.send(REPLY)
        connection.take(connection.receive())
        connection.send(flags=RST | ACK)
        run.summary()


def test_peer_that_never_closes_is_reset_at_the_end(lab: ClientLab) -> None:
    with Run(lab, "--timeout", "500ms") as run:
        connection, _ = run.peer.accept()
        connection.send(REPLY)
        fin = connection.receive()
        connection.take(fin)
        connection.send()  # FIN_WAIT_2 for good
        assert connection.receive().flags & RST
        run.summary()


def test_initial_sequence_numbers_and_ports_move_on(lab: ClientLab) -> None:
    """Between processes too: a pair never comes back soon, and if it did its numbers would have grown."""
    seen = []
    for _ in range(2):
        with Run(lab) as run:
            connection, syn = run.peer.expect_syn()
            seen.append((syn.host, syn.port))
            connection.send(flags=RST | ACK)
            run.summary(connrefused=1)
    assert seen[0] != seen[1]


def test_garbage_is_counted_and_ignored(lab: ClientLab) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        stray = b"\x45\0\0\x14\0\0\0\0\x40\x11\0\0" + bytes(8)
        frame = run.peer.client_mac + run.peer.mac + b"\x08\x00"
        host = bytes(int(part) for part in connection.host.split("."))
        run.peer.socket.send(frame + stray[:16] + host)  # UDP, if anything
        run.peer.socket.send(frame + b"\x46" + stray[1:16] + host + bytes(100))  # with options
        connection.send(REPLY[:10], flags=0)  # neither ACK nor RST
        connection.send(flags=FIN | SYN | RST | PSH, at=999)
        assert connection.receive().flags == ACK
        connection.send(REPLY, at=0)
        connection.sequence = (connection.start + len(REPLY)) % (1 << 32)
        close_down(connection)
        assert run.summary()["engine_counters"]["not_understood"] == 3
