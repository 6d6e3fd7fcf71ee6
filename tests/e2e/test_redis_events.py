"""Revocations and events from Redis: believed where that is safe, and never a reason to let the revoked in (P27, P28)."""
import os
import signal
import socket
import threading
import time

import pytest

from site_ import answers, inside, settings
from site_.device import EAS
from site_.pki import Authority
from site_.process import wait_until
from test_autodiscover import PATH as AUTODISCOVER, question
from test_revocation import status, wait_status

FOLLOWED = 6.0              # seconds in which a broken connection is noticed and made anew


@pytest.fixture
def ca(pki):
    return pki.device_ca


@pytest.fixture
def alice(ca):
    return ca.device("alice@corp.example", cn="alice's phone")


@pytest.fixture
def bob(ca):
    return ca.device("bob@corp.example", cn="bob's phone")


@pytest.fixture
def node(configure, backend, place):
    """node(redis, ...): a configuration without CRLs that follows this Redis."""
    def build(redis, changes=None, **kw):
        return configure(backend, changes={**settings.redis(redis, place), "proxy.revocation.crls": [],
                                           "redis.timeout_ms": 500, **(changes or {})}, **kw)
    return build


@pytest.fixture
def store(revocation_in_redis):
    return revocation_in_redis


def following(proxy, since=0, timeout=10):
    """Waits until the hashes are in the index and their freshness is known."""
    proxy.wait_event("redis_loaded", timeout, since)
    return proxy


def held(device, backend, hold):
    before = len(hold.waiting)
    ping = device.ping()
    hold.wait_waiting(backend, before + 1)
    return ping


# revoked

@pytest.mark.quick
def test_p27_what_is_revoked_before_the_start_is_refused_and_others_are_served(
        start_proxy, node, store, phone, ca, alice, bob):
    store.revoke(ca, alice, tell=False)
    proxy = following(start_proxy(node(store)))
    wait_status(phone(proxy, bob, user="bob"), 200)
    assert status(phone(proxy, alice)) == 403
    assert proxy.wait_event("refused", reason="revoked")["certificate"] == alice.sha256


@pytest.mark.quick
def test_p19_an_event_ends_the_held_ping_and_every_live_connection_within_a_second_on_every_node(
        start_proxy, node, store, phone, backend, ca, alice, bob):
    hold = backend.when("Ping", answers.hold())
    proxies = [following(start_proxy(node(store, node=name, changes={"proxy.workers": 2}))) for name in ("one", "two")]
    pings, idle = [], []
    for proxy in proxies:
        wait_status(phone(proxy, alice), 200)
        pings += [held(phone(proxy, alice), backend, hold) for _ in range(4)]
        idle.append(phone(proxy, alice).connect())
        assert idle[-1].request("OPTIONS", EAS).status == 200
    other = held(phone(proxies[0], bob, user="bob"), backend, hold)
    began = time.monotonic()
    store.revoke(ca, alice)
    for ping in pings:
        outcome = ping.wait(3)
        assert outcome is not None and outcome.status == 403 and not outcome.keeps_open
    assert all(line.closed(1) for line in idle)
    assert time.monotonic() - began < 1.0
    assert other.waiting
    for proxy in proxies:
        assert status(phone(proxy, alice)) == 403
        event = proxy.wait_event("revocation_event", type="revoked", verdict="taken")
        assert event["audit"] is True and event["authentic"] is True and event["serial"].lstrip("0") == alice.serial_hex
    hold.release()
    assert other.wait().status == 200


def test_p28_a_revocation_is_believed_without_a_mac_and_that_is_said(
        start_proxy, node, store, phone, ca, alice):
    proxy = following(start_proxy(node(store)))
    wait_status(phone(proxy, alice), 200)
    store.event("revoked", mac=False, issuer=ca.spki_hash, serial=alice.serial_hex, time=int(time.time()))
    wait_status(phone(proxy, alice), 403)
    event = proxy.wait_event("revocation_event", type="revoked")
    assert (event["verdict"], event["authentic"], event["reason"]) == ("taken", False, "unauthenticated")


# let in again

