"""P53: what a reload takes beside certificates and policies: Redis and its secrets, time limits, sizes; and what a question that
was put before it means after it."""
import copy
import hashlib
import hmac
import os
import signal
import socket
import threading
import time

import pytest

from site_ import inside, settings
from site_.process import wait_until
from test_reload import Load, reload_good
from test_revocation import wait_status

SECRET, OTHER_SECRET = b"a secret of the fleet, for tests only", b"the secret after it was changed"


@pytest.fixture
def pinning(start_proxy, configure, backend, place):
    """pinning(redis, changes): (proxy, its configuration) that binds each certificate to its first device, in this Redis."""
    def start(redis, changes=None):
        config = configure(backend, {**settings.redis(redis, place), "proxy.revocation.redis": False,
                                     "proxy.policies.0.device": "pin", "redis.timeout_ms": 1000, **(changes or {})})
        proxy = start_proxy(config)
        proxy.wait_event("redis_up", connection="devices")
        return proxy, copy.deepcopy(config)
    return start


@pytest.fixture
def device(phone, pki):
    """device(proxy): a phone that was never seen before, as all of alice's."""
    return lambda proxy: phone(proxy, pki.device_ca.device("alice@corp.example"))


def is_in(redis, phone):
    return redis.client.exists(redis.key("device", phone.identity.sha256)) == 1


def put_secret(config, name, content):
    with open(config["redis"][name], "wb") as f:
        f.write(content)


def record(secret, identity, sid, device="ApplTEST0001", state="registered"):
    """A device's record as enrolment writes it."""
    text = "\n".join(("device-record", identity.sha256, sid, device, state))
    return {"sid": sid, "device": device, "state": state, "mac": hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()}


# --- Redis ---

@pytest.mark.quick
def test_53_another_redis_is_used_from_the_reload_on_and_no_request_fails_meanwhile(pinning, start_redis, device):
    first, second = start_redis(secret=SECRET), start_redis(secret=SECRET)
    proxy, config = pinning(first)
    known = [device(proxy) for _ in range(4)]
    assert all(d.sync().status == 200 for d in known) and all(is_in(first, d) for d in known)
    load = Load(known)
    since = proxy.mark()
    config["redis"]["servers"] = [second.address]
    reload_good(proxy, config)
    proxy.wait_event("redis_up", 5, since, connection="devices")
    enough = load.count + 20
    wait_until(lambda: load.count > enough or load.faults, 10)
    load.stop()
    assert load.faults == [], proxy.events("fault")
    first.close()
    new = device(proxy)
    assert new.sync().status == 200 and is_in(second, new)
    assert not proxy.events("process_died")


def test_53_a_redis_that_is_named_by_its_host_is_found_after_the_doors_were_closed(pinning, start_redis, device):
    first, second = start_redis(secret=SECRET), start_redis(secret=SECRET)
    proxy, config = pinning(first)
    since = proxy.mark()
    config["redis"]["servers"] = ["localhost:%d" % second.port]
    reload_good(proxy, config)
    proxy.wait_event("redis_up", 5, since, connection="devices")
    new = device(proxy)
    assert new.sync().status == 200 and is_in(second, new)


@pytest.mark.quick
def test_53_the_same_password_file_with_another_password_is_read_again(pinning, start_redis, device, place):
    redis = start_redis(secret=SECRET, password="the first password")
    path = settings._write(str(place), "redis.password", b"the first password\n", 0o600)
    proxy, config = pinning(redis, {"redis.password_file": path})
    assert device(proxy).sync().status == 200
    redis.client.config_set("requirepass", "the second password")
    put_secret(config, "password_file", b"the second password\n")
    since = proxy.mark()
    reload_good(proxy, None)
    proxy.wait_event("redis_up", 5, since, connection="devices")
    redis.kill_clients()                            # also those that had come in with the first one
    new = device(proxy)
    wait_until(lambda: new.sync().status == 200, 5)
    assert not any("WRONGPASS" in line["message"] for line in proxy.events("redis_down", since))


