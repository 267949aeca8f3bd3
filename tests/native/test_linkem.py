"""linkem and linkprobe from outside: flags, what they print, and a life under the sanitizers with real packets."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.link.choose import apply, reset
from testbed.link.enter import inside
from testbed.link.train import TrainPlan, run_train
from testbed.model.shape import GilbertElliott, LinkShape, Shape
from tests.integration.link_pair import NamespacePlace, Pair, pair_of_namespaces
from tests.integration.link_requirements import missing
from tests.native.link_programs import build, harness


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ([], "--queue is required"),
        (["--queue", "70000"], "--queue: '70000' is not allowed: a whole number from 0 to 65535"),
        (["--queue", "1", "--delay", "5"], "--delay: '5' is not allowed: a duration with its unit"),
        (["--queue", "1", "--delay", "61s"], "from 0s to 60s"),
        (["--queue", "1", "--delay", "1ms", "--jitter", "2ms"], "jitter is larger than delay"),
        (["--queue", "1", "--loss", "1.01"], "--loss: '1.01' is not allowed: a number from 0 to 1"),
        (["--queue", "1", "--loss", "nan"], "--loss: 'nan' is not allowed"),
        (["--queue", "1", "--gemodel", "0.1"], "two to four shares"),
        (["--queue", "1", "--gemodel", "0.1,0"], "never leave the bad state"),
        (["--queue", "1", "--gemodel", "0.1,0.2,2"], "from 0 to 1"),
        (["--queue", "1", "--loss", "0.1", "--gemodel", "0.1,0.2"], "one of the two"),
        (["--queue", "1", "--reorder", "0.1"], "reorder needs a delay"),
        (["--queue", "1", "--distribution", "cauchy"], "is not one of: uniform normal pareto"),
        (["--queue", "1", "--at", "5"], "--at is for --ask only"),
        (["--queue", "1", "--ask", "why"], "is not one of: show change stop"),
        (["--bandwidth", "1"], "unknown flag '--bandwidth'"),
    ],
)
def test_bad_flags_are_one_line_that_says_what_is_allowed(flags: list[str], what: str) -> None:
    done = subprocess.run([build("linkem"), *flags], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2
    assert what in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ([], "--address is required"),
        (["--address", "127.0.0.1"], "one of --receive and --send"),
        (["--address", "localhost", "--send"], "'localhost' is not an IPv4 address"),
        (
            ["--address", "127.0.0.1", "--send", "--size", "8"],
            "--size: '8' is not allowed: a whole number from 24 to 1472",
        ),
    ],
)
def test_bad_flags_of_the_probe(flags: list[str], what: str) -> None:
    done = subprocess.run([build("linkprobe"), *flags], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2
    assert what in done.stderr


def test_asking_where_no_linkem_runs_is_an_error_line() -> None:
    done = subprocess.run(
        [build("linkem"), "--queue", "9", "--ask", "show"], capture_output=True, text=True, timeout=10
    )
    assert done.returncode == 1
    assert json.loads(done.stdout)["message"].startswith("nobody answers on this queue")


@pytest.fixture(scope="module")
def sanitized() -> Iterator[Pair]:
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    for program in ("linkem", "linkprobe"):
        folder = build(program, sanitize=True).parent
    with pair_of_namespaces(folder) as pair:
        yield pair


def test_every_effect_and_every_change_under_the_sanitizers(sanitized: Pair) -> None:
    shapes = [
        Shape(delay_us=2_000),
        Shape(delay_us=3_000, jitter_us=1_000, distribution="pareto", correlation_percent=50, reorder_percent=10),
        Shape(gemodel=GilbertElliott(p_percent=10, r_percent=30, bad_loss_percent=90, good_loss_percent=1)),
        Shape(delay_us=500, duplicate_percent=50, corrupt_percent=50, loss_percent=10),
        Shape(rate_bps=2_000_000, limit_pkts=500, burst_bytes=3_000),
        Shape(rate_bps=500_000, limit_pkts=3),
        Shape(delay_us=30_000, rate_bps=50_000_000, limit_pkts=1, seed=2**62),
    ]
    near, far = sanitized.near, sanitized.far
    for shape in shapes:
        apply(near, LinkShape(down=shape, up=shape), "userspace")
        # Until the slowest queue (2 Mbit/s, 300 packets: 0.65 s) is empty: what waits there would fill the next one.
        plan = TrainPlan(count=300, interval_us=100, payload=500, linger_s=1.0)
        train = run_train(far.place, near.place, near.address, plan)
        assert 0 < len(train.sequence) <= 600
    reset(near)
    assert_clean(sanitized)


def test_sigterm_ends_it_with_its_summary_while_packets_wait(sanitized: Pair) -> None:
    near, far = sanitized.near, sanitized.far
    apply(near, LinkShape(down=Shape(delay_us=10_000_000)), "userspace")
    run_train(far.place, near.place, near.address, TrainPlan(count=50, interval_us=100))
    process = place_of(sanitized).started[-2]  # the last one is the receiver
    process.signal("TERM")
    assert process.wait(20) == 0, process.stderr()
    summary = json.loads(process.lines(2.0)[-1])
    assert summary["type"] == "summary"
    assert summary["held"] >= 50
    reset(near)


def test_a_change_waits_for_its_moment(sanitized: Pair) -> None:
    place = sanitized.near.place
    running = place.start(["linkem", "--queue", "6"])
    assert json.loads(running.lines(10.0)[0])["type"] == "ready"
    moment_ns = time.monotonic_ns() + 1_500_000_000
    asker = place.start(["linkem", "--queue", "6", "--ask", "change", "--delay", "7ms", "--at", str(moment_ns)])
    assert json.loads(asker.lines(10.0)[0])["type"] == "waiting"
    before = json.loads(place.run(["linkem", "--queue", "6", "--ask", "show"]).stdout)
    assert before["now_ns"] > moment_ns or before["shape"]["delay_ns"] == 0
    after = json.loads(asker.lines(10.0)[0])
    assert after["shape"]["delay_ns"] == 7_000_000
    assert after["now_ns"] >= moment_ns
    assert asker.wait(20) == 0, asker.stderr()
    assert place.run(["linkem", "--queue", "6", "--ask", "stop"]).status == 0
    assert running.wait(20) == 0, running.stderr()


def test_what_is_no_question_is_passed_over_and_nobody_is_waited_for(sanitized: Pair) -> None:
    place = place_of(sanitized)
    emulator = place.start(["linkem", "--queue", "7"])
    assert json.loads(emulator.lines(10.0)[0])["type"] == "ready"

    def disturb() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.connect("\0testbed-linkem-7")
            for junk in (b"", b"x", bytes(4096)):  # unbound: there is nowhere that an answer could go
                stranger.send(junk)

    inside(str(sanitized.near.namespace), disturb)
    assert json.loads(place.run(["linkem", "--queue", "7", "--ask", "show"]).stdout)["type"] == "state"
    assert place.run(["linkem", "--queue", "7", "--ask", "stop"]).status == 0
    assert emulator.wait(20) == 0, emulator.stderr()


def test_a_second_linkem_on_a_queue_is_refused(sanitized: Pair) -> None:
    place = sanitized.near.place
    first = place.start(["linkem", "--queue", "5"])
    assert json.loads(first.lines(10.0)[0])["type"] == "ready"
    second = place.run(["linkem", "--queue", "5"])
    assert second.status == 1
    assert "Address already in use" in second.stdout
    assert place.run(["linkem", "--queue", "5", "--ask", "stop"]).status == 0
    assert first.wait(20) == 0, first.stderr()


_FUZZED = """
#include <stddef.h>
#include <stdint.h>
#include "nfqueue.h"

