"""P51: a server that the proxy needs is ill for a while in every way: slow, cut again and again, half open, talking garbage.

Each way lasts EASGATE_TOXIC_SECONDS (1.5 in `make check`, 60 in the long round). All the time those who are known are served at once,
who is revoked is not, nobody gets another one's bytes; when the server is well again so is everything within ten seconds.
"""
import copy
import os
import threading
import time

import pytest

from site_ import answers, settings
from site_.http1 import ProtocolError
from site_.process import wait_until

SECONDS = float(os.environ.get("EASGATE_TOXIC_SECONDS", "1.5"))
RECOVERY = 10.0
QUICKLY = 1.5               # once a minute an account is looked up anew, which may take directory.ldap.timeout_ms
GONE = (OSError, EOFError, ProtocolError)
TOXICS = ["slow", "cut", "half", "garbage"]

# a short round of all in turn, or a minute of each
pytestmark = pytest.mark.parametrize("toxics, seconds", [
    pytest.param(TOXICS, SECONDS, id="all"),
    *(pytest.param([toxic], 60.0, id=toxic, marks=pytest.mark.long) for toxic in TOXICS)])


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.fixture
def revoked(pki):
    return pki.device_ca.device("alice@corp.example")


class Toxic:
    """The relay is ill for the block, and well after it."""

    def __init__(self, relay, how):
        self.relay, self.how, self._over = relay, how, threading.Event()
        self._thread = threading.Thread(target=self._cut_often, daemon=True)

    def __enter__(self):
        self.relay.seconds = 0.7
        if self.how == "cut":
            self._thread.start()
        else:
            self.relay.mode = {"slow": "delay"}.get(self.how, self.how)
            if self.how == "garbage":
                self.relay.cut()        # what is under way, and each new beginning
        return self

    def __exit__(self, *_):
        self._over.set()
        if self.how == "cut":
            self._thread.join()
        self.relay.mode = "pass"
        self.relay.cut()

    def _cut_often(self):
        while not self._over.wait(0.2):
            self.relay.cut()


def status_of(device, own):
    """200 only with the user's own bytes; None where the connection was cut."""
    try:
        response = device.sync()
    except GONE:
        device.hang_up()
        return None
    if response is None:
        return None
    assert response.status != 200 or own in response.body, response.body
    return response.status


def once(device, own):
    """The same on a connection of its own, which is closed: there are as many sessions as the proxy is given."""
    try:
        return status_of(device, own)
    finally:
        device.close()


def live_through(relay, toxics, seconds, known, own, refused, new=None):
    """Known phones are served and the refused one is not, all the time; new(toxic) asks for something that needs the server."""
    slowest = 0.0
    for toxic in toxics:
        with Toxic(relay, toxic):
            until = time.monotonic() + seconds
            askers = []
            while time.monotonic() < until:
                began = time.monotonic()
                assert status_of(known, own) == 200, toxic
                slowest = max(slowest, time.monotonic() - began)
                assert status_of(refused, own) in (403, None), toxic
                if new is not None and not (askers and askers[-1].is_alive()):
                    askers.append(threading.Thread(target=new, args=(toxic,), daemon=True))
                    askers[-1].start()
                time.sleep(0.02)
            for asker in askers:
                asker.join(10)
                assert not asker.is_alive(), toxic
        wait_until(lambda: status_of(known, own) == 200, RECOVERY)
    assert slowest < QUICKLY, "%.2f s" % slowest
    print("slowest answer to a known phone: %.0f ms" % (slowest * 1000))


def test_51_redis_is_ill_and_what_was_revoked_stays_so(
        start_proxy, configure, backend, place, pki, phone, alice, revoked, redis_server, start_relay, toxics, seconds):
    for ca in (pki.device_ca, pki.root):
        redis_server.crl(ca)
    redis_server.revoke(pki.device_ca, revoked, tell=False)
    relay = start_relay(("127.0.0.1", redis_server.port))
    backend.default = answers.whoami("X-EAS-User")
    config = configure(backend, {**settings.redis(redis_server, place), "proxy.revocation.crls": None})
    config["redis"].update(servers=[relay.address], timeout_ms=500)
    proxy = start_proxy(config)
    known, own = phone(proxy, alice), b"X-EAS-User=alice\n"
    wait_until(lambda: status_of(known, own) == 200, RECOVERY)
    later = []

    def revoke_one(toxic):
        later.append(pki.device_ca.device("bob@corp.example"))
        redis_server.revoke(pki.device_ca, later[-1])
        time.sleep(min(1.0, seconds / 4))
    live_through(relay, toxics, seconds, known, own, phone(proxy, revoked), revoke_one)
    for victim in [later[0], later[-1], *later[::10]]:
        wait_until(lambda: once(phone(proxy, victim, user="bob"), b"bob") in (403, None), RECOVERY)
    assert not proxy.events("process_died")
    assert proxy.metric("easproxy_redis_connections_total", result="lost") >= 1