@pytest.mark.quick
def test_p28_an_unrevoked_event_that_is_forged_replayed_or_misdated_lets_nobody_in(
        start_proxy, node, store, phone, ca, alice):
    store.revoke(ca, alice, tell=False)
    proxy = following(start_proxy(node(store)))
    wait_status(phone(proxy, alice), 403)
    now = int(time.time())
    entry = {"issuer": ca.spki_hash, "serial": alice.serial_hex}
    right = {"type": "unrevoked", **entry, "time": str(now)}
    from site_.redis import event_mac
    forgeries = [
        dict(mac=False, **entry, time=now),
        dict(mac="", **entry, time=now),
        dict(mac="0" * 64, **entry, time=now),
        dict(mac=event_mac(b"another fleet's secret", right), **entry, time=now),
        dict(mac=event_mac(store.secret, dict(right, serial="1")), **entry, time=now),      # of another serial
        dict(mac=event_mac(store.secret, dict(right, type="revoked")), **entry, time=now),  # of another type
        dict(mac=event_mac(store.secret, right)[:-2], **entry, time=now),
        dict(mac=True, **entry, time=now - 3600),
        dict(mac=True, **entry, time=now + 3600),
        dict(mac=True, **entry, time=""),
    ]
    for forged in forgeries:
        since = proxy.mark()
        store.event("unrevoked", **forged)
        refused = proxy.wait_event("revocation_event", since=since, type="unrevoked")
        assert refused["verdict"] == "refused" and refused["audit"] is True and refused["reason"], forged
        assert status(phone(proxy, alice)) == 403, forged


def test_p28_an_authentic_unrevoked_event_lets_in_once_and_not_when_it_is_replayed(
        start_proxy, node, store, phone, ca, alice):
    proxy = following(start_proxy(node(store)))
    store.revoke(ca, alice)
    wait_status(phone(proxy, alice), 403)
    store.unrevoke(ca, alice)
    wait_status(phone(proxy, alice), 200)
    (_, replay), = [e for e in store.client.xrange("easgate:events") if e[1]["type"] == "unrevoked"]
    store.revoke(ca, alice)
    wait_status(phone(proxy, alice), 403)
    since = proxy.mark()
    store.client.xadd("easgate:events", replay)
    assert "replayed" in proxy.wait_event("revocation_event", since=since, type="unrevoked", verdict="refused")["reason"]
    assert status(phone(proxy, alice)) == 403


def test_p28_a_serial_that_is_taken_out_of_the_hash_or_said_to_be_good_there_stays_revoked(
        start_proxy, node, store, phone, ca, alice):
    store.revoke(ca, alice, tell=False)
    proxy = following(start_proxy(node(store)))
    wait_status(phone(proxy, alice), 403)
    key = store.key("revoked", ca.spki_hash)
    store.client.hset(key, alice.serial_hex, "good")
    since = proxy.mark()
    store.kill_clients()
    following(proxy, since)
    assert status(phone(proxy, alice)) == 403
    store.client.hdel(key, alice.serial_hex)
    since = proxy.mark()
    store.kill_clients()
    following(proxy, since)
    assert status(phone(proxy, alice)) == 403


def test_p28_a_node_without_the_fleets_secret_believes_no_event_that_lets_in(
        start_proxy, node, store, phone, ca, alice):
    store.revoke(ca, alice, tell=False)
    proxy = following(start_proxy(node(store, changes={"redis.fleet_secret_file": None})))
    assert proxy.wait_event("no_fleet_secret")
    wait_status(phone(proxy, alice), 403)
    since = proxy.mark()
    store.event("unrevoked", issuer=ca.spki_hash, serial=alice.serial_hex, time=int(time.time()))
    proxy.wait_event("revocation_event", since=since, type="unrevoked", verdict="refused")
    assert status(phone(proxy, alice)) == 403


# Redis in trouble

