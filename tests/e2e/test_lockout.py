"""The lockout guard before a real domain: what passes here never brings an account near its lockout, whoever tries what, on however many nodes.

easenroll is the way in, since a sign-in to it is a password and nothing else; the process behind is the proxy's too.
"""
import contextlib
import os
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import ldap
import ldap.modlist
import pytest
import redis

from site_ import settings
from site_.enroll import Enroll, configuration

warnings.simplefilter("ignore", DeprecationWarning)
DOMAIN_THRESHOLD, MARGIN = 5, 2
STALE = "St4le.Secret-word"


@pytest.fixture
def node(place, pki, ad, made):
    """node(changes, server=None): an easenroll of the domain that is ready; those with the same Redis are one fleet."""
    def start(changes=None, server=None):
        directory = tempfile.mkdtemp(prefix="node-", dir=place)
        os.chmod(directory, 0o755)
        changes = {"lockout.memory_mib": 1, **(changes or {})}
        if server:
            changes["redis"] = settings.redis(server, directory)["redis"]
        config = configuration(directory, pki, None, ad, "nobody" if os.getuid() == 0 else None, changes)
        enroll = Enroll(config, directory, netns=ad.netns)
        enroll.close = enroll.stop
        if server:
            enroll.wait_event("lockout_store_up", timeout=10)
        return made(enroll)
    return start


@pytest.fixture
def sign_in(pki):
    """sign_in(node, name, password): the status."""
    return lambda enroll, name, password: enroll.browser(pki.server_ca.pem).sign_in(name, password).status


def bad_count(ad, sam):
    return int(ad.get(sam, "badPwdCount") or 0)


def binds(enroll):
    return {result: enroll.metric("easenroll_lockout_binds_total", result=result) for result in ("right", "wrong", "other")}


def everything_in(server):
    """All bytes of all keys, as a thief would have them."""
    raw = redis.Redis(unix_socket_path=server.socket_path)
    read = {b"hash": lambda key: [x for pair in raw.hgetall(key).items() for x in pair], b"string": lambda key: [raw.get(key)]}
    found = [x for key in raw.scan_iter("*") for x in [key, *read[raw.type(key)](key)]]
    assert len(found) > 4
    return b" ".join(found)


@contextlib.contextmanager
def policy_of_its_own(ad, sam, threshold, window):
    """A password settings object for this account alone; seconds."""
    dn = "CN=pso-%s,CN=Password Settings Container,CN=System,%s" % (sam, ad.base)
    ticks = str(-window * 10000000)
    values = {"objectClass": "msDS-PasswordSettings", "msDS-PasswordSettingsPrecedence": "1",
              "msDS-PasswordReversibleEncryptionEnabled": "FALSE", "msDS-PasswordHistoryLength": "24",
              "msDS-PasswordComplexityEnabled": "FALSE", "msDS-MinimumPasswordLength": "4", "msDS-MinimumPasswordAge": "0",
              "msDS-MaximumPasswordAge": str(-42 * 86400 * 10000000), "msDS-LockoutThreshold": str(threshold),
              "msDS-LockoutObservationWindow": ticks, "msDS-LockoutDuration": ticks, "msDS-PSOAppliesTo": ad.find(sam)[0]}
    with ad.connection() as handle:
        handle.add_s(dn, ldap.modlist.addModlist({k: [v.encode()] for k, v in values.items()}))
    try:
        yield
    finally:
        with ad.connection() as handle:
            handle.delete_s(dn)


