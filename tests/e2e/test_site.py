"""The test site itself: each part does what the other tests rely on. Needs no easproxy."""
import os
import re
import socket
import ssl
import subprocess
import threading
import time

import ldap
import pytest
from cryptography import x509

from site_ import answers, der, settings, wbxml
from site_.device import EAS, Device, base64_query, curl, s_client
from site_.http1 import Reader, Request
from site_.pki import SID_OID, Authority, sid_extension, upn_raw
from site_.process import Daemon
from site_.proxy import Proxy


# Active Directory

def test_the_stock_clients_get_all_that_the_domain_offers(ad):
    done = ad.run(os.path.join(os.path.dirname(__file__), "..", "site", "ad-testbed"), "check", ad.place, check=False)
    assert done.returncode == 0, done.stdout
    assert len(re.findall("^ok: ", done.stdout, re.M)) == 10


def test_the_proxys_keytab_becomes_alice_at_the_mail_server_by_s4u(ad):
    cache = "FILE:" + os.path.join(ad.place, "run", "s4u.cc")
    ad.run("env", "KRB5CCNAME=" + cache, "kinit", "-k", "-t", ad.keytab, ad.principal)
    done = ad.run("env", "KRB5CCNAME=" + cache, "kvno", "-I", "alice@" + ad.realm, "-P", ad.mail.spn)
    assert "HTTP/mail.corp.example@CORP.EXAMPLE: kvno" in done.stdout


def test_a_keytab_that_may_not_delegate_gets_no_ticket(ad):
    cache = "FILE:" + os.path.join(ad.place, "run", "s4u2.cc")
    ad.run("env", "KRB5CCNAME=" + cache, "kinit", "-k", "-t", ad.keytab_of("svc-nodeleg"), "svc-nodeleg")
    done = ad.run("env", "KRB5CCNAME=" + cache, "kvno", "-I", "alice@" + ad.realm, "-P", ad.mail.spn, check=False)
    assert done.returncode != 0


def test_ldaps_answers_with_the_account_and_its_sid(ad):
    assert ad.get("alice", "userPrincipalName") == "alice@corp.example"
    assert re.fullmatch(r"S-1-5-21-\d+-\d+-\d+-\d+", ad.sid("alice"))
    with ad.connection(ad.reader, ad.reader_password) as handle:
        found = handle.search_s(ad.base, ldap.SCOPE_SUBTREE,
                                "(&(sAMAccountName=alice)(memberOf:1.2.840.113556.1.4.1941:=%s))" % ad.users, ["cn"])
    assert [dn for dn, _ in found if dn] == ["CN=alice,OU=People,DC=corp,DC=example"]


def test_an_account_can_be_made_disabled_enabled_locked_and_given_a_new_password(ad):
    sam = ad.account()
    assert ad.password_is(sam, "Passw0rd." + sam)
    ad.disable(sam)
    assert not ad.password_is(sam, "Passw0rd." + sam)
    ad.enable(sam)
    ad.change_password(sam, "An0ther.Passw0rd")
    assert ad.password_is(sam, "An0ther.Passw0rd")
    ad.lock(sam)
    assert not ad.password_is(sam, "An0ther.Passw0rd")
    ad.unlock(sam)
    assert ad.password_is(sam, "An0ther.Passw0rd")
    ad.delete(sam)
    with pytest.raises(KeyError):
        ad.find(sam)


def test_the_dc_can_be_paused_stopped_and_started(own_ad):
    own_ad.pause()
    with own_ad.netns.connect(("127.0.0.1", 389)) as s, pytest.raises(TimeoutError):
        s.settimeout(0.3)
        s.sendall(bytes.fromhex("300c020101600702010304008000"))       # anonymous bind
        s.recv(1)
    own_ad.resume()
    assert own_ad.get("alice", "cn") == "alice"
    own_ad.stop()
    with pytest.raises(ConnectionRefusedError):
        own_ad.netns.connect(("127.0.0.1", 636))
    own_ad.start()
    assert own_ad.get("alice", "cn") == "alice"


