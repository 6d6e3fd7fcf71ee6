"""The *kerberos* process alone, against a real AD: who gets a token, who does not and why, and what happens without a KDC.

tests/tools/kerberos_driver plays master, directory and worker; its head says which commands there are.
"""
import base64
import http.client
import json
import os
import struct
import subprocess
import time

import pytest
import yaml

from site_ import relay as relays
from site_.process import LineLog, with_parent

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
TOOLS = os.path.join(os.environ.get("BUILD", os.path.join(ROOT, "build")), "tools")
DRIVER, AGING = os.path.join(TOOLS, "kerberos_driver"), os.path.join(TOOLS, "kerberos_aging")
REALM = "CORP.EXAMPLE"
# services of the upstreams in the configuration below; the last one is of an upstream that does not use Kerberos
MAIL, NOT_LISTED, UNKNOWN, HEADER = ("HTTP/%s.corp.example" % host for host in ("mail", "mail2", "nowhere", "header"))


def configuration(place, ad, reverse=False, **kerberos):
    """A whole configuration, of which only `kerberos` and `upstreams` matter here. reverse: the upstreams from the end."""
    def upstream(name, **credential):
        return dict({"name": name, "servers": ["http://mail.corp.example"]}, **credential)
    config = {
        "user": "nobody", "state_dir": place, "run_dir": place, "log": {"level": "debug"},
        "directory": {"kind": "file", "file": os.path.join(place, "accounts.yaml")},
        "proxy": {
            "listeners": [{"address": "127.0.0.1:0"}],
            "hosts": [{"names": ["mail.example.com"], "certificate": "/x", "key": "/x", "client_ca": ["/x"],
                       "policy": "default", "upstream": "mail"}],
            "identity": ["upn"],
            "revocation": {"crls": [{"issuer_ca": "/x", "file": "/x"}]},
            "policies": [{"name": "default", "required_group": "", "device": "any"}],
            "upstreams": [upstream("mail", credential="kerberos", spn=MAIL),
                          upstream("not-listed", credential="kerberos", spn=NOT_LISTED),
                          upstream("unknown", credential="kerberos", spn=UNKNOWN),
                          upstream("header", credential="header", header="X-User", header_value="sam", spn=HEADER)],
            "kerberos": dict({"principal": ad.principal, "keytab": ad.keytab, "kdcs": ["127.0.0.1:88"], "processes": 1,
                              "timeout_ms": 2000}, **kerberos),
        },
    }
    if reverse:
        config["proxy"]["upstreams"].reverse()
    path = os.path.join(place, "kerberos.yaml")
    with open(path, "w") as f:
        yaml.safe_dump(config, f)
    return path