@pytest.mark.slow
@pytest.mark.no_asan        # what Redis decides comes to the same
def test_ten_nodes_that_race_with_different_wrong_passwords_stay_together_below_the_threshold(ad, node, sign_in, redis_server):
    """Forty people at ten nodes at once; then the owner signs in to the domain as if nothing had been."""
    sam = ad.account()
    changes = {"lockout.attempts": 100, "lockout.address_attempts": 1000}
    nodes = [node(changes, redis_server) for _ in range(10)]
    with ThreadPoolExecutor(40) as pool:
        statuses = set(pool.map(lambda i: sign_in(nodes[i % 10], sam, "wrong %d" % i), range(120)))
    assert statuses <= {401, 429, 503}
    assert 0 < bad_count(ad, sam) < DOMAIN_THRESHOLD - MARGIN
    assert ad.get(sam, "lockoutTime") in (None, "0")
    assert sum(binds(n)["wrong"] for n in nodes) == bad_count(ad, sam)
    assert ad.password_is(sam, "Passw0rd." + sam)
    prevented, last_bad = redis_server.client.hmget("easgate:lockout:" + ad.sid(sam), "prevented", "last_bad")
    assert int(prevented) > 0 and int(last_bad) > time.time() - 600


def test_a_refused_password_is_known_to_every_node_and_sent_once_until_it_is_changed(ad, node, sign_in, redis_server):
    sam = ad.account()
    a, b = node(server=redis_server), node(server=redis_server)
    assert sign_in(a, sam, STALE) == 401
    for enroll in (a, b) * 5:
        assert sign_in(enroll, sam, STALE) == 401
    assert bad_count(ad, sam) == 1 and binds(a)["wrong"] == 1 and binds(b)["wrong"] == 0
    assert int(redis_server.client.hget("easgate:lockout:" + ad.sid(sam), "absorbed")) == 10
    day = redis_server.client.hgetall("easgate:daily:" + time.strftime("%Y%m%d", time.gmtime()))
    assert int(day["stale_absorbed"]) == 10 and int(day["binds_wrong"]) == 1
    assert STALE.encode() not in everything_in(redis_server)
    ad.change_password(sam, STALE)          # what was wrong before is right now
    until = time.monotonic() + 10
    while sign_in(b, sam, STALE) != 200:
        assert time.monotonic() < until


def test_a_changed_password_works_at_once_and_the_old_one_no_more_though_ad_still_takes_it(ad, node, sign_in):
    sam = ad.account()
    old, new = "Passw0rd." + sam, "N3w.Passw0rd." + sam
    enroll = node()
    assert sign_in(enroll, sam, old) == sign_in(enroll, sam, old) == 200
    assert binds(enroll)["right"] == 1, "a burst costs one bind"
    ad.change_password(sam, new)
    assert sign_in(enroll, sam, new) == 200
    until = time.monotonic() + 10
    while sign_in(enroll, sam, old) != 401:
        assert time.monotonic() < until
    assert ad.password_is(sam, old), "the domain takes the one before for an hour"
    assert sign_in(enroll, sam, new) == 200
    assert enroll.metric("easenroll_lockout_remembered_total", what="old") >= 1
    assert binds(enroll) == {"right": 2, "wrong": 0, "other": 0}


def test_one_that_ad_fails_uncounted_is_not_sent_endlessly(ad, node, sign_in):
    """The password before the last: badPwdCount says nothing of it, the guard counts what it sent."""
    sam = ad.account()
    ad.change_password(sam, "S3cond.Passw0rd")
    ad.change_password(sam, "Th1rd.Passw0rd")
    enroll = node()
    assert [sign_in(enroll, sam, "Passw0rd." + sam) for _ in range(5)] == [401] * 5
    assert bad_count(ad, sam) == 0 and binds(enroll)["wrong"] == 1
    assert sign_in(enroll, sam, "Th1rd.Passw0rd") == 200


def reads_policies(ad, place):
    """Changes for a service account that may read password settings objects, which by default only administrators may."""
    path = os.path.join(place, "policies.password")
    with open(path, "w") as f:
        f.write(ad.env["AD_ADMINPW"])
    os.chmod(path, 0o600)
    return {"directory.ldap.bind_name": ad.env["AD_ADMIN"], "directory.ldap.bind_password_file": path}


