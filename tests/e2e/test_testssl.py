"""testssl.sh against a host that asks for a certificate but needs none, so that it can get through (P21, P23).

Its checks of protocols, ciphers, forward secrecy, preferences, the server's defaults and known vulnerabilities; not
those of web pages' headers, for no browser comes here.
"""
import json
import os
import shutil
import subprocess

import pytest

from site_ import der, settings
from site_.pki import raw_extension

PROGRAM = shutil.which("testssl") or shutil.which("testssl.sh")
CHECKS = ["--protocols", "--std", "--fs", "--server-preference", "--server-defaults", "--vulnerable"]
# What it says of the machine that it runs on.
NOT_OURS = {"engine_problem", "old_fart", "openssl_version"}
# A finding of these kinds would be lost if the check were left out by another version of the program.
EXPECTED = {"SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "cipherlist_NULL", "cipherlist_aNULL",
            "secure_client_renego", "heartbleed", "CRIME_TLS", "RC4", "cert_chain_of_trust"}


@pytest.mark.slow
@pytest.mark.no_asan
@pytest.mark.skipif(PROGRAM is None, reason="testssl.sh is not installed (package testssl.sh)")
def test_p21_p23_testssl_has_no_finding(start_proxy, configure, backend, pki, place):
    url = der.context(6, b"http://127.0.0.1:9/server.crl", constructed=False)
    point = raw_extension("2.5.29.31", der.sequence(der.sequence(der.context(0, der.context(0, url)))))
    certificate, key = pki.server_ca.server("mail.example.com", days=200, extensions=[point]).write(place, "mail")
    proxy = start_proxy(configure(backend, changes={
        "proxy.hosts.0.certificate": certificate, "proxy.hosts.0.key": key,
        **settings.OPTIONAL, "proxy.workers": 2}))
    ca, report = os.path.join(place, "ca.pem"), os.path.join(place, "report.json")
    with open(ca, "wb") as f:
        f.write(pki.server_ca.pem)
    port = proxy.address().rpartition(":")[2]
    done = subprocess.run([PROGRAM, "--quiet", "--color", "0", "--warnings", "off", "--nodns", "none", "--add-ca", ca,
                           "--ip", "127.0.0.1", "--jsonfile", report, *CHECKS, "mail.example.com:" + port],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          cwd=place, timeout=240)
    with open(report) as f:
        findings = json.load(f)
    seen = {entry["id"] for entry in findings}
    assert not EXPECTED - seen, "not looked at: %s\n%s" % (EXPECTED - seen, done.stdout[-2000:])
    bad = ["%s: %s: %s" % (entry["severity"], entry["id"], entry["finding"]) for entry in findings
           if entry["severity"] not in ("OK", "INFO") and entry["id"] not in NOT_OURS]
    assert bad == []
    assert proxy.metric("easproxy_process_restarts_total") == 0
