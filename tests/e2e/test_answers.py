"""What a device gets (DESIGN 4.2): each row of the table, and each cause in a row, by a fault that is really there.

A phone that sees 401 asks its owner for a password: with a certificate there is none, whatever happens.
"""
import os
import re
import time

import pytest

from site_ import answers, settings
from site_.device import EAS
from site_.process import wait_until

RETRY = 17                                      # not the default, so that it must come from the configuration
PATIENCE = {"proxy.limits.retry_after_seconds": RETRY}


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.fixture
def proxy(start_proxy, configure, backend):
    return start_proxy(configure(backend, PATIENCE))


def assert_try_again(proxy, response, reason, **fields):
    """503 with Retry-After, nothing that asks for a password, and an error line that names cause and cure."""
    assert response.status == 503, response.start
    assert response.get("Retry-After") == str(RETRY)
    assert not response.all("WWW-Authenticate") and response.body == b""
    line = proxy.wait_event("fault", reason=reason, **fields)
    assert line["level"] == "error" and line["cure"]
    return line


def assert_refused(proxy, response, line, status, reason):
    """This status, an end of the connection, an audit line; never a word to the phone about why."""
    assert response.status == status, response.start
    assert response.get("Connection") == "close" and line.closed()
    assert not response.all("WWW-Authenticate") and response.body == b""
    assert proxy.wait_event("refused", reason=reason, status=status)["audit"] is True


def ask(device, command="Sync"):
    """(response, line) of one request on a fresh connection."""
    line = device.connect()
    return line.request("POST", device.target(command), device.headers(), b"\x03\x01\x6a\x00"), line


def known_phone(proxy, phone, pki, sam="alice"):
    """A phone that was served, and whose account the directory process knows for good: the DC notes each logon, and
    tells of that as of any change, so that the account is asked for once more."""
    device = phone(proxy, pki.device_ca.device(sam + "@corp.example"), user=sam)
    asked, since = None, time.monotonic()

    def quiet():
        nonlocal asked, since
        assert device.sync().status == 200
        now = proxy.metric("easproxy_directory_calls_total")
        if now != asked:
            asked, since = now, time.monotonic()
        return time.monotonic() - since > 1.3
    wait_until(quiet, 10)
    return device


# --- TLS ---

@pytest.mark.quick
def test_a_certificate_that_is_missing_expired_foreign_or_early_ends_in_a_tls_alert(proxy, phone, pki, backend):
    now = int(time.time())
    cases = {"certificate required": None,
             "certificate expired": pki.device_ca.device("alice@corp.example", not_before=now - 9000, not_after=now - 60),
             "unknown ca": pki.other_ca.device("alice@corp.example"),
             "bad certificate": pki.device_ca.device("alice@corp.example", not_before=now + 3600)}
    for alert, identity in cases.items():
        assert phone(proxy, identity).refusal() == alert
    wait_until(lambda: len(proxy.events("handshake_refused", audit=True)) == len(cases), 5)
    assert backend.requests == []


def test_where_certificates_are_optional_one_who_shows_none_gets_403(start_proxy, configure, backend, phone):
    proxy = start_proxy(configure(backend, settings.OPTIONAL))
    assert_refused(proxy, *ask(phone(proxy)), 403, "no-certificate")


def test_401_with_basic_is_only_for_those_without_certificate_where_passwords_are_on(
        start_proxy, configure, backend, phone, pki, alice, crl):
    proxy = start_proxy(configure(backend, {
        **settings.PASSWORDS,
        "proxy.upstreams.0.credential": "passthrough"}))
    response, _ = ask(phone(proxy))
    assert response.status == 401 and response.get("WWW-Authenticate").startswith("Basic ")
    backend.default = answers.ok(status=401, headers=[("WWW-Authenticate", "Basic realm=x")])
    response, _ = ask(phone(proxy, alice))
    assert response.status == 503 and not response.all("WWW-Authenticate")
    pki.device_ca.write_crl(crl, [(alice, 1)])
    proxy.reload()
    wait_until(lambda: ask(phone(proxy, alice))[0].status == 403, 5)


# --- 403 ---

REFUSED = {
    "account-disabled": dict(enabled=False),
    "account-expired": dict(expires="2012-12-31"),
    "account-unknown": None,
    "not-in-group": dict(groups=[]),
}


