"""httperf's output as its manual page has it: read whole, or refused with what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.engine.httperf import parse_httperf
from testbed.errors import ProgramError

OUTPUT = """\
httperf --client=0/1 --server=10.64.0.10 --port=80 --uri=/1.bin --rate=200 --num-conns=400 --num-calls=1
Maximum connect burst length: 2

Total: connections 400 requests 399 replies 398 test-duration 1.995 s

Connection rate: 200.5 conn/s (5.0 ms/conn, <=3 concurrent connections)
Connection time [ms]: min 0.2 avg 0.4 max 5.7 median 0.5 stddev 0.3
Connection time [ms]: connect 0.1
Connection length [replies/conn]: 1.000

Request rate: 200.0 req/s (5.0 ms/req)
Request size [B]: 65.0

Reply rate [replies/s]: min 0.0 avg 0.0 max 0.0 stddev 0.0 (0 samples)
Reply time [ms]: response 0.3 transfer 0.2
Reply size [B]: header 90.0 content 1.0 footer 0.0 (total 91.0)
Reply status: 1xx=0 2xx=397 3xx=0 4xx=1 5xx=0

CPU time [s]: user 0.52 system 1.47 (user 26.1% system 73.7% total 99.7%)
Net I/O: 30.5 KB/s (0.2*10^6 bps)

Errors: total 10 client-timo 1 socket-timo 2 connrefused 3 connreset 4
Errors: fd-unavail 5 addrunavail 6 ftab-full 7 other 8
"""


def test_every_field_is_read() -> None:
    result = parse_httperf(OUTPUT)
    assert (result.connections, result.requests, result.replies, result.replies_2xx) == (400, 399, 398, 397)
    assert (result.connect_ms, result.response_ms, result.transfer_ms) == (0.1, 0.3, 0.2)
    assert result.duration_s == 1.995
    assert result.cpu_s == pytest.approx(1.99)
    assert list(result.errors.model_dump().values()) == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "start", ["Total", "Connection time [ms]: connect", "Reply time", "Reply status", "CPU", "Errors: fd"]
)
def test_what_is_missing_is_named(start: str) -> None:
    text = "\n".join(line for line in OUTPUT.splitlines() if not line.startswith(start))
    with pytest.raises(ProgramError, match="httperf printed no"):
        parse_httperf(text)


@given(cut=st.integers(0, len(OUTPUT)), noise=st.text(max_size=50))
def test_broken_output_is_refused_and_never_crashes(cut: int, noise: str) -> None:
    try:
        assert parse_httperf(OUTPUT[:cut] + noise + OUTPUT[cut:]).connections >= 0
    except ProgramError as error:
        assert "httperf printed" in str(error)  # noqa: PT017 (either outcome is right)