def test_the_kdc_alone_can_go_away_refused_or_silent(own_ad):
    own_ad.block("kdc")
    with pytest.raises(ConnectionRefusedError):
        own_ad.netns.connect(("127.0.0.1", 88))
    assert own_ad.get("alice", "cn") == "alice"
    own_ad.unblock("kdc")
    own_ad.netns.connect(("127.0.0.1", 88)).close()
    own_ad.block("kdc", silently=True)
    with pytest.raises(TimeoutError):
        own_ad.netns.connect(("127.0.0.1", 88), timeout=0.3)


# Kerberos mail server

def test_the_mail_server_takes_kerberos_and_its_access_log_names_the_user(ad):
    since = ad.mail.mark()
    cache = "FILE:" + os.path.join(ad.place, "run", "http.cc")
    ad.run("env", "KRB5CCNAME=" + cache, "kinit", "-k", "-t", ad.keytab, ad.principal)
    url = ad.mail.tls_url + EAS + "?Cmd=Sync&User=siteproof"
    shown = ad.run("env", "KRB5CCNAME=" + cache, "curl", "-s", "--cacert", ad.ca, "--negotiate", "-u", ":", url)
    assert "REMOTE_USER=svc-easproxy@CORP.EXAMPLE" in shown.stdout
    entry = ad.mail.wait_access(user="svc-easproxy@CORP.EXAMPLE", request="siteproof", since=since)
    assert entry["status"] == 200
    refused = ad.run("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", ad.mail.url + EAS)
    assert refused.stdout == "401"


def test_a_ping_at_the_kerberos_mail_server_is_held_until_it_is_woken(own_ad):
    cache = "FILE:" + os.path.join(own_ad.place, "run", "ping.cc")
    own_ad.run("env", "KRB5CCNAME=" + cache, "kinit", "-k", "-t", own_ad.keytab, own_ad.principal)
    client = Daemon(["env", *("%s=%s" % e for e in own_ad.env.items()), "KRB5CCNAME=" + cache, "curl", "-s",
                     "--negotiate", "-u", ":", own_ad.mail.url + EAS + "?Cmd=Ping"], own_ad.netns)
    with pytest.raises(AssertionError, match="0.5 s passed"):
        client.stdout.wait(lambda line: True, timeout=0.5)
    own_ad.mail.wake()
    client.stdout.wait(lambda line: line.startswith("REMOTE_USER=svc-easproxy@"))
    assert client.wait(5) == 0


# SOGo

def test_sogo_answers_options_with_basic_and_with_the_trusted_header(sogo):
    for url, credential in ((sogo.basic, ["-u", "alice:alicepw"]), (sogo.trusting, ["-H", "X-EAS-User: alice"]),
                            (sogo.basic_tls, ["--cacert", sogo.ca, "-u", "bob:bobpw"])):
        argv = ["curl", "-sS", "-i", "-X", "OPTIONS", *credential, url + EAS]
        done = subprocess.run(sogo.netns.command(argv), stdout=subprocess.PIPE, text=True, check=True)
        assert done.stdout.startswith("HTTP/1.1 200") and "MS-ASProtocolVersions: 2.5" in done.stdout
    wrong = subprocess.run(sogo.netns.command(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "OPTIONS",
                                               "-u", "alice:wrong", sogo.basic + EAS]), stdout=subprocess.PIPE)
    assert wrong.stdout == b"401"


def test_a_phone_finds_the_delivered_mail_at_sogo(sogo):
    subject = "Site proof %d" % time.monotonic_ns()
    sogo.deliver("bob", subject)
    phone = Device("127.0.0.1:8081", user="bob", netns=sogo.netns, plain=True, device_id="SITEPROOF%d" % os.getpid())
    who = [("X-EAS-User", "bob")]
    folders = wbxml.decode(phone.folder_sync(headers=who).body)
    assert wbxml.all_of(folders, "Status")[0] == "1"
    adds = [child for child in _child(folders, "Changes")[1:] if child[0] == "Add"]
    inbox = next(_child(add, "ServerId")[1] for add in adds if _child(add, "Type")[1] == "2")
    first = wbxml.decode(phone.sync("0", inbox, headers=who).body)
    subjects, key = [], wbxml.all_of(first, "SyncKey")[0]
    while (response := phone.sync(key, inbox, headers=who)).body:
        document = wbxml.decode(response.body)
        subjects += wbxml.all_of(document, "Subject")
        key = wbxml.all_of(document, "SyncKey")[0]
    assert subject in subjects
    phone.close()


