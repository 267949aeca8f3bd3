"""HTTP cases against any server of `write_docroot`: each takes (host, port), used natively and against a container."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from tests.native.http_peer import FILES, LARGE, Peer

Case = Callable[[str, int], None]
CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Registers a case under its name."""
    CASES[function.__name__] = function
    return function


def _status_and_close(host: str, port: int, request: bytes, status: int) -> None:
    with Peer(host, port) as peer:
        peer.send(request)
        reply = peer.reply()
        assert reply.status == status, (request[:100], reply)
        assert reply.headers["connection"] == "close"
        assert peer.closed(), request[:100]


def _status_and_go_on(host: str, port: int, path: str, status: int) -> None:
    with Peer(host, port) as peer:
        for _ in range(2):
            peer.get(path)
            assert peer.reply().status == status, path
        peer.get("/1.bin")
        assert peer.reply().body == b"x"


@case
def every_file_is_served_whole(host: str, port: int) -> None:
    for name, content in FILES.items():
        with Peer(host, port) as peer:
            peer.get("/" + name.replace(" ", "%20"))
            reply = peer.reply()
            assert reply.status == 200, name
            assert hashlib.sha256(reply.body).digest() == hashlib.sha256(content).digest(), name


@case
def keep_alive_serves_many_requests(host: str, port: int) -> None:
    with Peer(host, port) as peer:
        for name in [*FILES] * 3:
            peer.get("/" + name.replace(" ", "%20"))
            reply = peer.reply()
            assert (reply.status, reply.body) == (200, FILES[name])
            assert "connection" not in reply.headers


@case
def client_closes_first(host: str, port: int) -> None:
    for _ in range(30):
        with Peer(host, port) as peer:
            peer.get("/1.bin")
            assert peer.reply().body == b"x"
            peer.finish_sending()
            assert peer.closed()


@case
def connection_close_is_obeyed(host: str, port: int) -> None:
    for header in ("Connection: close", "connection:CLOSE", "Connection: foo, Close ,bar"):
        with Peer(host, port) as peer:
            peer.get("/1.bin", extra=header + "\r\n")
            reply = peer.reply()
            assert (reply.status, reply.body, reply.headers["connection"]) == (200, b"x", "close"), header
            assert peer.closed(), header


@case
def connection_tokens_are_whole_words(host: str, port: int) -> None:
    with Peer(host, port) as peer:
        for header in ("Connection: closed", "Connection: keep-alive", "X-Connection: close", "Connection: not-close"):
            peer.get("/1.bin", extra=header + "\r\n")
            assert peer.reply().body == b"x", header


@case
def http_1_0_closes(host: str, port: int) -> None:
    for extra in ("", "Connection: keep-alive\r\n"):
        with Peer(host, port) as peer:
            peer.get("/dir00000/class2_8", version="1.0", extra=extra)
            assert peer.reply().body == FILES["dir00000/class2_8"]
            assert peer.closed()


@case
def head_has_no_body(host: str, port: int) -> None:
    with Peer(host, port) as peer:
        for path, status, length in (("/large.bin", 200, len(LARGE)), ("/1.bin", 200, 1), ("/none", 404, 10)):
            peer.get(path, method="HEAD")
            reply = peer.reply(head=True)
            assert (reply.status, int(reply.headers["content-length"])) == (status, length)
        peer.get("/1.bin")  # nothing of a body stands before it
        assert peer.reply().body == b"x"


@case
def pipelined_requests_are_answered_in_order(host: str, port: int) -> None:
    names = ["1.bin", "dir00000/class0_0", "empty.bin", "large.bin", "dir00000/class2_8", "index.html"] * 4
    with Peer(host, port) as peer:
        peer.send(b"".join(f"GET /{name} HTTP/1.1\r\nHost: t\r\n\r\n".encode() for name in names))
        for name in names:
            assert peer.reply().body == FILES[name], name


@case
def a_long_pipeline_is_answered_whole(host: str, port: int) -> None:
    count = 3000  # more bytes than any buffer of the server takes at once
    with Peer(host, port) as peer:
        peer.send(b"GET /1.bin HTTP/1.1\r\nHost: test\r\nUser-Agent: pipeline\r\n\r\n" * count)
        for _ in range(count):
            assert peer.reply().body == b"x"
        peer.finish_sending()
        assert peer.closed()


