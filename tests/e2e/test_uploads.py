"""Bodies from a device, several TLS records at a time: whole, in order, told from what comes behind them (DESIGN 4.1.10)."""
import os
import random

import pytest

from site_ import answers
from site_.strict import read_backend

KIB, MIB = 1 << 10, 1 << 20
HEAD = "POST %s HTTP/1.1\r\nHost: mail.example.com\r\n%s\r\n"


@pytest.fixture
def proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend))


@pytest.fixture
def device(proxy, phone, pki):
    return phone(proxy, pki.device_ca.device("alice@corp.example"), timeout=30)


def counted(device, body, command="SendMail"):
    return (HEAD % (device.target(command), "Content-Length: %d\r\n" % len(body))).encode() + body


def chunked(device, body, command="SendMail"):
    pieces = [body[i:i + 20000] for i in range(0, len(body), 20000)]
    return (HEAD % (device.target(command), "Transfer-Encoding: chunked\r\n")).encode() + \
        b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def send_in_records(line, data, sizes):
    """Each send is one TLS record, at most 16 KiB of it."""
    at = 0
    while at < len(data):
        size = next(sizes)
        line.send(data[at:at + size])
        at += size


@pytest.mark.quick
def test_large_and_small_bodies_in_records_of_every_size_follow_each_other_whole(device, backend):
    """Buffers grow for a large body, and what stands behind it in the same records is the next request."""
    backend.default = answers.echo()
    rng = random.Random(7)
    bodies = [os.urandom(size) for size in (300 * KIB, 10, 256 * KIB, 256 * KIB - 1, 0, 3 * MIB, 65536, 16384, 1 * MIB)]
    for frame in (counted, chunked):
        line = device.connect()
        for body in bodies:
            # one at a time: what the mail server echoes meanwhile is read behind it
            send_in_records(line, frame(device, body), iter(lambda: rng.choice((1, 300, 5000, 16383, 16384)), None))
            response = line.response()
            assert response.status == 200 and response.body == body, len(body)
        line.close()
    assert [r.body for r in read_backend(backend)] == bodies + bodies


@pytest.mark.quick
@pytest.mark.parametrize("frame", [counted, chunked])
def test_requests_behind_a_large_body_in_the_same_records_are_requests_of_their_own(device, backend, frame):
    bodies = [os.urandom(size) for size in (400 * KIB, 100, 40 * KIB, 0)]
    line = device.connect()
    line.send(b"".join(frame(device, body) for body in bodies))
    for _ in bodies:
        assert line.response().status == 200
    line.close()
    assert [r.body for r in read_backend(backend)] == bodies


@pytest.mark.quick
@pytest.mark.parametrize("frame", [counted, chunked])
def test_an_end_that_comes_along_with_the_body_is_noticed(proxy, device, backend, frame):
    """close_notify in the same segment as the last record, and TCP left open: nothing more will announce it."""
    backend.when("Ping", answers.hold())
    for size in (100, 30 * KIB, 700 * KIB):
        since = proxy.mark()
        line = device.connect()
        line.sock.settimeout(10)
        line.send(frame(device, b"p" * size, "Ping"))
        goodbye(line)
        proxy.wait_event("access", since=since, command="Ping", detail="the device went away")
        line.close()
    backend.wait_idle()


def goodbye(line):
    """TLS says that it ends; the TCP connection stays."""
    line.sock.settimeout(0)
    try:
        line.sock.unwrap()
    except OSError:
        pass                            # the other side's goodbye is not there yet


@pytest.mark.quick
def test_a_body_that_ends_too_early_never_becomes_a_request(device, backend):
    for data in (counted(device, b"x" * 200 * KIB)[:-1], chunked(device, b"x" * 200 * KIB)[:-5]):
        line = device.connect()
        line.send(data)
        goodbye(line)
        line.close()
    backend.wait(lambda: len(backend.requests) == 2)
    backend.wait_idle()
    assert not any(r.complete for r in backend.requests) and read_backend(backend) == []
