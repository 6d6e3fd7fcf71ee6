"""proxy.bearer.mode pass: the mail server alone verifies tokens. Until it has, whoever sends one is nobody: he reaches no other place, and leaves no mark."""
import base64
import json
import os
import time

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from site_ import answers, settings
from site_.process import wait_until
from site_.strict import read_backend
from site_.tokens import AUDIENCE, ISSUER, Issuer, bearer
from test_devices import act, known

CHALLENGE = 'Bearer client_id="00000002", authorization_uri="https://login.example.com/authorize"'


@pytest.fixture(scope="module")
def issuer():
    return Issuer()


@pytest.fixture
def mail(backend, issuer):
    """A mail server that verifies tokens as Exchange does: no or a wrong signature gets 401 and where to get another one."""
    good = answers.eas()

    def verify(x):
        head, _, signature = x.request.get("Authorization", "").removeprefix("Bearer ").rpartition(".")
        try:
            issuer.rsa.public_key().verify(unb64(signature), head.encode(), padding.PKCS1v15(), hashes.SHA256())
        except Exception:
            x.read_body()
            x.respond(401, b"", [("WWW-Authenticate", CHALLENGE), ("X-From", "mail")])
        else:
            good(x)
    backend.default = verify
    return backend


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@pytest.fixture
def started(start_proxy, configure, mail, place, redis_server):
    def build(methods=({"certificate": "allowed", "bearer": "allowed"},), **changes):
        return configure(mail, {
            **settings.redis(redis_server, place), "proxy.revocation.redis": False, "proxy.policies.0.device": "pin",
            "proxy.policies.0.methods": [dict(m) for m in methods], "proxy.upstreams.0.credential": "passthrough",
            "proxy.bearer": {"mode": "pass", "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["RS256"], "leeway_seconds": 5}, **changes})

    def start(*args, **changes):
        return start_proxy(build(*args, **changes))
    start.build = build
    return start


def forged(issuer, **changes):
    return issuer.token(key=Issuer().rsa, **changes)


def marks(store):
    """All that is written of accounts and devices."""
    return sorted(k for k in store.client.keys("*") if any(word in k for word in ("device", "lockout", "quarantine", "daily")))


@pytest.mark.quick
def test_a_token_goes_on_untouched_and_the_device_is_noted_once_the_mail_server_has_accepted_it(started, phone, mail, issuer, redis_server):
    proxy = started()
    token = issuer.token()
    device = phone(proxy)
    with device.connect() as line:
        for _ in range(2):
            assert line.request("POST", device.target("Sync"), [*bearer(token), ("X-EAS-User", "bob"), ("X-Forwarded-User", "bob")]).status == 200
    requests = read_backend(mail)
    assert [r.all(b"authorization") for r in requests] == [[("Bearer " + token).encode()]] * 2
    assert not any(r.all(b"x-eas-user") or r.all(b"x-forwarded-user") for r in requests)
    assert proxy.wait_event("access", status=200)["method"] == "bearer-unverified"
    (_, state, user, device_id, _, method, *_), = known(proxy)
    assert (state, user, device_id, method) == ("seen", "alice@corp.example", device.device_id, "bearer")
    assert proxy.metric("easproxy_bearer_unverified_total", answer="accepted") == 2
    proxy.assert_never(token.rpartition(".")[2])


@pytest.mark.quick
def test_a_forged_token_gets_the_mail_servers_401_and_leaves_no_mark(started, phone, mail, issuer, redis_server):
    proxy = started(**{"proxy.policies.0.devices_per_user": 1, "proxy.policies.0.quarantine": "new"})
    for number in range(3):
        device = phone(proxy)
        device.device_id = "Forged%d" % number
        response = device.sync(headers=bearer(forged(issuer)))
        assert response.status == 401 and response.get("WWW-Authenticate") == CHALLENGE and response.get("X-From") == "mail"
        assert device.folder_sync(headers=bearer(issuer.token(text="{}"))).status == 401
    assert len(mail.requests) == 3 and known(proxy) == [] and known(proxy, "waiting") == [] and marks(redis_server) == []
    assert proxy.metric("easproxy_bearer_unverified_total", answer="refused") == 3
    assert not proxy.events("device_pinned")
    # the figures of the day are written every few seconds: somebody whose request counts is waited for
    owner = phone(proxy)
    assert owner.sync(headers=bearer(issuer.token())).status == 403, "quarantined: the answer of the mail server is held back"
    assert [row[3] for row in known(proxy, "waiting")] == [owner.device_id]
    assert sum("device:" in k for k in marks(redis_server)) == 1 and not any("lockout" in k for k in marks(redis_server))


@pytest.mark.quick
def test_a_new_device_of_the_owner_waits_counts_and_is_let_in_like_any_other(started, phone, issuer):
    proxy = started(**{"proxy.policies.0.devices_per_user": 1, "proxy.policies.0.quarantine": "new"})
    device = phone(proxy)
    for _ in range(2):
        assert device.sync(headers=bearer(issuer.token())).status == 403
    assert proxy.wait_event("refused", reason="device-quarantined")["method"] == "bearer-unverified"
    (key, *_), = known(proxy, "waiting")
    assert act(proxy, "release", key).returncode == 0
    wait_until(lambda: device.sync(headers=bearer(issuer.token())).status == 200, 2, 0.1)
    second = phone(proxy)
    second.device_id = "Second"
    assert second.sync(headers=bearer(issuer.token())).status == 403
    assert proxy.wait_event("refused", reason="device-limit")
    assert act(proxy, "block", key).returncode == 0
    wait_until(lambda: device.sync(headers=bearer(issuer.token())).status == 403, 2, 0.1)


@pytest.mark.quick
def test_the_policy_holds_the_claim_before_anything_reaches_the_mail_server(started, phone, mail, issuer, accounts):
    accounts.change("bob", enabled=False)
    proxy = started(**{"proxy.policies.0.device_types": {"deny": ["Android*"]}})
    now = int(time.time())

    def refused(status, reason, token, detail=None, **who):
        device = phone(proxy, user=who.get("user", "alice"))
        target = device.target("Sync").replace("iPhone", who.get("kind", "iPhone"))
        with device.connect() as line:
            assert line.request("POST", target, bearer(token)).status == status, reason
        line = proxy.wait_event("refused", reason=reason, since=refused.mark)
        refused.mark = proxy.mark()
        assert detail is None or detail in line["detail"]
    refused.mark = proxy.mark()
    refused(403, "account-disabled", issuer.token(upn="bob@corp.example"), user="bob")
    refused(403, "not-in-group", issuer.token(upn="mallory@corp.example"), user="mallory")
    refused(403, "account-unknown", issuer.token(upn="nobody@corp.example"), user="nobody")
    refused(403, "other-user", issuer.token(), user="bob")
    refused(403, "device-type", issuer.token(), kind="Android7")
    refused(401, "token-refused", "ya29.a0AfH6SMBopaque", "opaque")
    refused(401, "token-refused", "AAAA.BBBB.CCCC.DDDD.EEEE", "opaque")
    refused(401, "token-refused", issuer.token("none"), "compact form")
    refused(401, "token-refused", issuer.token(header={"alg": "none"}), "algorithm")
    refused(401, "token-refused", issuer.token(header={"alg": "HS256"}), "algorithm")
    refused(401, "token-refused", issuer.token(exp=now - 60), "expired")
    refused(401, "token-refused", issuer.token(nbf=now + 600), "not valid yet")
    refused(401, "token-refused", issuer.token(aud="https://other.example.com"), "audience")
    refused(401, "token-refused", issuer.token(iss="https://evil.example"), "issuer")
    assert mail.received() == b"" and known(proxy) == []


@pytest.mark.quick
def test_one_connection_is_for_one_accounts_tokens(started, phone, mail, issuer):
    proxy = started(**{"proxy.policies.0.user_must_match": False})
    device = phone(proxy)
    with device.connect() as line:
        assert line.request("POST", device.target("Sync"), bearer(issuer.token())).status == 200
        assert line.request("POST", device.target("Sync"), bearer(issuer.token(nbf=None))).status == 200
        assert line.request("POST", device.target("Sync"), bearer(forged(issuer))).status == 401
        assert line.request("POST", device.target("Sync"), bearer(issuer.token(upn="bob@corp.example"))).status == 403
        assert line.closed()
    assert proxy.wait_event("refused", reason="other-user")["detail"] == "the connection has brought tokens of another account"
    assert len(mail.requests) == 3


@pytest.mark.quick
def test_beside_a_certificate_a_forged_token_pins_nothing_and_a_good_one_does(started, phone, pki, issuer):
    proxy = started([{"certificate": "required", "bearer": "required"}])
    device = phone(proxy, pki.device_ca.device("alice@corp.example"))
    assert device.sync(headers=bearer(forged(issuer, upn="bob@corp.example"))).status == 403
    response = device.sync(headers=bearer(forged(issuer)))
    assert response.status == 401 and response.get("WWW-Authenticate") == CHALLENGE
    assert known(proxy) == []
    assert device.sync(headers=bearer(issuer.token())).status == 200
    assert [(row[1], row[3]) for row in known(proxy)] == [("pinned", device.device_id)]
    assert proxy.wait_event("access", status=200)["method"] == "certificate+bearer-unverified"


@pytest.mark.quick
def test_a_configuration_by_which_a_claim_would_be_believed_is_refused(started):
    proxy = started()
    kerberos = {"principal": "svc@X", "keytab": "/nonexistent", "kdcs": ["127.0.0.1:88"]}
    for changes, said in (
            ({"proxy.upstreams.0.credential": "header", "proxy.upstreams.0.header": "X-EAS-User"}, "must have credential passthrough, not header"),
            ({"proxy.upstreams.0.credential": "kerberos", "proxy.upstreams.0.spn": "HTTP/mail", "proxy.kerberos": kerberos}, "passthrough, not kerberos"),
            ({"proxy.upstreams.0.credential": "none"}, "passthrough, not none"), ({"proxy.bearer.keys_file": "/etc/hostname"}, "are for mode check")):
        proxy.write(started.build(**changes))
        checked = proxy.run("check")
        assert checked.returncode == 1 and said in checked.stdout + checked.stderr
        assert proxy.reload()["event"] == "reload_failed"


@pytest.mark.quick
def test_a_claim_that_meets_a_reload_on_its_way_gets_no_identity_header(started, phone, mail, issuer, place, redis_server):
    """It was read under pass; when the devices' store has answered, the mail server is one that believes a header."""
    keys = os.path.join(place, "issuer.jwks")
    with open(keys, "w") as f:
        json.dump(issuer.jwks(), f)
    patience = {"redis.timeout_ms": 20000}
    proxy = started(**patience)
    header = started.build(**{"proxy.upstreams.0.credential": "header", "proxy.upstreams.0.header": "X-EAS-User", "proxy.bearer.mode": "check",
                              "proxy.bearer.keys_file": keys, **patience})
    device = phone(proxy)
    redis_server.hang()
    try:
        with device.connect() as line:
            line.send(("POST %s HTTP/1.1\r\nHost: mail.example.com\r\nAuthorization: Bearer %s\r\nContent-Length: 0\r\n\r\n"
                       % (device.target("Sync"), forged(issuer))).encode())
            wait_until(lambda: proxy.metric("easproxy_directory_calls_total", result="found") == 1, 5, 0.05)
            assert proxy.reload(header)["event"] == "reloaded"
            redis_server.resume()
            assert line.response().status == 403
    finally:
        redis_server.resume()
    assert proxy.wait_event("refused", reason="unverified")["method"] == "bearer-unverified"
    assert mail.received() == b""
