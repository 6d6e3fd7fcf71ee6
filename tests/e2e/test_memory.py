"""Memory after a rush, and what one certificate may make the proxy remember (DESIGN 4.3; threat 23)."""
import time

import pytest

from site_.hosts import is_sanitized
from site_.workers import pss

RUSH = 400
KEPT = 4                # sessions of one certificate on one host


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example", cn="alice's phone")


def rush(device, lines):
    """Connections that each have been served once."""
    opened = [device.connect() for _ in range(lines)]
    for line in opened:
        assert line.request("OPTIONS", "/Microsoft-Server-ActiveSync").status == 200
    return opened


@pytest.mark.no_asan
def test_memory_of_a_rush_goes_back_within_seconds(start_proxy, configure, backend, phone, alice):
    proxy = start_proxy(configure(backend, {"proxy.workers": 1}))
    if is_sanitized(proxy):
        pytest.skip("memory says nothing under a sanitizer")
    device = phone(proxy, alice)
    for line in rush(device, 8):
        line.close()
    before = pss(proxy)
    opened = rush(device, RUSH)
    grown = pss(proxy) - before
    assert grown > RUSH * 4096, "nothing to give back: the test measures nothing"
    for line in opened:
        line.close()
    end = time.monotonic() + 10
    while (left := pss(proxy) - before) > grown // 6:
        assert time.monotonic() < end, "%d kB of %d kB were kept" % (left >> 10, grown >> 10)
        time.sleep(0.1)


def test_a_certificate_resumes_its_last_sessions_and_none_beyond_them(start_proxy, configure, backend, phone, alice, pki):
    proxy = start_proxy(configure(backend))
    device, bob = phone(proxy, alice), phone(proxy, pki.device_ca.device("bob@corp.example", cn="bob's phone"), user="bob")
    first_of_bob = session_of(bob)
    sessions = [session_of(device) for _ in range(3 * KEPT)]
    with device.connect(session=sessions[-KEPT - 1]) as line:
        assert line.request("OPTIONS", "/Microsoft-Server-ActiveSync").status == 200
        assert not line.resumed
    # that one has become the newest
    for session in (sessions[-KEPT + 1], sessions[-1]):
        with device.connect(session=session) as line:
            assert line.request("OPTIONS", "/Microsoft-Server-ActiveSync").status == 200
            assert line.resumed
            line.session
    with bob.connect(session=first_of_bob) as line:
        assert line.request("OPTIONS", "/Microsoft-Server-ActiveSync").status == 200
        assert line.resumed


def session_of(device):
    with device.connect() as line:
        assert line.request("OPTIONS", "/Microsoft-Server-ActiveSync").status == 200
        return line.session