static volatile uint64_t seen;

static void take(void *context, const struct nfqueue_packet *packet)
{
    (void)context;
    seen += packet->id + packet->length;
    for (uint32_t i = 0; i < packet->payload_length; i++)
        seen += packet->payload[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    nfqueue_parse(data, size, take, NULL);
    return 0;
}
"""

_FROM_FILES = """
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        static unsigned char data[1 << 16];
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        unsigned char *exact = malloc(size ? size : 1);
        for (size_t k = 0; k < size; k++)
            exact[k] = data[k];
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
    return 0;
}
"""


def packet_message() -> bytes:
    """A packet as the kernel sends it: id 7, 60 bytes long, 20 of them copied."""
    header = (7).to_bytes(4, "big") + (0x0800).to_bytes(2, "big") + bytes([0])
    parts = [(1, header), (13, (60).to_bytes(4, "big")), (10, bytes(range(20)))]
    body = bytes([2, 0, 0, 9])
    for kind, value in parts:
        body += (4 + len(value)).to_bytes(2, "little") + kind.to_bytes(2, "little") + value + bytes(-len(value) % 4)
    return (16 + len(body)).to_bytes(4, "little") + (0x0300).to_bytes(2, "little") + bytes(10) + body


def test_messages_cut_and_changed_anywhere_are_read_safely(tmp_path: Path) -> None:
    binary = harness(tmp_path, "messages", _FUZZED + _FROM_FILES, ["link/nfqueue.c"])
    good, chance = packet_message(), random.Random(1)
    messages = [good[:length] for length in range(len(good) + 1)]
    for _ in range(1500):
        changed = bytearray(good * chance.choice((1, 2)))
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.choice((0, 1, 3, 4, 0x7F, 0xFF, chance.randrange(256)))
        messages.append(bytes(changed))
    for number, message in enumerate(messages):
        (tmp_path / f"m{number}").write_bytes(message)
    files = [str(tmp_path / f"m{number}") for number in range(len(messages))]
    done = subprocess.run([binary, *files], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]


def test_messages_fuzzed_for_a_few_seconds(tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("no clang on this machine: it has the fuzzer")
    try:
        binary = harness(tmp_path, "fuzzer", _FUZZED, ["link/nfqueue.c"], "clang", "-fsanitize=fuzzer")
    except RuntimeError as error:
        if "libclang_rt.fuzzer" not in str(error):
            raise
        pytest.skip("clang's fuzzer library is not installed (libclang-rt-dev)")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "packet").write_bytes(packet_message())
    done = subprocess.run(
        [binary, "-max_total_time=2", "-max_len=4096", "-seed=1", str(corpus)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def place_of(pair: Pair) -> NamespacePlace:
    assert isinstance(pair.near.place, NamespacePlace)
    return pair.near.place


def assert_clean(pair: Pair) -> None:
    """Every program that has ended did so well: a sanitizer's report is a status of its own."""
    for endpoint in (pair.near, pair.far):
        assert isinstance(endpoint.place, NamespacePlace)
        for process in endpoint.place.started:
            if "linkem" in str(process.process.args):
                assert process.wait(20) == 0, process.stderr()[-3000:]
            else:
                assert process.process.poll() in (0, None, -signal.SIGKILL), process.stderr()[-3000:]