def test_53_another_user_and_prefix_count_after_a_reload(pinning, start_redis, device, place):
    redis = start_redis(secret=SECRET)
    proxy, config = pinning(redis)
    redis.client.execute_command("ACL", "SETUSER", "node", "on", ">a password", "~other:*", "&*", "+@all")
    config["redis"].update(username="node", prefix="other:",
                           password_file=settings._write(str(place), "acl.password", b"a password\n", 0o600))
    since = proxy.mark()
    reload_good(proxy, config)
    proxy.wait_event("redis_up", 5, since, connection="devices")
    new = device(proxy)
    assert new.sync().status == 200
    assert redis.client.exists("other:device:" + new.identity.sha256) and not is_in(redis, new)


@pytest.mark.quick
def test_53_28_a_changed_fleet_secret_counts_at_once_for_what_is_believed_and_what_is_written(
        pinning, start_redis, device, accounts):
    redis = start_redis(secret=SECRET)
    proxy, config = pinning(redis)
    sid = accounts.accounts["alice"]["sid"]
    old = device(proxy)
    assert old.sync().status == 200                 # pinned with the first secret, and remembered
    put_secret(config, "fleet_secret_file", OTHER_SECRET + b"\n")
    reload_good(proxy, None)
    by_old, by_new = device(proxy), device(proxy)
    redis.device(by_old.identity, **record(SECRET, by_old.identity, sid))
    redis.device(by_new.identity, **record(OTHER_SECRET, by_new.identity, sid))
    assert by_new.sync().status == 200
    assert by_old.sync().status == 503
    proxy.wait_event("device_record_refused", key=by_old.identity.sha256)
    old.hang_up()                                   # a connection remembers its own device for a while
    assert old.sync().status == 503, "what the old secret vouched for was believed from memory"
    fresh = device(proxy)
    assert fresh.sync().status == 200
    made = redis.client.hgetall(redis.key("device", fresh.identity.sha256))
    assert made["mac"] == record(OTHER_SECRET, fresh.identity, sid, state="pinned")["mac"]


def test_53_while_a_new_redis_does_not_answer_the_old_one_serves_for_seconds_and_then_it_is_said(pinning, start_redis, device):
    redis = start_redis(secret=SECRET)
    proxy, config = pinning(redis)
    good = copy.deepcopy(config)
    config["redis"]["servers"] = ["127.0.0.1:1"]
    since = proxy.mark()
    reload_good(proxy, config)
    assert device(proxy).sync().status == 200
    line = proxy.wait_event("redis_down", 5, since, connection="devices")
    assert "127.0.0.1:1" in line["message"]
    wait_until(lambda: device(proxy).sync().status == 503, 12, 0.4)     # each is a new device of alice, who may have 50
    assert proxy.wait_event("fault", reason="device-state-down")["cure"]
    since = proxy.mark()
    reload_good(proxy, good)
    proxy.wait_event("redis_up", 5, since, connection="devices")
    assert device(proxy).sync().status == 200


@pytest.mark.parametrize("name, key", [("password", "password_file"), ("secret", "fleet_secret_file")])
def test_53_an_empty_secret_file_is_refused_and_the_old_one_stays(pinning, start_redis, device, place, name, key):
    redis = start_redis(secret=SECRET, password="a password")
    path = settings._write(str(place), "redis.password", b"a password\n", 0o600)
    proxy, config = pinning(redis, {"redis.password_file": path})
    put_secret(config, key, b"\n")
    since = proxy.mark()
    assert proxy.reload()["event"] == "reload_failed"
    line = proxy.wait_event("config_refused", since=since)
    assert "redis.%s: %s: missing or empty" % (key, config["redis"][key]) in line["message"]
    assert device(proxy).sync().status == 200
    assert proxy.run("check").returncode == 1


def test_53_putting_redis_in_or_leaving_it_out_is_refused_with_the_reason(pinning, start_redis, start_proxy, configure, backend,
                                                                       device, place):
    redis = start_redis(secret=SECRET)
    proxy, config = pinning(redis)
    without = copy.deepcopy(config)
    del without["redis"]
    line = proxy.reload(without)
    assert line["event"] == "reload_failed" and "redis (put in or left out as a whole) cannot change" in line["message"], line
    assert device(proxy).sync().status == 200
    alone = start_proxy(configure(backend, node="alone"))
    config = settings.changed(alone.config, settings.redis(redis, place))
    line = alone.reload(config)
    assert line["event"] == "reload_failed" and "redis (put in or left out as a whole)" in line["message"], line


