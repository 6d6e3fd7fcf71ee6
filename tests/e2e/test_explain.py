"""`easproxy explain`: which line of which policy decides for an account, and what it comes to for each method."""
import json
import os

import pytest

from site_.accounts import USERS
from site_.tokens import AUDIENCE, ISSUER, Issuer

GROUP = "CN=EAS-Certificates,OU=Groups,DC=corp,DC=example"


@pytest.fixture
def explain(start_proxy, configure, backend, accounts):
    accounts.change("alice", groups=[USERS, GROUP])
    rules = [{"user": "CORP.EXAMPLE\\bob", "password": "allowed"}, {"group": GROUP, "certificate": "required"},
             {"certificate": "allowed", "password": "allowed"}]
    proxy = start_proxy(configure(backend, {"proxy.policies.0.methods": rules, "lockout.memory_mib": 1}))

    def run(*args, status=0):
        done = proxy.run("explain", *args)
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stdout + done.stderr
    run.config = proxy.path
    return run


def answers(host):
    return {m["brings"]: m["answer"] for m in host["methods"]}


@pytest.mark.quick
def test_the_line_that_decides_and_what_it_comes_to_are_told(explain):
    lines = open(explain.config).read().split("\n")
    wanted = {"alice": (1, "group " + GROUP, {"certificate": "in", "password": "no-certificate", "certificate+password": "in"}),
              "CORP.EXAMPLE\\bob": (0, "user CORP.EXAMPLE\\bob", {"certificate": "method-off", "password": "in", "nothing": "password-wanted"})}
    for name, (rule, whom, methods) in wanted.items():
        told = json.loads(explain("--user", name, "--json"))["user"]
        host, = told["hosts"]
        assert host["rule"]["path"] == "proxy.policies[0].methods[%d]" % rule and host["rule"]["for"] == whom
        assert 0 < host["rule"]["line"] <= len(lines) and "methods" in "".join(lines[:host["rule"]["line"]])
        assert {k: answers(host)[k] for k in methods} == methods
        text = explain("--user", name, "--device", "ApplX")
        assert "methods[%d]" % rule in text and whom in text and "ApplX" in text


@pytest.mark.quick
@pytest.mark.parametrize("mode", ["check", "pass"])
def test_where_a_line_takes_tokens_it_is_told_who_checks_them(start_proxy, configure, backend, place, mode):
    jwks = os.path.join(place, "issuer.jwks")
    with open(jwks, "w") as f:
        json.dump(Issuer().jwks(), f)
    rules = [{"user": "CORP.EXAMPLE\\bob", "password": "allowed"}, {"certificate": "allowed", "password": "allowed", "bearer": "allowed"}]
    bearer = {"mode": mode, "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["RS256"], **({"keys_file": jwks} if mode == "check" else {})}
    proxy = start_proxy(configure(backend, {"proxy.policies.0.methods": rules, "proxy.bearer": bearer, "lockout.memory_mib": 1,
                                            "proxy.upstreams.0.credential": "passthrough"}))
    by = {"check": "easproxy", "pass": "the mail server"}[mode]
    host, = json.loads(proxy.run("explain", "--user", "alice", "--json").stdout)["user"]["hosts"]
    assert host["rule"]["bearer_mode"] == mode
    assert {m["brings"]: m.get("checked_by") for m in host["methods"]} == {
        "certificate": None, "password": "easproxy", "bearer": by, "certificate+password": None, "certificate+bearer": None, "nothing": None}
    text = proxy.run("explain", "--user", "alice", "--device", "ApplX").stdout
    assert "bearer allowed by proxy.bearer.mode " + mode in text and "in, if %s finds that right which it sends" % by in text
    host, = json.loads(proxy.run("explain", "--user", "CORP.EXAMPLE\\bob", "--json").stdout)["user"]["hosts"]
    assert "bearer_mode" not in host["rule"], "his line takes none"


@pytest.mark.quick
def test_a_certificate_is_read_and_compared_with_the_account(explain, pki, place):
    certificate, _ = pki.device_ca.device("alice@corp.example").write(place, "alice")
    assert "this account's" in explain("--user", "alice", "--certificate", certificate)
    assert "another account's" in explain("--user", "bob", "--certificate", certificate)
    assert "methods[1]" in explain("--certificate", certificate)


@pytest.mark.quick
def test_what_cannot_be_told_says_why(explain, place):
    assert "the directory says: " in explain("--user", "nobody-at-all", status=1)
    assert "explain needs" in explain(status=2)
    empty = os.path.join(place, "empty.pem")
    open(empty, "w").close()
    assert "expected a certificate" in explain("--certificate", empty, status=1)


@pytest.mark.quick
def test_nobody_asks_that_by_the_metrics_address(start_proxy, configure, backend):
    proxy = start_proxy(configure(backend))
    assert proxy.admin("/explain?kind=13&value=alice&sid=").status == 404
