"""Every method, every setting, with and without a rule for a group, with a certificate that is good, absent, expired or revoked: the answers
of tests/tables/method_wire.tbl, from one proxy."""
import base64
import itertools
import json
import os
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from site_ import answers
from site_.accounts import USERS
from site_.enrol import hashed
from site_.tokens import AUDIENCE, ISSUER, Issuer, bearer

GROUP = "CN=EAS-Migrated,OU=Groups,DC=corp,DC=example"
USE = {"o": "off", "a": "allowed", "r": "required"}
TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tables", "method_wire.tbl")


def table():
    for line in open(TABLE):
        if line.strip() and not line.startswith("#"):
            *pattern, answer = (cell.strip() for cell in line.split("|"))
            assert len(pattern) == 7, line
            yield pattern, answer


def expected(rows, *facts):
    for pattern, answer in rows:
        if all(p == "*" or f in p.split(",") for p, f in zip(pattern, facts)):
            return answer
    raise AssertionError("no row for %s" % (facts,))


def rule(c, p, b):
    return {"certificate": USE[c], "password": USE[p], "bearer": USE[b]}


MODES = {"check": {"proxy.upstreams.0.credential": "header"}, "pass": {"proxy.upstreams.0.credential": "passthrough"}}


def configured(configure, backend, pki, place, jwks, mode):
    """A host and two policies for each setting: s-cpb alone, g-cpb for a group."""
    settings = ["".join(s) for s in itertools.product("oar", repeat=3) if s[1:] != ("r", "r") and (mode == "check" or s[2] != "o")]
    bearer = {"mode": mode, "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["RS256"], **({"keys_file": jwks} if mode == "check" else {})}
    config = configure(backend, {"proxy.bearer": bearer, "lockout.memory_mib": 1, "lockout.mode": "log", **MODES[mode]}, node=mode)
    host, policy = config["proxy"]["hosts"][0], config["proxy"]["policies"][0]
    certificate, key = pki.server_ca.server("*.example.com").write(place, "wild")
    for s in settings:
        for kind, methods in (("s", [rule(*s)]), ("g", [{"group": GROUP, **rule(*s)}, rule(*"aaa")])):
            name = "%s-%s" % (kind, s)
            config["proxy"]["policies"].append(dict(policy, name=name, methods=methods))
            config["proxy"]["hosts"].append(dict(host, names=[name + ".example.com"], policy=name, certificate=certificate, key=key))
    return json.loads(json.dumps(config)), settings         # without what YAML would write as an alias


def verifies(issuer):
    """A mail server that takes what it gets, but for a token that its issuer has not signed."""
    good = answers.eas()

    def verify(x):
        head, _, signature = x.request.get("Authorization", "").removeprefix("Bearer ").rpartition(".")
        try:
            if x.request.get("Authorization", "").startswith("Bearer "):
                issuer.rsa.public_key().verify(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)), head.encode(), padding.PKCS1v15(),
                                               hashes.SHA256())
        except InvalidSignature:
            x.read_body()
            x.respond(401, b"", [("WWW-Authenticate", "Bearer"), ("X-From", "mail")])
        else:
            good(x)
    return verify


def answer_of(device, name, headers):
    try:
        with device.connect(server_name=name) as line:
            response = line.request("POST", device.target("Sync"), headers, host=name)
            if response is None:
                return "alert"          # TLS 1.3: it comes with the first answer
            return "mail" if response.status == 401 and response.get("X-From") else str(response.status)
    except (ssl.SSLError, ConnectionError):
        return "alert"


@pytest.mark.no_asan
@pytest.mark.parametrize("mode", MODES)
def test_the_table_of_methods_holds_over_the_wire(start_proxy, configure, backend, accounts, phone, pki, place, crl, mode):
    issuer, now, good_hash = Issuer(), int(time.time()), hashed("pw")
    backend.default = verifies(issuer)
    jwks = os.path.join(place, "issuer.jwks")
    with open(jwks, "w") as f:
        json.dump(issuer.jwks(), f)
    accounts.change("alice", password=good_hash, groups=[USERS, GROUP])
    accounts.change("bob", password=good_hash)
    config, settings = configured(configure, backend, pki, place, jwks, mode)
    shown = {}
    for user in ("alice", "bob"):
        upn = user + "@corp.example"
        shown[user] = {"good": pki.device_ca.device(upn), "none": None, "revoked": pki.device_ca.device(upn),
                       "expired": pki.device_ca.device(upn, not_before=now - 9000, not_after=now - 60)}
    pki.device_ca.write_crl(crl, [(shown[user]["revoked"], 1) for user in shown])
    proxy = start_proxy(config)
    rows, cases, forger = list(table()), [], Issuer()
    devices = {(user, c): phone(proxy, identity, user=user) for user in shown for c, identity in shown[user].items()}
    for s, who in itertools.product(settings, ("alone", "group", "other")):
        user = "bob" if who == "other" else "alice"
        name = "%s-%s.example.com" % ("s" if who == "alone" else "g", s)
        says = {"none": [], "token": bearer(issuer.token(upn=user + "@corp.example")), "forged": bearer(forger.token(upn=user + "@corp.example"))}
        says.update({w: [("Authorization", "Basic " + base64.b64encode(("%s:%s" % (user, p)).encode()).decode())]
                     for w, p in (("right", "pw"), ("wrong", "no"))})
        for certificate, authorization in itertools.product(shown[user], says):
            if certificate in ("expired", "revoked") and authorization in ("wrong", "token", "forged"):
                continue
            cases.append(((who, *s, certificate, authorization), devices[user, certificate], name, says[authorization]))
    with ThreadPoolExecutor(8) as pool:         # a refused password is told no sooner than all others
        got = pool.map(lambda case: answer_of(*case[1:]), cases)
        wrong = [(mode, facts, "wanted " + expected(rows, mode, *facts), "got " + answer) for (facts, *_), answer in zip(cases, got)
                 if answer != expected(rows, mode, *facts)]
    assert len({facts for facts, *_ in cases}) == (24 if mode == "check" else 15) * 3 * 14 and not wrong, "\n".join(map(str, wrong[:80]))
    if mode == "check":
        assert not any(r.get("X-EAS-User") not in ("alice", "bob") for r in backend.requests)
    else:
        assert not any(r.get("X-EAS-User") for r in backend.requests)