def test_p27_without_redis_the_index_serves_until_max_age_and_then_503_until_it_is_back(
        start_proxy, node, store, phone, backend, ca, alice, bob):
    hold = backend.when("Ping", answers.hold())
    store.revoke(ca, alice, tell=False)
    proxy = following(start_proxy(node(store, changes={"proxy.revocation.max_age_seconds": 10})))
    wait_status(phone(proxy, bob, user="bob"), 200)
    ping = held(phone(proxy, bob, user="bob"), backend, hold)
    store.stop()
    assert status(phone(proxy, bob, user="bob")) == 200
    assert status(phone(proxy, alice)) == 403
    took = wait_status(phone(proxy, bob, user="bob"), 503, 14)
    assert took > 6
    with phone(proxy, bob, user="bob").connect() as line:
        assert line.request("OPTIONS", EAS).get("Retry-After") == "30"
    assert status(phone(proxy, alice)) == 403
    assert proxy.wait_event("fault", reason="revocation-unknown")["level"] == "error"
    code, text = proxy.readyz()
    assert code == 503 and "MISSING revocation" in text
    assert ping.waiting
    store.start()
    wait_status(phone(proxy, bob, user="bob"), 200, FOLLOWED)
    assert status(phone(proxy, alice)) == 403


def test_p27_what_is_revoked_while_redis_is_unreachable_is_refused_when_it_is_back(
        start_proxy, node, store, phone, backend, ca, alice):
    hold = backend.when("Ping", answers.hold())
    proxy = following(start_proxy(node(store)))
    wait_status(phone(proxy, alice), 200)
    ping = held(phone(proxy, alice), backend, hold)
    store.hang()
    store_client = store.client
    time.sleep(1.2)                                 # past the time limit: the node has given the connection up
    store.resume()
    store_client.ping()
    store.revoke(ca, alice)
    outcome = ping.wait(FOLLOWED)
    assert outcome is None or isinstance(outcome, Exception) or outcome.status == 403
    assert status(phone(proxy, alice)) == 403


def test_p27_a_flushed_redis_takes_nothing_back_and_is_no_longer_fresh(
        start_proxy, node, store, phone, ca, alice, bob):
    store.revoke(ca, alice, tell=False)
    proxy = following(start_proxy(node(store, changes={"proxy.revocation.max_age_seconds": 10})))
    wait_status(phone(proxy, bob, user="bob"), 200)
    store.flush()
    assert status(phone(proxy, alice)) == 403
    assert proxy.wait_event("redis_issuer_unknown", 5)["level"] == "error"
    wait_status(phone(proxy, bob, user="bob"), 503, 14)
    assert status(phone(proxy, alice)) == 403


@pytest.mark.quick
def test_a_publisher_that_has_been_silent_for_long_is_named_and_its_word_holds_until_next_update(start_proxy, node, store, phone, ca, alice):
    store.crl(ca, loaded_at=int(time.time()) - 3600)
    proxy = following(start_proxy(node(store)))
    wait_status(phone(proxy, alice), 200)
    line = proxy.wait_event("redis_publisher_silent")
    assert line["level"] == "warning" and "easenroll" in line["message"]
    store.crl(ca)
    assert proxy.wait_event("redis_publisher_back")["level"] == "info"
    store.crl(ca, loaded_at=int(time.time()) + 86400)
    line = proxy.wait_event("redis_publisher_ahead")
    assert line["level"] == "warning" and "clock" in line["message"]
    wait_status(phone(proxy, alice), 200)
    store.crl(ca, next_update=int(time.time()) - 1)
    wait_status(phone(proxy, alice), 503, FOLLOWED)


def test_p27_a_redis_that_lost_its_data_in_a_restart_takes_nothing_back(
        start_proxy, node, store, phone, ca, alice, pki):
    store.revoke(ca, alice)
    proxy = following(start_proxy(node(store)))
    wait_status(phone(proxy, alice), 403)
    since = proxy.mark()
    store.stop(keep=False)
    store.start()
    for issuer in (ca, pki.root):
        store.crl(issuer)
    proxy.wait_event("redis_loaded", FOLLOWED, since)
    assert status(phone(proxy, alice)) == 403


