"""Every method, every setting, with and without a rule for a group, with a certificate that is good, absent, expired or revoked: the answers
of tests/tables/method_wire.tbl, from one proxy."""
import base64
import itertools
import json
import os
import ssl
import time

import pytest

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
            assert len(pattern) == 6, line
            yield pattern, answer


def expected(rows, *facts):
    for pattern, answer in rows:
        if all(p == "*" or f in p.split(",") for p, f in zip(pattern, facts)):
            return answer
    raise AssertionError("no row for %s" % (facts,))


def rule(c, p, b):
    return {"certificate": USE[c], "password": USE[p], "bearer": USE[b]}


def configured(configure, backend, pki, place, jwks):
    """A host and two policies for each setting: s-cpb alone, g-cpb for a group."""
    settings = ["".join(s) for s in itertools.product("oar", repeat=3) if s[1:] != ("r", "r")]
    config = configure(backend, {"proxy.bearer": {"keys_file": jwks, "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["RS256"]},
                                 "lockout.memory_mib": 1, "lockout.mode": "log"})
    host, policy = config["proxy"]["hosts"][0], config["proxy"]["policies"][0]
    certificate, key = pki.server_ca.server("*.example.com").write(place, "wild")
    for s in settings:
        for kind, methods in (("s", [rule(*s)]), ("g", [{"group": GROUP, **rule(*s)}, rule(*"aaa")])):
            name = "%s-%s" % (kind, s)
            config["proxy"]["policies"].append(dict(policy, name=name, methods=methods))
            config["proxy"]["hosts"].append(dict(host, names=[name + ".example.com"], policy=name, certificate=certificate, key=key))
    return json.loads(json.dumps(config)), settings         # without what YAML would write as an alias


def answer_of(device, headers):
    try:
        with device.connect() as line:
            response = line.request("POST", device.target("Sync"), headers, host=device.server_name)
            return str(response.status) if response else "alert"        # TLS 1.3: it comes with the first answer
    except (ssl.SSLError, ConnectionError):
        return "alert"


@pytest.mark.no_asan
def test_the_table_of_methods_holds_over_the_wire(start_proxy, configure, backend, accounts, phone, pki, place, crl):
    issuer, now, good_hash = Issuer(), int(time.time()), hashed("pw")
    jwks = os.path.join(place, "issuer.jwks")
    with open(jwks, "w") as f:
        json.dump(issuer.jwks(), f)
    accounts.change("alice", password=good_hash, groups=[USERS, GROUP])
    accounts.change("bob", password=good_hash)
    config, settings = configured(configure, backend, pki, place, jwks)
    shown = {}
    for user in ("alice", "bob"):
        upn = user + "@corp.example"
        shown[user] = {"good": pki.device_ca.device(upn), "none": None, "revoked": pki.device_ca.device(upn),
                       "expired": pki.device_ca.device(upn, not_before=now - 9000, not_after=now - 60)}
    pki.device_ca.write_crl(crl, [(shown[user]["revoked"], 1) for user in shown])
    proxy = start_proxy(config)
    rows, used, wrong = list(table()), set(), []
    for s, who in itertools.product(settings, ("alone", "group", "other")):
        user = "bob" if who == "other" else "alice"
        name = "%s-%s.example.com" % ("s" if who == "alone" else "g", s)
        token = bearer(issuer.token(upn=user + "@corp.example"))
        says = {"none": [], "token": token}
        says.update({w: [("Authorization", "Basic " + base64.b64encode(("%s:%s" % (user, p)).encode()).decode())]
                     for w, p in (("right", "pw"), ("wrong", "no"))})
        for certificate, authorization in itertools.product(shown[user], says):
            if certificate in ("expired", "revoked") and authorization in ("wrong", "token"):
                continue
            want = expected(rows, who, *s, certificate, authorization)
            used.add((who, *s, certificate, authorization))
            got = answer_of(phone(proxy, shown[user][certificate], user=user, server_name=name), says[authorization])
            if got != want:
                wrong.append((who, s, certificate, authorization, "wanted " + want, "got " + got))
    assert len(used) == 24 * 3 * 12 and not wrong, "\n".join(map(str, wrong[:40]))
    assert not any(r.get("X-EAS-User") not in ("alice", "bob") for r in backend.requests)