@pytest.mark.no_asan        # what is counted comes to the same
def test_the_accounts_own_policy_counts_and_its_window_ends(ad, node, sign_in, place):
    """A password settings object with another threshold and a window of seconds: AD's number stays as it is when the window is over, and
    counts no more."""
    sam = ad.account()
    with policy_of_its_own(ad, sam, threshold=5, window=5):
        enroll = node(reads_policies(ad, place))
        assert [sign_in(enroll, sam, "wrong %d" % i) for i in range(4)] == [401, 401, 429, 429]
        assert bad_count(ad, sam) == 2
        began, number = time.monotonic(), 10
        while binds(enroll)["wrong"] == 2:
            assert time.monotonic() - began < 40
            number += 1
            sign_in(enroll, sam, "wrong %d" % number)
            time.sleep(0.2)         # a poll: the end of the window is told by nobody
        assert time.monotonic() - began >= 4
        assert bad_count(ad, sam) == 1 and ad.get(sam, "lockoutTime") in (None, "0")


def test_a_policy_that_cannot_be_read_leaves_one_try(ad, node, sign_in):
    """It may be any threshold, so the domain's is not taken for it."""
    sam = ad.account()
    with policy_of_its_own(ad, sam, threshold=4, window=60):
        enroll = node()
        assert [sign_in(enroll, sam, "wrong %d" % i) for i in range(3)] == [401, 429, 429]
        assert bad_count(ad, sam) == 1


def test_a_policy_that_locks_nobody_leaves_the_budget(ad, node, sign_in, place):
    sam = ad.account()
    with policy_of_its_own(ad, sam, threshold=0, window=60):
        enroll = node({"lockout.attempts": 6, **reads_policies(ad, place)})
        statuses = [sign_in(enroll, sam, "wrong %d" % i) for i in range(8)]
    assert statuses == [401] * 6 + [429] * 2 and binds(enroll)["wrong"] == 6


def test_without_redis_no_password_is_tried_and_with_it_again_all_is_as_it_was(ad, node, sign_in, redis_server):
    sam = ad.account()
    enroll = node(server=redis_server)
    assert sign_in(enroll, sam, "Passw0rd." + sam) == 200
    assert sign_in(enroll, sam, "stale") == 401
    redis_server.stop()
    enroll.wait_event("lockout_store_down", timeout=10)
    assert {sign_in(enroll, sam, word) for word in ("Passw0rd." + sam, "stale", "other 1", "other 2", "other 3")} == {503}
    assert bad_count(ad, sam) == 1
    mark = enroll.mark()
    redis_server.start()
    enroll.wait_event("lockout_store_up", timeout=15, since=mark)
    assert sign_in(enroll, sam, "stale") == 401 and sign_in(enroll, sam, "Passw0rd." + sam) == 200
    assert binds(enroll) == {"right": 1, "wrong": 1, "other": 0}


def test_mode_log_lets_through_and_says_what_it_would_have_refused(ad, node, sign_in):
    sam = ad.account()
    enroll = node({"lockout.mode": "log"})
    assert [sign_in(enroll, sam, "stale") for _ in range(3)] == [401] * 3
    assert binds(enroll)["wrong"] == 3 and bad_count(ad, sam) == 3
    lines = enroll.events("lockout_would_refuse")
    assert [line["reason"] for line in lines] == ["password-known-wrong"] * 2
    assert lines[0]["user"] == sam and lines[0]["lockout_threshold"] == DOMAIN_THRESHOLD and lines[0]["audit"] is True
    assert enroll.metric("easenroll_lockout_would_refuse_total", result="known_wrong") == 2
    assert sign_in(enroll, sam, "Passw0rd." + sam) == 200
    enroll.assert_never("stale", "Passw0rd." + sam)


def test_mode_off_sends_every_password(ad, node, sign_in):
    sam = ad.account()
    enroll = node({"lockout.mode": "off"})
    assert sign_in(enroll, sam, "stale") == sign_in(enroll, sam, "stale") == 401
    assert sign_in(enroll, sam, "Passw0rd." + sam) == sign_in(enroll, sam, "Passw0rd." + sam) == 200
    assert binds(enroll) == {"right": 2, "wrong": 2, "other": 0}