def test_p27_a_paused_redis_lets_no_phone_wait(start_proxy, node, store, phone, ca, alice, bob):
    store.revoke(ca, alice, tell=False)
    proxy = following(start_proxy(node(store)))
    wait_status(phone(proxy, bob, user="bob"), 200)
    store.pause(2)
    slowest = 0.0
    until = time.monotonic() + 2.2
    while time.monotonic() < until:
        began = time.monotonic()
        assert (status(phone(proxy, bob, user="bob")), status(phone(proxy, alice))) == (200, 403)
        slowest = max(slowest, time.monotonic() - began)
    assert slowest < 1
    store.client.ping()
    another = ca.device("bob@corp.example")
    store.revoke(ca, another)
    wait_status(phone(proxy, another, user="bob"), 403, FOLLOWED)


@pytest.mark.parametrize("key", ["revoked", "crl", "events"])
def test_p27_a_key_of_the_wrong_type_is_an_error_and_never_a_pass(
        start_proxy, node, store, phone, ca, alice, bob, key):
    store.revoke(ca, alice, tell=False)
    proxy = following(start_proxy(node(store, changes={"proxy.revocation.max_age_seconds": 10})))
    wait_status(phone(proxy, bob, user="bob"), 200)
    name = store.key("events") if key == "events" else store.key(key, ca.spki_hash)
    store.client.delete(name)
    store.client.set(name, "not what it was")
    since = proxy.mark()
    store.kill_clients()
    proxy.log.wait(lambda line: isinstance(line, dict) and line["event"] in ("redis_follow_failed", "redis_issuer_unknown"),
                   FOLLOWED, since, "word of the wrong type")
    assert status(phone(proxy, alice)) == 403
    wait_status(phone(proxy, bob, user="bob"), 503, 14)
    assert status(phone(proxy, alice)) == 403


def test_p27_entries_that_mean_nothing_are_passed_over_and_those_behind_them_count(
        start_proxy, node, store, phone, ca, alice):
    store.client.hset(store.key("revoked", ca.spki_hash), mapping={
        "": "1 1", "0": "1 1", "00ff": "1 1", "FF": "1 1", "zz": "1 1", "1" * 41: "1 1", "\0": "1 1"})
    store.client.hset(store.key("revoked", "nobody"), "1", "1 1")
    proxy = following(start_proxy(node(store)))
    assert proxy.wait_event("redis_loaded", issuer=ca.spki_hash)["malformed"] >= 6
    wait_status(phone(proxy, alice), 200)
    for fields in ({"x": "y"}, {"type": "party"}, {"type": "revoked"}, {"type": "revoked", "issuer": "short", "serial": "1"},
                   {"type": "revoked", "issuer": ca.spki_hash, "serial": "-5"}, {"type": "account"},
                   {"type": "account", "sid": "x' OR 1=1"}, {"type": "revoked" * 1000},
                   {"type": "revoked", "issuer": "0" * 64, "serial": alice.serial_hex}):
        store.client.xadd("easgate:events", fields)
    store.revoke(ca, alice)
    wait_status(phone(proxy, alice), 403)
    assert len(proxy.events("event_refused")) >= 7


def test_p27_a_stream_that_was_trimmed_beyond_where_a_node_stood_makes_it_load_everything(
        start_proxy, node, store, phone, ca, alice, bob):
    """While it waits for the next entry: a burst, of which only the end is left when it gets to read."""
    store.event("account", sid="S-1-5-21-1-2-3-9999")
    proxy = following(start_proxy(node(store)))
    wait_status(phone(proxy, alice), 200)
    pipe = store.client.pipeline(transaction=True)
    pipe.hset(store.key("revoked", ca.spki_hash), alice.serial_hex, "1 1")
    for number in range(50):
        pipe.xadd("easgate:events", {"type": "account", "sid": "S-1-5-21-1-2-3-%d" % number})
    pipe.xtrim("easgate:events", maxlen=3, approximate=False)
    pipe.execute()
    wait_status(phone(proxy, alice), 403, FOLLOWED)
    assert status(phone(proxy, bob, user="bob")) == 200