@pytest.mark.quick
@pytest.mark.parametrize("reason", REFUSED)
def test_an_account_that_may_not_in_gets_403_and_the_connection_closed(proxy, phone, pki, accounts, backend, reason):
    if REFUSED[reason] is not None:
        accounts.add("victor", **REFUSED[reason])
    device = phone(proxy, pki.device_ca.device("victor@corp.example"), user="victor")
    # the file is looked at when it changes: an answer from before is none
    wait_until(lambda: ask(device)[0].status == 403 and proxy.events("refused", reason=reason), 5)
    assert_refused(proxy, *ask(device), 403, reason)
    assert backend.requests == []


@pytest.mark.quick
def test_a_revoked_certificate_gets_403_and_the_connection_closed(start_proxy, configure, backend, phone, pki, alice, crl):
    pki.device_ca.write_crl(crl, [(alice, 1)])
    proxy = start_proxy(configure(backend))
    assert_refused(proxy, *ask(phone(proxy, alice)), 403, "revoked")


@pytest.mark.quick
def test_a_device_that_is_not_the_certificates_gets_403(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.policies.0.device": "pin"}))
    assert phone(proxy, alice, device_id="APPL1").sync().status == 200
    assert_refused(proxy, *ask(phone(proxy, alice, device_id="APPL2")), 403, "other-device")
    assert phone(proxy, alice, device_id="APPL1").sync().status == 200


def test_a_device_that_enrolment_never_registered_gets_403(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.policies.0.device": "registered"}))
    assert_refused(proxy, *ask(phone(proxy, alice)), 403, "device-unregistered")


def test_a_certificate_that_expires_while_its_connection_lives_gets_403(start_proxy, configure, backend, phone, pki):
    proxy = start_proxy(configure(backend))
    until = int(time.time()) + 2
    device = phone(proxy, pki.device_ca.device("alice@corp.example", not_after=until))
    line = device.connect()
    assert line.request("POST", device.target("Sync"), device.headers(), b"x").status == 200
    wait_until(lambda: time.time() >= until + 1, 5)
    assert_refused(proxy, line.request("POST", device.target("Sync"), device.headers(), b"x"), line, 403, "certificate-expired")


# --- 503: what must be known is not known ---

def test_a_crl_past_its_next_update_is_unknown_and_gets_503(start_proxy, configure, backend, phone, pki, alice, crl):
    now = int(time.time())
    pki.device_ca.write_crl(crl, this_update=now - 7200, next_update=now - 3600)
    proxy = start_proxy(configure(backend, PATIENCE))
    device = phone(proxy, alice)
    assert_try_again(proxy, device.sync(), "revocation-unknown", audit=None)
    pki.device_ca.write_crl(crl, number=99)
    wait_until(lambda: device.sync().status == 200, 10)


def test_a_crl_that_was_never_there_gets_503_until_it_is(start_proxy, configure, backend, phone, pki, alice, crl, place):
    proxy = start_proxy(configure(backend, {**PATIENCE, "proxy.revocation.crls.0.file": place + "/not-yet.crl"}))
    device = phone(proxy, alice)
    assert_try_again(proxy, device.sync(), "revocation-unknown")
    status, text = proxy.readyz()
    assert status == 503 and "MISSING revocation" in text
    pki.device_ca.write_crl(place + "/not-yet.crl")
    wait_until(lambda: device.sync().status == 200, 10)
    assert proxy.readyz()[0] == 200


def test_a_crl_that_cannot_be_read_any_more_serves_until_max_age_and_then_gets_503(
        start_proxy, configure, backend, phone, pki, alice, crl):
    proxy = start_proxy(configure(backend, {**PATIENCE, "proxy.revocation.max_age_seconds": 10}))
    device = phone(proxy, alice)
    assert device.sync().status == 200
    os.unlink(crl)
    gone = time.monotonic()
    wait_until(lambda: device.sync().status == 503, 15, 0.2)
    assert time.monotonic() - gone > 7, "what was true a moment ago goes on serving"
    assert_try_again(proxy, device.sync(), "revocation-unknown")
    pki.device_ca.write_crl(crl)
    wait_until(lambda: device.sync().status == 200, 10)


def test_redis_away_serves_on_until_max_age_and_then_gets_503_until_it_is_back(
        start_proxy, configure, backend, phone, alice, revocation_in_redis, place):
    proxy = start_proxy(configure(backend, {**PATIENCE, **settings.redis(revocation_in_redis, place),
                                            "proxy.revocation.crls": None, "proxy.revocation.max_age_seconds": 10}))
    device = phone(proxy, alice)
    wait_until(lambda: device.sync().status == 200, 5)
    revocation_in_redis.stop()
    assert device.sync().status == 200, "the index goes on serving while it is young enough"
    wait_until(lambda: device.sync().status == 503, 15, 0.2)
    assert_try_again(proxy, device.sync(), "revocation-unknown")
    revocation_in_redis.start()
    wait_until(lambda: device.sync().status == 200, 10)


def test_device_state_that_redis_keeps_and_cannot_be_asked_gets_503(
        start_proxy, configure, backend, phone, alice, redis_server, place):
    changes = {**PATIENCE, **settings.redis(redis_server, place), "proxy.revocation.redis": False,
               "proxy.policies.0.device": "pin"}
    proxy = start_proxy(configure(backend, changes))
    redis_server.stop()
    assert_try_again(proxy, phone(proxy, alice).sync(), "device-state-down")
    redis_server.start()
    wait_until(lambda: phone(proxy, alice).sync().status == 200, 10)


# --- 503: the directory, the KDC ---

def test_with_the_dc_stopped_those_it_knows_are_served_and_others_get_503_until_it_is_back(own_ad, pki, phone, kerberos_proxy):
    proxy = kerberos_proxy(own_ad, PATIENCE)
    known = known_phone(proxy, phone, pki)
    new = phone(proxy, pki.device_ca.device("ivan@mobile.example.com"), user="ivan")
    own_ad.stop()
    assert known.sync().status == 200
    assert_try_again(proxy, new.sync(), "directory-down")
    assert known.sync().status == 200
    own_ad.start()
    wait_until(lambda: new.sync().status == 200, 10)


def test_a_dc_that_comes_up_for_a_moment_and_dies_leaves_those_it_knew_served(own_ad, pki, phone, kerberos_proxy, start_relay):
    first, second = (start_relay(("127.0.0.1", 636), netns=own_ad.netns) for _ in range(2))
    second.refuse()
    proxy = kerberos_proxy(own_ad, {**PATIENCE, "directory.ldap.servers": ["ldaps://" + r.address for r in (first, second)]})
    known = known_phone(proxy, phone, pki)
    first.refuse()
    first.cut()
    proxy.wait_event("directory_down", server="ldaps://" + first.address)
    since = proxy.mark()
    second.listen()
    proxy.wait_event("directory_doubts", 10, since)
    second.refuse()
    second.cut()
    new = phone(proxy, pki.device_ca.device("ivan@mobile.example.com"), user="ivan")
    wait_until(lambda: new.sync().status == 503, 5)
    for _ in range(20):
        assert known.sync().status == 200
    assert proxy.metric("easproxy_directory_cache_total", result="stale") > 0


@pytest.mark.slow
def test_while_the_dc_is_away_an_account_that_has_changed_is_served_no_more_and_its_held_ping_ends(
        own_ad, pki, phone, kerberos_proxy, revocation_in_redis):
    proxy = kerberos_proxy(own_ad, PATIENCE, redis=revocation_in_redis)
    changed, other = known_phone(proxy, phone, pki), known_phone(proxy, phone, pki, "load01")
    held, others = changed.ping(), other.ping()
    sid = own_ad.sid("alice")
    own_ad.stop()
    assert changed.sync().status == 200 and other.sync().status == 200
    revocation_in_redis.event("account", sid=sid)
    wait_until(lambda: changed.sync().status == 503, 5)
    assert_try_again(proxy, changed.sync(), "directory-down")
    assert other.sync().status == 200
    assert held.waiting, (held.outcome, held.seconds, held.outcome and held.outcome.status, proxy.log.tail(12))
    assert_try_again(proxy, held.wait(45), "directory-down", command="Ping")
    assert others.waiting and other.sync().status == 200
    assert proxy.metric("easproxy_sessions_ended_total", reason="account") == 1


def test_with_a_silent_dc_new_ones_get_503_in_bounded_time_and_the_others_notice_nothing(own_ad, pki, phone, kerberos_proxy):
    proxy = kerberos_proxy(own_ad, PATIENCE)
    known = known_phone(proxy, phone, pki)
    new = phone(proxy, pki.device_ca.device("ivan@mobile.example.com"), user="ivan")
    own_ad.pause()
    began = time.monotonic()
    held = new.ping()
    while held.waiting:
        before = time.monotonic()
        assert known.sync().status == 200
        assert time.monotonic() - before < 0.5
    assert_try_again(proxy, held.outcome, "directory-down")
    assert time.monotonic() - began < 8
    own_ad.resume()
    wait_until(lambda: new.sync().status == 200, 10)


def test_with_the_kdc_gone_cached_tickets_serve_and_new_ones_get_503(own_ad, pki, phone, kerberos_proxy):
    proxy = kerberos_proxy(own_ad, PATIENCE)
    known = known_phone(proxy, phone, pki)
    new = phone(proxy, pki.device_ca.device("ivan@mobile.example.com"), user="ivan")
    own_ad.block("kdc")
    assert known.sync().status == 200
    line = assert_try_again(proxy, new.sync(), "kdc-down")
    assert "127.0.0.1:88" in line["detail"] or "KDC" in line["detail"]
    own_ad.unblock("kdc")
    wait_until(lambda: new.sync().status == 200, 10)


@pytest.mark.parametrize("account, words", [
    ("svc-nodeleg", "msDS-AllowedToDelegateTo"),
    ("svc-not2a4d", "cannot be delegated"),
    ("svc-nospn", "setspn"),
    ("svc-stale", "keytab")])
def test_a_service_account_that_lacks_a_right_gets_the_phone_503_and_the_operator_the_cure(
        ad, pki, phone, kerberos_proxy, account, words):
    proxy = kerberos_proxy(changes={**PATIENCE, "proxy.kerberos.principal": account + "@" + ad.realm,
                                    "proxy.kerberos.keytab": ad.keytab_of(account)})
    device = phone(proxy, pki.device_ca.device("alice@corp.example"))
    line = assert_try_again(proxy, device.sync(), "delegation-refused")
    assert words in line["detail"], line


def test_a_mail_servers_spn_that_nobody_owns_gets_503_and_is_named(ad, pki, phone, kerberos_proxy):
    proxy = kerberos_proxy(changes={**PATIENCE, "proxy.upstreams.0.spn": "HTTP/nowhere.corp.example"})
    line = assert_try_again(proxy, phone(proxy, pki.device_ca.device("alice@corp.example")).sync(), "delegation-refused")
    assert "HTTP/nowhere.corp.example" in line["detail"]


# --- 503: the mail server ---

def test_a_mail_server_that_is_stopped_gets_503_and_recovers(proxy, phone, backend, alice):
    device = phone(proxy, alice)
    assert device.sync().status == 200
    backend.stop()
    assert_try_again(proxy, device.sync(), "no-upstream")
    proxy.wait_event("upstream_down")
    assert_try_again(proxy, device.sync(), "no-upstream")
    backend.start()
    wait_until(lambda: device.sync().status == 200, 10)


def test_a_mail_server_that_says_it_is_ill_gets_503_until_it_is_well(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {**PATIENCE, "proxy.upstreams.0.health_path": EAS + "/healthcheck.htm"}))
    device = phone(proxy, alice)
    assert device.sync().status == 200
    backend.health_status = 503
    proxy.wait_event("upstream_down", message=re.compile("503"))
    assert_try_again(proxy, device.sync(), "no-upstream")
    backend.health_status = 200
    wait_until(lambda: device.sync().status == 200, 10)


def test_a_mail_server_that_refuses_our_ticket_gets_503_and_never_401(ad, pki, phone, kerberos_proxy, start_backend):
    """The real ticket of a real KDC, and a mail server that cannot read it: its key is another."""
    backend = start_backend(netns=ad.netns)
    backend.default = answers.ok(status=401, headers=[("WWW-Authenticate", "Negotiate"), ("WWW-Authenticate", "Basic")])
    proxy = kerberos_proxy(changes={**PATIENCE, "proxy.upstreams": [settings.kerberos_upstream(
        ad, tls=False, servers=[backend.url])]})
    device = phone(proxy, pki.device_ca.device("alice@corp.example"))
    assert_try_again(proxy, device.sync(), "upstream-auth")
    assert backend.requests[0].get("Authorization").startswith("Negotiate ")
    assert proxy.metric("easproxy_upstream_failures_total", kind="auth") == 1


def test_the_real_mail_server_refuses_a_ticket_for_another_service_and_the_phone_gets_503(ad, pki, phone, kerberos_proxy):
    proxy = kerberos_proxy(changes={**PATIENCE, "proxy.upstreams.0.credential": "header"})
    assert_try_again(proxy, phone(proxy, pki.device_ca.device("alice@corp.example")).sync(), "upstream-auth")


# --- 504 ---

def test_a_mail_server_that_does_not_answer_gets_504_when_the_commands_own_time_is_over(
        start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.upstreams.0.response_ms": 1000, "proxy.upstreams.0.ping_seconds": 3}))
    backend.default = answers.never()
    began = time.monotonic()
    ping = phone(proxy, alice).ping()
    response, line = ask(phone(proxy, alice), "FolderSync")
    assert response.status == 504 and 0.9 < time.monotonic() - began < 2.5
    assert line.closed()
    assert ping.waiting, "a Ping waits as long as the protocol lets it"
    assert ping.wait(5).status == 504
    assert 2.9 < ping.seconds < 5
    assert proxy.wait_event("fault", reason="upstream-timeout")["cure"]


# --- the device's own faults ---

@pytest.mark.quick
def test_what_the_device_does_wrong_is_named_by_its_status_and_closes(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.limits.body_bytes": 2000, "proxy.limits.head_bytes": 4096}))
    device = phone(proxy, alice)
    sync = "POST %s HTTP/1.1\r\nHost: mail.example.com\r\n" % device.target("Sync")
    cases = [
        (400, "malformed", sync + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, "malformed", sync + "Broken Field: x\r\n\r\n"),
        (400, "bad-query", "POST %s?Cmd=Sync&Cmd=Ping HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: 0\r\n\r\n" % EAS),
        (431, "head-too-large", sync + "X-Long: " + "x" * 5000 + "\r\n\r\n"),
        (413, "body-too-large", sync + "Content-Length: 2001\r\n\r\n" + "b" * 2001),
        (404, "not-ours", "POST /owa/ HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: 0\r\n\r\n"),
        (404, "not-ours", "POST /microsoft-server-activesync/../owa HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: 0\r\n\r\n"),
        (405, "method", "DELETE %s HTTP/1.1\r\nHost: mail.example.com\r\n\r\n" % EAS),
        (421, "wrong-host", "POST %s HTTP/1.1\r\nHost: other.example\r\nContent-Length: 0\r\n\r\n" % device.target("Sync")),
    ]
    for status, reason, text in cases:
        since = proxy.mark()
        with device.connect() as line:
            line.send(text.encode())
            response = line.response()
            assert response.status == status, (text[:80], response.start)
            assert line.closed(), text[:80]
        assert proxy.wait_event("access", since=since, status=status)["reason"] == reason
        assert proxy.wait_event("refused", since=since, status=status)["reason"] == reason
    assert backend.requests == []


def test_50_a_head_or_a_body_that_comes_too_slowly_gets_408(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.limits.head_seconds": 1, "proxy.limits.body_idle_seconds": 1}))
    device = phone(proxy, alice)
    slow = [("POST %s HTTP/1.1\r\nHost: mail" % device.target("Sync")).encode(),
            ("POST %s HTTP/1.1\r\nHost: mail.example.com\r\nContent-Length: 100\r\n\r\nhalf" % device.target("Sync")).encode()]
    lines = [device.connect() for _ in slow]
    for line, text in zip(lines, slow):
        line.send(text)
    for line in lines:
        assert line.response().status == 408
        assert line.closed()
    wait_until(lambda: len(proxy.events("access", status=408, reason="too-slow")) == 2, 5)


def test_50_handshakes_that_stop_halfway_are_closed_in_time(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.limits.handshake_seconds": 1}))
    silent = phone(proxy, plain=True)
    lines = [silent.connect() for _ in range(20)]
    lines[0].send(b"\x16\x03\x01\x02\x00\x01")
    assert phone(proxy, alice).sync().status == 200
    assert all(line.closed(4) for line in lines)
    assert proxy.metric("easproxy_handshakes_total", result="timeout") == 20


@pytest.mark.quick
def test_a_phone_with_a_certificate_never_sees_401_whatever_the_mail_server_says(proxy, phone, backend, alice):
    for status in (401, 403, 407, 449, 500, 503):
        backend.default = answers.ok(status=status, headers=[("WWW-Authenticate", "Basic realm=owa")])
        response = phone(proxy, alice).sync()
        assert response.status != 401 and not response.all("WWW-Authenticate"), (status, response.start)
        assert response.status == (503 if status in (401, 407) else status)
