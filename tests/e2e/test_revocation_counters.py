"""What the revocation process and the connections to Redis count, seen where operators look: /metrics and `easproxy status`."""
import re

import pytest

from site_ import settings
from site_.process import wait_until


@pytest.mark.quick
def test_commands_connections_events_and_lists_are_counted_by_what_became_of_them(
        start_proxy, configure, backend, place, pki, phone, revocation_in_redis, crl):
    proxy = start_proxy(configure(backend, {**settings.redis(revocation_in_redis, place), "redis.timeout_ms": 500}))
    redis, ca = revocation_in_redis, pki.device_ca
    alice = ca.device("alice@corp.example")
    wait_until(lambda: phone(proxy, alice).sync().status == 200, 10)

    def events(kind, result):
        return proxy.metric("easproxy_revocation_events_total", type=kind, result=result)

    def lists(result):
        return proxy.metric("easproxy_crl_loads_total", result=result)
    assert proxy.metric("easproxy_redis_connections_total", result="found") == 2        # the worker's and the revocation process'
    assert proxy.metric("easproxy_redis_connections_total", result="lost") == 0
    assert proxy.metric("easproxy_redis_commands_total", result="answer") > 3
    assert lists("loaded") == 2                                                         # the device CA's and the root's

    redis.revoke(ca, ca.device("bob@corp.example"))
    redis.event("unrevoked", mac=False, issuer=ca.spki_hash, serial="77")
    redis.event("revoked", mac=False, issuer="ab" * 32, serial="77")
    redis.event("nonsense")
    redis.event("account", mac=False, sid="S-1-5-21-1-2-3-1104")
    wait_until(lambda: events("account", "taken_unproven") == 1, 5)
    assert [events("revoked", "taken"), events("unrevoked", "no_mac"), events("revoked", "foreign"), events("unknown", "malformed")] \
        == [1, 1, 1, 1]

    with open(crl, "rb") as f:
        good = f.read()
    with open(crl, "wb") as f:
        f.write(b"no list")
    wait_until(lambda: lists("malformed") == 1, 5)
    ca.write_crl(crl, [])
    wait_until(lambda: lists("loaded") == 3, 5)
    with open(crl, "wb") as f:
        f.write(good)
    wait_until(lambda: lists("rollback") == 1, 5)
    wait_until(lambda: lists("unchanged") > 0, 5)

    redis.stop()
    wait_until(lambda: proxy.metric("easproxy_redis_connections_total", result="lost") == 2, 5)
    wait_until(lambda: proxy.metric("easproxy_redis_connections_total", result="failed") > 0, 5)
    redis.start()
    wait_until(lambda: proxy.metric("easproxy_redis_connections_total", result="found") == 4, 10)
    shown = proxy.status()
    assert re.search(r"^redis +\d+ commands answered, \d+ not; 4 connections made, 2 lost, [1-9]\d* failed$", shown, re.M), shown
    assert re.search(r"^events +3 taken, 2 refused$", shown, re.M), shown
    assert re.search(r"^CRLs +\d+ looks found them right \(3 new lists\), [2-9]\d* not$", shown, re.M), shown