@pytest.mark.quick
def test_a_node_that_starts_without_redis_uses_the_index_on_its_disk_and_says_how_old_it_is(
        start_proxy, node, store, phone, ca, alice, bob):
    store.revoke(ca, alice, tell=False)
    config = node(store)
    first = following(start_proxy(config))
    wait_status(phone(first, bob, user="bob"), 200)
    first.stop()
    store.stop()
    proxy = start_proxy(config)
    opened = proxy.wait_event("index_opened")
    assert opened["serials"] == 1 and 0 <= opened["age_seconds"] < 60
    assert (status(phone(proxy, bob, user="bob")), status(phone(proxy, alice))) == (200, 403)
    store.start()
    late = ca.device("bob@corp.example")
    store.revoke(ca, late)
    wait_status(phone(proxy, late, user="bob"), 403, FOLLOWED)


def test_a_node_without_index_and_without_redis_lets_nobody_in(start_proxy, node, store, phone, alice):
    config = node(store)
    store.stop()
    proxy = start_proxy(config)
    assert status(phone(proxy, alice)) == 503
    assert proxy.wait_event("fault", reason="revocation-unknown")
    code, text = proxy.readyz()
    assert code == 503 and "MISSING revocation" in text
    store.start()
    wait_status(phone(proxy, alice), 200, FOLLOWED)


def test_p27_events_of_the_time_without_a_node_are_read_when_it_is_back(
        start_proxy, node, store, phone, ca, alice):
    """Revoked and let in again while the node was down: it reads on from where it stood."""
    config = node(store)
    store.revoke(ca, alice)
    first = following(start_proxy(config))
    wait_status(phone(first, alice), 403)
    first.stop()
    store.unrevoke(ca, alice)
    proxy = following(start_proxy(config))
    wait_status(phone(proxy, alice), 200)


# what else comes by events

@pytest.mark.quick
def test_an_account_event_makes_the_node_ask_again_and_end_what_it_concerns(
        start_proxy, node, store, phone, backend, accounts, alice, bob):
    hold = backend.when("Ping", answers.hold())
    proxy = following(start_proxy(node(store)))
    wait_status(phone(proxy, alice), 200)
    mine, other = held(phone(proxy, alice), backend, hold), held(phone(proxy, bob, user="bob"), backend, hold)
    accounts.change("alice", enabled=False)
    store.event("account", mac=False, sid=accounts.accounts["alice"]["sid"])
    outcome = mine.wait(3)
    assert outcome is not None and outcome.status == 403
    assert other.waiting and status(phone(proxy, alice)) == 403


def test_both_a_crl_and_redis_may_revoke_and_neither_takes_the_others_back(
        start_proxy, configure, backend, place, store, phone, ca, alice, bob, crl):
    ca.write_crl(crl, [(alice, 1)])
    store.revoke(ca, bob, tell=False)
    proxy = following(start_proxy(configure(backend, changes=settings.redis(store, place))))
    third = ca.device("alice@corp.example")
    wait_status(phone(proxy, third), 200)
    assert (status(phone(proxy, alice)), status(phone(proxy, bob, user="bob"))) == (403, 403)
    store.unrevoke(ca, alice)
    proxy.wait_event("revocation_event", type="unrevoked")
    assert status(phone(proxy, alice)) == 403


def test_p29_redis_binds_a_serial_to_its_issuer(start_proxy, node, store, phone, pki, ca, place):
    second = Authority("CN=Second of Redis", parent=pki.root)
    store.crl(second)
    anchors = os.path.join(place, "two.pem")
    with open(anchors, "wb") as f:
        f.write(ca.pem + pki.root.pem + second.pem)
    mine, other = (c.device("alice@corp.example", serial=0x0f1e2d) for c in (ca, second))
    proxy = following(start_proxy(node(store, changes={"proxy.hosts.0.client_ca": [anchors]})))
    wait_status(phone(proxy, mine), 200)
    store.revoke(ca, mine)
    wait_status(phone(proxy, mine), 403)
    assert status(phone(proxy, other)) == 200


# a Redis that is somebody else

class Impostor:
    """Answers whatever comes with `reply`, then with nothing; counts the connections."""

    def __init__(self, reply):
        self.reply, self.connections = reply, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock):
        try:
            with sock:
                while sock.recv(65536):
                    sock.sendall(self.reply)
        except OSError:
            pass

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


