"""Bearer tokens: whose they are, and that nothing but the configured issuer's good ones lets anybody in."""
import json
import os
import time

import pytest
from cryptography.hazmat.primitives import serialization

from site_ import answers
from site_.process import wait_until
from site_.strict import read_backend
from site_.tokens import AUDIENCE, ISSUER, Issuer, b64, bearer, number


@pytest.fixture(scope="module")
def issuer():
    return Issuer()


@pytest.fixture
def started(start_proxy, configure, backend, place, issuer):
    def start(methods=({"certificate": "allowed", "bearer": "allowed"},), jwks=None, **changes):
        path = os.path.join(place, "issuer.jwks")
        with open(path, "w") as f:
            json.dump(jwks or issuer.jwks(), f)
        return start_proxy(configure(backend, {
            "proxy.policies.0.methods": [dict(m) for m in methods],
            "proxy.bearer": {"keys_file": path, "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["RS256", "PS256", "ES256"], "leeway_seconds": 5},
            **changes}))
    return start


@pytest.mark.quick
def test_a_good_token_gets_in_as_its_account_and_the_mail_server_is_told_by_the_proxy(started, phone, backend, issuer):
    proxy = started()
    device = phone(proxy)
    good = [issuer.token(), issuer.token("ES256"), issuer.token("PS256"), issuer.token(aud=["other", AUDIENCE]), issuer.token(upn="ALICE@Corp.Example"),
            issuer.token(header={"typ": None}), issuer.token(header={"typ": "at+jwt"}), issuer.token(exp=time.time() + 60.5), issuer.token(nbf=None)]
    for token in good:
        assert device.sync(headers=[*bearer(token), ("X-EAS-User", "bob")]).status == 200, token
    requests = read_backend(backend)
    assert [r.all(b"x-eas-user") for r in requests] == [[b"alice"]] * len(good)
    assert not any(r.all(b"authorization") for r in requests)
    assert proxy.wait_event("access", status=200)["method"] == "bearer"
    proxy.assert_never(*[t.rpartition(".")[2] for t in good])


@pytest.mark.quick
def test_hostile_tokens_are_refused_and_reach_nobody(started, phone, backend, issuer, pki):
    proxy = started()
    device = phone(proxy)
    now, other = int(time.time()), Issuer()
    public = issuer.rsa.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    good = issuer.token()
    head, body, signature = good.split(".")
    twice = "{\"alg\":\"none\",\"alg\":\"RS256\",\"kid\":\"r1\"}"
    data = b64(twice.encode()) + "." + body
    own = other.rsa.public_key().public_numbers()
    bad = {
        "none": issuer.token("none"), "None": issuer.token("none", header={"alg": "None"}), "unsigned": head + "." + body + ".",
        "hs256 with the public key": issuer.token("HS256", key=public), "hs256 with the modulus": issuer.token("HS256", key=issuer.jwks()["keys"][0]["n"].encode()),
        "somebody else's key": issuer.token(key=other.rsa), "the other key by kid": issuer.token(header={"kid": "e1"}),
        "an unknown kid": issuer.token(header={"kid": "r2"}), "a kid that is a path": issuer.token(header={"kid": "../../../etc/passwd"}),
        "a kid that is no text": issuer.token(header={"kid": 1}), "two keys fit none named": issuer.token("RS512", header={"kid": None}),
        "its own key in the header": issuer.token(key=other.rsa, header={"kid": None, "jwk": {"kty": "RSA", "n": number(own.n, 256), "e": number(own.e, 3)}}),
        "jku": issuer.token(key=other.rsa, header={"jku": "https://evil.example/jwks"}), "crit": issuer.token(header={"crit": ["exp"], "exp": now + 60}),
        "a wrong typ": issuer.token(header={"typ": "JWE"}), "an algorithm that is not configured": issuer.token(header={"alg": "RS384"}),
        "rs256 said, ps256 made": head + "." + body + "." + b64(issuer.sign("PS256", (head + "." + body).encode())),
        "another body": head + "." + b64(json.dumps(issuer.claims(upn="bob@corp.example")).encode()) + "." + signature,
        "a cut signature": good[:-8], "a longer one": good + "AAAA", "two members of one name in the header": data + "." + b64(issuer.sign("RS256", data.encode())),
        "two members of one name": issuer.token(text=json.dumps(issuer.claims())[:-1] + ",\"upn\":\"bob@corp.example\"}"),
        "no json": issuer.token(text="alice"), "a list": issuer.token(text="[]"), "four parts": good + ".x", "two parts": head + "." + body, "dots": "..", "one dot": ".",
        "not base64": "!!!.???.###", "padding": head + "=." + body + "." + signature, "padding inside": "eyJks=3-A" + "." + body + "." + signature,
        "a single character": "A." + body + "." + signature, "padding in the body": head + "." + body[:4] + "=" + body[5:] + "." + signature,
        "padding in the signature": head + "." + body + "." + signature[:5] + "=" + signature[6:], "the other alphabet": head + "." + body + "." + "+/+/" + signature[4:],
        "bits too many": head + "." + body + ".AB", "expired": issuer.token(exp=now - 60), "without an end": issuer.token(exp=None),
        "an end that is text": issuer.token(exp=str(now + 600)), "an end beyond all time": issuer.token(exp=10 ** 30), "not yet": issuer.token(nbf=now + 600),
        "nbf that is text": issuer.token(nbf="now"), "another issuer": issuer.token(iss=ISSUER + "/"), "no issuer": issuer.token(iss=None),
        "another audience": issuer.token(aud="https://other.example.com"), "no audience": issuer.token(aud=None), "audience in an object": issuer.token(aud={"a": AUDIENCE}),
        "nobody named": issuer.token(upn=None), "an empty name": issuer.token(upn=""), "a number for a name": issuer.token(upn=7),
        "a name with a NUL": issuer.token(upn="alice@corp.example\0"), "a name with a line": issuer.token(upn="alice@corp.example\r\nX: y"),
        "a long name": issuer.token(upn="a" * 700), "too long": issuer.token(pad="x" * 8000),
    }
    for what, token in bad.items():
        response = device.sync(headers=bearer(token))
        assert response.status == 401, what
        assert "error=\"invalid_token\"" in response.get("WWW-Authenticate"), what
    assert backend.received() == b""
    wait_until(lambda: len(proxy.events("refused", reason="token-refused")) == len(bad), 5)
    assert device.sync(headers=bearer(good)).status == 200


@pytest.mark.quick
def test_a_token_opens_its_own_accounts_mailbox_alone(started, phone, backend, issuer, accounts):
    proxy = started()
    assert phone(proxy, user="bob").sync(headers=bearer(issuer.token())).status == 403
    assert phone(proxy, user="nobody").sync(headers=bearer(issuer.token(upn="nobody@corp.example"))).status == 403
    assert phone(proxy, user="mallory").sync(headers=bearer(issuer.token(upn="mallory@corp.example"))).status == 403
    response = phone(proxy).sync()
    assert response.status == 401 and response.get("WWW-Authenticate") == "Bearer realm=\"mail\""
    assert backend.received() == b""
    device = phone(proxy)
    with device.connect() as line:
        assert line.request("POST", device.target("Sync"), bearer(issuer.token())).status == 200
        assert line.request("POST", device.target("Sync"), bearer(issuer.token(upn="bob@corp.example"))).status == 403
        assert line.closed()


@pytest.mark.quick
def test_a_device_is_told_where_tokens_come_from(started, phone, backend, issuer):
    """In the form of Exchange's own challenge, which phones and Outlook know."""
    uri, exchange = "https://login.example.com/common/oauth2/authorize", "00000002-0000-0ff1-ce00-000000000000"
    proxy = started([{"password": "allowed", "bearer": "allowed"}], **{"proxy.bearer.authorization_uri": uri, "proxy.bearer.client_id": exchange,
                    "proxy.bearer.trusted_issuers": "00000001-0000-0000-c000-000000000000@*"})
    told = ('Bearer client_id="%s", trusted_issuers="00000001-0000-0000-c000-000000000000@*", '
            'token_types="app_asserted_user_v1 service_asserted_app_v1", authorization_uri="%s"' % (exchange, uri))
    basic = 'Basic realm="mail", charset="UTF-8"'
    device = phone(proxy)
    # a phone that can asks by an empty Bearer
    for headers in ([], [("Authorization", "Bearer")], [("Authorization", "Bearer ")]):
        response = device.sync(headers=headers)
        assert response.status == 401 and response.all("WWW-Authenticate") == [told, basic], headers
    response = device.sync(headers=bearer(issuer.token(exp=1)))
    assert response.status == 401 and response.all("WWW-Authenticate") == [told + ', error="invalid_token"', basic]
    assert backend.received() == b""
    assert device.sync(headers=bearer(issuer.token())).status == 200


@pytest.mark.quick
def test_a_waiting_request_ends_with_its_token(started, phone, backend, issuer):
    hold = backend.when("Ping", answers.hold())
    device = phone(started(**{"proxy.bearer.leeway_seconds": 1}))
    ping = device.ping(headers=bearer(issuer.token(exp=int(time.time()) + 2)))
    hold.wait_waiting(backend)
    outcome = ping.wait(15)
    assert isinstance(outcome, Exception) or outcome is None or outcome.status == 401


@pytest.mark.quick
def test_certificate_and_token_together_must_name_one_account(started, phone, backend, issuer, pki):
    proxy = started([{"certificate": "required", "bearer": "required"}])
    device = phone(proxy, pki.device_ca.device("alice@corp.example"))
    assert device.sync().status == 401
    assert device.sync(headers=bearer(issuer.token(upn="bob@corp.example"))).status == 403
    assert device.sync(headers=bearer(issuer.token(exp=1))).status == 401
    assert backend.received() == b""
    assert device.sync(headers=bearer(issuer.token())).status == 200
    assert proxy.wait_event("access", status=200)["method"] == "certificate+bearer"


@pytest.mark.quick
def test_keys_that_are_taken_out_count_no_more_after_a_reload(started, phone, issuer, place):
    proxy = started()
    device = phone(proxy)
    token = issuer.token()
    with device.connect() as line:
        assert line.request("POST", device.target("Sync"), bearer(token)).status == 200
        path = os.path.join(place, "issuer.jwks")
        with open(path + ".new", "w") as f:
            json.dump({"keys": issuer.jwks()["keys"][1:]}, f)
        os.rename(path + ".new", path)
        assert proxy.reload()["event"] == "reloaded"
        assert line.request("POST", device.target("Sync"), bearer(token)).status == 401
    assert device.sync(headers=bearer(issuer.token("ES256"))).status == 200


@pytest.mark.quick
def test_a_file_that_holds_what_does_not_belong_there_is_refused(started, phone, issuer, place):
    proxy = started()
    path = os.path.join(place, "issuer.jwks")
    r = issuer.rsa.private_numbers()
    for keys in ([], [{"kty": "oct", "k": "AAAA"}], [{**issuer.jwks()["keys"][0], "d": number(r.d, 256)}], [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}], [{"kty": "RSA", "n": "AQ=B", "e": "A"}],
                 [{**issuer.jwks()["keys"][0], "e": "AQ"}], [{**issuer.jwks()["keys"][1], "y": "AQ"}], {}):
        with open(path, "w") as f:
            json.dump({"keys": keys}, f)
        assert proxy.reload()["event"] == "reload_failed"
    assert phone(proxy).sync(headers=bearer(issuer.token())).status == 200


@pytest.mark.quick
def test_with_passthrough_the_mail_server_gets_the_very_token_once_it_was_found_good_and_on_a_connection_of_its_own(started, phone, backend, issuer):
    proxy = started(**{"proxy.upstreams.0.credential": "passthrough"})
    device = phone(proxy)
    good, newer = issuer.token(), issuer.token(exp=int(time.time()) + 900)
    with device.connect() as line:
        for token in (good, newer, good):
            assert line.request("POST", device.target("Sync"), bearer(token)).status == 200
    for token in (issuer.token(exp=1), Issuer().token(), issuer.token(upn="bob@corp.example")):
        assert device.sync(headers=bearer(token)).status in (401, 403)
    assert sorted(r.all(b"authorization")[0] for r in read_backend(backend)) == sorted(("Bearer " + t).encode() for t in (good, newer, good))
    used = [c for c in backend.connections if c.requests]
    assert len(used) == 2 and all(len({r.get("Authorization") for r in c.requests if r.get("Authorization")}) <= 1 for c in used), "one token, one connection"