@case
def pipelining_after_close_is_ignored(host: str, port: int) -> None:
    with Peer(host, port) as peer:
        peer.send(b"GET /1.bin HTTP/1.1\r\nConnection: close\r\n\r\nGET /index.html HTTP/1.1\r\n\r\n")
        assert peer.reply().body == b"x"
        assert peer.closed()


@case
def a_request_may_come_byte_by_byte(host: str, port: int) -> None:
    with Peer(host, port) as peer:
        for byte in b"\r\nGET /1.bin HTTP/1.1\r\nHost: slow\r\nConnection: close\r\n\r\n":
            peer.send(bytes([byte]))
        assert peer.reply().body == b"x"
        assert peer.closed()


@case
def two_requests_may_share_a_segment_in_parts(host: str, port: int) -> None:
    request = b"GET /1.bin HTTP/1.1\r\nHost: parts\r\n\r\n"
    with Peer(host, port) as peer:
        peer.send(request + request[:10])
        assert peer.reply().body == b"x"
        peer.send(request[10:])
        assert peer.reply().body == b"x"


@case
def a_half_closed_peer_is_still_answered(host: str, port: int) -> None:
    for name in ("1.bin", "large.bin"):
        with Peer(host, port) as peer:
            peer.get("/" + name)
            peer.finish_sending()
            assert peer.reply().body == FILES[name]
            assert peer.closed()


@case
def a_half_closed_pipeline_is_answered_whole(host: str, port: int) -> None:
    with Peer(host, port) as peer:
        peer.send(b"GET /dir00000/class2_8 HTTP/1.1\r\n\r\n" * 20)
        peer.finish_sending()
        for _ in range(20):
            assert peer.reply().body == FILES["dir00000/class2_8"]
        assert peer.closed()


@case
def a_connection_without_request_is_closed_by_its_peer(host: str, port: int) -> None:
    for data in (b"", b"GET /1.b"):
        with Peer(host, port) as peer:
            peer.send(data)
            peer.finish_sending()
            assert peer.closed()


@case
def a_slow_reader_gets_all(host: str, port: int) -> None:
    times = 2
    with Peer(host, port, receive_buffer=4096) as peer:
        peer.send(b"GET /large.bin HTTP/1.1\r\n\r\n" * times)
        for _ in range(times):
            assert peer.reply().body == LARGE
        peer.get("/1.bin")
        assert peer.reply().body == b"x"


@case
def unknown_paths_are_not_found(host: str, port: int) -> None:
    for path in (
        "/",
        "/none",
        "/1.binx",
        "/1.bi",
        "//1.bin",
        "/dir00000",
        "/dir00000/",
        "/with",
        "/" + "a" * 4000,
        "/1.bin%00",
    ):
        _status_and_go_on(host, port, path, 404)


@case
def paths_do_not_leave_the_root(host: str, port: int) -> None:
    for path in (
        "/../etc/passwd",
        "/../../../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/%252e%252e/etc/passwd",
        "/dir00000/../1.bin",
        "/./1.bin",
        "//etc/passwd",
    ):
        _status_and_go_on(host, port, path, 404)


@case
def queries_and_escapes_are_understood(host: str, port: int) -> None:
    for target in ("/1.bin?a=b", "/1.bin?", "/1%2Ebin", "/%31.bin", "http://test/1.bin", "HTTP://test:80/1.bin?x"):
        with Peer(host, port) as peer:
            peer.get(target)
            assert peer.reply().body == b"x", target


