"""Mail servers: which of them are used, how they are checked, and that TLS to them is verified (DESIGN 4.1.10)."""
import copy
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

from site_ import answers
from site_.netns import Netns
from site_.pki import SERVER_AUTH, dns
from site_.recording import HEALTH


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


CLOSES = answers.ok(b"ok", [("Connection", "close")])       # each request needs a connection of its own


def tls_proxy(start_proxy, configure, backend, pki, place, ca=None, **changes):
    path = place + "/upstream-ca.pem"
    with open(path, "wb") as f:
        f.write((ca or pki.server_ca).pem)
    values = {"ca": path, "servers": ["https://localhost:%d" % backend.port], **changes}
    return start_proxy(configure(backend, {"proxy.upstreams.0." + key: value for key, value in values.items()}))


def served_by(device, *backends):
    """Which of them answered a request."""
    before = [len(b.requests) for b in backends]
    assert device.sync().status == 200
    after = [len(b.requests) for b in backends]
    return next(b for b, x, y in zip(backends, before, after) if y == x + 1)


def test_a_second_server_takes_over_and_the_first_comes_back(start_proxy, configure, start_backend, phone, alice):
    first, second = start_backend(name="first"), start_backend(name="second")
    proxy = start_proxy(configure(first, {"proxy.upstreams.0.servers": [first.url, second.url]}))
    device = phone(proxy, alice)
    for stopped, other in ((first, second), (second, first)):
        stopped.stop()
        since = proxy.mark()
        for _ in range(6):
            assert served_by(device, first, second) is other, "not one request fails"
        proxy.wait_event("upstream_down", since=since, message=re.compile(re.escape(stopped.url)))
        since = proxy.mark()
        stopped.start()
        proxy.wait_event("upstream_up", since=since, message=re.compile(re.escape(stopped.url)))
    assert proxy.readyz()[0] == 200