class Tool:
    """A program that is told a line and answers one. The machine's own Kerberos configuration is poison to it."""

    def __init__(self, program, place, ad, **kerberos):
        assert os.access(program, os.X_OK), program + " is not built: make tests-bin"
        env = dict(os.environ, KRB5_CONFIG="/proc/poison/krb5.conf", KRB5_KTNAME="FILE:/proc/poison", KRB5CCNAME="KCM:")
        self.popen = subprocess.Popen(with_parent(ad.netns.command([program, configuration(str(place), ad, **kerberos)])), env=env,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.log = LineLog(self.popen.stderr)

    def _answer(self):
        line = self.popen.stdout.readline()
        assert line, "the driver has gone:\n" + self.log.tail()
        return json.loads(line)

    def _do(self, *words):
        self.popen.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.popen.stdin.flush()
        return self._answer()

    def close(self):
        if self.popen.poll() is None:
            try:
                self.popen.stdin.close()
            except BrokenPipeError:
                pass
            self.popen.wait(60)
        self.popen.stdout.close()
        self.log.join()
        assert "Sanitizer" not in "\n".join(self.log.lines), self.log.tail(60)


class Kerberos(Tool):
    """One kerberos process and the driver beside it."""

    def __init__(self, place, ad, **kerberos):
        super().__init__(DRIVER, place, ad, **kerberos)
        self._answer()

    def token(self, sam, service=MAIL, voucher="good", realm=REALM):
        answer = self._do("token", sam, realm, service, voucher)
        assert bool(answer["token"]) == (answer["result"] == "ok"), answer
        assert bool(answer["text"]) == (answer["result"] != "ok"), answer
        return answer

    def forget(self, sam):
        self._do("forget", sam, REALM)

    def raw(self, verb, data):
        return self._do("raw", verb, data.hex())

    def flood(self, count, sam):
        return self._do("flood", count, sam, REALM, MAIL)

    def rounds(self, count, sam):
        return self._do("rounds", count, sam, REALM, MAIL)

    def many(self, count, sam):
        return self._do("many", count, sam, REALM, MAIL)

    def state(self):
        return self._do("state")

    def drain(self):
        return self._do("drain")


class Aging(Tool):
    """The inside of a kerberos process, whose tickets a test may let grow old."""

    def __init__(self, place, ad, **kerberos):
        super().__init__(AGING, place, ad, **kerberos)

    def token(self, sam):
        """"fresh", "cached" or "none"."""
        answer = self._do("token", sam)
        assert (answer["result"] == 1) == (answer["bytes"] > 0), answer
        return "none" if answer["result"] != 1 else "cached" if answer["cached"] else "fresh"

    def age_ticket(self, sam, hours):
        return self._do("age-ticket", sam, int(hours * 3600))["left"]

    def age_own(self, hours):
        return self._do("age-own", int(hours * 3600))["left"]

    def state(self):
        return self._do("state")


def ask_mail_server(ad, token):
    """(status, body) of the bed's httpd for a request with this token."""
    with ad.netns.inside():
        connection = http.client.HTTPConnection("127.0.0.1", 80, timeout=10)
        connection.request("OPTIONS", "/Microsoft-Server-ActiveSync",
                           headers={"Host": "mail.corp.example", "Authorization": "Negotiate " + token})
    try:
        answer = connection.getresponse()
        return answer.status, answer.read().decode("utf-8", "replace")
    finally:
        connection.close()


def keytab_with_another_key(path, principal, kvno=1):
    """A well-formed keytab (format 5.2) whose AES-256 key is not the account's."""
    name, realm = principal.split("@")
    counted = lambda text: struct.pack(">H", len(text)) + text.encode()
    entry = (struct.pack(">H", 1) + counted(realm) + counted(name) + struct.pack(">IIB", 1, int(time.time()), kvno)
             + struct.pack(">HH", 18, 32) + os.urandom(32))
    with open(path, "wb") as f:
        f.write(b"\x05\x02" + struct.pack(">i", len(entry)) + entry)
    return path


@pytest.fixture
def start(made, place, ad):
    """start(ad=..., timeout_ms=...): a Kerberos, closed when the test is over."""
    return lambda bed=ad, **kerberos: made(Kerberos(place, bed, **kerberos))


# --- who gets one ---

def test_the_mail_server_takes_the_token_for_the_account_that_was_asked_for(start, ad):
    process = start()
    answer = process.token("alice")
    assert (answer["result"], answer["cached"]) == ("ok", 0), answer
    status, body = ask_mail_server(ad, answer["token"])
    assert status == 200 and "alice@CORP.EXAMPLE" in body


def test_tokens_from_a_cached_ticket_are_fresh_each_and_good_once(start, ad):
    process = start()
    first, second = process.token("alice"), process.token("alice")
    assert (second["result"], second["cached"]) == ("ok", 1)
    assert first["token"] != second["token"]
    assert ask_mail_server(ad, second["token"])[0] == 200
    assert ask_mail_server(ad, first["token"])[0] == 200
    assert ask_mail_server(ad, first["token"])[0] == 401        # a replay


def test_tickets_of_two_accounts_are_never_mixed_up(start, ad):
    process = start()
    for _ in range(3):
        for sam in ("load01", "load02", "bob"):
            status, body = ask_mail_server(ad, process.token(sam)["token"])
            assert status == 200 and sam + "@CORP.EXAMPLE" in body


def test_a_token_carries_no_credentials_that_could_be_used_further(start):
    """GSSAPI's checksum (RFC 4121 4.1.1) with its flags is encrypted; a delegated TGT would double the token."""
    token = base64.b64decode(start().token("alice")["token"])
    assert token[:1] == b"\x60" and b"\x2b\x06\x01\x05\x05\x02" in token[:16] and len(token) < 3000
    assert b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a" not in token         # no NTLM beside Kerberos


# --- who does not, and the reason ---

@pytest.mark.parametrize("sam, service, result, words", [
    ("nobody1", MAIL, "denied", "does not know nobody1@CORP.EXAMPLE"),
    ("carol", MAIL, "denied", "disabled"),
    ("dave", MAIL, "denied", "expired"),
    ("erin", MAIL, "denied", "password has expired or must be changed"),
    ("frank", MAIL, "denied", "sensitive"),
    ("alice", NOT_LISTED, "denied", "msDS-AllowedToDelegateTo"),
    ("alice", UNKNOWN, "denied", "no account owns the SPN HTTP/nowhere.corp.example"),
    ("alice", HEADER, "denied", "has this spn in the configuration in force"),
])
def test_39_a_denial_names_cause_and_cure(start, sam, service, result, words):
    answer = start().token(sam, service)
    assert answer["result"] == result and words in answer["text"], answer


def test_39_a_question_means_the_same_service_whatever_the_order_of_the_upstreams(start, ad):
    process = start(reverse=True)
    answer = process.token("alice", MAIL)
    assert answer["result"] == "ok" and ask_mail_server(ad, answer["token"])[0] == 200, answer
    assert "msDS-AllowedToDelegateTo" in process.token("alice", NOT_LISTED)["text"]


@pytest.mark.parametrize("service", [
    "-", "HTTP/dc1.corp.example", "cifs/dc1.corp.example", "ldap/dc1.corp.example", "krbtgt/CORP.EXAMPLE", MAIL + "@CORP.EXAMPLE",
    MAIL.lower(), MAIL + ".", MAIL[:-1], MAIL + "/x", "0", "HTTP/" + "m" * 250])
def test_39_a_service_that_is_not_configured_is_refused_and_audited_and_no_kdc_hears_of_it(start, service):
    process = start()
    assert process.token("alice", MAIL)["result"] == "ok"
    answer = process.token("alice", service)
    assert answer["result"] == "denied" and "configuration in force" in answer["text"] and answer["ms"] < 50, answer
    process.log.wait(lambda line: '"audit":true' in line and '"event":"kerberos_refused"' in line and '"account":"alice"' in line
                     and '"service":"%s"' % ("" if service == "-" else service) in line, 5)
    assert process.token("alice", service, voucher="none")["result"] == "refused"      # and says nothing of services
    assert process.token("alice", MAIL)["cached"] == 1


def test_a_locked_out_account_is_denied_with_that_reason(start, ad):
    sam = ad.account()
    ad.lock(sam)
    answer = start().token(sam)
    assert answer["result"] == "denied" and "locked out" in answer["text"], answer


@pytest.mark.parametrize("account, words", [
    ("svc-nospn", "has no service principal name"),
    ("svc-not2a4d", "use any authentication protocol"),
    ("svc-nodeleg", "msDS-AllowedToDelegateTo"),
])
def test_a_service_account_that_lacks_a_right_is_told_which(start, ad, account, words):
    process = start(principal="%s@%s" % (account, REALM), keytab=ad.keytab_of(account))
    answer = process.token("alice")
    assert answer["result"] == "denied" and words in answer["text"], answer


@pytest.mark.parametrize("voucher", ["none", "forged", "expired", "far", "other-account", "other-certificate"])
def test_39_without_a_valid_voucher_there_is_no_ticket_not_even_a_cached_one(start, voucher):
    process = start()
    assert process.token("alice")["result"] == "ok"
    answer = process.token("alice", voucher=voucher)
    assert answer["result"] == "refused" and "vouched" in answer["text"], answer


@pytest.mark.parametrize("sam", ["Administrator", "ADMINISTRATOR", "krbtgt", "krbtgt_4711", "Guest", "MAIL$", "DC1$",
                                 "svc-easproxy", "SVC-EASPROXY", "alice/admin", "alice@CORP.EXAMPLE", "CORP\\alice"])
def test_39_even_with_a_voucher_these_names_get_nothing(start, sam):
    assert start().token(sam)["result"] == "refused"


@pytest.mark.parametrize("realm", ["corp.example", "OTHER.EXAMPLE", "CORP.EXAMPLE.", "C"])
def test_39_accounts_of_another_realm_get_nothing(start, realm):
    answer = start().token("alice", realm=realm)
    assert answer["result"] == "refused" and "another realm" in answer["text"]


def test_39_protected_users_are_seen_in_the_ticket_itself(start):
    answer = start().token("grace")         # the KDC of this bed would let her through
    assert answer["result"] == "refused" and "refused group" in answer["text"]


def test_39_domain_administrators_are_seen_in_the_ticket_itself(start, ad):
    sam = ad.account(groups=())
    with ad.connection() as handle:
        handle.modify_s("CN=Domain Admins,CN=Users," + ad.base, [(0, "member", [("CN=%s,OU=People,%s" % (sam, ad.base)).encode()])])
    answer = start().token(sam)
    assert answer["result"] == "refused" and "refused group" in answer["text"], answer


def test_39_a_configured_group_is_refused_by_rid_and_by_sid(start, ad):
    sam, sid = ad.account(), ad.sid("EAS-Users")
    process = start(refused_groups=[sid])
    assert process.token(sam)["result"] == "refused"
    assert process.token("load01")["result"] == "refused"       # a member through two other groups
    assert process.token("svc-ldap")["result"] == "ok"          # no member
    process.close()
    process = start(refused_groups=[sid.rsplit("-", 1)[1]])
    assert process.token(sam)["result"] == "refused"


# --- what changes meanwhile ---

def test_an_account_disabled_after_caching_is_denied_as_soon_as_it_is_forgotten(start, ad):
    sam, process = ad.account(), start()
    assert process.token(sam)["result"] == "ok"
    ad.disable(sam)
    assert process.token(sam)["cached"] == 1        # a ticket outlives the account: hence the event
    process.forget(sam.upper())
    answer = process.token(sam)
    assert answer["result"] == "denied" and "disabled" in answer["text"]


def test_a_denial_is_remembered_for_seconds_and_forgotten_with_the_account(start, ad):
    sam, process = ad.account(), start()
    ad.disable(sam)
    assert process.token(sam)["result"] == "denied"
    ad.enable(sam)
    assert process.token(sam)["result"] == "denied"             # the KDC was not asked
    process.forget(sam)
    assert process.token(sam)["result"] == "ok"


# --- the own keytab ---

def test_39_a_wrong_keytab_costs_one_try_and_is_never_used_again(start, ad, place):
    sam = ad.account(groups=())
    principal = "%s@%s" % (sam, REALM)
    process = start(principal=principal, keytab=keytab_with_another_key(os.path.join(place, "wrong.keytab"), principal))
    for number in range(8):
        answer = process.token("load%02d" % (number + 1))
        assert answer["result"] == "broken" and "export a new keytab" in answer["text"], answer
    assert ad.get(sam, "badPwdCount") == "1"
    process.log.wait(lambda line: '"kerberos_broken"' in line)
    assert len(process.log.find(lambda line: '"kerberos_broken"' in line)) == 1


def test_a_keytab_without_the_principal_is_told_from_a_wrong_one(start, ad):
    answer = start(keytab=ad.keytab_of("svc-nospn")).token("alice")
    assert answer["result"] == "broken" and "holds no AES key of svc-easproxy@CORP.EXAMPLE" in answer["text"]


@pytest.mark.parametrize("content", [b"", b"\x05\x02", b"no keytab at all", b"\x05\x02\x00\x00\xff\xff\x00\x01",
                                     b"\x05\x02\x7f\xff\xff\xff" + b"A" * 100])
def test_a_damaged_keytab_leaves_a_process_that_says_so(start, place, content):
    path = os.path.join(place, "damaged.keytab")
    with open(path, "wb") as f:
        f.write(content)
    answer = start(keytab=path).token("alice")
    assert answer["result"] == "broken" and "keytab" in answer["text"], answer


def test_a_principal_that_the_kdc_does_not_know_is_named(start, place):
    principal = "svc-nowhere@" + REALM
    answer = start(principal=principal,
                   keytab=keytab_with_another_key(os.path.join(place, "k"), principal)).token("alice")
    assert answer["result"] == "broken" and "does not know svc-nowhere@CORP.EXAMPLE" in answer["text"]


def test_a_disabled_service_account_is_named(start, own_ad):
    own_ad.disable("svc-easproxy")
    try:
        answer = start(own_ad).token("alice")
    finally:
        own_ad.enable("svc-easproxy")
    assert answer["result"] == "broken" and "disabled or locked out" in answer["text"], answer


# --- without a KDC ---

def test_39_with_the_kdc_gone_cached_tickets_serve_on_and_new_ones_fail_at_once(start, own_ad):
    process = start(own_ad)
    assert process.token("alice")["result"] == "ok"
    own_ad.block("kdc")
    new, cached = process.token("bob"), process.token("alice")
    assert new["result"] == "no_kdc" and new["ms"] < 500 and "no KDC answered" in new["text"], new
    assert (cached["result"], cached["cached"]) == ("ok", 1)
    assert ask_mail_server(own_ad, cached["token"])[0] == 200
    own_ad.unblock("kdc")
    assert _until_ok(process, "bob")["cached"] == 0
    process.log.wait(lambda line: '"kdc_back"' in line)


def test_39_a_silent_kdc_costs_a_bounded_time_and_does_not_queue_the_others_up(start, own_ad):
    process = start(own_ad, timeout_ms=1000)
    assert process.token("alice")["result"] == "ok"
    own_ad.block("kdc", silently=True)
    assert process.token("bob")["ms"] < 2000 + 300
    began = time.monotonic()
    flood = process.flood(300, "nobody%d")
    assert flood["no_kdc"] == 300 and flood["last_ms"] < 2000 + 300, flood
    assert process.token("alice")["cached"] == 1
    assert time.monotonic() - began < 5
    own_ad.unblock("kdc")
    assert _until_ok(process, "bob")["result"] == "ok"


def test_a_kdc_that_was_away_at_the_start_is_found_later(start, own_ad):
    own_ad.block("kdc")
    process = start(own_ad)
    assert process.token("alice")["result"] == "no_kdc"
    own_ad.unblock("kdc")
    assert _until_ok(process, "alice")["result"] == "ok"


def test_a_silent_first_kdc_leaves_time_for_the_second_and_is_asked_last_from_then_on(start, ad, start_relay):
    silent = start_relay(("127.0.0.1", 88), netns=ad.netns, mode=relays.HANG)
    process = start(kdcs=[silent.address, "127.0.0.1:88"])
    assert process.token("alice")["result"] == "ok"
    again = process.token("bob")
    assert again["result"] == "ok" and again["ms"] < 500, again


def test_a_kdc_that_sends_byte_for_byte_is_understood(start, ad, start_relay):
    slow = start_relay(("127.0.0.1", 88), netns=ad.netns, mode=relays.SLICE)
    assert start(kdcs=[slow.address], timeout_ms=10000).token("alice")["result"] == "ok"


def _until_ok(process, sam):
    """Asks until the KDC is asked again; between two tries the transport's rest (1 s) has to pass."""
    deadline = time.monotonic() + 10
    while True:
        answer = process.token(sam)
        if answer["result"] == "ok" or time.monotonic() > deadline:
            return answer
        time.sleep(0.1)


# --- tickets grow old (the bed's KDC gives 10 hours) ---

@pytest.fixture
def age(made, place, ad):
    return lambda bed=ad, **kerberos: made(Aging(place, bed, **kerberos))


def test_a_ticket_is_renewed_before_its_end_and_never_used_after_it(age):
    inside = age()
    assert [inside.token("alice"), inside.token("alice")] == ["fresh", "cached"]
    inside.age_ticket("alice", 7)               # three hours left
    assert inside.token("alice") == "cached"
    inside.age_ticket("alice", 2)               # one hour left
    assert [inside.token("alice"), inside.token("alice")] == ["fresh", "cached"]
    assert inside.age_ticket("alice", 10) <= 0
    assert inside.token("alice") == "fresh"


def test_the_own_ticket_is_renewed_before_its_end(age):
    inside = age()
    inside.token("alice")
    inside.age_own(7)                           # three hours left
    inside.token("bob")
    assert inside.state()["own_left"] < 4 * 3600
    inside.age_own(1)
    assert inside.token("load01") == "fresh"
    assert inside.state()["own_left"] > 9 * 3600


def test_without_a_kdc_a_ticket_that_should_be_renewed_serves_to_its_end_and_not_beyond(age, own_ad):
    inside = age(own_ad)
    inside.token("alice")
    own_ad.block("kdc")
    inside.age_ticket("alice", 9)
    inside.age_own(9)
    assert [inside.token("alice"), inside.token("alice")] == ["cached", "cached"]
    inside.age_ticket("alice", 1)
    assert inside.token("alice") == "none"


def test_after_the_kdc_has_changed_its_key_the_process_logs_on_anew_within_the_same_question(start, own_ad):
    process = start(own_ad)
    assert process.token("alice")["result"] == "ok"
    for number in range(2):                     # AD keeps the key before the last
        own_ad.run("samba-tool", "user", "setpassword", "krbtgt", "--newpassword=Passw0rd.krbtgt%d" % number,
                   "-s", own_ad.place + "/smb.conf", "-H", own_ad.place + "/samba/private/sam.ldb")
    answer = process.token("bob")
    assert (answer["result"], answer["cached"]) == ("ok", 0), answer
    assert len(process.log.find(lambda line: '"kerberos_ready"' in line)) == 2


# --- a captured worker ---

def test_39_a_captured_worker_gets_nothing_out_of_malformed_messages(start):
    process = start()
    for verb, size in ((0, 0), (1, 0), (1, 1), (1, 599), (1, 601), (1, 60000), (3, 600), (65535, 600)):
        assert process.raw(verb, b"\x00" * size)["wire"] == 0       # refused by the framing
    for fill in (b"\x00", b"\xff", b"a", b"%n"):
        data = (fill * 600)[:600]
        assert process.raw(1, data)["result"] == "refused"
        process.raw(2, data[:256])
    for how in ("unterminated", "unterminated-spn"):
        assert process.token("alice", voucher=how)["result"] == "refused"
    assert process.token("alice")["result"] == "ok"


def test_39_the_process_has_dropped_root_and_holds_no_file_of_the_disk(start):
    process = start()
    process.token("alice")
    state = process.state()
    assert state["uid"] != 0 and state["no_new_privs"] == 1
    names = set()
    for fd in os.listdir("/proc/%d/fd" % state["pid"]):
        names.add(os.readlink("/proc/%d/fd/%s" % (state["pid"], fd)).split(":")[0].split(" ")[0])
    assert names <= {"socket", "pipe", "anon_inode", "/memfd"}, names
    with open(DRIVER, "rb") as f:
        sanitized = b"__asan_init" in f.read()
    if not sanitized:                           # the leak checker must look inside
        assert os.stat("/proc/%d/mem" % state["pid"]).st_uid == 0       # not dumpable: nobody of its user may


def test_the_log_holds_no_token_and_no_key(start, ad):
    process = start()
    token = process.token("alice")["token"]
    process.token("frank")
    process.drain()
    process.close()
    text = "\n".join(process.log.lines)
    with open(ad.keytab, "rb") as f:
        keytab = f.read()
    assert '"kerberos_ready"' in text and '"kerberos_denied"' in text
    assert token[100:140] not in text and keytab[-32:].hex() not in text


# --- life ---

def test_a_worker_may_come_back_and_the_process_ends_in_good_order(start):
    process = start()
    assert process.token("alice")["result"] == "ok"
    assert process._do("link")["linked"]
    assert process.token("alice")["cached"] == 1
    assert process.drain() == {"exit": 0}


@pytest.mark.no_asan        # whose allocator keeps what is freed
def test_memory_stays_where_it_was_over_rounds_and_tokens(start):
    process = start(cache_entries=16)
    process.rounds(100, "load01")
    process.many(2000, "load01")
    before = process.state()["rss_kb"]
    assert process.rounds(300, "load01")["good"] == 300
    assert process.many(10000, "load01")["good"] == 10000
    assert process.state()["rss_kb"] < before + 512


@pytest.mark.no_asan
@pytest.mark.parametrize("rounds", [pytest.param(2000, marks=pytest.mark.slow), pytest.param(10000, marks=pytest.mark.long)])
def test_memory_stays_where_it_was_over_thousands_of_rounds_with_the_kdc(start, rounds):
    process = start(cache_entries=16)
    process.rounds(200, "load01")
    before = process.state()["rss_kb"]
    assert process.rounds(rounds, "load01")["good"] == rounds
    # one block of 64 bytes lost in each round would be rounds // 16
    assert process.state()["rss_kb"] < before + rounds // 20
