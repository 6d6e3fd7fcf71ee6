"""Many connections to easenroll that ask for nothing, or never to the end: who asks is served all the same, by all four ways in (threat 50)."""
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from site_ import enrol
from site_.http1 import Reader
from site_.process import wait_until
from site_.workers import cpu_seconds, descriptors, workers
from test_enroll_server import a_certificate, people, start_enroll  # noqa: F401

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"        # of a ClientHello, the beginning
HALVES = {"tls": (b"", HELLO, b"\x16"), "plain": (b"", b"G", b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf")}


def connect(address, source="127.0.0.1", data=b""):
    host, port = address.rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), timeout=10, source_address=(source, 0))
    try:
        sock.sendall(data)
    except OSError:
        pass                            # it was closed already
    return sock


def closed(sock):
    """Whether the server has ended it; nothing else is expected from there."""
    sock.setblocking(False)
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


@pytest.fixture
def crowd():
    """A list of sockets, closed at the end. As many descriptors as it takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    sockets = []
    yield sockets
    for sock in sockets:
        sock.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def metric(enroll, series):
    text = enrol.curl("http://%s/metrics" % enroll.admin).body.decode()
    return int(re.search("^%s (\\d+)$" % re.escape(series), text, re.M)[1])


def shed(enroll, reason):
    return metric(enroll, 'easenroll_connections_shed_total{reason="%s"}' % reason)


def test_e50_a_thousand_connections_that_never_ask_keep_nobody_from_being_served(start_enroll, crowd):
    enroll = start_enroll(limits={"handshake_seconds": 60, "head_seconds": 60, "body_idle_seconds": 60, "drain_seconds": 2})     # none ends by itself
    url = "http://%s/crl/%s.crl" % (enroll.plain, enroll.issuer_name())

    def one_more(n):
        way = "tls" if n % 2 else "plain"
        crowd.append(connect(enroll.tls if n % 2 else enroll.plain, "127.1.0.%d" % (n % 5 + 1), HALVES[way][n // 2 % 3]))
    for n in range(1000):
        one_more(n)
    for n in range(5):
        assert enrol.curl(url).status == 200
        one_more(n)
    a_certificate(enroll)               # by the local socket, and by EST
    assert enrol.curl("https://%s/" % enroll.tls).status == 200
    assert shed(enroll, "full") >= 5 and shed(enroll, "address") == 0
    gone = [n for n, sock in enumerate(crowd) if closed(sock)]
    assert len(gone) >= 5 and max(gone) < 200, "who waited longest made room"
    line = enroll.wait_event("connection_shed")
    assert "enroll.limits.connections" in line["why"] and line["client"].startswith("127.1.0.")
    assert len(enroll.events("connection_shed")) == 1, "it is said once a minute"


def test_e50_an_address_that_has_its_share_loses_its_own_connections_and_not_others(start_enroll, crowd):
    enroll = start_enroll(limits={"connections_per_address": 8, "drain_seconds": 2})
    kept = connect(enroll.plain)
    crowd.append(kept)
    crowd += [connect(enroll.tls if n % 2 else enroll.plain, "127.1.0.1") for n in range(100)]
    kept.sendall(b"GET /crl/x HTTP/1.1\r\nHost: a\r\n\r\n")
    assert Reader(kept.recv).response("GET").status == 404, "it waited longer than all of them"
    assert metric(enroll, "easenroll_connections") <= 8 + 2
    assert shed(enroll, "address") == 92 and shed(enroll, "full") == 0
    wait_until(lambda: sum(closed(sock) for sock in crowd[1:]) == 92, 5)


def test_e50_bodies_that_never_end_take_a_bounded_amount_of_memory(start_enroll, crowd):
    enroll = start_enroll(limits={"bodies_bytes": 1048576, "drain_seconds": 2})
    head = b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"
    first = connect(enroll.plain, "127.1.0.1", head + bytes(400000))
    crowd.append(first)
    for n in range(2, 10):
        crowd.append(connect(enroll.plain, "127.1.0.%d" % n, head + bytes(400000)))
    with contextlib.suppress(ConnectionError):
        assert first.recv(1) == b"", "who has been sending longest goes"
    a_certificate(enroll)
    wait_until(lambda: shed(enroll, "bodies") >= 7, 5)                # all but two are cut
    alone = connect(enroll.plain, "127.2.0.1")
    crowd.append(alone)
    alone.sendall(b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + bytes(1000000))
    assert Reader(alone.recv).response("POST").status == 415, "one body may be as large as any: it was read to its end"


def question(enroll, certificate):
    """An OCSP request that no cache can answer."""
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, enroll.issuer(), hashes.SHA1())
    body = builder.add_extension(x509.OCSPNonce(os.urandom(16)), False).build().public_bytes(serialization.Encoding.DER)
    return b"POST /ocsp HTTP/1.1\r\nHost: a\r\nContent-Type: application/ocsp-request\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@contextlib.contextmanager
def signer_stopped(enroll):
    """What needs a signature waits meanwhile."""
    found = []
    for pid in enroll.daemon.pids():
        with contextlib.suppress(OSError), open("/proc/%d/comm" % pid) as f:
            found += [pid] if "signer" in f.read() else []
    assert len(found) == 1
    os.kill(found[0], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(found[0], signal.SIGCONT)


def test_e50_out_of_descriptors_it_takes_nobody_says_so_answers_who_is_in_and_comes_back(start_enroll, crowd):
    enroll = start_enroll()
    _, certificate = a_certificate(enroll)
    for pid in workers(enroll):         # as `ulimit -n` would, for one that runs already
        who = ["setpriv", "--reuid", enroll.config["user"], "--regid", "nogroup", "--clear-groups"] if os.getuid() == 0 else []
        subprocess.run([*who, "prlimit", "--pid", str(pid), "--nofile=96"], check=True)
    idle = [connect(enroll.plain, "127.1.0.%d" % (n % 5 + 1)) for n in range(20)]
    crowd += idle
    with signer_stopped(enroll):
        asking = []
        while not enroll.events("accept_paused"):       # who was taken but not read yet makes room for the next ones, too
            assert len(asking) < 900
            asking += [connect(enroll.plain, "127.0.0.1", question(enroll, certificate)) for _ in range(15)]
            threading.Event().wait(0.05)
        crowd += asking
        line = enroll.wait_event("accept_paused")
        assert "enroll.limits.connections" in line["message"]
        assert all(closed(sock) for sock in idle), "who asks for nothing went first"
        assert enrol.curl("http://%s/healthz" % enroll.admin).status == 200, "an operator still comes in"
        before = cpu_seconds(enroll)
        threading.Event().wait(0.3)
        assert cpu_seconds(enroll) - before < 0.15, "it does not spin"
        assert descriptors(enroll) <= 96
        inside = metric(enroll, "easenroll_connections")
        assert 20 < inside < 90
    served = []
    for sock in asking:                 # who did not come in was closed or waits in the kernel, and comes in now
        sock.settimeout(10)
        with contextlib.suppress(ConnectionError, EOFError):
            served.append(Reader(sock.recv).response("POST"))
    served = [answer.status for answer in served if answer is not None]
    assert set(served) == {200} and len(served) >= inside - 1
    url = "http://%s/crl/%s.crl" % (enroll.plain, enroll.issuer_name())
    assert enrol.curl(url).status == 200
    a_certificate(enroll)
    assert shed(enroll, "descriptors") >= len(idle)
    assert not re.search("not_synced|registry_lost|process_died", str(enroll.log.lines)), "what it needs itself it had"
