"""Revocation from CRLs: what changes is seen within a second, what is wrong changes nothing (P19, P26, P29)."""
import http.server
import os
import signal
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from site_ import answers, der, inside, settings
from site_.device import EAS
from site_.pki import Authority, new_key, replace_file

WITHIN = 1.0 + 0.4          # refresh_seconds of the tests is 1, and a machine may be busy


@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example", cn="alice's phone")


@pytest.fixture
def bob(pki):
    return pki.device_ca.device("bob@corp.example", cn="bob's phone")


@pytest.fixture
def fresh_ca(pki):
    """A device CA of this test alone, so that its CRL numbers begin with it."""
    return Authority("CN=Fresh CA", parent=pki.root)


@pytest.fixture
def own(fresh_ca, configure, backend, place, pki):
    """own(**changes): a configuration whose device CA is fresh_ca, with `own.crl` as the path of its CRL."""
    path = fresh_ca.write_crl(os.path.join(place, "own.crl"))
    anchors, issuer = os.path.join(place, "anchors.pem"), os.path.join(place, "issuer.pem")
    replace_file(anchors, fresh_ca.pem)
    replace_file(issuer, fresh_ca.pem)

    def build(entry=None, changes=None, **kw):
        return configure(backend, changes={
            "proxy.hosts.0.client_ca": [anchors, _root(place, pki)],
            "proxy.revocation.crls.0": entry or {"issuer_ca": issuer, "file": path}, **(changes or {})}, **kw)
    build.crl, build.issuer = path, issuer
    return build


def _root(place, pki):
    path = os.path.join(place, "root.pem")
    replace_file(path, pki.root.pem)
    return path


def status(device):
    """Of a request on a connection of its own; None when that was ended before an answer."""
    try:
        with device.connect() as line:
            response = line.request("OPTIONS", EAS)
            return response and response.status
    except (ConnectionError, EOFError):
        return None


def wait_status(device, wanted, timeout=5.0):
    """Asks until the answer is this one; how long that took."""
    began = time.monotonic()
    while (last := status(device)) != wanted:
        assert time.monotonic() - began < timeout, "still %s, not %d" % (last, wanted)
        time.sleep(0.02)
    return time.monotonic() - began


# seen in time

@pytest.mark.quick
def test_p19_a_revocation_in_the_file_ends_the_held_ping_and_the_idle_connection_within_a_second(
        start_proxy, configure, backend, phone, pki, alice, bob, crl):
    hold = backend.when("Ping", answers.hold())
    proxy = start_proxy(configure(backend))
    ping, idle = phone(proxy, alice).ping(), phone(proxy, alice).connect()
    other = phone(proxy, bob, user="bob").ping()
    assert idle.request("OPTIONS", EAS).status == 200
    hold.wait_waiting(backend, 2)
    pki.device_ca.write_crl(crl, [(alice, 1)])
    began = time.monotonic()
    outcome = ping.wait(5)
    assert time.monotonic() - began < WITHIN
    assert outcome is not None and outcome.status == 403 and not outcome.keeps_open
    assert idle.closed(1)
    hold.wait_abandoned(backend, 1)
    assert other.waiting and status(phone(proxy, bob, user="bob")) == 200
    assert proxy.wait_event("refused", reason="revoked", command="Ping")["certificate"] == alice.sha256
    assert proxy.wait_event("ended", reason="revoked")["audit"] is True
    hold.release()
    assert other.wait().status == 200


def test_p19_a_revocation_in_the_midst_of_a_kept_connection_answers_the_next_request_with_403(
        start_proxy, configure, backend, phone, pki, alice, crl):
    proxy = start_proxy(configure(backend))
    device = phone(proxy, alice)
    assert device.sync().status == 200
    since = proxy.mark()
    pki.device_ca.write_crl(crl, [(alice, 1)])
    proxy.wait_event("crl_loaded", since=since)
    try:
        response = device.sync()
        assert response is None or response.status == 403
    except (OSError, EOFError):
        pass                                    # the connection had been ended already
    assert device.sync().status == 403
    assert len(backend.requests) == 1


