"""From packets alone: how long the server took, and how long its client."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Ether

from testbed.engine.wire_times import WireTimes, wire_times
from testbed.errors import RunError
from tests.unit.pcaps import pcap

CLIENT, SERVER, PORT = "10.0.0.2", "10.0.0.1", 80
REQUEST = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
Packet = tuple[float, bytes]


def reply(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def packet(at_ms: float, up: bool, flags: str, payload: bytes = b"", client_port: int = 1000) -> Packet:
    ends = (CLIENT, SERVER, client_port, PORT) if up else (SERVER, CLIENT, PORT, client_port)
    return at_ms / 1e3, bytes(
        Ether() / IP(src=ends[0], dst=ends[1]) / TCP(sport=ends[2], dport=ends[3], flags=flags) / payload
    )


def one_byte_connection(start_ms: float, client_port: int) -> list[Packet]:
    """1 ms to the answer, 2 ms to the request, 3 ms to the reply, 4 ms to the client's close."""
    return [
        packet(start_ms, True, "S", client_port=client_port),
        packet(start_ms + 1, False, "SA", client_port=client_port),
        packet(start_ms + 3, True, "PA", REQUEST, client_port),
        packet(start_ms + 6, False, "PA", reply(b"x"), client_port),
        packet(start_ms + 10, True, "FA", client_port=client_port),
        packet(start_ms + 11, False, "FA", client_port=client_port),
    ]


def close(found: WireTimes, server_ms: float, client_ms: float, replies: int) -> None:
    assert (found.server_ms, found.client_ms) == pytest.approx((server_ms, client_ms), abs=1e-3)
    assert found.response_ms == pytest.approx(server_ms + client_ms, abs=1e-3)
    assert found.replies == replies


def test_a_connection_with_one_reply_is_seen_from_its_syn_to_its_close() -> None:
    close(wire_times(pcap(*one_byte_connection(0, 1000)), PORT), 1 + 3, 2 + 4, 1)


def test_a_port_that_is_used_again_is_another_connection() -> None:
    found = wire_times(pcap(*one_byte_connection(0, 1000), *one_byte_connection(50, 1000)), PORT)
    close(found, 4, 6, 2)


def session(replies: list[bytes], cuts: list[int]) -> list[Packet]:
    """Two requests at once, whose replies come 5 ms later in one stream that is cut as told; closed after 1 ms."""
    stream = b"".join(replies)
    places = sorted({0, len(stream), *(cut % len(stream) for cut in cuts)})
    return [
        packet(0, True, "S"),
        packet(0, False, "SA"),
        packet(2, True, "PA", REQUEST * len(replies)),
        *(packet(7, False, "PA", stream[start:end]) for start, end in pairwise(places)),
        packet(8, True, "FA"),
    ]


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.lists(st.integers(0, 1000), max_size=6))
def test_how_the_replies_are_cut_into_segments_changes_nothing(bodies: list[bytes], cuts: list[int]) -> None:
    count = len(bodies)
    found = wire_times(pcap(*session([reply(body) for body in bodies], cuts)), PORT)
    close(found, 5, (2 + 1 + (count - 1)) / count, count)


def test_bodies_that_the_capture_did_not_keep_are_counted_by_their_length() -> None:
    cut = pcap(*session([reply(b"x" * 700), reply(b"y" * 500)], [len(reply(b"x" * 700))]), snap=300)
    close(wire_times(cut, PORT), 5, 2, 2)


def test_a_connection_of_which_a_head_was_cut_off_is_left_out() -> None:
    cut = session([reply(b"x" * 700), reply(b"y" * 500)], [])
    found = wire_times(pcap(*cut, *one_byte_connection(50, 2000), snap=300), PORT)
    close(found, 4, 6, 1)


@pytest.mark.parametrize("left", range(5))
def test_a_connection_that_is_not_whole_is_left_out(left: int) -> None:
    unfinished = one_byte_connection(0, 1000)[:left]
    close(wire_times(pcap(*unfinished, *one_byte_connection(50, 2000)), PORT), 4, 6, 1)
    with pytest.raises(RunError, match="no whole connection"):
        wire_times(pcap(*unfinished), PORT)


def test_what_is_no_pcap_is_refused() -> None:
    with pytest.raises(RunError, match="cannot be read"):
        wire_times(b"no pcap at all, really", PORT)


@given(st.lists(st.tuples(st.sampled_from(one_byte_connection(0, 1000)), st.integers(0, 90), st.binary(max_size=8))))
def test_frames_with_anything_in_them_break_nothing(frames: list[tuple[Packet, int, bytes]]) -> None:
    changed = [(at, data[:place] + junk + data[place + len(junk) :]) for (at, data), place, junk in frames]
    try:
        found = wire_times(pcap(*changed), PORT)
    except RunError:
        return  # whatever it is, it is told in one line
    assert found.replies > 0
