"""The packet engine's TCP against a scripted peer: resets, FIN in every state, garbage (RFC 9293, 5961)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.native.client_lab import ClientLab, client_lab, missing
from tests.native.client_peer import ACK, FIN, PSH, RST, SYN, Connection
from tests.native.client_scripted import REPLY, Run, close_down

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module")
def lab() -> Iterator[ClientLab]:
    with client_lab() as made:
        yield made


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


def test_fin_while_connecting_is_no_handshake(lab: ClientLab) -> None:
    """SYN_SENT: neither a bare FIN nor one that acknowledges the SYN opens or ends anything."""
    with Run(lab, "--initial-rto", "300ms") as run:
        connection, syn = run.peer.expect_syn()
        sequence = connection.sequence
        connection.send(flags=FIN)
        connection.send(flags=FIN | ACK)
        connection.sequence = sequence
        assert connection.receive().sequence == syn.sequence
        connection.send(flags=SYN | ACK)
        connection.start = connection.sequence
        connection.take(connection.receive())
        connection.send(REPLY)
        close_down(connection)
        assert run.summary()["engine_counters"]["not_understood"] == 2


def test_fin_that_overtakes_its_data_waits_for_it(lab: ClientLab) -> None:
    """ESTABLISHED: the end of the stream is not where the FIN came, but behind the last byte."""
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        connection.send(REPLY[600:], flags=ACK | FIN, at=600)
        assert connection.receive().acknowledged == connection.start
        connection.send(REPLY[:600], at=0)
        connection.sequence = (connection.start + len(REPLY) + 1) % (1 << 32)
        segment = connection.receive()
        while not segment.flags & FIN:
            segment = connection.receive()
        connection.take(segment)
        while segment.acknowledged != connection.sequence:
            segment = connection.receive()
        connection.send()
        connection.silence(0.3)
        run.summary()


def closing(connection: Connection) -> None:
    """Our FIN crosses the client's, which stays unacknowledged."""
    connection.send(REPLY)
    fin = connection.receive()
    assert fin.flags & FIN
    connection.send(flags=FIN | ACK)
    assert connection.receive().acknowledged == connection.sequence
    connection.take(fin)


def last_ack(connection: Connection) -> None:
    """Our FIN comes with the reply; the client's stays unacknowledged."""
    connection.send(REPLY, flags=ACK | PSH | FIN)
    fin = segment = connection.receive()
    while not (fin.flags & FIN and segment.acknowledged == connection.sequence):
        segment = connection.receive()
        fin = segment if segment.flags & FIN else fin
    connection.take(fin)


def fin_wait_1(connection: Connection) -> None:
    """The client's FIN stays unacknowledged."""
    connection.send(REPLY)
    assert connection.receive().flags & FIN


def fin_wait_2(connection: Connection) -> None:
    """The client's FIN is acknowledged, ours has not come."""
    connection.send(REPLY)
    connection.take(connection.receive())
    connection.send()
    connection.silence(0.1)


@pytest.mark.parametrize("reached", [fin_wait_1, fin_wait_2, closing, last_ack])
def test_a_reset_ends_every_closing_state(lab: ClientLab, reached: Callable[[Connection], None]) -> None:
    """The reply was complete: it counts, nothing more is sent, and nothing is left to wait for."""
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        reached(connection)
        connection.send(flags=RST | ACK)
        connection.silence(1.3)  # beyond the time after which a FIN is sent again
        assert run.summary()["engine_counters"]["resets_received"] == 1


@pytest.mark.parametrize("reached", [closing, last_ack])
def test_fin_again_while_closing_is_acknowledged_again(lab: ClientLab, reached: Callable[[Connection], None]) -> None:
    with Run(lab) as run:
        connection, _ = run.peer.accept()
        reached(connection)
        acknowledged, connection.acknowledged = connection.acknowledged, (connection.acknowledged - 1) % (1 << 32)
        connection.send(flags=FIN | ACK, at=len(REPLY))
        assert connection.receive().acknowledged == (connection.start + len(REPLY) + 1) % (1 << 32)
        connection.acknowledged = acknowledged
        connection.send()
        connection.silence(0.3)
        run.summary()