def test_a_certificate_that_is_taken_off_the_list_is_served_again(
        start_proxy, configure, backend, phone, pki, alice, crl):
    pki.device_ca.write_crl(crl, [(alice, 6)])              # on hold
    device = phone(start_proxy(configure(backend)), alice)
    assert status(device) == 403
    pki.device_ca.write_crl(crl, [])
    assert wait_status(device, 200) < WITHIN


@pytest.mark.parametrize("pem", [True, False], ids=["pem", "der"])
def test_a_list_in_pem_or_der_is_read(start_proxy, own, phone, fresh_ca, pem):
    good, bad = fresh_ca.device("alice@corp.example"), fresh_ca.device("alice@corp.example")
    fresh_ca.write_crl(own.crl, [bad, 1, 2, 3], pem=pem)
    proxy = start_proxy(own())
    assert proxy.wait_event("crl_loaded", revoked=4)
    assert (status(phone(proxy, good)), status(phone(proxy, bad))) == (200, 403)


def test_p26_a_list_of_200000_entries_is_loaded_and_searched(start_proxy, own, phone, fresh_ca):
    bad, good = fresh_ca.device("alice@corp.example"), fresh_ca.device("alice@corp.example")
    fresh_ca.write_crl(own.crl, [bad, *range(1 << 120, (1 << 120) + 200000)], pem=False)
    proxy = start_proxy(own(), timeout=30)
    proxy.wait_event("crl_loaded", 20, revoked=200001)
    assert (status(phone(proxy, good)), status(phone(proxy, bad))) == (200, 403)


# out of date

@pytest.mark.quick
def test_p26_a_list_that_runs_out_makes_503_with_retry_after_and_a_new_one_serves_again(
        start_proxy, own, backend, phone, fresh_ca):
    hold = backend.when("Ping", answers.hold())
    fresh_ca.write_crl(own.crl, next_update=int(time.time()) + 3)
    device = phone(proxy := start_proxy(own()), fresh_ca.device("alice@corp.example"))
    assert status(device) == 200
    ping = device.ping()
    hold.wait_waiting(backend)
    wait_status(device, 503, 6)
    seen = len(backend.requests)
    with device.connect() as line:
        response = line.request("OPTIONS", EAS)
        assert (response.status, response.get("Retry-After")) == (503, "30")
        assert response.keeps_open
    assert len(backend.requests) == seen
    fault = proxy.wait_event("fault", reason="revocation-unknown")
    assert fault["level"] == "error" and "CRL" in fault["cure"]
    assert proxy.wait_event("crl_refused")["reason"] == "nextUpdate has passed"
    code, text = proxy.readyz()
    assert code == 503 and "MISSING revocation" in text
    assert ping.waiting                         # nobody is cut off for what is only unknown
    fresh_ca.write_crl(own.crl)
    assert wait_status(device, 200) < WITHIN
    assert proxy.wait_event("crl_recovered") and proxy.readyz()[0] == 200
    hold.release()
    assert ping.wait().status == 200


def test_p26_who_is_on_a_list_stays_revoked_when_the_list_runs_out(start_proxy, own, phone, fresh_ca):
    bad, good = fresh_ca.device("alice@corp.example"), fresh_ca.device("alice@corp.example")
    fresh_ca.write_crl(own.crl, [bad], next_update=int(time.time()) + 2)
    proxy = start_proxy(own())
    wait_status(phone(proxy, good), 503, 6)
    assert status(phone(proxy, bad)) == 403


def test_p26_a_list_that_is_not_there_is_unknown_until_it_comes(start_proxy, own, phone, fresh_ca):
    os.unlink(own.crl)
    proxy = start_proxy(own())
    device = phone(proxy, fresh_ca.device("alice@corp.example"))
    assert status(device) == 503
    assert proxy.wait_event("crl_refused", source=own.crl)["reason"] == "No such file or directory"
    fresh_ca.write_crl(own.crl)
    assert wait_status(device, 200) < WITHIN


