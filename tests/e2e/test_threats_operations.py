"""Threats of the table that no other file of these takes up: P52 (held Pings), P50 (floods), P37 (a CA of another host)."""
import collections
import copy
import os
import socket
import threading

import pytest

from site_ import answers, inside, settings
from site_.process import wait_until

PINGS = 200          # four descriptors each in this process, whose select() takes 1024


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.fixture
def proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend, {"proxy.sessions": 2000, "proxy.upstreams.0.pool": 10}))


def hold_pings(phone, proxy, backend, identity, count):
    hold = backend.when("Ping", answers.hold())
    device = phone(proxy, identity)
    pings = [device.ping() for _ in range(count)]
    hold.wait_waiting(backend, count, 30)
    return hold, pings


@pytest.mark.quick
def test_52_phones_that_vanish_free_the_mail_servers_connections_at_once(proxy, phone, backend, alice):
    hold, pings = hold_pings(phone, proxy, backend, alice, 60)
    assert proxy.metric("easproxy_sessions_held") == 60
    for number, ping in enumerate(pings):
        ping.line.vanish() if number % 2 else ping.line.sock.shutdown(socket.SHUT_RDWR)
    hold.wait_abandoned(backend, 60)
    wait_until(lambda: proxy.metric("easproxy_sessions") == 0, 5)
    assert proxy.metric("easproxy_upstream_connections", state="active") == 0


@pytest.mark.no_asan
def test_52_a_waiting_ping_costs_little_memory_and_gives_it_back(proxy, phone, backend, alice):
    worker, = inside.by_role(proxy)["worker"]
    hold, pings = hold_pings(phone, proxy, backend, alice, 20)
    hold.release()
    for ping in pings:
        assert ping.wait().status == 200
        ping.line.close()
    before = inside.pss(worker)
    hold, pings = hold_pings(phone, proxy, backend, alice, PINGS)
    each = (inside.pss(worker) - before) / PINGS
    assert each < 40, "%.1f kB for each waiting Ping" % each
    hold.release()
    outcomes = collections.Counter(getattr(p.wait(20), "status", p.outcome) for p in pings)
    assert outcomes == {200: PINGS}
    for ping in pings:
        ping.line.close()
    wait_until(lambda: proxy.metric("easproxy_sessions") == 0, 10)


def test_52_pings_wait_on_while_everything_but_their_worker_is_replaced(proxy, phone, backend, alice):
    hold, pings = hold_pings(phone, proxy, backend, alice, 20)
    config = copy.deepcopy(proxy.config)
    for number in range(3):
        config["directory"]["ttl_seconds"] = 70 + number
        assert proxy.reload(config)["event"] == "reloaded"
    for role in ("directory", "revocation"):
        wait_until(lambda: len(inside.by_role(proxy).get(role, [])) == 1, 15)
        os.kill(inside.by_role(proxy)[role][0], 9)
    wait_until(lambda: proxy.metric("easproxy_process_restarts_total") >= 2, 5)
    assert phone(proxy, alice).sync().status == 200
    assert all(p.waiting for p in pings)
    hold.release()
    assert all(p.wait().status == 200 for p in pings)


def test_50_a_flood_of_handshakes_and_refusals_leaves_the_others_served(proxy, phone, backend, pki, alice):
    known = phone(proxy, alice)
    assert known.sync().status == 200
    over, failures = threading.Event(), []

    def flood(number):
        stranger = phone(proxy, pki.other_ca.device("alice@corp.example") if number % 2 else None)
        while not over.is_set():
            try:
                stranger.refusal()
            except (OSError, AssertionError) as e:
                failures.append(e)
    threads = [threading.Thread(target=flood, args=(n,), daemon=True) for n in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            assert known.sync().status == 200
    finally:
        over.set()
        for thread in threads:
            thread.join(10)
    wait_until(lambda: proxy.metric("easproxy_sessions") <= 1, 10)
    assert proxy.metric("easproxy_handshakes_total", result="failed") > 20
    assert not any(isinstance(e, AssertionError) for e in failures), "somebody without a right certificate came in"


@pytest.mark.quick
def test_37_a_ca_that_one_host_trusts_is_nobody_at_another(start_proxy, configure, backend, phone, pki, alice):
    config = configure(backend)
    hosts, crls = config["proxy"]["hosts"], config["proxy"]["revocation"]["crls"]
    tls = os.path.dirname(hosts[0]["key"])
    path = settings._write(tls, "partner-ca.pem", pki.other_ca.pem)
    certificate, key = pki.server_ca.server("partner.example.com").write(tls, "partner")
    hosts.append(dict(copy.deepcopy(hosts[0]), names=["partner.example.com"], certificate=certificate, key=key, client_ca=[path]))
    crls.append({"issuer_ca": path, "file": pki.other_ca.write_crl(os.path.join(tls, "partner.crl"))})
    proxy = start_proxy(config)
    partner = pki.other_ca.device("alice@corp.example")
    assert phone(proxy, partner, server_name="partner.example.com").sync().status == 200
    assert phone(proxy, partner).refusal() in ("unknown ca", "decrypt error")
    assert phone(proxy, alice, server_name="partner.example.com").refusal() in ("unknown ca", "decrypt error")
    assert len(backend.requests) == 1
