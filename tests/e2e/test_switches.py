"""A group is switched to certificates by one field of the hash `switches` in Redis, and switched back (DESIGN 6)."""
import pytest

from site_ import answers, settings
from site_.accounts import USERS
from site_.enrol import hashed
from site_.process import wait_until

GROUP = "CN=EAS-Certificates,OU=Groups,DC=corp,DC=example"
WITHIN = 6


@pytest.fixture
def switching(start_proxy, configure, backend, accounts, redis_server, place):
    accounts.change("alice", password=hashed("pw"), groups=[USERS, GROUP])
    accounts.change("bob", password=hashed("pw"))
    rules = [{"group": GROUP, "certificate": "allowed", "password": "allowed"}, {"certificate": "allowed", "password": "allowed"}]
    proxy = start_proxy(configure(backend, {**settings.redis(redis_server, place), "proxy.revocation.redis": False, "lockout.memory_mib": 1,
                                            "proxy.policies.0.methods": rules}))
    wait_until(lambda: proxy.readyz()[0] == 200, 10)       # until it knows the switches it takes no password
    return proxy


def basic(user):
    import base64
    return [("Authorization", "Basic " + base64.b64encode((user + ":pw").encode()).decode())]


def test_a_switched_group_comes_in_by_certificates_alone_within_seconds_and_back_again(switching, phone, pki, backend, redis_server):
    hold = backend.when("Ping", answers.hold())
    alice, bob = phone(switching), phone(switching, user="bob")
    with_certificate = phone(switching, pki.device_ca.device("alice@corp.example"))
    assert alice.sync(headers=basic("alice")).status == 200
    ping = alice.ping(headers=basic("alice"))
    hold.wait_waiting(backend)
    redis_server.client.hset("easgate:switches", GROUP, "certificate 1700000000")
    outcome = ping.wait(WITHIN)         # the one that waits ends too
    assert outcome is None or isinstance(outcome, Exception) or outcome.status == 403
    assert alice.sync(headers=basic("alice")).status == 403
    assert switching.wait_event("refused", reason="no-certificate", user="alice")
    assert with_certificate.sync().status == 200 and bob.sync(headers=basic("bob")).status == 200
    redis_server.client.hdel("easgate:switches", GROUP)
    wait_until(lambda: alice.sync(headers=basic("alice")).status == 200, WITHIN)


def test_what_is_not_understood_restricts_and_names_of_other_groups_do_nothing(switching, phone, redis_server):
    alice = phone(switching)
    key = "easgate:switches"
    redis_server.client.hset(key, mapping={GROUP.lower(): "certificate 1", "CN=other": "certificate 1", "": "x", GROUP: "?"})
    wait_until(lambda: alice.sync(headers=basic("alice")).status == 403, WITHIN)
    redis_server.client.hdel(key, GROUP)
    wait_until(lambda: alice.sync(headers=basic("alice")).status == 200, WITHIN)