@case
def malformed_requests_are_refused(host: str, port: int) -> None:
    for request in (
        b"GET /1.bin\r\n\r\n",  # HTTP/0.9
        b"GET  HTTP/1.1\r\n\r\n",
        b"GET /1.bin HTTP/1.1 \r\n\r\n",
        b"GET /1.bin HTTP/x.1\r\n\r\n",
        b"GET /1.bin http/1.1\r\n\r\n",
        b"GET /1.bin HTTP/1.1\n\n",
        b"GET /1.bin HTTP/1.1\r\nHost: a\n\r\n",
        b"GET 1.bin HTTP/1.1\r\n\r\n",
        b"GET * HTTP/1.1\r\n\r\n",
        b"GET /%zz HTTP/1.1\r\n\r\n",
        b"GET /a%4 HTTP/1.1\r\n\r\n",
        b"GET /a\x01b HTTP/1.1\r\n\r\n",
        b"GE(T /1.bin HTTP/1.1\r\n\r\n",
        b"GET /1.bin HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /1.bin HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /1.bin HTTP/1.1\r\n: empty\r\n\r\n",
        b"GET /1.bin HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        b"GET /1.bin HTTP/1.1\r\nHost: \x00\r\n\r\n",
        b"GET /1.bin HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /1.bin HTTP/1.1\r\nContent-Length:\r\n\r\n",
        b"GET /1.bin HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS greeting: no line will ever come
        b"\x00",
    ):
        _status_and_close(host, port, request, 400)


@case
def a_fault_is_answered_before_the_rest_is_read(host: str, port: int) -> None:
    _status_and_close(host, port, b"BAD\r\n\r\n" + b"z" * 200_000, 400)


@case
def long_headers_are_refused(host: str, port: int) -> None:
    start = b"GET /1.bin HTTP/1.1\r\n"
    for request in (
        b"GET /" + b"a" * 8300 + b" HTTP/1.1\r\n\r\n",
        start + b"X: " + b"y" * 8300,  # without an end
        start + b"X: yyyyyyyyyyyyyyyyyyyyyy\r\n" * 400,
        start + b"X: " + b"y" * 8300 + b"\r\n\r\n",
        b"\r\n" * 5000,
    ):
        _status_and_close(host, port, request, 431)


@case
def the_longest_header_is_taken(host: str, port: int) -> None:
    start, end = b"GET /1.bin HTTP/1.1\r\nX: ", b"\r\n\r\n"
    fill = 8192 - len(start) - len(end)
    with Peer(host, port) as peer:
        peer.send(start + b"y" * fill + end)
        assert peer.reply().body == b"x"
    _status_and_close(host, port, start + b"y" * (fill + 1) + end, 431)


@case
def other_methods_are_not_implemented(host: str, port: int) -> None:
    for method in (b"POST", b"PUT", b"DELETE", b"OPTIONS", b"get", b"GETX", b"M-SEARCH"):
        _status_and_close(host, port, method + b" /1.bin HTTP/1.1\r\nHost: t\r\n\r\n", 501)


@case
def other_versions_are_not_supported(host: str, port: int) -> None:
    _status_and_close(host, port, b"GET /1.bin HTTP/2.0\r\n\r\n", 505)


@case
def request_bodies_are_refused(host: str, port: int) -> None:
    for header in (b"Content-Length: 5", b"content-length: 99999999999999999999", b"Transfer-Encoding: chunked"):
        _status_and_close(host, port, b"GET /1.bin HTTP/1.1\r\n" + header + b"\r\n\r\nhello", 413)
    with Peer(host, port) as peer:
        peer.get("/1.bin", extra="Content-Length: 00\r\n")
        assert peer.reply().body == b"x"


@case
def resets_harm_nobody_else(host: str, port: int) -> None:
    with Peer(host, port) as bystander:
        for data in (
            b"",
            b"GET /lar",
            b"GET /large.bin HTTP/1.1\r\n\r\n",
            b"GET /large.bin HTTP/1.1\r\n\r\n" * 50,
            b"BAD\r\n\r\n",
        ):
            for _ in range(3):
                peer = Peer(host, port)
                peer.send(data)
                peer.reset()
        bystander.get("/1.bin")
        assert bystander.reply().body == b"x"


@case
def many_connections_are_served_beside_each_other(host: str, port: int) -> None:
    peers = [Peer(host, port) for _ in range(100)]
    try:
        for peer in peers:
            peer.get("/dir00000/class2_8")
        for peer in reversed(peers):
            assert peer.reply().body == FILES["dir00000/class2_8"]
    finally:
        for peer in peers:
            peer.socket.close()
