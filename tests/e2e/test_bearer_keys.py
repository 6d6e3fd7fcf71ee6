"""The issuer's keys from its own HTTPS server: they follow it, and nothing that it may say or leave unsaid does harm."""
import os
import signal
import threading

import pytest

from site_ import answers, inside
from site_.process import wait_until
from site_.tokens import AUDIENCE, ISSUER, Issuer, KeyServer, bearer, number

METHODS = [{"certificate": "allowed", "bearer": "allowed"}]


@pytest.fixture(scope="module")
def issuer():
    return Issuer()


@pytest.fixture(scope="module")
def other():
    """The same issuer after a rollover: other keys by other names."""
    return Issuer()


@pytest.fixture
def server(pki, place, made, issuer):
    server = made(KeyServer(pki.server_ca.server("localhost"), place))
    server.publish(issuer.jwks())
    return server


@pytest.fixture
def started(start_proxy, configure, backend, place, pki, server):
    def start(refresh=600, **changes):
        ca = os.path.join(place, "keys-ca.pem")
        with open(ca, "w") as f:
            f.write(pki.server_ca.pem if isinstance(pki.server_ca.pem, str) else pki.server_ca.pem.decode())
        return start_proxy(configure(backend, {
            "proxy.policies.0.methods": METHODS,
            "proxy.bearer": {"keys_url": "https://localhost:%d/keys" % server.port, "keys_ca": ca, "keys_refresh_seconds": refresh, "issuer": ISSUER,
                             "audience": AUDIENCE, "algorithms": ["RS256", "ES256"]}, **changes}))
    return start


def renamed(keys, suffix="-2"):
    return {"keys": [{**k, "kid": k["kid"] + suffix} for k in keys["keys"]]}


def status_of(device, token):
    try:
        return device.sync(headers=bearer(token)).status
    except (OSError, EOFError):
        return None


def test_keys_are_fetched_followed_by_an_unknown_kid_and_kept_over_a_restart(started, phone, backend, issuer, other, server):
    proxy = started()
    loaded = proxy.wait_event("bearer_keys_loaded")
    assert loaded["keys"] == 2 and loaded["kids"] == "r1 e1" and loaded["audit"] is True
    device = phone(proxy)
    old, new = issuer.token(), other.token(header={"kid": "r1-2"})
    wait_until(lambda: device.sync(headers=bearer(old)).status == 200, 5)
    hold = backend.when("Ping", answers.hold())
    ping = device.ping(headers=bearer(old))
    hold.wait_waiting(backend)
    # rollover: both sets stand there for a while, and the first token of a new key makes them be fetched
    server.publish({"keys": issuer.jwks()["keys"] + renamed(other.jwks())["keys"]})
    assert device.sync(headers=bearer(new)).status == 401
    proxy.wait_event("bearer_keys_loaded", keys=4)
    wait_until(lambda: device.sync(headers=bearer(new)).status == 200, 5)
    assert device.sync(headers=bearer(old)).status == 200
    ended = ping.wait(5)                       # who waits comes again, and is checked by the keys of now
    assert ended is None or isinstance(ended, Exception) or ended.status == 503
    # names that nobody published: one round more is all that they get
    asked = server.asked
    for n in range(20):
        assert device.sync(headers=bearer(other.token(header={"kid": "x%d" % n}))).status == 401
    assert server.asked == asked
    assert proxy.metric("easproxy_bearer_key_fetches_total", result="loaded") == 2
    # the server is away when the next processes start: what was fetched still counts
    server.status, server.answer = 500, b""
    for role in ("revocation", "worker"):
        os.kill(inside.by_role(proxy)[role][0], signal.SIGKILL)
    assert "HTTP status 500" in proxy.wait_event("bearer_keys_failed", timeout=10)["detail"]
    wait_until(lambda: status_of(phone(proxy), new) == 200, 10)


def test_a_key_that_is_withdrawn_counts_no_more_after_the_next_round(started, phone, issuer, other, server):
    proxy = started(refresh=1)
    device = phone(proxy)
    wait_until(lambda: device.sync(headers=bearer(issuer.token())).status == 200, 5)
    server.publish(renamed(other.jwks()))
    proxy.wait_event("bearer_keys_loaded", kids="r1-2 e1-2")
    wait_until(lambda: device.sync(headers=bearer(issuer.token())).status == 401, 5)
    assert device.sync(headers=bearer(other.token(header={"kid": "r1-2"}))).status == 200


@pytest.mark.quick
def test_while_no_keys_could_be_fetched_tokens_get_503_and_certificates_go_on(started, phone, pki, issuer, server):
    server.status = 404
    proxy = started(refresh=1)
    assert "HTTP status 404" in proxy.wait_event("bearer_keys_failed")["detail"]
    response = phone(proxy).sync(headers=bearer(issuer.token()))
    assert response.status == 503 and response.get("Retry-After")
    assert "fetched yet" in proxy.wait_event("fault", reason="token-unchecked")["detail"]
    assert phone(proxy, pki.device_ca.device("alice@corp.example")).sync().status == 200
    assert proxy.metric("easproxy_bearer_key_fetches_total", result="not_fetched") >= 1
    server.publish(issuer.jwks())
    wait_until(lambda: phone(proxy).sync(headers=bearer(issuer.token())).status == 200, 10)


@pytest.mark.quick
def test_hostile_answers_change_nothing(started, phone, issuer, other, server):
    proxy = started(refresh=1)
    device = phone(proxy)
    wait_until(lambda: device.sync(headers=bearer(issuer.token())).status == 200, 5)
    private = {**renamed(other.jwks())["keys"][0], "d": number(other.rsa.private_numbers().d, 256)}
    hostile = {"file size exceeded": (b"[" * (10 << 20), 200, []), "expected a JWK Set": (b"<html>sign in</html>", 200, []), "a private key": (None, 200, []),
               "redirects to https://evil.example/": (b"", 302, [("Location", "https://evil.example/keys")]), "no key for signatures": (b'{"keys":[]}', 200, [])}
    for why, (answer, status, headers) in hostile.items():
        if answer is None:
            server.publish({"keys": [private]})
        else:
            server.answer, server.status, server.headers = answer, status, headers
        proxy.log.wait(lambda line: isinstance(line, dict) and line.get("event") == "bearer_keys_failed" and why in line.get("detail", ""), 10, what=why)
        assert device.sync(headers=bearer(issuer.token())).status == 200
        assert device.sync(headers=bearer(other.token(header={"kid": "r1-2"}))).status == 401
    server.publish(renamed(other.jwks()))
    server.drip = threading.Event()                 # a byte each fifth of a second: given up within the round's time
    proxy.log.wait(lambda line: isinstance(line, dict) and line.get("event") == "bearer_keys_failed" and "imed out" in line.get("detail", ""), 10,
                   what="the end of the drip")
    assert device.sync(headers=bearer(issuer.token())).status == 200


@pytest.mark.quick
def test_a_server_of_another_ca_is_not_believed(started, phone, pki, issuer, server, place):
    proxy = started(**{"proxy.bearer.keys_ca": None})
    assert "certificate" in proxy.wait_event("bearer_keys_failed")["detail"]
    assert phone(proxy).sync(headers=bearer(issuer.token())).status == 503
