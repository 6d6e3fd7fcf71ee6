"""Devices that are slow, greedy or silent: each costs a bounded amount of time and memory, and the others are served
meanwhile (DESIGN 4.2: 408, 413, 431; threats 23 and 50)."""
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from site_ import answers, settings
from site_.device import EAS
from site_.proxy import binary
from site_.strict import read_backend
from site_.workers import cpu_seconds, descriptors, pss, sanitized, workers

MIB = 1 << 20
HEAD = "POST %s HTTP/1.1\r\nHost: mail.example.com\r\n"
LIMITS = {"proxy.limits.head_seconds": 2, "proxy.limits.body_idle_seconds": 2, "proxy.limits.handshake_seconds": 2,
          "proxy.limits.idle_seconds": 3}


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.fixture
def proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend, LIMITS))


@pytest.fixture
def device(proxy, phone, alice):
    return phone(proxy, alice, timeout=20)


class Others:
    """A device that goes on syncing while something else happens; `with` ends it and looks at how it was served."""

    def __init__(self, device, slowest=1.0):
        self.device, self.slowest, self.times, self.faults = device, slowest, [], []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._end.wait(0.02):
            began = time.monotonic()
            try:
                if self.device.sync().status != 200:
                    self.faults.append("status")
            except (OSError, EOFError) as e:
                self.faults.append(e)
            self.times.append(time.monotonic() - began)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._end.set()
        self._thread.join()
        if kind is None:
            assert self.times and not self.faults, self.faults[:3]
            assert max(self.times) < self.slowest, max(self.times)


def trickle(line, data, pause, seconds):
    """Sends byte by byte until the proxy says something; returns that, and after how long it came."""
    began = time.monotonic()
    for n in range(len(data)):
        line.send(data[n:n + 1])
        if select.select([line.sock], [], [], pause)[0]:
            return line.response(), time.monotonic() - began
        assert time.monotonic() - began < seconds, "no end of it"
    return line.response(), time.monotonic() - began


@pytest.mark.quick
def test_threat_50_a_head_that_comes_byte_by_byte_is_408_after_head_seconds_and_others_are_served(device, phone, proxy, alice):
    with Others(phone(proxy, alice)):
        with device.connect() as line:
            response, took = trickle(line, (HEAD % device.target("Sync")).encode() * 20, 0.05, 6)
            assert response.status == 408 and response.get("Connection") == "close"
            assert 1.9 < took < 3.5


