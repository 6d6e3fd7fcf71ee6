"""NIST's PKITS over the wire: each case's chain is the phone's, its CRLs are proxy.revocation.crls (P25, P26).

A case is accepted when the mail server saw its request. Sections 4.8 to 4.12 are about certificate policies, which
no ActiveSync deployment asks for: their outcome is printed, and only what lies outside them is demanded.
"""
import os
import ssl

import pytest

from site_ import pkits
from site_.device import EAS, Device

RIGHT_AT_LEAST, OF = 105, 120


class Presented:
    """What Device wants of an identity, from the suite's own files."""

    def __init__(self, case):
        self.case = case

    def write(self, directory, base):
        paths = os.path.join(directory, base + ".pem"), os.path.join(directory, base + ".key")
        for path, content in zip(paths, (self.case.chain, self.case.key)):
            with open(path, "wb") as f:
                f.write(content)
        return paths


def _try(proxy, pki, case):
    """None when no client could present this; else how it ended on the phone's side."""
    try:
        device = Device(proxy.address(), Presented(case), ca=pki.server_ca.pem, ciphers="DEFAULT:@SECLEVEL=0")
    except ssl.SSLError:
        return None
    try:
        with device.connect() as line:
            response = line.request("OPTIONS", EAS, [("X-Case", case.name)])
            return str(response.status) if response else "closed"
    except (ssl.SSLError, OSError, EOFError) as e:
        return getattr(e, "reason", None) or type(e).__name__


def _run(group, number, configure, start_proxy, accounts, backend, pki, place):
    cases, sources = group
    for case in cases:
        accounts.accounts[case.name] = dict(accounts.accounts["alice"], sam=case.name, upn=case.name + "@corp.example",
                                            sid="S-1-5-21-9-9-9-" + case.name[:5], mail="",
                                            alt_security_identities=[case.claim])
    accounts.change("alice")
    anchor = os.path.join(place, "anchor.pem")
    with open(anchor, "wb") as f:
        f.write(cases[0].anchor)
    crls = pkits.write_crls(os.path.join(place, "crls-%d" % number), sources)
    proxy = start_proxy(configure(backend, node="group-%d" % number, changes={
        "proxy.hosts.0.client_ca": [anchor], "proxy.identity": ["alt-sha1-public-key"],
        "proxy.revocation.crls": crls, "log.level": "info"}))
    outcome = {case.name: _try(proxy, pki, case) for case in cases}
    proxy.stop()
    return outcome


@pytest.mark.quick
def test_p25_p26_pkits_is_judged_right_and_nothing_wrong_is_let_in(
        configure, start_proxy, accounts, backend, pki, place):
    path = pkits.suite("pkits.json.gz")
    if path is None:
        pytest.skip("the public suite pkits.json.gz is not there: set SUITES")
    cases = pkits.load(path)
    outcome = {}
    for number, group in enumerate(pkits.grouped(cases)):
        outcome.update(_run(group, number, configure, start_proxy, accounts, backend, pki, place))
    passed = {r.get("X-Case") for r in backend.requests}
    presented = [c for c in cases if outcome[c.name] is not None]
    judged = [c for c in presented if not c.is_policy]
    right = [c for c in judged if (c.name in passed) == c.good]
    for case in presented:
        if (case.name in passed) != case.good:
            print("%s%s: %s, and the phone saw %s" % ("(policies) " if case.is_policy else "", case.name,
                  "accepted" if case.name in passed else "refused", outcome[case.name]))
    print("outside policy processing %d of %d right; could not be presented: %s"
          % (len(right), len(judged), [c.name for c in cases if outcome[c.name] is None]))
    assert [c.name for c in judged if c.name in passed and not c.good] == [], "let in by mistake"
    assert len(judged) >= OF and len(right) >= RIGHT_AT_LEAST
