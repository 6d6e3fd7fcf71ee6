"""Bytes both ways: of any size, framing and pace; whole, in order, with bounded memory, and nothing else (DESIGN 4.1.10)."""
import gzip
import hashlib
import os
import random
import socket
import ssl
import threading
import time

import pytest

from site_ import answers
from site_.device import EAS, base64_query
from site_.strict import read_backend
from site_.workers import cpu_seconds, pss, sanitized

MIB = 1 << 20
SIZES = [0, 1, 2, 100, 4095, 4096, 4097, 16383, 16384, 16385, 65535, 65536, 65537, 131072, 1000003, 5 * MIB, 20 * MIB]
COUNTED_HEAD = "POST %s HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: %d\r\n\r\n"
CHUNKED_HEAD = "POST %s HTTP/1.1\r\nHost: mail.example.com\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.fixture
def proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend))


@pytest.fixture
def device(proxy, phone, alice):
    return phone(proxy, alice, timeout=30)


def either(start_proxy, configure, start_backend, pki, place, tls):
    """A mail server with or without TLS, and a proxy before it."""
    backend = start_backend(tls=pki.server_ca.server("localhost") if tls else None)
    changes = {}
    if tls:
        with open(os.path.join(place, "ca.pem"), "wb") as f:
            f.write(pki.server_ca.pem)
        changes = {"proxy.upstreams.0.servers": ["https://localhost:%d" % backend.port], "proxy.upstreams.0.ca": f.name}
    return backend, start_proxy(configure(backend, changes))