@pytest.mark.quick
def test_a_mail_server_that_is_named_by_an_ipv6_address_gets_a_host_field_with_brackets(start_proxy, configure, phone, alice):
    heads = []

    def serve(listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return                      # the test is over
            with sock, sock.makefile("rb") as lines:
                head = []
                while head[-1:] not in ([b""], [b"\r\n"]):
                    head.append(lines.readline())
                if head[-1]:                # else a check of health
                    heads.append(head)
                    sock.sendall(answers.head(200, [("Content-Length", "0"), ("Connection", "close")], "OK"))
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        place = "[::1]:%d" % listener.getsockname()[1]
        assert phone(start_proxy(configure("http://" + place)), alice).options().status == 200
        listener.shutdown(socket.SHUT_RDWR)
    assert heads[0][1] == b"Host: %s\r\n" % place.encode()


@pytest.mark.quick
def test_new_connections_go_to_each_healthy_server_in_turn(start_proxy, configure, start_backend, phone, pki):
    backends = [start_backend(name="b%d" % n) for n in range(3)]
    for backend in backends:
        backend.default = CLOSES
    proxy = start_proxy(configure(backends[0], {"proxy.upstreams.0.servers": [b.url for b in backends]}))
    device = phone(proxy, pki.device_ca.device("alice@corp.example"))
    for _ in range(12):
        assert device.sync().status == 200
    assert min(len(b.requests) for b in backends) >= 3, [len(b.requests) for b in backends]


@pytest.mark.quick
def test_a_request_that_one_server_may_have_seen_is_never_sent_to_the_other(start_proxy, configure, start_backend, phone, alice):
    first, second = start_backend(name="first"), start_backend(name="second")
    proxy = start_proxy(configure(first, {"proxy.upstreams.0.servers": [first.url, second.url]}))
    device = phone(proxy, alice)
    for behaviour in (answers.hang_up(), answers.hang_up(reset=True), answers.hang_up(read_body=False), answers.raw(b"garbage\r\n\r\n"),
                      answers.cut(), answers.raw(b"HTTP/1.1 200 OK\r\nContent-Le")):
        seen = len(first.requests) + len(second.requests)
        first.default = second.default = behaviour
        with device.connect() as line:
            try:
                response = line.request("POST", device.target("SendMail"), body=b"a mail, to be sent once")
                assert response is None or response.status == 502
            except EOFError:
                pass
        assert len(first.requests) + len(second.requests) == seen + 1


def test_a_server_whose_health_path_answers_otherwise_is_not_used(start_proxy, configure, start_backend, phone, alice):
    first, second = start_backend(name="first"), start_backend(name="second")
    first.default = second.default = CLOSES
    proxy = start_proxy(configure(first, {"proxy.upstreams.0.servers": [first.url, second.url],
                                          "proxy.upstreams.0.health_path": HEALTH, "proxy.upstreams.0.health_status": 200}))
    device = phone(proxy, alice)
    first.wait(lambda: first.health)
    since = proxy.mark()
    first.health_status = 503
    down = proxy.wait_event("upstream_down", since=since)
    assert first.url in down["message"] and "503" in down["message"]
    assert [served_by(device, first, second) for _ in range(4)] == [second] * 4
    first.health_status = 200
    proxy.wait_event("upstream_up", since=since)
    assert {served_by(device, first, second).name for _ in range(4)} == {"first", "second"}
    request = first.health[0]
    assert request.method == "GET" and request.get("Host") == first.address and not request.all("X-EAS-User")


def test_a_server_that_takes_connections_but_never_answers_its_health_path_is_down(start_proxy, configure, backend, phone, alice,
                                                                                    start_relay):
    relay = start_relay(("127.0.0.1", backend.port))
    proxy = start_proxy(configure("http://" + relay.address, {"proxy.upstreams.0.health_path": HEALTH,
                                                              "proxy.upstreams.0.connect_ms": 500}))
    backend.wait(lambda: backend.health)
    relay.mode = "hang"
    proxy.wait_event("upstream_down", message=re.compile("in time"))
    assert phone(proxy, alice).sync().status == 503
    since = proxy.mark()
    relay.mode = "pass"
    proxy.wait_event("upstream_up", since=since)
    assert phone(proxy, alice).sync().status == 200


@pytest.mark.quick
def test_health_answers_that_are_no_http_count_as_down(start_proxy, configure, start_backend, phone, alice):
    backend = start_backend()
    backend.when(lambda r: r.path == "/health", answers.raw(b"hello\r\n\r\n"))
    proxy = start_proxy(configure(backend, {"proxy.upstreams.0.health_path": "/health"}))
    proxy.wait_event("upstream_down", message=re.compile("no HTTP"))
    assert phone(proxy, alice).sync().status == 503


@pytest.mark.quick
def test_tls_to_a_mail_server_with_the_right_name_and_ca_is_used(start_proxy, configure, start_backend, phone, pki, place, alice):
    backend = start_backend(tls=pki.server_ca.server("localhost"))
    proxy = tls_proxy(start_proxy, configure, backend, pki, place)
    device = phone(proxy, alice)
    backend.default = answers.echo()
    for size in (0, 10, 100000, 3 << 20):
        assert device.post("SendMail", b"s" * size).body == b"s" * size
    used = [c for c in backend.connections if c.requests]
    assert len(used) == 1 and used[0].server_name == "localhost"
    assert backend.requests[0].get("Host") == "localhost:%d" % backend.port


@pytest.mark.quick
def test_server_name_is_what_tls_and_host_say_whatever_the_address(start_proxy, configure, start_backend, phone, pki, place, alice):
    backend = start_backend(tls=pki.server_ca.server("mail.corp.example"))
    proxy = tls_proxy(start_proxy, configure, backend, pki, place, server_name="mail.corp.example")
    assert phone(proxy, alice).sync().status == 200
    assert backend.requests[0].get("Host") == "mail.corp.example"
    assert [c.server_name for c in backend.connections if c.requests] == ["mail.corp.example"]


WRONG = {
    "wrong name": (lambda pki: pki.server_ca.server("elsewhere.example"), "name|match"),
    "unknown CA": (lambda pki: pki.other_ca.server("localhost"), "issuer|self|unable|trust"),
    "expired": (lambda pki: pki.server_ca.server("localhost", not_before=1, not_after=1000000000), "expired"),
    "not valid yet": (lambda pki: pki.server_ca.server("localhost", not_before=4000000000, not_after=4100000000), "yet"),
    "forged": (lambda pki: pki.server_ca.server("localhost").forged(), "signature"),
    "for clients": (lambda pki: pki.server_ca.issue("CN=localhost", san=[dns("localhost")]), "purpose"),
    "name only in the subject": (lambda pki: pki.server_ca.issue("CN=localhost", eku=(SERVER_AUTH,)), "name|match"),
}


@pytest.mark.quick
@pytest.mark.parametrize("fault", WRONG)
def test_a_mail_server_whose_certificate_is_wrong_is_never_used(start_proxy, configure, start_backend, phone, pki, place, alice, fault):
    make, why = WRONG[fault]
    backend = start_backend(tls=make(pki))
    proxy = tls_proxy(start_proxy, configure, backend, pki, place)
    down = proxy.wait_event("upstream_down")
    assert re.search(why, down["message"], re.I), down["message"]
    response = phone(proxy, alice).sync()
    assert response.status == 503 and response.get("Retry-After")
    assert backend.requests == [] and backend.received() == b""


def test_a_mail_server_that_speaks_plain_text_where_tls_is_expected_is_never_used(start_proxy, configure, backend, phone, pki, place, alice):
    proxy = tls_proxy(start_proxy, configure, backend, pki, place)
    proxy.wait_event("upstream_down")
    assert phone(proxy, alice).sync().status == 503
    assert backend.requests == []


@pytest.mark.quick
def test_a_tls_answer_that_ends_without_close_notify_is_cut_not_taken_for_whole(start_proxy, configure, start_backend, phone, pki, place, alice):
    backend = start_backend(tls=pki.server_ca.server("localhost"))

    def truncated(x):
        x.read_body()
        x.send(answers.head(200, version="HTTP/1.0") + b"half of a mail")
        socket.socket.shutdown(x.connection.sock, socket.SHUT_WR)       # below TLS
        x.close()

    def whole(x):
        x.read_body()
        x.send(answers.head(200, version="HTTP/1.0") + b"all of a mail")
        try:
            x.connection.sock.unwrap()
        except OSError:
            pass
        x.close()
    device = phone(tls_proxy(start_proxy, configure, backend, pki, place), alice)
    backend.queue(whole, truncated)
    assert device.sync().body == b"all of a mail"
    with device.connect() as line, pytest.raises((EOFError, OSError)):
        response = line.request("POST", device.target("Sync"))
        assert response is None, bytes(response.raw)
        raise EOFError
    assert len(backend.requests) == 2


@pytest.mark.quick
def test_a_connection_that_never_comes_to_be_is_given_up_after_connect_ms(start_proxy, configure, start_backend, start_relay, phone, pki,
                                                                           place, alice):
    backend = start_backend(tls=pki.server_ca.server("localhost"))
    relay = start_relay(("127.0.0.1", backend.port))
    proxy = tls_proxy(start_proxy, configure, backend, pki, place, connect_ms=500, health_seconds=60,
                      servers=["https://localhost:%d" % relay.port])
    backend.default = CLOSES
    device = phone(proxy, alice)
    assert device.sync().status == 200
    relay.mode = "hang"
    began = time.monotonic()
    assert device.sync().status == 503
    assert 0.4 < time.monotonic() - began < 1.5
    assert len(backend.requests) == 1


def test_idle_connections_end_after_idle_seconds_and_the_pool_is_bounded(start_proxy, configure, backend, phone, pki):
    proxy = start_proxy(configure(backend, {"proxy.upstreams.0.pool": 1, "proxy.upstreams.0.idle_seconds": 1,
                                            "proxy.upstreams.0.health_seconds": 60}))
    for user in ("alice", "bob"):
        assert phone(proxy, pki.device_ca.device(user + "@corp.example"), user=user).sync().status == 200
    of_alice, of_bob = [c for c in backend.connections if c.requests]
    backend.wait(lambda: of_alice.closed, what="the older one makes room")
    assert not of_bob.closed
    backend.wait(lambda: of_bob.closed, timeout=3)


class Island:
    """A network namespace with nothing but a loopback and a hosts file of its own."""

    def __init__(self, hosts):
        self.netns = Netns("eg-%s" % os.urandom(4).hex())
        self.etc = "/etc/netns/" + self.netns.name
        subprocess.run(["ip", "netns", "add", self.netns.name], check=True)
        os.makedirs(self.etc)
        with open(self.etc + "/hosts", "w") as f:
            f.write("".join("%s %s\n" % pair for pair in hosts))
        subprocess.run(self.netns.command(["ip", "link", "set", "lo", "up"]), check=True)

    def close(self):
        subprocess.run(["ip", "netns", "del", self.netns.name], check=True)
        shutil.rmtree(self.etc)


@pytest.mark.quick
def test_a_mail_server_is_found_by_name_on_whichever_of_its_addresses_it_listens(start_proxy, configure, start_backend, phone, alice, made):
    name = "ex.corp.example"
    netns = made(Island([("127.0.0.9", name), ("127.0.0.8", name), ("127.0.0.1", name)])).netns
    backend = start_backend(netns=netns)
    backend.default = CLOSES
    proxy = start_proxy(configure("http://%s:%d" % (name, backend.port)), netns=netns)
    device = phone(proxy, alice)
    assert [device.sync().status for _ in range(8)] == [200] * 8
    assert backend.requests[0].get("Host") == "%s:%d" % (name, backend.port)
    assert not proxy.events("upstream_down")
    backend.stop()
    assert device.sync().status == 503, "and down when none of them is there"
    proxy.wait_event("upstream_down")


@pytest.mark.quick
def test_while_one_mail_server_hangs_the_users_of_another_are_served(start_proxy, configure, start_backend, phone, pki, place, alice):
    slow, quick = start_backend(name="slow"), start_backend(name="quick")
    hold = answers.hold()
    slow.default = hold
    config = configure(slow)
    certificate, key = pki.server_ca.server("other.example.com").write(place, "other")
    host, upstream = copy.deepcopy((config["proxy"]["hosts"][0], config["proxy"]["upstreams"][0]))
    host.update(names=["other.example.com"], upstream="other", certificate=certificate, key=key)
    upstream.update(name="other", servers=[quick.url])
    config["proxy"]["hosts"].append(host)
    config["proxy"]["upstreams"].append(upstream)
    proxy = start_proxy(config)
    device = phone(proxy, alice)
    held = [device.ping() for _ in range(10)]
    hold.wait_waiting(slow, 10)
    other = phone(proxy, alice, server_name="other.example.com")
    times = []
    for _ in range(20):
        began = time.monotonic()
        assert other.sync().status == 200
        times.append(time.monotonic() - began)
    assert sorted(times)[10] < 0.1 and len(quick.requests) == 20
    hold.release()
    assert all(h.wait().status == 200 for h in held)