def test_threat_50_a_body_that_comes_byte_by_byte_is_408_and_never_becomes_a_request(device, backend, phone, proxy, alice):
    with Others(phone(proxy, alice)):
        for framing in (b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n186A0\r\n"):
            with device.connect() as line:
                line.send((HEAD % device.target("SendMail")).encode() + framing)
                response, took = trickle(line, b"b" * 1000, 0.05, 8)
                assert response.status == 408 and 1.9 < took < 5
    assert not [r for r in backend.requests if r.complete and "SendMail" in r.target]


def test_a_body_that_stops_is_408_after_body_idle_seconds(device, proxy):
    began = time.monotonic()
    with device.connect() as line:
        line.send((HEAD % device.target("Sync")).encode() + b"Content-Length: 10\r\n\r\nhalf")
        assert line.response().status == 408 and line.closed()
    assert 1.9 < time.monotonic() - began < 4
    proxy.wait_event("access", status=408, reason="too-slow")


def test_a_kept_connection_without_a_request_ends_quietly(device):
    with device.connect() as line:
        assert line.request("OPTIONS", EAS).status == 200
        began = time.monotonic()
        assert line.closed(6) and not line.reader.buffered, "without an answer that nobody asked for"
        assert 2.5 < time.monotonic() - began < 5


def test_threat_23_handshakes_that_do_not_go_on_end_and_others_are_served(device, phone, proxy, alice):
    address = (device.host, device.port)
    silent = [socket.create_connection(address) for _ in range(50)]
    for n, sock in enumerate(silent):
        if n % 3 == 1:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        elif n % 3 == 2:
            sock.sendall(b"\x16\x03\x01\x40\x00" + b"\0" * 5000)
    with Others(phone(proxy, alice)):
        began = time.monotonic()
        for sock in silent:
            sock.settimeout(6)
            try:
                while sock.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            sock.close()
        assert time.monotonic() - began < 5
    assert proxy.metric("easproxy_sessions") <= 2


@pytest.mark.quick
def test_ten_thousand_headers_and_too_large_heads_are_431_at_once(device, backend):
    start = (HEAD % device.target("Sync")).encode()
    for name, data in {"10,000 headers": start + b"".join(b"X-%d: y\r\n" % n for n in range(10000)) + b"\r\n",
                       "101 small ones": start + b"A: b\r\n" * 100 + b"\r\n",
                       "one large value": start + b"X: " + b"y" * 20000 + b"\r\n\r\n",
                       "one large name": start + b"X" * 20000 + b": y\r\n\r\n",
                       "a large target": start.replace(b"DeviceType", b"x=" + b"y" * 20000 + b"&DeviceType"),
                       "no line end": b"P" * 20000}.items():
        with device.connect() as line:
            began = time.monotonic()
            try:
                line.send(data)
            except (OSError, ssl.SSLError):
                pass
            response = line.response()
            assert response.status == 431 and response.get("Connection") == "close", name
            assert time.monotonic() - began < 1
    assert backend.received() == b""


@pytest.mark.quick
def test_as_many_headers_and_as_large_a_head_as_configured_pass(device):
    with device.connect() as line:
        assert line.request("POST", device.target("Sync"), [("X-%d" % n, "y") for n in range(98)]).status == 200
        assert line.request("POST", device.target("Sync"), [("X", "y" * 16000)]).status == 200


@pytest.mark.quick
def test_a_body_larger_than_configured_is_413_by_length_and_by_chunks(start_proxy, configure, backend, phone, alice):
    device = phone(start_proxy(configure(backend, {"proxy.limits.body_bytes": 100000})), alice)
    start = (HEAD % device.target("SendMail")).encode()
    with device.connect() as line:
        line.send(start + b"Content-Length: 100001\r\n\r\n")
        assert line.response().status == 413 and line.closed()
    with device.connect() as line:
        line.send(start + b"Transfer-Encoding: chunked\r\n\r\n186A1\r\n")
        assert line.response().status == 413 and line.closed()
    with device.connect() as line:
        line.send(start + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(110):
                line.send(b"3e8\r\n%s\r\n" % (b"x" * 1000))
        except OSError:
            pass
        assert line.response().status == 413
    backend.wait_idle() if backend.requests and not any(r.complete for r in backend.requests) else None
    assert read_backend(backend) == [], "what was too large never became a request"
    with device.connect() as line:
        assert line.request("POST", device.target("SendMail"), body=b"x" * 100000).status == 200


def test_devices_that_never_read_end_in_time_with_bounded_memory_and_others_are_served(start_proxy, configure, start_backend, phone, alice):
    backend = start_backend()
    proxy = start_proxy(configure(backend, LIMITS))
    backend.when("ItemOperations", answers.long(20 * MIB))
    device = phone(proxy, alice)
    before = pss(proxy)
    with Others(phone(proxy, alice)):
        lines = [device.connect() for _ in range(10)]
        for line in lines:
            line.send((HEAD % device.target("ItemOperations")).encode() + b"Content-Length: 0\r\n\r\n")
        backend.wait(lambda: len([r for r in backend.requests if "ItemOp" in r.target]) == 10)
        backend.wait(lambda: sum(c.closed for c in backend.connections) >= 10, timeout=10, what="the mail server's ends closed")
        if not sanitized(proxy):
            assert pss(proxy) - before < 6 * MIB
    proxy.log.wait(lambda _: len(proxy.events("access", command="ItemOperations")) == 10, what="ten ends")
    assert proxy.metric("easproxy_sessions") <= 2


@pytest.mark.quick
def test_half_closed_connections_end_at_once_and_take_no_processor_time(proxy, device, backend):
    lines = []
    for data in (b"", b"POST ", (HEAD % device.target("Sync")).encode() + b"Content-Length: 10\r\n\r\nhalf"):
        line = device.connect()
        line.send(data or b"")
        socket.socket.shutdown(line.sock, socket.SHUT_WR)
        lines.append(line)
    for line in lines:
        try:
            assert line.closed(1.5)
        except ssl.SSLError:
            pass                                # an alert, and the end
    before = cpu_seconds(proxy)
    threading.Event().wait(0.3)
    assert cpu_seconds(proxy) - before < 0.1
    assert device.sync().status == 200


def allow_descriptors(proxy, count):
    """As `ulimit -n` would, for workers that run already: only who they run as may say so."""
    for pid in workers(proxy):
        subprocess.run(["setpriv", "--reuid", proxy.config["user"], "--regid", "nogroup", "--clear-groups",
                        "prlimit", "--pid", str(pid), "--nofile=%d" % count], check=True)


@pytest.mark.quick
def test_with_64_descriptors_allowed_it_says_how_many_it_needs_and_does_not_start(start_proxy, configure, backend, place):
    program = os.path.join(place, "limited")
    with open(program, "w") as f:
        f.write("#!/bin/sh\nulimit -n 64\nexec setpriv --bounding-set -sys_resource --inh-caps -sys_resource %s \"$@\"\n" % binary())
    os.chmod(program, 0o755)
    proxy = start_proxy(configure(backend), program=program, wait=False)
    assert proxy.wait_exit() == 1
    line = proxy.wait_event("descriptors")
    assert "proxy.sessions: 500 needs" in line["message"] and "the hard limit is 64" in line["message"]


def test_threat_50_out_of_descriptors_new_connections_are_refused_and_those_there_are_go_on(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {**LIMITS, "proxy.limits.idle_seconds": 60, "proxy.limits.head_seconds": 60}))
    hold = backend.when("Ping", answers.hold())
    device = phone(proxy, alice, timeout=2)
    old = phone(proxy, alice)
    assert old.sync().status == 200
    pings = [device.ping() for _ in range(5)]
    hold.wait_waiting(backend, 5)
    allow_descriptors(proxy, 64)
    crowd = [socket.create_connection((device.host, device.port)) for _ in range(100)]
    proxy.wait_event("accept_paused")
    before = cpu_seconds(proxy)
    for _ in range(20):
        assert old.sync().status == 200, "who is in goes on"
        threading.Event().wait(0.05)
    assert cpu_seconds(proxy) - before < 0.6, "it does not spin"
    assert descriptors(proxy) <= 64
    for sock in crowd:
        sock.close()
    hold.release()
    assert all(p.wait().status == 200 for p in pings)
    wait_served(device, 8)


def wait_served(device, seconds):
    """There is room again: new connections are served, in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with device.connect() as line:
                assert line.request("OPTIONS", EAS).status == 200
            return
        except (OSError, EOFError, AttributeError):
            assert time.monotonic() < deadline
            threading.Event().wait(0.1)


@pytest.mark.quick
def test_as_many_sessions_as_configured_and_then_new_ones_wait(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.sessions": 10}))
    device = phone(proxy, alice, timeout=5)
    lines = [device.connect() for _ in range(10)]
    waiting = socket.create_connection((device.host, device.port))
    proxy.wait_event("accept_paused", message=re.compile("proxy.sessions"))
    assert all(line.request("OPTIONS", EAS).status == 200 for line in lines)
    waiting.close()
    for line in lines:
        line.close()
    assert device.sync().status == 200


def call_from(device, source, data=b""):
    """A connection from that address of loopback; the bytes, and no more."""
    sock = socket.create_connection((device.host, device.port), timeout=5, source_address=(source, 0))
    sock.sendall(data)
    return sock


@pytest.mark.quick
def test_threat_50_an_address_that_has_its_share_loses_what_waits_longest_and_others_notice_nothing(
        start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.limits.connections_per_address": 8, "proxy.limits.handshake_seconds": 60}))
    hold = backend.when("Ping", answers.hold())
    device = phone(proxy, alice)
    other = call_from(device, "127.1.0.1")
    pings = [device.ping() for _ in range(7)]
    hold.wait_waiting(backend, 7)
    crowd = [call_from(device, "127.0.0.1") for _ in range(50)]
    for sock in crowd[:-1]:
        assert sock.recv(1) == b"", "who waited longest made room"
    assert device.options().status == 200, "who asks is served, and takes the room of the last that does not"
    assert crowd[-1].recv(1) == b""
    line = proxy.wait_event("connection_shed")
    assert line["client"].startswith("127.0.0.1:") and "connections_per_address" in line["why"]
    assert proxy.metric("easproxy_accept_refused_total", reason="address") == 50
    assert len(proxy.events("connection_shed")) == 1, "it is said once a minute"
    pings.append(device.ping())
    hold.wait_waiting(backend, 8)
    assert call_from(device, "127.0.0.1").recv(1) == b"", "all others are being served: they are left alone"
    other.setblocking(False)
    with pytest.raises(BlockingIOError):
        other.recv(1)
    hold.release()
    assert all(ping.wait().status == 200 for ping in pings)
    assert phone(proxy, alice).options().status == 200


@pytest.mark.quick
def test_threat_50_behind_a_load_balancer_it_is_the_phones_address_that_counts(start_proxy, configure, backend, phone, alice):
    header = "PROXY TCP4 %s 127.0.0.1 4711 443\r\n"
    proxy = start_proxy(configure(backend, {"proxy.limits.connections_per_address": 4, "proxy.limits.handshake_seconds": 60,
                                            "proxy.listeners.0.proxy_protocol_from": ["127.0.0.0/8"]}))
    device = phone(proxy, alice, before=(header % "192.0.2.9").encode())
    silent = [call_from(device, "127.0.0.1") for _ in range(10)]
    crowd = [call_from(device, "127.0.0.1", (header % "192.0.2.7").encode()) for _ in range(10)]
    for sock in crowd[:6]:
        assert sock.recv(1) == b""
    assert device.sync().status == 200
    assert proxy.metric("easproxy_accept_refused_total", reason="address") == 6
    for sock in silent + crowd[6:]:
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(1)


@pytest.mark.quick
def test_threat_55_a_device_cannot_write_log_lines(proxy, device):
    with device.connect() as line:
        line.request("POST", EAS + "?Cmd=Sync&User=a%22%2C%22event%22%3A%22forged&DeviceId=d&DeviceType=t")
    with device.connect() as line:
        line.request("POST", device.target("Sync"), [("User-Agent", "x\",\"event\":\"forged\"}")])
    proxy.wait_event("access", status=200)
    assert not proxy.events("forged")
    assert all(isinstance(entry, dict) for entry in proxy.log.lines)


ATTACKS = {"slow heads": ["-H", "-i", "1"], "slow bodies": ["-B", "-i", "1", "-t", "POST", "-s", "20000"],
           "slow reading": ["-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32", "-k", "1"], "ranges": ["-R"]}


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_threat_50_slowhttptest_is_survived(start_proxy, configure, backend, phone, pki, alice, attack):
    if not shutil.which("slowhttptest"):
        pytest.skip("slowhttptest is not installed: apt-get install slowhttptest")
    # newer versions of the tool send the address as server name: a name that no host has would end each attack at once
    config = configure(backend, {**LIMITS, **settings.OPTIONAL,
                                 "proxy.hosts.0.names": ["mail.example.com", "127.0.0.1"]})
    proxy = start_proxy(config)
    device = phone(proxy, alice)
    target = device.target("Sync")
    with Others(phone(proxy, alice, timeout=5), slowest=2.0):
        done = subprocess.run(["slowhttptest", *ATTACKS[attack], "-c", "200", "-r", "100", "-l", "8", "-p", "2",
                               "-u", "https://%s:%d%s" % (device.host, device.port, target)],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, text=True)
    assert proxy.metric("easproxy_handshakes_total", result="full") >= 200, done.stdout[-800:]
    assert "service available" in done.stdout and not re.search(r"service available:\s+\S*NO", done.stdout), done.stdout[-800:]
    assert device.sync().status == 200