def test_p26_a_list_that_vanishes_while_running_is_used_until_it_is_too_old(start_proxy, own, phone, fresh_ca):
    bad, good = fresh_ca.device("alice@corp.example"), fresh_ca.device("alice@corp.example")
    fresh_ca.write_crl(own.crl, [bad])
    proxy = start_proxy(own(changes={"proxy.revocation.max_age_seconds": 10}))
    assert status(phone(proxy, good)) == 200
    os.unlink(own.crl)
    proxy.wait_event("crl_refused", source=own.crl)
    assert (status(phone(proxy, good)), status(phone(proxy, bad))) == (200, 403)
    wait_status(phone(proxy, good), 503, 15)
    assert status(phone(proxy, bad)) == 403


def test_an_operator_who_wants_it_so_lets_the_unknown_in_but_never_the_revoked(start_proxy, own, phone, fresh_ca):
    bad, good = fresh_ca.device("alice@corp.example"), fresh_ca.device("alice@corp.example")
    fresh_ca.write_crl(own.crl, [bad], this_update=int(time.time()) - 7200, next_update=int(time.time()) - 3600)
    proxy = start_proxy(own(changes={"proxy.revocation.unknown": "allow"}))
    assert (status(phone(proxy, good)), status(phone(proxy, bad))) == (200, 403)


def test_after_a_restart_the_index_on_disk_serves_and_its_age_is_said(start_proxy, own, phone, fresh_ca):
    bad, good = fresh_ca.device("alice@corp.example"), fresh_ca.device("alice@corp.example")
    fresh_ca.write_crl(own.crl, [bad])
    config = own()
    start_proxy(config).stop()
    os.unlink(own.crl)
    proxy = start_proxy(config)
    opened = proxy.wait_event("index_opened")
    assert opened["serials"] == 1 and 0 <= opened["age_seconds"] < 60
    assert (status(phone(proxy, good)), status(phone(proxy, bad))) == (200, 403)


def test_p26_a_damaged_index_on_disk_is_begun_anew_and_never_believed(start_proxy, own, phone, fresh_ca):
    bad = fresh_ca.device("alice@corp.example")
    fresh_ca.write_crl(own.crl, [bad])
    config = own()
    start_proxy(config).stop()
    path = os.path.join(config["state_dir"], "revocation.idx")
    with open(path, "r+b") as f:
        f.seek(-16, os.SEEK_END)
        tail = f.read()
        f.seek(-16, os.SEEK_END)
        f.write(bytes(b ^ 0x55 for b in tail))
    proxy = start_proxy(config)
    assert status(phone(proxy, bad)) == 403


# wrong lists

def _other_signature(ca, alice, pki):
    return ca.crl([alice], signer=pki.other_ca.key)


def _other_name(ca, alice, pki):
    return ca.crl([alice], issuer=x509.Name.from_rfc4514_string("CN=Somebody Else"))


def _of_another_ca(ca, alice, pki):
    return pki.other_ca.crl([alice])


def _older(ca, alice, pki):
    return ca.crl([alice], number=ca.crl_number - 1)


def _same_number_but_earlier(ca, alice, pki):
    return ca.crl([alice], number=ca.crl_number, this_update=int(time.time()) - 86400)


def _not_yet_valid(ca, alice, pki):
    return ca.crl([alice], this_update=int(time.time()) + 86400)


def _without_end(ca, alice, pki):
    return ca.crl([alice], next_update=None)


def _unknown_critical(ca, alice, pki):
    return ca.crl([alice], extensions=[("1.3.6.1.4.1.55555.9", der.octets(b"x"), True)])


def _some_reasons(ca, alice, pki):
    return ca.crl([alice], idp=der.sequence(der.tlv(0x83, b"\x01\x60")))


def _ca_certificates_only(ca, alice, pki):
    return ca.crl([alice], idp=der.sequence(der.tlv(0x82, b"\xff")))


def _delta_as_base(ca, alice, pki):
    return ca.crl([alice], delta_of=1)


def _cut(ca, alice, pki):
    return ca.crl([alice], pem=False)[:-7]


def _with_bytes_behind(ca, alice, pki):
    return ca.crl([alice], pem=False) + b"\0\0"