HOSTILE = {
    "huge-bulk": b"$1099511627776\r\nx", "huge-array": b"*2147483647\r\n", "negative": b"*-7\r\n",
    "nested": b"*1\r\n" * 5000, "garbage": b"\0\xff\r\n" * 100, "loading": b"-LOADING Redis is loading\r\n",
    "noauth": b"-NOAUTH Authentication required.\r\n", "moved": b"-MOVED 3999 127.0.0.1:1\r\n", "ok": b"+OK\r\n",
    "nil": b"$-1\r\n", "numbers": b":1\r\n", "http": b"HTTP/1.1 400 Bad Request\r\n\r\n", "endless-line": b"+" + b"a" * 200000,
    "empty-arrays": b"*0\r\n", "good-words": b"*2\r\n$1\r\n0\r\n*0\r\n",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_p27_hostile_answers_are_unknown_and_bounded(start_proxy, node, store, phone, made, alice, what):
    impostor = made(Impostor(HOSTILE[what]))
    proxy = start_proxy(node(store, changes={"redis.servers": [impostor.address]}))
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        assert status(phone(proxy, alice)) == 503
    assert 1 <= impostor.connections < 40, "connects again without pause"
    assert all(isinstance(line, dict) for line in proxy.log.lines)
    assert proxy.daemon.running and not proxy.events("process_died")
    os.kill(proxy.daemon.pid, signal.SIGCONT)


# a change of an account while nobody can say what it is now

class silent:
    """Meanwhile the proxy's directory process answers nothing."""

    def __init__(self, proxy):
        (self.pid,) = inside.by_role(proxy)["directory"]

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGCONT)


def test_p51_an_account_that_has_changed_is_asked_about_again_though_the_cache_had_no_room_for_it(
        start_proxy, node, store, phone, ca, accounts, alice):
    others = ["user%02d" % n for n in range(16)]
    for name in others:
        accounts.add(name)
    proxy = following(start_proxy(node(store, {"directory.cache_entries": 16})))
    device = phone(proxy, alice)
    wait_status(device, 200)
    assert device.sync().status == 200          # on a connection that stays
    sid = proxy.wait_event("access", user="alice")["sid"]
    for name in others:
        assert phone(proxy, ca.device(name + "@corp.example"), user=name).sync().status == 200
    with silent(proxy):
        store.event("account", sid=sid)
        wait_until(lambda: device.sync().status == 503, 10, 0.1)


@pytest.mark.quick
def test_p51_a_change_in_the_midst_of_a_request_that_asks_for_a_name_leaves_no_answer_without_its_session(
        start_proxy, node, store, phone, alice, bob):
    """One session's two questions to the directory: neither may be forgotten when the session ends."""
    proxy = following(start_proxy(node(store, {"proxy.autodiscover": "answer", "proxy.autodiscover_url": "https://mail.example.com" + EAS})))
    device, body, workers = phone(proxy, alice), question("alias@elsewhere.example"), inside.by_role(proxy)["worker"]

    def cache(result):
        return proxy.metric("easproxy_account_cache_total", result=result)
    wait_status(device, 200)
    sid, known = proxy.wait_event("access", user="alice")["sid"], cache("hit")
    line = device.connect()
    line.send(("POST %s HTTP/1.1\r\nHost: autodiscover.example.com\r\nContent-Length: %d\r\n\r\n" % (AUTODISCOVER, len(body))).encode())
    wait_until(lambda: cache("hit") > known, 5)         # it waits for the body
    with silent(proxy):
        asked = cache("miss")
        store.event("account", sid=sid)
        wait_until(lambda: cache("miss") > asked, 5)            # what the account is now
        line.send(body)
        wait_until(lambda: cache("miss") > asked + 1, 5)        # whose address it is
        line.vanish()
        proxy.wait_event("access", detail="the device went away", command="Autodiscover")
    assert phone(proxy, bob, user="bob").sync().status == 200
    assert inside.by_role(proxy)["worker"] == workers
