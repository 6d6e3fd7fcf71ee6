"""A mail server that misbehaves: the device sees a clean 502, 503 or 504, or a cut connection; nothing is sent twice and
nothing of one answer gets into another (DESIGN 4.2, threats 9 and 10)."""
import threading
import time

import pytest

from site_ import answers
from site_.device import EAS
from site_.strict import read_backend

OK = answers.head(200, [("Content-Length", "2")], "OK") + b"ok"


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.fixture
def proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend, {"proxy.upstreams.0.response_ms": 700}))


@pytest.fixture
def device(proxy, phone, alice):
    return phone(proxy, alice)


def cut_off(device, **kw):
    """Asks, and says what came of the body before the connection was cut; a whole answer is an AssertionError."""
    with device.connect() as line:
        try:
            response = line.request("POST", device.target("Sync"), **kw)
        except (EOFError, OSError) as e:
            return str(e)
        assert response is None, "looks whole: %r" % bytes(response.raw[:300])
        return None


def push(line, size):
    try:
        line.send(b"x" * size)
    except OSError:
        pass


NO_ANSWER = {
    "closes without a byte": answers.hang_up(),
    "resets": answers.hang_up(reset=True),
    "closes inside the head": answers.raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "closes behind the status line": answers.raw(b"HTTP/1.1 200 OK\r\n"),
    "closes behind an interim answer": answers.raw(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "garbage": answers.raw(b"\x16\x03\x01\x02\x00garbage\r\n\r\n"),
    "HTTP/0.9": answers.raw(b"<html>hello</html>\r\n\r\n"),
    "another protocol": answers.raw(b"220 mail ESMTP\r\n\r\n"),
    "HTTP/2": answers.raw(b"HTTP/2 200 OK\r\n\r\n"),
    "no status": answers.raw(b"HTTP/1.1 OK\r\n\r\n"),
    "status of four digits": answers.raw(b"HTTP/1.1 2000 OK\r\n\r\n"),
    "bare LF": answers.raw(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    "bare CR": answers.raw(b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 2\r\n\r\nok"),
    "NUL": answers.raw(b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok"),
    "fold": answers.raw(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
    "space before the colon": answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
    "both lengths": answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "two lengths": answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
    "negative length": answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
    "coding nobody knows": answers.raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "too much head": answers.huge_headers(),
    "too many fields": answers.huge_headers(500, 1),
    "switches protocols": answers.raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"),
}


@pytest.mark.quick
def test_threat_9_no_answer_or_garbage_is_502_and_the_request_is_not_sent_again(proxy, device, backend):
    for number, (name, behaviour) in enumerate(NO_ANSWER.items(), 1):
        backend.queue(behaviour)
        since = proxy.mark()
        with device.connect() as line:
            response = line.request("POST", device.target("SendMail"), body=b"once")
        assert response is not None and response.status == 502, name
        assert response.body == b"" and not response.all("X"), name
        fault = proxy.wait_event("fault", since=since, reason="upstream-broken")
        assert backend.url in fault["detail"] and fault["cure"] and fault["level"] == "error"
        assert len(backend.requests) == number, "%s: sent twice" % name
        assert len(backend.connections[-1].requests) == 1, "%s: its connection was used again" % name
    assert device.sync().status == 200


CUT = {
    "closes inside a counted body": answers.cut(),
    "resets inside a counted body": answers.cut(reset=True),
    "closes inside a chunk": answers.cut(in_chunks=True),
    "closes between two chunks": answers.raw(answers.head(200, [("Transfer-Encoding", "chunked")]) + b"4\r\nhalf\r\n"),
    "closes before the last line": answers.raw(answers.head(200, [("Transfer-Encoding", "chunked")]) + b"4\r\nhalf\r\n0\r\n"),
    "a chunk that is none": answers.raw(answers.head(200, [("Transfer-Encoding", "chunked")]) + b"4\r\nhalf\r\nXX\r\n\r\n"),
    "a chunk longer than it says": answers.raw(answers.head(200, [("Transfer-Encoding", "chunked")]) + b"4\r\nhalfway\r\n0\r\n\r\n"),
    "a negative chunk": answers.raw(answers.head(200, [("Transfer-Encoding", "chunked")]) + b"4\r\nhalf\r\n-1\r\n\r\n"),
    "closes behind the head": answers.raw(answers.head(200, [("Content-Length", "5")])),
}


@pytest.mark.quick
def test_threat_9_an_answer_that_breaks_off_is_a_cut_connection_and_never_looks_whole(proxy, device, backend):
    for number, (name, behaviour) in enumerate(CUT.items(), 1):
        since = proxy.mark()
        backend.queue(behaviour)
        cut_off(device)
        assert len(backend.requests) == number, name
        proxy.wait_event("answer_cut", since=since)
    assert device.sync().status == 200


@pytest.mark.quick
def test_threat_9_the_second_of_two_answers_is_thrown_away_with_its_connection(proxy, device, backend):
    late = threading.Event()

    def later(x):
        x.read_body()
        x.send(OK)
        late.wait(5)
        x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON")
    for behaviour in (answers.twice(b"ok", b"POISON"), answers.raw(OK + b"POISON", close=False), answers.raw(OK + b"\r\n", close=False),
                      answers.raw(answers.head(204) + b"POISON", close=False), later):
        backend.queue(behaviour)
        with device.connect() as line:
            response = line.request("POST", device.target("Sync"))
            assert response.status in (200, 204) and response.body in (b"ok", b"")
            late.set()
            for _ in range(3):
                response = line.request("POST", device.target("Sync"))
                assert response.status == 200 and b"POISON" not in response.raw
    proxy.wait_event("answer_too_long")


@pytest.mark.quick
def test_threat_9_what_a_mail_server_says_unasked_on_an_idle_connection_is_never_an_answer(device, backend):
    backend.queue(answers.ok(b"first"))
    assert device.sync().body == b"first"
    used = next(c for c in backend.connections if c.requests)
    used.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON")
    for _ in range(3):
        assert b"POISON" not in device.sync().raw
    assert len(used.requests) == 1


@pytest.mark.quick
def test_threat_9_a_flood_of_interim_answers_is_ended(device, backend):
    backend.queue(answers.interim(10), answers.interim(100000), answers.interim(100000, status=100))
    assert device.sync().status == 200
    for _ in range(2):
        with device.connect() as line:
            assert line.request("POST", device.target("Sync")).status == 502
    backend.wait(lambda: sum(c.closed for c in backend.connections) >= 2)
    assert device.sync().status == 200


@pytest.mark.quick
@pytest.mark.parametrize("size", [3 << 20, 200000])
def test_threat_9_an_answer_before_the_body_was_read_reaches_the_device_and_closes(device, backend, size):
    for status, body in ((413, b"too much"), (200, b"enough")):
        backend.queue(answers.early(status, body, close=status == 413))
        with device.connect() as line:
            line.sock.settimeout(20)
            line.send(("POST %s HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: %d\r\n\r\n" % (device.target("SendMail"), size)).encode())
            pour(line, size)
            response = line.response()
            assert response.status == status and response.body == body
            assert response.get("Connection") == "close" or line.request("OPTIONS", EAS).status == 200, "closed where the body is not through"
    assert device.sync().status == 200


def pour(line, size):
    """Sends a body as a phone does: to its end, whatever is said meanwhile, unless the connection goes."""
    try:
        for at in range(0, size, 65536):
            line.send(b"p" * min(65536, size - at))
    except OSError:
        pass


@pytest.mark.quick
def test_threat_10_a_mail_servers_headers_cannot_split_the_answer(device, backend):
    splits = [b"X-A: b\r\n\r\nHTTP/1.1 200 OK\r\nSet-Cookie: evil=1\r\nContent-Length: 0", b"X-A: b\rSet-Cookie: evil=1",
              b"X-A: b\nSet-Cookie: evil=1", b"X-A: b\0"]
    for split in splits[1:]:
        backend.queue(answers.raw(b"HTTP/1.1 200 OK\r\n" + split + b"\r\nContent-Length: 0\r\n\r\n"))
        response = device.sync()
        assert response.status == 502 and b"evil" not in response.raw
    backend.queue(answers.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + splits[0] + b"\r\n\r\n"))
    with device.connect() as line:
        response = line.request("POST", device.target("Sync"))
        assert b"evil" not in response.raw
        assert line.request("POST", device.target("Sync")).status == 200 and not line.reader.buffered


@pytest.mark.quick
def test_a_mail_server_that_says_nothing_is_504_and_its_late_answer_is_nobodys(proxy, device, backend):
    go = threading.Event()

    def late(x):
        x.read_body()
        go.wait(5)
        x.send(OK)
    backend.queue(late)
    began = time.monotonic()
    assert device.folder_sync().status == 504
    assert 0.6 < time.monotonic() - began < 2.0
    go.set()
    assert device.sync().body != b"ok"
    fault = proxy.wait_event("fault", reason="upstream-timeout")
    assert fault["detail"] == backend.url and "response_ms" in fault["cure"] and fault["level"] == "error"
    assert len(backend.requests) == 2


def test_a_mail_server_that_takes_no_more_of_a_body_is_504_and_not_the_devices_fault(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.limits.body_idle_seconds": 1}))
    backend.queue(answers.deaf())
    device = phone(proxy, alice)
    size = 20 << 20
    with device.connect() as line:
        line.send(("POST %s HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: %d\r\n\r\n" % (device.target("SendMail"), size)).encode())
        pusher = threading.Thread(target=push, args=(line, size), daemon=True)
        pusher.start()
        assert line.response().status == 504
        pusher.join(10)                         # what it still sends is read and thrown away, so that it sees the answer
    fault = proxy.wait_event("fault", reason="upstream-timeout")
    assert fault["detail"] == backend.url and not proxy.events("refused")
    assert device.sync().status == 200


def test_ping_and_sync_wait_longer_than_other_commands_and_then_get_504(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.upstreams.0.response_ms": 300, "proxy.upstreams.0.ping_seconds": 1}))
    backend.default = answers.never()
    device = phone(proxy, alice)
    times = {}
    for command in ("FolderSync", "Ping", "Sync"):
        began = time.monotonic()
        with device.connect() as line:
            assert line.request("POST", device.target(command)).status == 504
        times[command] = time.monotonic() - began
    assert times["FolderSync"] < 0.8 < 0.95 < min(times["Ping"], times["Sync"]) < 2.5, times
    backend.wait_idle()


def test_a_mail_server_that_stops_inside_its_answer_is_cut_after_body_idle_seconds(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.limits.body_idle_seconds": 1}))

    def stall(x):
        x.read_body()
        x.send(answers.head(200, [("Content-Length", "10")]) + b"half")
        x.backend.closing.wait(10)
    backend.queue(stall)
    began = time.monotonic()
    cut_off(phone(proxy, alice))
    assert 0.9 < time.monotonic() - began < 3.0


def test_a_slow_answer_that_goes_on_is_waited_for(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.limits.body_idle_seconds": 1, "proxy.upstreams.0.response_ms": 500}))
    backend.queue(answers.slow(b"slowly", step=1, seconds=0.4))
    assert phone(proxy, alice).sync().body == b"slowly"


def test_no_mail_server_is_503_with_retry_after_and_a_line_with_the_cure_until_it_is_back(proxy, device, backend):
    assert device.sync().status == 200
    backend.stop()
    proxy.wait_event("upstream_down")
    response = device.sync()
    assert response.status == 503 and int(response.get("Retry-After")) > 0 and response.body == b""
    fault = proxy.wait_event("fault", reason="no-upstream")
    assert fault["detail"] == "mail" and "proxy.upstreams" in fault["cure"]
    assert proxy.readyz()[0] == 503 and "mail" in proxy.readyz()[1]
    backend.start()
    proxy.wait_event("upstream_up", since=proxy.log.lines.index(fault))
    assert device.sync().status == 200 and proxy.readyz()[0] == 200


@pytest.mark.quick
def test_a_connection_that_the_mail_server_closed_meanwhile_is_not_used(device, backend):
    for _ in range(10):
        assert device.sync().status == 200
        used = [c for c in backend.connections if c.requests][-1]
        backend.queue(answers.raw(OK))          # answers, and closes without having said so
        assert device.sync().body == b"ok"
        backend.wait(lambda c=used: c.closed)
    assert len(read_backend(backend)) == 20


@pytest.mark.quick
def test_other_statuses_of_a_mail_server_pass_as_they_are(device, backend):
    for status in (200, 400, 403, 404, 449, 451, 500, 503, 507):
        backend.queue(answers.ok(b"said", [("Retry-After", "7")], status))
        response = device.sync()
        assert (response.status, response.body, response.get("Retry-After")) == (status, b"said", "7")
    assert device.connect().request("OPTIONS", EAS).status == 200