def _bit_turned_over(ca, alice, pki):
    data = bytearray(ca.crl([alice], pem=False))
    data[len(data) // 2] ^= 1
    return bytes(data)


def _negative_serial(ca, alice, pki):
    return ca.crl([alice, -5])


def _empty(ca, alice, pki):
    return b""


def _no_list_at_all(ca, alice, pki):
    return b"<html>404 not found</html>"


WRONG = [_other_signature, _other_name, _of_another_ca, _older, _same_number_but_earlier, _not_yet_valid, _without_end,
         _unknown_critical, _some_reasons, _ca_certificates_only, _delta_as_base, _cut, _with_bytes_behind, _bit_turned_over,
         _negative_serial, _empty, _no_list_at_all]


class Many:
    """A CA of its own for each case, all in one proxy: `bob` of each is revoked, `alice` is not."""

    def __init__(self, names, pki, place):
        self.cas = {name: Authority("CN=CA %s" % name, parent=pki.root) for name in names}
        self.anchors, self.entries, self.crls = os.path.join(place, "many.pem"), [], {}
        replace_file(self.anchors, pki.root.pem + b"".join(ca.pem for ca in self.cas.values()))
        self.alice = {n: ca.device("alice@corp.example") for n, ca in self.cas.items()}
        self.bob = {n: ca.device("bob@corp.example") for n, ca in self.cas.items()}
        for name, ca in self.cas.items():
            ca.crl_number = 5
            issuer, self.crls[name] = (os.path.join(place, name + end) for end in (".pem", ".crl"))
            replace_file(issuer, ca.cert.public_bytes(serialization.Encoding.PEM))
            self.entries.append({"issuer_ca": issuer, "file": ca.write_crl(self.crls[name], [self.bob[name]])})

    def changes(self, config):
        """All of them, and the root."""
        return {"proxy.hosts.0.client_ca": [self.anchors],
                "proxy.revocation.crls": [config["proxy"]["revocation"]["crls"][1], *self.entries]}

    def judge(self, phone, proxy, name):
        return status(phone(proxy, self.alice[name])), status(phone(proxy, self.bob[name], user="bob"))


@pytest.mark.quick
def test_p26_a_wrong_list_is_refused_with_its_reason_and_the_one_before_stays(
        start_proxy, configure, backend, phone, pki, place):
    """Each wrong list says that alice is revoked and bob is not: neither is taken from it."""
    many = Many([w.__name__.strip("_") for w in WRONG], pki, place)
    config = configure(backend)
    proxy = start_proxy(settings.changed(config, many.changes(config)))
    since = proxy.mark()
    for wrong in WRONG:
        name = wrong.__name__.strip("_")
        replace_file(many.crls[name], wrong(many.cas[name], many.alice[name], pki))
    reasons = set()
    for name, path in many.crls.items():
        refused = proxy.wait_event("crl_refused", since=since, source=path)
        reasons.add(refused["reason"])
        assert refused["level"] == "error" and len(refused["reason"]) > 5, name
        assert many.judge(phone, proxy, name) == (200, 403), name
    assert len(reasons) >= 10, reasons
    assert proxy.events("crl_loaded", since=since) == []
    for name, path in many.crls.items():
        many.cas[name].crl_number += 5
        many.cas[name].write_crl(path, [many.bob[name]])
    for path in many.crls.values():
        proxy.log.wait(lambda line: path in str(line) and "crl_recovered" in str(line), 5, since, "word of " + path)


def test_p26_an_older_list_is_not_taken_after_a_restart_either(start_proxy, own, phone, fresh_ca):
    alice = fresh_ca.device("alice@corp.example")
    old = fresh_ca.crl([], number=7)
    fresh_ca.write_crl(own.crl, [alice], number=8)
    config = own()
    start_proxy(config).stop()
    replace_file(own.crl, old)
    proxy = start_proxy(config)
    proxy.wait_event("crl_refused", source=own.crl)
    assert status(phone(proxy, alice)) == 403


def test_p26_a_ca_that_may_not_sign_lists_has_none(start_proxy, own, phone, pki, place, configure, backend):
    ca = Authority("CN=No CRLs", parent=pki.root, key_usage=("key_cert_sign",))
    replace_file(own.issuer, ca.pem)
    replace_file(os.path.join(place, "anchors.pem"), ca.pem)
    ca.write_crl(own.crl)
    proxy = start_proxy(own())
    assert "key usage" in proxy.wait_event("crl_refused", source=own.crl)["reason"]
    assert status(phone(proxy, ca.device("alice@corp.example"))) == 503


def test_p26_a_ca_with_a_new_key_and_the_old_name_has_lists_of_its_own(
        start_proxy, own, phone, fresh_ca, pki, place):
    """Key rollover: what the old key's list says is nothing about the new key's certificates."""
    renewed = Authority(fresh_ca.subject, parent=pki.root)
    number = 4242
    old = fresh_ca.device("alice@corp.example", serial=number)
    new = renewed.device("alice@corp.example", serial=number)
    paths = [os.path.join(place, n) for n in ("both.pem", "new.pem", "new.crl")]
    replace_file(paths[0], fresh_ca.pem + renewed.pem)
    replace_file(paths[1], renewed.pem)
    fresh_ca.write_crl(own.crl, [number])
    renewed.write_crl(paths[2])
    config = own(changes={"proxy.hosts.0.client_ca": [paths[0], _root(place, pki)],
                          "proxy.revocation.crls.2": {"issuer_ca": paths[1], "file": paths[2]}})
    proxy = start_proxy(config)
    assert (status(phone(proxy, old)), status(phone(proxy, new))) == (403, 200)


# who is meant

@pytest.mark.quick
def test_p29_the_same_serial_of_two_cas_is_two_certificates(start_proxy, own, phone, fresh_ca, pki, place):
    other = Authority("CN=Second CA", parent=pki.root)
    paths = [os.path.join(place, n) for n in ("both.pem", "second.pem", "second.crl")]
    replace_file(paths[0], fresh_ca.pem + other.pem)
    replace_file(paths[1], other.pem)
    serials = (1, 0x7f, 0x80, 0xff00, (1 << 159) - 1, 0x0102030405060708090a0b0c0d0e0f10)
    fresh_ca.write_crl(own.crl, serials)
    other.write_crl(paths[2])
    proxy = start_proxy(own(changes={"proxy.hosts.0.client_ca": [paths[0], _root(place, pki)],
                                     "proxy.revocation.crls.2": {"issuer_ca": paths[1], "file": paths[2]}}))
    for serial in serials:
        assert status(phone(proxy, fresh_ca.device("alice@corp.example", serial=serial))) == 403
        assert status(phone(proxy, other.device("alice@corp.example", serial=serial))) == 200
        assert status(phone(proxy, fresh_ca.device("alice@corp.example", serial=serial ^ 4))) == 200


def test_p29_the_bytes_of_a_serial_are_compared_as_a_whole(start_proxy, own, phone, fresh_ca):
    """0x80 is written with a zero in front, 0x0180 is no 0x80, and neither is the end of a longer one."""
    fresh_ca.write_crl(own.crl, [0x80])
    proxy = start_proxy(own())
    assert status(phone(proxy, fresh_ca.device("alice@corp.example", serial=0x80))) == 403
    for serial in (0x8000, 0x0180, 0x800000, 1 << 128 | 0x80, 0x8):
        assert status(phone(proxy, fresh_ca.device("alice@corp.example", serial=serial))) == 200


@pytest.mark.quick
def test_p26_a_revoked_intermediate_takes_all_below_it_with_it(
        start_proxy, configure, backend, phone, pki, alice, place):
    config = configure(backend)
    root_crl = config["proxy"]["revocation"]["crls"][1]["file"]
    proxy = start_proxy(config)
    device = phone(proxy, alice)
    hold = backend.when("Ping", answers.hold())
    ping = device.ping()
    hold.wait_waiting(backend)
    pki.root.write_crl(root_crl, [pki.device_ca])
    outcome = ping.wait(5)
    assert outcome is not None and outcome.status == 403
    assert status(device) == 403
    pki.root.write_crl(root_crl, [])
    wait_status(device, 200)


def test_p26_a_chain_with_an_issuer_that_no_list_covers_is_unknown(start_proxy, own, phone, fresh_ca, pki):
    below = Authority("CN=Below", parent=fresh_ca)
    proxy = start_proxy(own())
    assert status(phone(proxy, fresh_ca.device("alice@corp.example"))) == 200
    assert status(phone(proxy, below.device("alice@corp.example"))) == 503
    assert proxy.wait_event("fault", reason="revocation-unknown")


# delta lists

def test_p26_a_delta_adds_and_takes_back_and_must_fit_its_base(start_proxy, own, phone, fresh_ca, place):
    alice, bob = fresh_ca.device("alice@corp.example"), fresh_ca.device("bob@corp.example")
    delta = os.path.join(place, "delta.crl")
    fresh_ca.write_crl(own.crl, [(alice, 6)], number=10)
    fresh_ca.write_crl(delta, [], number=11, delta_of=10)
    proxy = start_proxy(own({"issuer_ca": own.issuer, "file": own.crl, "delta_file": delta}))
    both = lambda: (status(phone(proxy, alice)), status(phone(proxy, bob, user="bob")))     # noqa: E731
    assert both() == (403, 200)
    since = proxy.mark()
    fresh_ca.write_crl(delta, [(alice, 8), (bob, 1)], number=12, delta_of=10)       # 8: removeFromCRL
    proxy.wait_event("crl_loaded", since=since, delta_number="0c")
    assert both() == (200, 403)
    for wrong in (fresh_ca.crl([], number=13, delta_of=11), fresh_ca.crl([], number=11, delta_of=10),
                  fresh_ca.crl([], number=14), fresh_ca.crl([], number=14, delta_of=10, signer=new_key())):
        since = proxy.mark()
        replace_file(delta, wrong)
        proxy.wait_event("crl_refused", since=since)
        assert both() == (200, 403)
    fresh_ca.write_crl(delta, [], number=20, delta_of=10)
    wait_status(phone(proxy, alice), 403)                           # on hold again, as the base says
    assert both() == (403, 200)
    fresh_ca.write_crl(delta, [], number=21, delta_of=10, this_update=int(time.time()) - 60,
                       next_update=int(time.time()) - 5)
    wait_status(phone(proxy, bob, user="bob"), 503)                 # a base is as fresh as its delta


# from a server

class CrlServer:
    """Serves `content` at /crl; notes what it was asked. `answer(handler)` may do anything else."""

    def __init__(self):
        server = self
        self.content, self.answer, self.asked = b"", None, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append((self.path, self.headers.get("If-None-Match")))
                if server.answer:
                    server.answer(self)
                    return
                tag = '"%x"' % hash(server.content)
                same = self.headers.get("If-None-Match") == tag
                self.send_response(304 if same else 200)
                self.send_header("ETag", tag)
                self.send_header("Content-Length", "0" if same else str(len(server.content)))
                self.end_headers()
                if not same:
                    self.wfile.write(server.content)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/crl" % self.http.server_port
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def crl_server(made):
    return made(CrlServer())


@pytest.mark.quick
def test_p26_a_list_from_a_url_is_fetched_kept_and_asked_for_anew(start_proxy, own, phone, fresh_ca, crl_server):
    alice = fresh_ca.device("alice@corp.example")
    crl_server.content = fresh_ca.crl([])
    config = own({"issuer_ca": own.issuer, "url": crl_server.url})
    proxy = start_proxy(config)
    wait_status(phone(proxy, alice), 200)
    crl_server.content = fresh_ca.crl([alice])
    assert wait_status(phone(proxy, alice), 403) < WITHIN + 0.5
    for _ in range(60):
        if any(tag for _, tag in crl_server.asked):
            break
        time.sleep(0.05)
    assert any(tag for _, tag in crl_server.asked), "never asked whether it had changed"
    proxy.stop()
    crl_server.answer = lambda h: h.send_error(500)
    proxy = start_proxy(config)                 # what was fetched last is on disk
    assert status(phone(proxy, alice)) == 403
    assert "500" in proxy.wait_event("crl_refused", source=crl_server.url)["reason"]


def _moved(h, data):
    h.send_response(302)
    h.send_header("Location", "http://169.254.169.254/")
    h.end_headers()


def _with_length(h, data, length):
    h.send_response(200)
    h.send_header("Content-Length", str(length))
    h.end_headers()
    h.wfile.write(data)


FAILURES = {
    "moved": (_moved, "redirect"),
    "cut": (lambda h, forged: _with_length(h, forged, len(forged) + 1000), ""),
    "forged": (lambda h, forged: _with_length(h, forged, len(forged)), "signature"),
    "empty": (lambda h, forged: _with_length(h, b"", 0), "empty"),
    "html": (lambda h, forged: _with_length(h, b"<html>", 6), ""),
    "missing": (lambda h, forged: h.send_error(404), "404"),
    "closed": (lambda h, forged: None, ""),
    "endless": (lambda h, forged: _with_length(h, b"x", 1 << 40), ""),
}


def test_p26_a_server_that_fails_in_any_way_changes_nothing(
        start_proxy, configure, backend, phone, pki, place, crl_server):
    many = Many(list(FAILURES), pki, place)
    good = {}
    for entry, (name, path) in zip(many.entries, many.crls.items()):
        with open(path, "rb") as f:
            good[name] = f.read()
        entry["url"] = "%s/%s" % (crl_server.url, name)
        del entry["file"]
    failing = threading.Event()

    def answer(h):
        name = h.path.rpartition("/")[2]
        if failing.is_set():
            FAILURES[name][0](h, many.cas[name].crl([many.alice[name]], signer=new_key()))
        else:
            _with_length(h, good[name], len(good[name]))
    crl_server.answer = answer
    config = configure(backend)
    proxy = start_proxy(settings.changed(config, many.changes(config)))
    for name in FAILURES:
        wait_status(phone(proxy, many.alice[name]), 200)
    since = proxy.mark()
    failing.set()
    for entry, (name, (_, word)) in zip(many.entries, FAILURES.items()):
        assert word in proxy.wait_event("crl_refused", since=since, source=entry["url"])["reason"]
        assert many.judge(phone, proxy, name) == (200, 403), name


def test_p26_a_server_that_never_answers_makes_the_list_old_and_nobody_wait(
        start_proxy, own, phone, fresh_ca, crl_server):
    alice = fresh_ca.device("alice@corp.example")
    crl_server.content = fresh_ca.crl([])
    proxy = start_proxy(own({"issuer_ca": own.issuer, "url": crl_server.url},
                            changes={"proxy.revocation.max_age_seconds": 10}))
    wait_status(phone(proxy, alice), 200)
    gone = threading.Event()
    crl_server.answer = lambda h: gone.wait(30)
    try:
        began = time.monotonic()
        while (last := status(phone(proxy, alice))) == 200:
            assert time.monotonic() - began < 20
            time.sleep(0.2)
        assert last == 503 and time.monotonic() - began > 5
    finally:
        gone.set()
        crl_server.answer = None


# reload

def test_p26_a_reload_that_adds_an_issuer_takes_its_list_and_one_that_drops_it_makes_it_unknown(
        start_proxy, configure, backend, phone, pki, alice, place, own, fresh_ca):
    config = own()
    proxy = start_proxy(config)
    mine = phone(proxy, fresh_ca.device("alice@corp.example"))
    assert status(mine) == 200
    entries = config["proxy"]["revocation"]["crls"]
    config["proxy"]["revocation"]["crls"] = entries[1:]
    assert proxy.reload(config)["event"] == "reloaded"
    wait_status(mine, 503)
    config["proxy"]["revocation"]["crls"] = entries
    assert proxy.reload(config)["event"] == "reloaded"
    wait_status(mine, 200)


def test_p51_a_revocation_process_that_is_killed_is_back_and_misses_nothing(
        start_proxy, configure, backend, phone, pki, alice, bob, crl):
    proxy = start_proxy(configure(backend))
    device = phone(proxy, alice)
    assert status(device) == 200
    pid, = inside.by_role(proxy)["revocation"]
    since = proxy.mark()
    os.kill(pid, signal.SIGKILL)
    pki.device_ca.write_crl(crl, [alice])
    proxy.wait_event("crl_loaded", since=since, revoked=1)
    wait_status(device, 403)
    assert status(phone(proxy, bob, user="bob")) == 200