def _child(element, tag):
    return next(child for child in element[1:] if isinstance(child, tuple) and child[0] == tag)


# Redis

def test_redis_holds_the_shared_keys_in_the_form_the_nodes_expect(redis_server, pki):
    cert = pki.device_ca.device("alice@corp.example", serial=0x0A)
    redis_server.revoke(pki.device_ca, cert, reason=4, when=1700000000)
    redis_server.crl(pki.device_ca, number=7)
    issuer = pki.device_ca.spki_hash
    assert redis_server.client.hgetall("easgate:revoked:" + issuer) == {"a": "4 1700000000"}
    assert redis_server.client.hget("easgate:crl:" + issuer, "number") == "7"
    (_, entry), = redis_server.client.xrange("easgate:events")
    assert entry["type"] == "revoked" and entry["serial"] == "a" and len(entry["mac"]) == 64


def test_redis_keeps_its_data_over_a_restart_and_can_hang_and_pause(redis_server):
    redis_server.client.set("kept", "yes")
    redis_server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", redis_server.port))
    redis_server.start()
    assert redis_server.client.get("kept") == "yes"
    redis_server.hang()
    with socket.create_connection(("127.0.0.1", redis_server.port)) as s, pytest.raises(TimeoutError):
        s.settimeout(0.3)
        s.sendall(b"PING\r\n")
        s.recv(1)
    redis_server.resume()
    redis_server.pause(0.3)
    began = time.monotonic()
    redis_server.client.ping()
    assert time.monotonic() - began > 0.2
    redis_server.flush()
    assert redis_server.client.get("kept") is None


# The recording backend

def direct(backend, **kw):
    """A phone that speaks to the backend itself, without a proxy between."""
    return Device(backend.address, plain=not backend.url.startswith("https"), **kw)


def test_the_backend_keeps_exactly_the_bytes_it_received(backend):
    data = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nleft"
    with direct(backend).connect() as line:
        line.send(data)
        assert line.response().status == 200
        backend.wait(lambda: backend.received() == data)
    request, = backend.wait_requests(1)
    assert request.body == b"abc" and bytes(request.raw) == data[:-4]
    backend.wait_idle()
    assert backend.connections[0].rest == b"left"


def test_the_backend_behaves_as_it_is_told(backend):
    phone = direct(backend)
    backend.when("Sync", answers.chunked(b"one", b"two"))
    backend.queue(answers.ok(b"queued"))
    assert phone.folder_sync().body == b"queued"
    assert phone.sync().body == b"onetwo"
    assert phone.options().get("MS-ASProtocolVersions").endswith("16.1")
    assert len(backend.connections) == 1
    backend.default = answers.http10(b"until the end")
    assert phone.folder_sync().body == b"until the end"
    backend.default = answers.interim(3)
    assert len(phone.folder_sync().interim) == 3
    backend.default = answers.cut(1000, b"half")
    with pytest.raises(EOFError):
        phone.folder_sync()
    backend.default = answers.cut(1000, b"half", reset=True)
    with pytest.raises((ConnectionResetError, EOFError)):
        phone.folder_sync()
    backend.default = answers.hang_up()
    assert phone.folder_sync() is None
    backend.default = answers.huge_headers(50, 100)
    assert len(phone.folder_sync().headers) == 51
    backend.default = answers.slow(b"slowly", seconds=0.01)
    assert phone.folder_sync().body == b"slowly"
    backend.default = answers.early(413)
    assert phone.folder_sync().status == 413
    phone.close()