def test_51_the_directory_server_is_ill_and_the_disabled_stay_out(
        own_ad, pki, phone, kerberos_proxy, alice, revoked, revocation_in_redis, start_relay, toxics, seconds):
    relay = start_relay(("127.0.0.1", 636), netns=own_ad.netns)
    revocation_in_redis.revoke(pki.device_ca, revoked, tell=False)
    disabled = own_ad.account()
    own_ad.disable(disabled)
    proxy = kerberos_proxy(own_ad, {"directory.ldap.servers": ["ldaps://dc1.corp.example:%d" % relay.port],
                                    "directory.ldap.timeout_ms": 500}, redis=revocation_in_redis)
    known, own = phone(proxy, alice), b"REMOTE_USER=alice@CORP.EXAMPLE"
    wait_until(lambda: status_of(known, own) == 200, RECOVERY)
    names = ["load%02d" % n for n in range(1, 21)]

    def ask_anew(toxic):
        """Unknown here so far: an answer for the right one, or none; the disabled one never gets in."""
        name = names[len(names) % 7]
        names.append(name)
        assert once(phone(proxy, pki.device_ca.device(name + "@corp.example"), user=name), name.encode()) in (200, 503, None)
        out = phone(proxy, pki.device_ca.device(disabled + "@corp.example"), user=disabled)
        assert once(out, b"nobody") in (403, 503, None)
    live_through(relay, toxics, seconds, known, own, phone(proxy, revoked), ask_anew)
    out = phone(proxy, pki.device_ca.device(disabled + "@corp.example"), user=disabled)
    wait_until(lambda: status_of(out, b"nobody") == 403, RECOVERY)
    new = phone(proxy, pki.device_ca.device("load20@corp.example"), user="load20")
    wait_until(lambda: status_of(new, b"load20") == 200, RECOVERY)
    assert not proxy.events("process_died")


def test_51_the_kdc_is_ill_and_tickets_that_are_there_serve(
        ad, pki, phone, kerberos_proxy, alice, revoked, revocation_in_redis, start_relay, toxics, seconds):
    relay = start_relay(("127.0.0.1", 88), netns=ad.netns)
    revocation_in_redis.revoke(pki.device_ca, revoked, tell=False)
    proxy = kerberos_proxy(changes={"proxy.kerberos.kdcs": [relay.address], "proxy.kerberos.processes": 2,
                                    "proxy.kerberos.timeout_ms": 500}, redis=revocation_in_redis)
    known, own = phone(proxy, alice), b"REMOTE_USER=alice@CORP.EXAMPLE"
    wait_until(lambda: status_of(known, own) == 200, RECOVERY)
    asked = []

    def ask_anew(toxic):
        asked.append("load%02d" % (1 + len(asked) % 19))
        new = phone(proxy, pki.device_ca.device(asked[-1] + "@corp.example"), user=asked[-1])
        assert once(new, asked[-1].encode()) in (200, 503, None)
    live_through(relay, toxics, seconds, known, own, phone(proxy, revoked), ask_anew)
    new = phone(proxy, pki.device_ca.device("load20@corp.example"), user="load20")
    wait_until(lambda: status_of(new, b"load20") == 200, RECOVERY)
    assert not proxy.events("process_died")


@pytest.mark.slow
def test_51_a_mail_server_is_ill_and_the_phones_of_another_notice_nothing(
        start_proxy, configure, start_backend, pki, phone, alice, revoked, crl, start_relay, toxics, seconds):
    ill, well = start_backend(name="ill"), start_backend(name="well")
    ill.default = well.default = answers.whoami("X-EAS-User")
    pki.device_ca.write_crl(crl, [revoked.serial])
    relay = start_relay(("127.0.0.1", ill.port))
    config = configure("http://" + relay.address, {"proxy.upstreams.0.response_ms": 1500})
    config["proxy"]["upstreams"].append(settings.upstream_of(well, name="other"))
    config["proxy"]["hosts"].append(dict(copy.deepcopy(config["proxy"]["hosts"][0]), names=["other.example.com"], upstream="other",
                                         **dict(zip(("certificate", "key"), pki.server_ca.server("other.example.com")
                                                    .write(os.path.dirname(config["proxy"]["hosts"][0]["key"]), "other")))))
    proxy = start_proxy(config)
    bob = pki.device_ca.device("bob@corp.example")
    known, own = phone(proxy, bob, user="bob", server_name="other.example.com"), b"X-EAS-User=bob\n"
    wait_until(lambda: status_of(known, own) == 200, RECOVERY)

    def ask_the_ill_one(toxic):
        assert once(phone(proxy, alice), b"X-EAS-User=alice\n") in (200, 502, 503, 504, None)
        time.sleep(0.05)
    live_through(relay, toxics, seconds, known, own, phone(proxy, revoked), ask_the_ill_one)
    patient = phone(proxy, alice)
    wait_until(lambda: status_of(patient, b"X-EAS-User=alice\n") == 200, RECOVERY)
    assert not proxy.events("process_died")