def test_53_a_node_that_follows_redis_believes_the_new_secret_and_the_new_server_alone(
        configure, start_proxy, backend, start_redis, phone, pki, place):
    first, second = start_redis(secret=SECRET), start_redis(secret=OTHER_SECRET)
    for redis in (first, second):
        for ca in (pki.device_ca, pki.root):
            redis.crl(ca)
    config = configure(backend, {**settings.redis(first, place), "proxy.revocation.crls": []})
    proxy = start_proxy(config)
    proxy.wait_event("redis_loaded", 10)
    alice = phone(proxy, pki.device_ca.device("alice@corp.example"))
    wait_until(lambda: alice.sync().status == 200, 10)
    put_secret(config, "fleet_secret_file", OTHER_SECRET + b"\n")
    since = proxy.mark()
    reload_good(proxy, settings.changed(config, {"redis.servers": ["unix:" + second.socket_path]}))
    proxy.wait_event("redis_loaded", 10, since)
    assert alice.sync().status == 200
    first.revoke(pki.device_ca, alice.identity)
    assert alice.sync().status == 200               # nobody follows that one any more
    second.revoke(pki.device_ca, alice.identity)
    wait_status(alice, 403)


# --- how long is waited, how much is kept ---

def slow(relay, device, seconds):
    """The status of a request whose server says nothing for so long."""
    relay.mode = "hang"
    timer = threading.Timer(seconds, lambda: setattr(relay, "mode", "pass"))
    timer.start()
    try:
        return device.sync().status
    finally:
        timer.join()


def test_53_a_longer_time_limit_for_the_directory_counts_in_the_workers_too(own_ad, pki, phone, kerberos_proxy, start_relay):
    relay = start_relay(("127.0.0.1", 636), netns=own_ad.netns)
    proxy = kerberos_proxy(own_ad, {"directory.ldap.servers": ["ldaps://" + relay.address], "directory.ldap.timeout_ms": 300})
    names = iter("load%02d" % n for n in range(1, 5))

    def one():
        sam = next(names)
        return phone(proxy, pki.device_ca.device(sam + "@corp.example"), user=sam)
    proxy.wait_event("directory_up")
    assert slow(relay, one(), 3) == 503
    since = proxy.mark()
    reload_good(proxy, settings.changed(proxy.config, {"directory.ldap.timeout_ms": 10000}))
    proxy.wait_event("directory_up", 10, since)
    assert slow(relay, one(), 3) == 200, proxy.events("fault")


def test_53_a_longer_time_limit_for_kerberos_counts_in_the_workers_too(own_ad, pki, phone, kerberos_proxy, start_relay):
    relay = start_relay(("127.0.0.1", 88), netns=own_ad.netns)
    proxy = kerberos_proxy(own_ad, {"proxy.kerberos.kdcs": [relay.address], "proxy.kerberos.timeout_ms": 200})
    device = phone(proxy, pki.device_ca.device("load01@corp.example"), user="load01")
    assert slow(relay, device, 3) == 503
    since = proxy.mark()
    reload_good(proxy, settings.changed(proxy.config, {"proxy.kerberos.timeout_ms": 10000}))
    proxy.wait_event("kerberos_ready", 10, since)
    assert slow(relay, device, 3) == 200, proxy.events("fault")


def test_53_a_smaller_cache_of_accounts_counts_in_the_workers_too(start_proxy, configure, backend, accounts, phone, pki):
    names = ["user%02d" % n for n in range(20)]
    for name in names:
        accounts.add(name)
    proxy = start_proxy(configure(backend))
    devices = [phone(proxy, pki.device_ca.device(name + "@corp.example"), user=name) for name in names]

    def round_of_misses():
        before = proxy.metric("easproxy_account_cache_total", result="miss")
        for d in devices:
            d.hang_up()                             # a connection holds the answer of its own account
        assert all(d.sync().status == 200 for d in devices)
        return proxy.metric("easproxy_account_cache_total", result="miss") - before
    assert round_of_misses() == 20 and round_of_misses() == 0
    reload_good(proxy, settings.changed(proxy.config, {"directory.cache_entries": 16}))
    assert round_of_misses() == 20                  # all is asked again after a reload
    assert round_of_misses() == 20                  # and the first has left when its turn comes
    reload_good(proxy, settings.changed(proxy.config, {"directory.cache_entries": 32}))
    assert round_of_misses() == 20 and round_of_misses() == 0