def noise(size):
    """`size` bytes that repeat nowhere within a megabyte."""
    block = hashlib.shake_256(b"noise").digest(min(size, 1000003))
    return (block * (size // len(block) + 1))[:size] if size else b""


def send_chunks(line, body, sizes=(1, 7, 4096, 16384, 30000, 70000)):
    at, turn = 0, 0
    while at < len(body):
        piece = body[at:at + sizes[turn % len(sizes)]]
        line.send(b"%X\r\n%s\r\n" % (len(piece), piece))
        at, turn = at + len(piece), turn + 1
    line.send(b"0\r\n\r\n")


@pytest.mark.quick
def test_bodies_of_every_size_arrive_whole_both_ways(device, backend):
    backend.default = answers.echo()
    for size in SIZES:
        body = noise(size)
        response = device.post("SendMail", body)
        assert response.status == 200 and response.get("Content-Length") == str(size)
        assert response.body == body, size
    assert [len(r.body) for r in read_backend(backend)] == SIZES
    assert len([c for c in backend.connections if c.requests]) == 1


@pytest.mark.quick
def test_chunked_bodies_arrive_whole_both_ways(device, backend):
    for size in (0, 1, 4096, 65537, 3 * MIB):
        body = noise(size)
        backend.queue(answers.chunked(*[body[i:i + 50000] for i in range(0, size, 50000)]))
        line = device.connect()
        line.send((CHUNKED_HEAD % device.target("SendMail")).encode())
        send_chunks(line, body)
        response = line.response()
        assert response.status == 200 and response.chunked and response.body == body, size
        assert not response.trailers
    assert [r.body for r in read_backend(backend)] == [noise(n) for n in (0, 1, 4096, 65537, 3 * MIB)]


@pytest.mark.quick
def test_extensions_and_trailers_of_a_mail_server_do_not_reach_the_device(device, backend):
    backend.queue(answers.chunked(b"abc", b"def", extension=b";x=\"y\"", trailers=b"Set-Cookie: a=b\r\n"))
    response = device.sync()
    assert response.body == b"abcdef" and not response.trailers and b'x="y"' not in response.raw


@pytest.mark.quick
def test_a_body_sent_byte_by_byte_and_an_answer_that_comes_byte_by_byte(device, backend):
    backend.default = answers.slow(b"s" * 60, step=1, seconds=0.001, head_too=True)
    with device.connect() as line:
        for byte in (COUNTED_HEAD % (device.target("Sync"), 30)).encode() + b"b" * 30:
            line.send(bytes([byte]))
        assert line.response().body == b"s" * 60
    assert read_backend(backend)[0].body == b"b" * 30


@pytest.mark.quick
def test_a_device_that_reads_slowly_stops_the_mail_server_not_fills_memory(proxy, device, backend):
    size, sent = 30 * MIB, []

    def pour(x):
        x.read_body()
        x.send(answers.head(200, [("Content-Length", str(size))]))
        for _ in range(size // 65536):
            x.send(b"p" * 65536)
            sent.append(65536)
    backend.default = pour
    before = pss(proxy)
    lines = []
    for _ in range(4):
        line = device.connect()
        line.send((COUNTED_HEAD % (device.target("Sync"), 0)).encode())
        lines.append(line)
    stalled = wait_still(lambda: len(sent))
    assert sum(sent) < 4 * size / 2, "the mail server was held back"
    if not sanitized(proxy):
        assert pss(proxy) - before < 4 * MIB, "what is on its way is bounded"
    for line in lines:
        response = line.response()
        assert len(response.body) == size and response.body.count(b"p") == size
    assert stalled > 0


def wait_still(count, seconds=0.3, limit=10):
    """Waits until count() has not changed for a while; returns it."""
    deadline, last, since = time.monotonic() + limit, count(), time.monotonic()
    while time.monotonic() < deadline and time.monotonic() - since < seconds:
        time.sleep(0.02)
        if count() != last:
            last, since = count(), time.monotonic()
    return last


@pytest.mark.parametrize("tls", [False, True])
def test_a_mail_server_that_reads_slowly_stops_the_device_not_fills_memory(start_proxy, configure, start_backend, phone, pki, place, alice, tls):
    backend, proxy = either(start_proxy, configure, start_backend, pki, place, tls)
    device = phone(proxy, alice, timeout=30)
    go = threading.Event()

    def later(x):
        go.wait(20)
        answers.ok(b"")(x)
    backend.default = later
    size, sent = 25 * MIB, []
    before = pss(proxy)

    def pour(line):
        line.send((COUNTED_HEAD % (device.target("SendMail"), size)).encode())
        for _ in range(size // 65536):
            line.send(b"p" * 65536)
            sent.append(65536)
    lines = [device.connect() for _ in range(3)]
    threads = [threading.Thread(target=pour, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    assert 0 < wait_still(lambda: len(sent)) * 65536 < 3 * size / 2, "the devices were held back"
    if not sanitized(proxy):
        assert pss(proxy) - before < 4 * MIB, "what is on its way is bounded"
    go.set()
    for thread in threads:
        thread.join()
    assert [line.response().status for line in lines] == [200] * 3
    assert {len(r.body) for r in backend.wait_requests(3)} == {size}


@pytest.mark.quick
def test_a_chunked_answer_to_a_device_that_reads_slowly_is_whole(proxy, device, backend):
    body = noise(6 * MIB)
    backend.default = answers.chunked(*[body[i:i + 100000] for i in range(0, len(body), 100000)])
    with device.connect() as line:
        line.send((COUNTED_HEAD % (device.target("Sync"), 0)).encode())
        threading.Event().wait(0.2)             # so that the way to the device is full
        assert line.response().body == body


@pytest.mark.quick
@pytest.mark.parametrize("size", [0, 5, 70000, 6 * MIB])
def test_an_http_1_0_mail_server_whose_body_ends_with_the_connection(device, backend, size):
    for _ in range(2):
        backend.queue(answers.http10(noise(size)), answers.eas())
        with device.connect() as line:
            line.send((COUNTED_HEAD % (device.target("Sync"), 0)).encode())
            threading.Event().wait(0.05)         # so that all of it has piled up
            response = line.response()
            assert response.status == 200 and response.chunked and response.body == noise(size)
            assert line.request("OPTIONS", EAS).status == 200, "the device's connection goes on"
    assert not any(r.method == "OPTIONS" for c in backend.connections for r in c.requests[1:] if c.requests[0].method == "POST")


@pytest.mark.quick
def test_an_http_1_0_device_sees_the_end_by_length_or_close(device, backend):
    head = "POST %s HTTP/1.0\r\nHost: mail.example.com\r\n%sContent-Length: 3\r\n\r\nabc"
    body = noise(200000)
    backend.queue(answers.ok(body))
    with device.connect() as line:
        line.send((head % (device.target("Sync"), "")).encode())
        response = line.response()
        assert response.body == body and response.get("Content-Length") == "200000" and line.closed()
    for behaviour in (answers.chunked(body[:60000], body[60000:]), answers.http10(body)):
        backend.queue(behaviour)
        with device.connect() as line:
            line.send((head % (device.target("Sync"), "Connection: keep-alive\r\n")).encode())
            response = line.response()
            assert not response.chunked and response.body == body and line.closed()
    requests = read_backend(backend)            # whatever the device speaks, the mail server hears HTTP/1.1
    assert [r.body for r in requests] == [b"abc"] * 3


@pytest.mark.quick
def test_many_requests_on_one_connection_use_one_connection_to_the_mail_server(device, backend):
    line = device.connect()
    for n in range(200):
        assert line.request("POST", device.target("Sync"), body=b"%d" % n).status == 200
    assert [len(c.requests) for c in backend.connections if c.requests] == [200]


@pytest.mark.quick
def test_pipelined_requests_are_answered_one_after_the_other_in_order(device, backend):
    backend.default = answers.echo()
    for together in (True, False):
        with device.connect() as line:
            messages = [(COUNTED_HEAD % (device.target("Sync"), len(b)) + b).encode() for b in
                        ("%d:%s" % (n, "x" * (n * 997 % 20000)) for n in range(40))]
            if together:
                line.send(b"".join(messages))
            else:
                for message in messages:        # a TLS record each
                    line.send(message)
            answered = [line.response().body for _ in messages]
            assert [a.split(b":")[0] for a in answered] == [b"%d" % n for n in range(40)]
    assert len(read_backend(backend)) == 80


@pytest.mark.quick
def test_a_request_behind_a_refused_one_that_keeps_the_connection_is_answered(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend))
    backend.stop()
    device = phone(proxy, alice)
    proxy.wait_event("upstream_down")
    with device.connect() as line:
        message = (COUNTED_HEAD % (device.target("Sync"), 0)).encode()
        for _ in range(5):
            line.send(message)
        assert [line.response().status for _ in range(5)] == [503] * 5


@pytest.mark.quick
def test_a_held_ping_is_answered_and_meanwhile_takes_no_processor_time(proxy, device, backend):
    hold = backend.when("Ping", answers.hold())
    pings = [device.ping() for _ in range(20)]
    hold.wait_waiting(backend, 20)
    assert proxy.metric("easproxy_sessions_held") == 20
    before = cpu_seconds(proxy)
    threading.Event().wait(0.5)
    assert cpu_seconds(proxy) - before < 0.1
    hold.release()
    assert all(p.wait().body.endswith(b"released") for p in pings)


@pytest.mark.quick
def test_a_piece_of_a_tls_record_behind_a_held_ping_takes_no_processor_time(proxy, device, backend, start_relay):
    hold = backend.when("Ping", answers.hold())
    relay = start_relay((device.host, device.port))
    line = type(device)(relay.address, device.identity, ca=None).connect()
    ping = device.ping(line=line)
    hold.wait_waiting(backend)
    raw = socket.socket(fileno=os.dup(line.sock.fileno()))
    raw.send(b"\x17\x03\x03\x40\x00half of a record")
    threading.Event().wait(0.2)
    before = cpu_seconds(proxy)
    threading.Event().wait(0.5)
    used = cpu_seconds(proxy) - before
    hold.release()
    assert ping.wait().status == 200
    raw.close()
    line.close()
    assert used < 0.1, "%.2f s" % used


@pytest.mark.quick
def test_a_device_that_vanishes_ends_its_connection_to_the_mail_server_at_once(proxy, device, backend):
    hold = backend.when("Ping", answers.hold())
    ways = {"a reset": lambda line: line.vanish(),
            "a FIN": lambda line: socket.socket.shutdown(line.sock, socket.SHUT_RDWR),
            "a FIN of one direction": lambda line: socket.socket.shutdown(line.sock, socket.SHUT_WR)}
    for number, (way, leave) in enumerate(ways.items()):
        line = device.connect()
        device.ping(line=line)
        hold.wait_waiting(backend)
        began = time.monotonic()
        leave(line)
        hold.wait_abandoned(backend, number + 1)
        assert time.monotonic() - began < 1.0, way
    backend.wait_idle()
    proxy.wait_event("access", command="Ping", detail="the device went away")


@pytest.mark.quick
def test_a_device_that_vanishes_inside_its_body_never_becomes_a_request(proxy, device, backend):
    line = device.connect()
    line.send((COUNTED_HEAD % (device.target("SendMail"), 1000)).encode() + b"half")
    backend.wait(lambda: backend.requests)
    line.vanish()
    backend.wait_idle()
    assert not backend.requests[0].complete and read_backend(backend) == []


@pytest.mark.quick
def test_a_base64_query_passes_byte_for_byte(device, backend):
    queries = [base64_query("Sync"), base64_query("Ping", device_id=bytes(range(16)), policy_key=123456789),
               base64_query("ItemOperations", parameters=[(7, b"\x01"), (0, b"7:1"), (1, b"attachment name")])]
    queries.append(queries[0].replace("=", "%3D").replace("/", "%2F").replace("+", "%2B"))
    for query in queries:
        with device.connect() as line:
            assert line.request("POST", EAS + "?" + query).status == 200, query
    assert [r.target.decode() for r in read_backend(backend)] == [EAS + "?" + q for q in queries]


@pytest.mark.quick
def test_a_redirect_to_one_of_our_mail_servers_names_the_public_host_and_a_foreign_one_is_left(
        start_proxy, configure, start_backend, phone, alice):
    first, second = start_backend(name="first"), start_backend(name="second")
    config = configure(first, {"proxy.upstreams.0.servers": [first.url, "http://localhost:%d" % second.port],
                               "proxy.upstreams.0.server_name": "ex.corp.example"})
    device = phone(start_proxy(config), alice)
    public = "https://mail.example.com" + EAS
    places = {"https://127.0.0.1" + EAS: public, "http://127.0.0.1:8080" + EAS: public, "https://LOCALHOST" + EAS: public,
              "https://ex.corp.example:443" + EAS + "?a=b#c": public + "?a=b#c", "https://ex.corp.example": "https://mail.example.com",
              "https://eas.outlook.example" + EAS: None, "https://ex.corp.example.evil.example/": None,
              "https://ex.corp.example@evil.example/": None, "//evil.example/": None, "/relative": None}
    for place, wanted in places.items():
        for status, field in ((451, "X-MS-Location"), (302, "Location")):
            for backend in (first, second):
                backend.default = answers.ok(b"", [(field, place)], status)
            response = device.sync()
            assert response.status == status and response.get(field) == (wanted or place), place
    for backend in (first, second):
        backend.default = answers.ok(b"", status=449)
    assert device.sync().status == 449


@pytest.mark.quick
def test_cookies_compression_and_all_other_headers_pass_untouched(device, backend):
    packed = gzip.compress(noise(50000))
    sent = [("Set-Cookie", "a=1; Path=/; Secure"), ("Set-Cookie", "b=2; HttpOnly"), ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"),
            ("X-MS-RP", "2.0,12.1"), ("MS-Server-ActiveSync", "15.2"), ("X-Empty", "")]
    backend.default = answers.ok(packed, sent)
    asked = [("Cookie", "a=1; b=2"), ("Accept-Encoding", "gzip, deflate"), ("X-MS-PolicyKey", "3942919513"), ("X-Odd", "\xfc\t|\"\\ x")]
    with device.connect() as line:
        response = line.request("POST", device.target("Sync"), asked)
    assert response.body == packed
    for name, value in sent:
        assert value in response.all(name), name
    assert response.all("Set-Cookie") == ["a=1; Path=/; Secure", "b=2; HttpOnly"]
    request, = read_backend(backend)
    for name, value in asked:
        assert request.all(name.lower().encode()) == [value.encode("latin-1")]


@pytest.mark.quick
def test_hop_by_hop_headers_of_a_mail_server_stay_between_it_and_the_proxy(device, backend):
    backend.default = answers.ok(b"x", [("Connection", "keep-alive, X-Internal"), ("Keep-Alive", "timeout=5"), ("X-Internal", "secret"),
                                        ("Proxy-Authenticate", "Basic"), ("Trailer", "X")])
    response = device.sync()
    assert response.status == 200 and b"secret" not in response.raw
    for name in ("Connection", "Keep-Alive", "X-Internal", "Proxy-Authenticate", "Trailer"):
        assert not response.all(name), name


@pytest.mark.quick
def test_answers_without_a_body_end_with_their_head(device, backend):
    backend.queue(answers.raw(answers.head(204), close=False), answers.raw(answers.head(304, [("Content-Length", "50")]), close=False),
                  answers.ok(b"next"))
    line = device.connect()
    assert line.request("POST", device.target("Sync")).status == 204
    assert line.request("POST", device.target("Sync")).status == 304
    assert line.request("POST", device.target("Sync")).body == b"next"


@pytest.mark.quick
def test_an_interim_answer_and_the_final_one_in_one_piece_are_told_apart(device, backend):
    final = answers.head(200, [("Content-Length", "2")]) + b"ok"
    backend.queue(answers.raw(b"HTTP/1.1 100 Continue\r\n\r\n" + final, close=False),
                  answers.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + final, close=False),
                  answers.continue_first(answers.ok(b"ok")))
    for _ in range(3):
        response = device.sync()
        assert response.status == 200 and response.body == b"ok" and response.interim == []


@pytest.mark.quick
def test_a_401_of_the_mail_server_is_503_to_a_device_with_a_certificate(proxy, device, backend):
    for headers in ([("WWW-Authenticate", "Basic realm=\"x\"")], [("WWW-Authenticate", "Negotiate")], []):
        backend.queue(answers.ok(b"who are you?", headers, 401))
        response = device.sync()
        assert response.status == 503 and int(response.get("Retry-After")) > 0
        assert not response.all("WWW-Authenticate") and response.body == b""
    fault = proxy.wait_event("fault", reason="upstream-auth")
    assert fault["level"] == "error" and "credential" in fault["cure"]
    assert device.sync().status == 200


def test_hundreds_of_held_pings_take_little_memory_and_give_it_back(proxy, device, backend):
    hold = backend.when("Ping", answers.hold())
    device.options()
    start, count = pss(proxy), 150         # more would be too many descriptors for select in this process
    lines = [device.connect() for _ in range(count)]
    pings = [device.ping(line=line) for line in lines]
    hold.wait_waiting(backend, count, 20)
    each = (pss(proxy) - start) / count
    if not sanitized(proxy):
        assert each < 40000, "%d bytes for each" % each
    hold.release()
    for ping in pings:
        assert ping.wait(10).status == 200
    for line in lines:
        line.close()
    deadline = time.monotonic() + 15
    while proxy.metric("easproxy_sessions") > 1:
        assert time.monotonic() < deadline, "sessions stay behind closed connections"
    while not sanitized(proxy) and pss(proxy) - start > 2.8 * MIB:       # what the first use of things takes stays
        assert time.monotonic() < deadline, "it keeps the memory"
        time.sleep(0.1)


class Mixed:
    """A behaviour: answers with the request's number and digest and noise, framed and paced in a way that the number decides."""

    def __call__(self, x):
        number = int(x.request.target.rpartition("n=")[2])
        way = number % 7
        if way == 6:
            x.pause(0.002)
        body = x.read_body()
        answer = self.answer(number, body)
        if way in (0, 6):
            x.respond(200, answer)
        elif way == 1:
            answers.chunked(*[answer[i:i + 7000] for i in range(0, len(answer), 7000)])(x)
        elif way == 2:
            answers.http10(answer)(x)
            if isinstance(x.connection.sock, ssl.SSLSocket):
                x.connection.sock.unwrap()      # without it the answer would count as cut
        elif way == 3:
            answers.raw(answers.head(200, [("Content-Length", str(len(answer))), ("Connection", "close")]) + answer)(x)
        elif way == 4:
            answers.cut(len(answer) + 1, answer)(x)
        else:
            x.send(b"HTTP/1.1 103 Early\r\n\r\n" + answers.head(200, [("Content-Length", str(len(answer)))]))
            for at in range(0, len(answer), 3000):
                x.send(answer[at:at + 3000])

    @staticmethod
    def answer(number, body):
        seed = b"%d:%s:" % (number, hashlib.sha256(body).hexdigest().encode())
        return seed + hashlib.shake_256(seed).digest(number * 7919 % 150000)


def exchange_at_random(device, line, number, rng, faults):
    """One request of a random size and framing; the line to go on with."""
    body = rng.randbytes(rng.choice((0, 1, 100, 5000, 17000, 70000, 300000)))
    target = device.target("ItemOperations") + "&n=%d" % number
    if rng.random() < 0.4:
        line.send((CHUNKED_HEAD % target).encode())
        send_chunks(line, body, sizes=(1, 9000, 33, 16384, 60000))
    else:
        line.send((COUNTED_HEAD % (target, len(body))).encode() + body)
    try:
        response = line.response()
    except (EOFError, OSError):
        response = None
    if number % 7 == 4:
        if response is not None:
            faults.append("%d: looks whole though it was cut" % number)
    elif response is None or response.status != 200 or response.body != Mixed.answer(number, body):
        faults.append("%d: %s" % (number, response and response.start))
    if response is None or not response.keeps_open or rng.random() < 0.1:
        line.close()
        return device.connect()
    return line


@pytest.mark.quick
@pytest.mark.parametrize("tls", [False, True])
def test_many_devices_with_exchanges_of_every_kind_get_each_their_own_answer(start_proxy, configure, start_backend, phone, pki, place, tls):
    backend, proxy = either(start_proxy, configure, start_backend, pki, place, tls)
    backend.default = Mixed()
    faults = []

    def run(user, seed):
        rng = random.Random(seed)
        device = phone(proxy, pki.device_ca.device(user + "@corp.example"), user=user, timeout=20)
        line = device.connect()
        for n in range(50):
            line = exchange_at_random(device, line, seed * 1000 + n, rng, faults)
    threads = [threading.Thread(target=run, args=(user, seed)) for seed, user in enumerate(["alice", "bob"] * 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults[:10]
    assert len(read_backend(backend)) == 300
    for connection in backend.connections:
        assert len({r.get("X-EAS-User") for r in connection.requests}) <= 1