def test_the_backend_answers_twice_sends_garbage_and_continues(backend):
    with direct(backend).connect() as line:
        backend.default = answers.twice(b"1", b"2")
        assert line.request("POST", EAS).body == b"1"
        assert line.response().body == b"2"
        backend.default = answers.continue_first(answers.ok(b"done"))
        line.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert line.reader.head(Request).start == "HTTP/1.1 100 Continue"
        line.send(b"body")
        assert line.response().body == b"done"
        backend.default = answers.raw(b"\0\1garbage\r\n\r\n")
        line.send(b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert line.reader.head(Request).start == "\0\1garbage"
    assert [r.method for r in backend.requests] == ["POST", "POST", "OPTIONS"]


def test_a_held_ping_is_released_or_noticed_to_be_abandoned(backend):
    hold = backend.when("Ping", answers.hold())
    phone = direct(backend)
    first, second = phone.ping(), phone.ping()
    hold.wait_waiting(backend, 2)
    second.line.vanish()
    hold.wait_abandoned(backend, 1)
    assert first.waiting
    hold.release()
    assert first.wait().body.endswith(b"released")
    phone.close()


def test_a_held_ping_that_is_cut_tells_when(backend):
    hold = backend.when("Ping", answers.hold())
    phone = direct(backend)
    ping = phone.ping()
    hold.wait_waiting(backend)
    threading.Timer(0.2, backend.stop).start()
    assert 0.1 < ping.wait_cut() < 2
    phone.close()


def test_the_backend_can_be_stopped_and_started_on_its_port(backend):
    phone = direct(backend)
    assert phone.options().status == 200
    port = backend.port
    backend.stop()
    assert phone.line.closed()
    with pytest.raises(ConnectionRefusedError):
        phone.connect()
    backend.start()
    assert backend.port == port and direct(backend).options().status == 200
    phone.close()


def test_a_relay_slices_hangs_refuses_and_cuts(backend, start_relay):
    relay = start_relay(("127.0.0.1", backend.port), mode="slice")
    phone = Device(relay.address, plain=True)
    assert phone.folder_sync().status == 200
    relay.mode = "hang"
    ping = phone.ping()
    with pytest.raises(AssertionError, match="still held"):
        ping.wait(0.3)
    relay.mode = "pass"
    assert ping.wait().status == 200
    relay.cut()
    assert phone.line.closed()
    relay.refuse()
    with pytest.raises(ConnectionRefusedError):
        phone.connect()
    phone.close()


def test_a_backend_in_the_domains_namespace_is_reached_there_and_not_from_outside(ad, start_backend):
    backend = start_backend(netns=ad.netns)
    phone = direct(backend, netns=ad.netns)
    assert phone.options().status == 200
    with pytest.raises(ConnectionRefusedError):
        direct(backend).connect()
    phone.close()


# Certificates, phone, TLS

def test_a_tls_backend_shows_its_certificate_and_sees_the_server_name(start_backend, pki):
    backend = start_backend(tls=pki.server_ca.server("mail.corp.example"))
    phone = direct(backend, ca=pki.server_ca.pem, server_name="mail.corp.example")
    assert phone.options().status == 200
    assert backend.connections[0].server_name == "mail.corp.example"
    with pytest.raises(ssl.SSLCertVerificationError):
        direct(backend, ca=pki.other_ca.pem).connect()
    phone.close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_phone_resumes_a_session_and_knows_that_it_did(start_backend, pki, version):
    backend = start_backend(tls=pki.mail)
    phone = direct(backend, ca=pki.server_ca.pem, versions=(version, version))
    with phone.connect() as line:
        line.request("OPTIONS", EAS)
        session = line.session
        assert not line.resumed
    with phone.connect(session) as line:
        assert line.request("OPTIONS", EAS).status == 200
        assert line.resumed


def test_a_missing_client_certificate_is_refused_by_an_alert(start_backend, pki):
    backend = start_backend(tls=pki.mail, client_ca=pki.root.pem.decode())
    assert direct(backend, ca=pki.server_ca.pem).refusal() == "certificate required"
    device = pki.device_ca.device("alice@corp.example")
    phone = direct(backend, identity=device, ca=pki.server_ca.pem)
    assert phone.options().status == 200
    phone.close()
    status, out, _ = curl(backend.address, "-X", "OPTIONS", "-i", identity=device, ca=pki.server_ca.pem)
    assert status == 0 and out.startswith(b"HTTP/1.1 200")
    shown = s_client(backend.address, "-quiet", identity=device,
                     send=b"OPTIONS / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert "HTTP/1.1 200" in shown


def test_openssl_accepts_the_chain_and_the_crl_and_finds_the_revoked(pki, place):
    good, bad = pki.device_ca.device("alice@corp.example"), pki.device_ca.device("bob@corp.example")
    trust = os.path.join(place, "trust.pem")
    with open(trust, "wb") as f:
        f.write(pki.root.pem + pki.device_ca.pem)
    crl = pki.device_ca.write_crl(os.path.join(place, "ca.crl"), [(bad, 1)])

    def verify(identity, base):
        cert, _ = identity.write(place, base)
        return subprocess.run(["openssl", "verify", "-purpose", "sslclient", "-CAfile", trust, "-CRLfile", crl,
                               "-crl_check", cert], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    assert verify(good, "good").endswith("good.pem: OK\n")
    assert "certificate revoked" in verify(bad, "bad")
    assert "signature failure" in verify(good.forged(), "forged")


def test_a_crl_may_be_der_a_delta_large_and_wrongly_signed(pki):
    ca = Authority("Large CA")
    loaded = x509.load_der_x509_crl(ca.crl(range(1, 20001), number=5, pem=False))
    assert len(loaded) == 20000 and loaded.is_signature_valid(ca.cert.public_key())
    delta = x509.load_pem_x509_crl(ca.crl([(77, 8)], number=6, delta_of=5, next_update=None))
    assert delta.extensions.get_extension_for_class(x509.DeltaCRLIndicator).value.crl_number == 5
    assert delta.get_revoked_certificate_by_serial_number(77) is not None
    forged = x509.load_pem_x509_crl(ca.crl([1], signer=pki.other_ca.key))
    assert not forged.is_signature_valid(ca.cert.public_key())
    idp = der.sequence(der.context(1, b"\xff", constructed=False))
    partial = x509.load_pem_x509_crl(ca.crl([1], idp=idp))
    point = partial.extensions.get_extension_for_class(x509.IssuingDistributionPoint).value
    assert point.only_contains_user_certs


def test_a_device_certificate_carries_upn_and_sid_as_active_directory_writes_them(pki):
    sid = "S-1-5-21-1111111111-222222222-333333333-1104"
    identity = pki.device_ca.device("alice@corp.example", sid=sid, mail="alice@example.com")
    san = identity.cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    other, = san.get_values_for_type(x509.OtherName)
    assert other.type_id.dotted_string == "1.3.6.1.4.1.311.20.2.3"
    assert other.value == b"\x0c\x12alice@corp.example"
    assert san.get_values_for_type(x509.RFC822Name) == ["alice@example.com"]
    raw = next(e for e in identity.cert.extensions if e.oid.dotted_string == SID_OID)
    assert raw.value.value == bytes.fromhex("303ea03c060a2b060104018237190201a02e042c") + sid.encode()
    assert len(identity.chain) == 1


def test_certificates_may_be_wrong_in_every_way_a_test_needs(pki):
    now = int(time.time())
    made = [pki.device_ca.device(b"alice@corp\0.example"), pki.device_ca.device(b""),
            pki.device_ca.device("a@b", extensions=[sid_extension(b"")]),
            pki.device_ca.device(san=[upn_raw(der.tlv(0x1E, "alice@corp.example".encode("utf-16-be")))]),
            pki.device_ca.device("a@b", eku=None), pki.device_ca.device("a@b", basic_constraints=(True, None)),
            pki.device_ca.device("a@b", not_before=now + 3600), pki.device_ca.device("a@b", not_after=now - 60),
            pki.device_ca.device("a@b", serial=2 ** 150), pki.device_ca.device("a@b", key_usage=("key_cert_sign",)),
            pki.device_ca.device("a@b", cn="x\0y")]
    assert len({identity.sha256 for identity in made}) == len(made)
    assert b"alice@corp\0.example" in made[0].der


def test_the_base64_query_of_the_specification_is_written_byte_for_byte():
    assert base64_query("Sync", "v140Device", "SmartPhone", version=140) == "jAAJBAp2MTQwRGV2aWNlAApTbWFydFBob25l"


def test_wbxml_is_written_as_phones_write_it_and_read_back():
    assert wbxml.folder_sync("0") == bytes.fromhex("03016a00000756520330000101")
    assert wbxml.decode(wbxml.ping(600, ["5"])) == (
        "Ping", ("HeartbeatInterval", "600"), ("Folders", ("Folder", ("Id", "5"), ("Class", "Email"))))


def test_the_reader_lists_what_two_readers_could_see_differently():
    head = b"POST / HTTP/1.1\r\nHost: a\nBad Name: x\r\n Folded: y\r\nN: a\0b\r\n\r\n"
    data = iter([head])
    request = Reader(lambda _: next(data, b"")).head(Request)
    assert len(request.problems) == 4


# Processes

def test_a_process_that_leaves_a_child_behind_is_found_out():
    daemon = Daemon(["/bin/sh", "-c", "env -i sleep 60 >/dev/null 2>&1 & echo begun; exec sleep 60"])
    daemon.stdout.wait(lambda line: line == "begun")
    assert daemon.stop() == -15
    with pytest.raises(AssertionError, match="left behind"):
        daemon.assert_nothing_left()
    assert daemon.pids() == []


FAKE = """#!/usr/bin/python3
import json, os, signal, sys
WAITED = {signal.SIGTERM, signal.SIGHUP}
signal.pthread_sigmask(signal.SIG_BLOCK, WAITED)        # one that comes before sigwait() is not lost, as it is to pause()
def say(**line): os.write(2, json.dumps(line).encode() + b"\\n")
say(event="listening", what="proxy", address="127.0.0.1:1")
say(event="ready")
if "report" in open(sys.argv[2]).read(): os.write(2, b"x.c:1:2: runtime error: overflow\\n")
while signal.sigwait(WAITED) == signal.SIGHUP: say(event="reloaded")
sys.exit(int(sys.argv[2].endswith("bad")))
"""


@pytest.fixture
def fake(place):
    """A program that has easproxy's manners, to test how it is watched."""
    path = os.path.join(place, "fake")
    with open(path, "w") as f:
        f.write(FAKE)
    os.chmod(path, 0o755)
    return path


def test_a_proxy_is_ready_reloads_and_stops_by_its_log_lines(fake, place):
    proxy = Proxy({"a": 1}, place, program=fake)
    assert proxy.address() == "127.0.0.1:1"
    assert proxy.reload({"a": 2}) == {"event": "reloaded"}
    with pytest.raises(AssertionError, match="no event never"):
        proxy.wait_event("never", timeout=0.1)
    proxy.stop()


def test_a_sanitizers_report_fails_the_stop(fake, place):
    proxy = Proxy("report", place, program=fake)
    proxy.log.wait(lambda line: "runtime error" in str(line))
    with pytest.raises(AssertionError, match="runtime error"):
        proxy.stop()


def test_a_configuration_is_changed_by_paths_without_touching_the_original(configure, backend):
    config = configure(backend)
    changed = settings.changed(config, {"proxy.hosts.0.policy": "other", "redis.servers": ["a:1"],
                                        "proxy.limits": None, "proxy.identity.0": None})
    assert changed["proxy"]["hosts"][0]["policy"] == "other"
    assert changed["redis"] == {"servers": ["a:1"]} and changed["proxy"]["identity"] == ["upn"]
    assert "limits" in config["proxy"] and config["proxy"]["identity"] == ["sid", "upn"]