# --- what a question means ---

class Asked:
    """A request in a thread: result() is its Response."""

    def __init__(self, device):
        self._response, self._thread = None, threading.Thread(target=self._run, args=(device,), daemon=True)
        self._thread.start()

    def _run(self, device):
        self._response = device.sync()

    def result(self, timeout=15):
        self._thread.join(timeout)
        assert not self._thread.is_alive(), "no answer within %d s" % timeout
        return self._response


@pytest.mark.quick
def test_39_53_a_ticket_that_was_asked_for_before_a_reload_is_for_the_service_it_was_asked_for(ad, pki, phone, kerberos_proxy):
    mail = settings.kerberos_upstream(ad)
    other = settings.kerberos_upstream(ad, name="other", spn="HTTP/mail2.corp.example")     # which AD does not allow
    proxy = kerberos_proxy(changes={"proxy.upstreams": [mail, other]})
    device = phone(proxy, pki.device_ca.device("alice@corp.example"))
    (old,) = inside.by_role(proxy)["kerberos"]
    os.kill(old, signal.SIGSTOP)
    try:
        before = proxy.metric("easproxy_directory_calls_total", result="found")
        asked = Asked(device)
        wait_until(lambda: proxy.metric("easproxy_directory_calls_total", result="found") > before, 5)
        time.sleep(0.3)                             # the question stands in the wire of a process that does not read it
        reload_good(proxy, settings.changed(proxy.config, {"proxy.upstreams": [other, mail]}))
    finally:
        os.kill(old, signal.SIGKILL)
    response = asked.result()
    assert response.status == 200, (response.start, proxy.events("fault"), proxy.events("kerberos_denied"))
    assert not proxy.events("kerberos_denied") and not proxy.events("kerberos_refused")


def test_39_53_no_ticket_for_a_service_that_left_the_configuration_goes_to_its_successor(ad, pki, phone, kerberos_proxy):
    """The question was about a service that is gone: the new process knows nothing of it, and the worker asks for the one in force."""
    wrong = settings.kerberos_upstream(ad, spn="HTTP/mail2.corp.example")
    proxy = kerberos_proxy(changes={"proxy.upstreams": [wrong]})
    device = phone(proxy, pki.device_ca.device("alice@corp.example"))
    (old,) = inside.by_role(proxy)["kerberos"]
    os.kill(old, signal.SIGSTOP)
    try:
        asked = Asked(device)
        wait_until(lambda: proxy.metric("easproxy_directory_calls_total", result="found") > 0, 5)
        time.sleep(0.3)
        reload_good(proxy, settings.changed(proxy.config, {"proxy.upstreams": [settings.kerberos_upstream(ad)]}))
    finally:
        os.kill(old, signal.SIGKILL)
    response = asked.result()
    assert response.status == 200, (response.start, proxy.events("fault"))
    line = proxy.wait_event("kerberos_refused", service="HTTP/mail2.corp.example")
    assert line["audit"] is True and line["account"] == "alice"


def test_51_53_a_request_that_waits_for_a_mail_server_goes_to_the_one_of_the_new_configuration(start_proxy, configure, backend, phone, pki):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]           # they fill its queue: who comes now is not even refused
        for s in waiting:
            s.setblocking(False)
            s.connect_ex(full.getsockname())
        proxy = start_proxy(configure("http://127.0.0.1:%d" % full.getsockname()[1], {"proxy.upstreams.0.connect_ms": 1500}))
        asked = Asked(phone(proxy, pki.device_ca.device("alice@corp.example")))
        wait_until(lambda: proxy.metric("easproxy_directory_calls_total", result="found") == 1, 1)
        reload_good(proxy, settings.changed(proxy.config, {"proxy.upstreams.0.servers": [backend.url]}))
        assert asked.result().status == 200
        for s in waiting:
            s.close()
    assert len(backend.requests) == 1 and not proxy.events("fault")
