"""The *directory* process alone, against a real AD: which claim is which account, what is told of it and when, and what
happens with wrong credentials, silent servers and none.

tests/tools/directory_driver plays master and worker; its head says which commands there are.
"""
import json
import os
import subprocess
import time

import pytest
import yaml

from site_ import relay as relays
from site_.process import LineLog, wait_until, with_parent

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
DRIVER = os.path.join(os.environ.get("BUILD", os.path.join(ROOT, "build")), "tools", "directory_driver")
USERS, DENIED = "CN=EAS-Users,OU=Groups,DC=corp,DC=example", "CN=EAS-Denied,OU=Groups,DC=corp,DC=example"
SID, UPN, ALT_SERIAL, ALT_SKI, ALT_SHA1 = 1, 2, 3, 4, 5             # claim_kind.h
WEAK_ISSUER_SUBJECT, WEAK_RFC822, EMAIL, CN, UID, USER = 6, 8, 9, 10, 11, 13
ENABLED, EXPIRED, LOCKED, PASSWORD_EXPIRED, NOT_DELEGATED, PROTECTED = 1, 2, 4, 8, 16, 32


def configuration(place, ad, directory, refused_groups=()):
    """A whole configuration, of which only `directory` and the groups matter here."""
    policy = {"device": "any", "user_must_match": True}
    config = {
        "user": "nobody", "state_dir": place, "run_dir": place, "log": {"level": "debug"}, "directory": directory,
        "proxy": {
            "listeners": [{"address": "127.0.0.1:0"}],
            "hosts": [{"names": ["mail.example.com"], "certificate": "/x", "key": "/x", "client_ca": ["/x"],
                       "policy": "users", "upstream": "mail"}],
            "identity": ["upn"],
            "revocation": {"crls": [{"issuer_ca": "/x", "file": "/x"}]},
            "policies": [dict(policy, name="users", required_group=USERS),
                         dict(policy, name="denied", required_group=DENIED)],
            "upstreams": [{"name": "mail", "servers": ["http://mail.corp.example"], "credential": "kerberos",
                           "spn": "HTTP/mail.corp.example"}],
            "kerberos": {"principal": "x@X", "keytab": "/x", "kdcs": ["127.0.0.1:88"], "processes": 1,
                         "refused_groups": list(refused_groups)},
        },
    }
    path = os.path.join(place, "directory.yaml")
    with open(path, "w") as f:
        yaml.safe_dump(config, f)
    return path


def ldap_section(place, ad, servers=None, password=None, cache=None, **values):
    secret = os.path.join(place, "ldap.password")
    with open(secret, "w") as f:
        f.write((password or ad.reader_password) + "\n")
    ldap = {"servers": servers or [ad.ldaps], "ca": ad.ca, "base": ad.base, "bind": "simple", "bind_name": ad.reader,
            "bind_password_file": secret, "timeout_ms": 2000, "watch_seconds": 1}
    return dict({"kind": "ldap", "ldap": dict(ldap, **values)}, **cache or {})


class Directory:
    """One directory process and the driver beside it. The machine's own Kerberos and LDAP settings are poison to it."""

    def __init__(self, place, ad, directory, ready=True, **kw):
        assert os.access(DRIVER, os.X_OK), DRIVER + " is not built: make tests-bin"
        env = dict(os.environ, KRB5_CONFIG="/proc/poison/krb5.conf", KRB5_KTNAME="FILE:/proc/poison", KRB5CCNAME="KCM:",
                   LDAPTLS_REQCERT="never", LDAPBASE="DC=poison", LDAPSIZELIMIT="1")
        argv = [DRIVER, configuration(str(place), ad, directory, **kw)]
        self.popen = subprocess.Popen(with_parent(ad.netns.command(argv) if ad else argv), env=env, stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.log = LineLog(self.popen.stderr)
        assert self._answer() == {"ready": ready}, self.log.tail()

    def _answer(self):
        line = self.popen.stdout.readline()
        assert line, "the driver has gone:\n" + self.log.tail()
        return json.loads(line)

    def do(self, *words):
        self.popen.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.popen.stdin.flush()
        return self._answer()

    def find(self, kind, value, sid="-", fresh=False):
        value = value if isinstance(value, bytes) else value.encode()
        words = ["find", kind, value.hex(), sid] + (["fresh"] if fresh else [])
        answer = self.do(*words)
        assert (answer["sam"] != "") == (answer["result"] == "found"), answer
        assert answer["voucher"] != "bad", answer
        return answer

    def upn(self, sam, **kw):
        return self.find(UPN, sam + "@corp.example", **kw)

    def event(self, name, nth=1, timeout=15.0):
        """The nth line of that event, waited for."""
        seen = []

        def fits(line):
            if '"event":"%s"' % name in line:
                seen.append(line)
            return len(seen) == nth
        return self.log.wait(fits, timeout, what=name)

    def up(self, servers=1):
        """Waits until so many servers are well."""
        self.event("directory_up", servers)
        return self

    def told(self, what, ms=3000):
        """Whether the change was told, or is within so long."""
        return self.do("wait", ms, what)["told"]

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


@pytest.fixture
def start(made, place, ad):
    """start(bed=ad, cache={...}, **keys of directory.ldap): a Directory with at least one server that is well."""
    def begin(bed=None, up=1, refused_groups=(), **values):
        bed = bed or ad
        directory = made(Directory(place, bed, ldap_section(str(place), bed, **values), refused_groups=refused_groups))
        return directory.up(up) if up else directory
    return begin


# --- who it is ---

def test_every_kind_of_claim_finds_the_account_it_names(start, ad):
    directory = start()
    for kind, value in ((UPN, "alice@corp.example"), (UPN, "ALICE@Corp.Example"), (EMAIL, "alice.adams@example.com"),
                        (CN, "alice"), (UID, "alice"), (USER, "alice"), (USER, "CORP\\alice"), (USER, "corp.example\\alice"),
                        (USER, "alice@corp.example"), (SID, ad.sid("alice")),
                        (ALT_SERIAL, "X509:<I>DC=example,DC=corp,CN=Test Bed CA<SR>1200000000AC11000000002B"),
                        (ALT_SERIAL, "X509:<I>CN=Test Bed CA,DC=corp,DC=example<SR>1200000000ac11000000002b"),
                        (ALT_SKI, "X509:<SKI>9a1f5e0c4d3b2a190807f6e5d4c3b2a190807f6e"),
                        (ALT_SHA1, "X509:<SHA1-PUKEY>50bf88e67522ab8ce093ce51830ab0bcf8ba7824"),
                        (WEAK_ISSUER_SUBJECT, "X509:<I>DC=example,DC=corp,CN=Test Bed CA<S>CN=alice"),
                        (WEAK_RFC822, "X509:<RFC822>alice.adams@example.com")):
        answer = directory.find(kind, value)
        assert (answer["sam"], answer["sid"], answer["realm"], answer["netbios"]) == (
            "alice", ad.sid("alice"), "CORP.EXAMPLE", "CORP"), (kind, value, answer)
        assert answer["groups"] == 1 and answer["flags"] == ENABLED, answer
        # a name alone proves nothing: the voucher of a password session is made by *lockout*
        assert answer["voucher"] == ("none" if kind == USER else "good"), answer


def test_an_implicit_upn_is_found_beside_the_explicit_one(start, ad):
    directory = start()
    assert directory.find(UPN, "bob.builder@example.com")["sam"] == "bob"
    assert directory.find(UPN, "bob@corp.example")["sam"] == "bob"


def test_a_common_name_that_is_another_ones_logon_name_finds_neither(start, ad):
    directory = start()
    first, second = ad.account(), ad.account(groups=(), userPrincipalName=None)
    assert directory.find(CN, first)["sam"] == first
    ad.set(first, sAMAccountName=first + "z", userPrincipalName=first + "z@example.com")      # its cn stays
    ad.set(second, sAMAccountName=first)
    sid = ad.sid(first)
    assert directory.told(sid)
    assert directory.find(CN, first, fresh=True)["result"] == "account-ambiguous"
    assert directory.find(USER, first, fresh=True)["sid"] == sid


def test_threat_34_no_byte_of_a_claim_reaches_the_filter_as_more_than_a_value(start):
    directory = start()
    for value in ("*", "al*", "*)(uid=*", "alice)(|(objectClass=*)", "\\2a", "alice\\", "alice,OU=x", "\\00", "(", ")",
                  "alice\\29\\28", "!(cn=x)", "|(cn=alice)", "<SID=S-1-5-32-544>", "alice ", " alice", "ali\u200bce"):
        for kind in (CN, UID, EMAIL, USER):
            assert directory.find(kind, value)["result"] == "account-unknown", (kind, value)
        assert directory.find(UPN, value + "@corp.example")["result"] == "account-unknown", value
    for value in (b"al\xffice", b"al\x01ice", b"al\xc0\xaeice", "al\u202eice".encode()):
        assert directory.find(CN, value)["result"] == "account-unknown", value
    assert directory.find(CN, "alice")["result"] == "found"


def test_threat_33_a_name_that_only_resembles_one_finds_nobody(start, ad):
    directory = start()
    sam = ad.account()
    ad.set(sam, mail="zoé.%s@example.com" % sam)
    assert directory.find(EMAIL, "zoé.%s@example.com" % sam)["sam"] == sam
    for other in ("zoe.%s@example.com", "zoe\u0301.%s@example.com", "ᴢoé.%s@example.com", "zoé.%s@example.com "):
        assert directory.find(EMAIL, other % sam)["result"] == "account-unknown", other


def test_threat_35_two_accounts_with_one_address_are_ambiguous_whether_mail_or_alias(start, ad):
    directory = start()
    first, second, third = ad.account(), ad.account(), ad.account()
    ad.set(first, mail=first + "@both.example")
    ad.set(second, mail=first + "@both.example")
    assert directory.find(EMAIL, first + "@both.example")["result"] == "account-ambiguous"
    ad.set(second, mail=second + "@both.example")
    ad.set(third, proxyAddresses=["SMTP:%s@alias.example" % third, "smtp:%s@both.example" % first])
    assert directory.find(EMAIL, third + "@alias.example")["sam"] == third
    assert directory.find(EMAIL, first + "@both.example", fresh=True)["result"] == "account-ambiguous"
    for sam in (first, second, third):
        ad.set(sam, altSecurityIdentities="X509:<SKI>" + first)
    assert directory.find(ALT_SKI, "X509:<SKI>" + first)["result"] == "account-ambiguous"


def test_threat_36_the_sid_of_the_certificate_must_be_the_accounts(start, ad):
    directory = start()
    assert directory.upn("alice", sid=ad.sid("alice"))["result"] == "found"
    for sid in (ad.sid("bob"), "S-1-5-21-1-2-3-4", "S-1-5-021", "nonsense"):
        answer = directory.upn("alice", sid=sid)
        assert answer["result"] == "account-sid-mismatch" and answer["voucher"] == "none", answer


def test_threat_38_a_upn_given_to_another_person_is_told_by_the_sid(start, ad):
    directory = start()
    old, new = ad.account(), ad.account()
    sid = ad.sid(old)
    assert directory.upn(old, sid=sid)["sam"] == old
    ad.set(old, userPrincipalName=old + "-gone@example.com", sAMAccountName=old + "-gone")
    ad.set(new, userPrincipalName=old + "@corp.example")
    assert directory.told(sid) and directory.told(ad.sid(new))
    assert directory.upn(old, sid=sid, fresh=True)["result"] == "account-sid-mismatch"


def test_computers_contacts_and_other_domains_users_are_nobody(start):
    directory = start()
    for kind, value in ((USER, "MAIL$"), (USER, "OTHER\\alice"), (UPN, "alice@other.example"), (CN, "EAS-Users"),
                        (SID, "S-1-5-32-544"), (SID, "alice"), (0, "alice"), (14, "alice"), (UPN, "alice")):
        assert directory.find(kind, value)["result"] == "account-unknown", (kind, value)


# --- what is told of it ---

def test_flags_say_disabled_expired_locked_must_change_and_not_to_be_delegated(start, ad):
    directory = start()
    locked = ad.account()
    ad.lock(locked)
    for sam, flags in (("alice", ENABLED), ("carol", 0), ("dave", ENABLED | EXPIRED), ("erin", ENABLED | PASSWORD_EXPIRED),
                       ("frank", ENABLED | NOT_DELEGATED), ("grace", ENABLED | NOT_DELEGATED), (locked, ENABLED | LOCKED),
                       ("Administrator", ENABLED | PROTECTED)):
        answer = directory.upn(sam)
        assert answer["flags"] == flags, (sam, answer)
        may = flags & ENABLED and not flags & (EXPIRED | NOT_DELEGATED | PROTECTED)
        assert answer["voucher"] == ("good" if may else "none"), (sam, answer)
    assert directory.upn(locked)["bad_password_count"] == 5
    assert directory.upn("alice")["lockout_threshold"] == 5
    assert directory.upn("dave")["expires"] == 1355526400


def test_threat_39_members_of_refused_groups_are_protected_by_nesting_too(start, ad):
    directory = start(refused_groups=["1104000", "S-1-5-21-1-2-3-4"])
    sam = ad.account()
    assert directory.upn(sam)["voucher"] == "good"
    dn = ad.find("EAS-Denied", "member")[0]
    with ad.connection() as handle:
        handle.add_s("CN=helpers-%s,OU=Groups,%s" % (sam, ad.base), [
            ("objectClass", [b"group"]), ("sAMAccountName", ("helpers-" + sam).encode()),
            ("member", ad.find(sam, "cn")[0].encode())])
        handle.modify_s("CN=Backup Operators,CN=Builtin," + ad.base,
                        [(0, "member", ("CN=helpers-%s,OU=Groups,%s" % (sam, ad.base)).encode())])
    assert directory.told("all"), dn
    answer = directory.upn(sam, fresh=True)
    assert answer["flags"] == ENABLED | PROTECTED and answer["voucher"] == "none", answer


def test_groups_are_counted_by_nested_membership(start, ad):
    directory = start()
    outside = ad.account(groups=())
    assert directory.upn("alice")["groups"] == 1        # by two groups in between
    assert directory.upn("bob")["groups"] == 1
    assert directory.upn("henry")["groups"] == 2
    assert directory.upn(outside)["groups"] == 0


# --- changes ---

def test_a_change_is_told_well_within_a_second_and_the_next_answer_knows_it(start, ad):
    directory = start(watch_seconds=60)         # by notification alone
    sam = ad.account()
    sid = ad.sid(sam)
    assert directory.upn(sam)["flags"] == ENABLED
    directory.do("clear")
    ad.disable(sam)
    answer = directory.do("wait", 900, sid)
    assert answer["told"], answer
    assert directory.upn(sam)["flags"] == 0
    ad.enable(sam)
    assert directory.upn(sam, fresh=True)["flags"] == ENABLED


def test_leaving_a_group_forgets_everybody(start, ad):
    directory = start(watch_seconds=60)
    sam = ad.account()
    assert directory.upn(sam)["groups"] == 1
    time.sleep(0.3)                             # what made the account has been told by now
    directory.do("clear")
    ad.leave(sam)
    assert directory.told("all", 900)
    assert directory.upn(sam)["groups"] == 0


def test_a_lockout_is_seen_though_nobody_wrote_by_ldap(start, ad):
    directory = start()
    sam = ad.account()
    sid = ad.sid(sam)
    assert directory.upn(sam)["flags"] == ENABLED
    directory.do("clear")
    ad.lock(sam)
    assert directory.told(sid, 8000)
    assert directory.upn(sam, fresh=True)["flags"] == ENABLED | LOCKED


@pytest.mark.parametrize("who", ["reader", "administrator"])
def test_a_deleted_account_is_unknown_at_once_to_who_may_see_deletions_and_after_the_ttl_to_others(start, ad, who):
    sees = who == "administrator"
    name = {"bind_name": ad.env["AD_ADMIN"], "password": ad.env["AD_ADMINPW"]} if sees else {}
    directory = start(cache={"ttl_seconds": 60 if sees else 1}, **name)
    sam = ad.account(groups=())
    sid = ad.sid(sam)
    assert directory.told(sid)                      # its making
    directory.do("clear")
    assert directory.upn(sam)["result"] == "found"
    ad.delete(sam)
    assert directory.told(sid, 8000 if sees else 1100) == sees
    assert directory.upn(sam)["result"] == "account-unknown"


def test_a_worker_that_forgets_an_account_makes_everybody_ask_again(start, ad):
    directory = start()
    sid = ad.sid("alice")
    directory.upn("alice")
    directory.do("clear")
    directory.do("forget", sid)
    assert directory.told(sid, 1000)
    for wrong in ("nonsense", "S-1-5-021"):
        directory.do("forget", wrong)
    assert directory.do("raw", 3, b"\x41".hex() * 192)["wire"] in (0, 2)     # without an end: no answer, no harm
    assert directory.upn("alice")["result"] == "found"


# --- ways in ---

@pytest.mark.parametrize("scheme", ["ldaps", "ldap"])
@pytest.mark.parametrize("bind", ["simple", "gssapi"])
def test_both_binds_work_inside_ldaps_and_starttls(start, ad, scheme, bind):
    values = {"servers": [getattr(ad, scheme)], "start_tls": scheme == "ldap"}
    if bind == "gssapi":
        values.update(bind="gssapi", bind_name="svc-ldap@CORP.EXAMPLE", keytab=ad.keytab_of("svc-ldap"))
    directory = start(**values)
    assert directory.upn("alice")["result"] == "found"
    state = directory.do("state")
    assert state["uid"] == 65534 and state["no_new_privs"] == 1


def test_a_wrong_password_is_tried_once_for_all_servers_and_not_again(start, own_ad):
    ad = own_ad
    before = int(ad.get("svc-ldap", "badPwdCount") or 0)
    directory = start(bed=ad, up=0, password="Wr0ng.Passw0rd", servers=[ad.ldaps, "ldaps://dc1", "ldaps://127.0.0.1"])
    line = directory.event("directory_refused")
    assert "wrong name or password" in line and "restart" in line
    for _ in range(20):
        assert directory.upn("alice")["result"] == "directory-unavailable"
        time.sleep(0.1)
    assert int(ad.get("svc-ldap", "badPwdCount")) == before + 1
    assert "directory_up" not in "\n".join(directory.log.lines)


@pytest.mark.parametrize("change, says", [
    ({"servers": ["ldaps://mail.corp.example"]}, "hostname mismatch"),
    ({"servers": ["ldaps://dc1.corp.example:1"]}, "Connection refused"),
    ({"servers": ["ldaps://nowhere.corp.example"]}, "is not resolved"),
    ({"base": "DC=other,DC=example"}, "directory.ldap.base cannot be read"),
])
def test_a_server_that_cannot_be_used_is_named_with_the_reason(start, change, says):
    directory = start(up=0, **change)
    assert says in directory.event("directory_down")
    assert directory.upn("alice")["result"] == "directory-unavailable"


def test_a_certificate_of_another_authority_is_refused(start, pki, place):
    ca = os.path.join(place, "other-ca.pem")
    with open(ca, "wb") as f:
        f.write(pki.root.pem)
    directory = start(up=0, ca=ca)
    assert "unable to get local issuer certificate" in directory.event("directory_down")


def test_an_empty_password_is_never_sent(made, place, ad):
    directory = made(Directory(place, ad, ldap_section(str(place), ad, password="\n"), ready=False))
    assert "bind_password_file" in directory.event("directory_unusable")


# --- faults ---

def test_threat_51_a_server_that_falls_silent_delays_a_few_answers_by_a_moment_and_no_others(start, start_relay, ad):
    relay = start_relay(("127.0.0.1", 636), netns=ad.netns)
    directory = start(servers=["ldaps://" + relay.address, ad.ldaps], up=2)
    assert directory.do("series", 50, UPN, b"alice@corp.example".hex())["found"] == 50
    relay.mode = relays.HANG
    first = directory.upn("bob", fresh=True)
    assert first["result"] == "found" and first["ms"] < 700, first
    after = directory.do("series", 100, UPN, b"alice@corp.example".hex())
    assert after["found"] == 100 and after["max_ms"] < 700, after
    assert "no answer" in directory.event("directory_down")
    again = directory.do("series", 50, UPN, b"alice@corp.example".hex())
    assert again["found"] == 50 and again["max_ms"] < 200, again
    relay.mode = relays.PASS
    directory.event("directory_up", 3)


def test_a_first_server_that_never_says_a_word_delays_nobody(start, start_relay, ad):
    hole = start_relay(("127.0.0.1", 636), netns=ad.netns, mode=relays.HANG)
    directory = start(servers=["ldaps://" + hole.address, ad.ldaps])
    answer = directory.do("series", 100, UPN, b"alice@corp.example".hex())
    assert answer["found"] == 100 and answer["max_ms"] < 200, answer


def test_one_byte_at_a_time_is_as_good_as_all_at_once(start, start_relay, ad):
    relay = start_relay(("127.0.0.1", 636), netns=ad.netns, mode=relays.SLICE)
    directory = start(servers=["ldaps://" + relay.address], timeout_ms=20000)
    assert directory.upn("alice")["result"] == "found"


def test_a_known_account_is_served_while_the_dc_is_away_an_unknown_one_is_not_and_all_is_well_after(start, own_ad):
    directory = start(bed=own_ad, cache={"ttl_seconds": 1, "negative_ttl_seconds": 1})
    assert directory.upn("alice")["age"] == 0
    own_ad.stop()
    directory.event("directory_down", 2)         # gone, and refused when tried again
    time.sleep(1.1)
    answer = directory.upn("alice")
    assert (answer["result"], answer["voucher"]) == ("found", "good") and answer["age"] >= 1 and answer["ttl"] <= 5, answer
    assert directory.upn("alice", sid="S-1-5-21-1-2-3-4")["result"] == "account-sid-mismatch"
    answer = directory.upn("bob")
    assert answer["result"] == "directory-unavailable" and answer["ms"] < 500, answer
    own_ad.start()
    directory.event("directory_up", 2)
    assert directory.upn("bob")["result"] == "found"


def test_what_changed_while_the_connection_was_away_is_told_when_it_is_back(start, start_relay, own_ad):
    ad = own_ad
    relay = start_relay(("127.0.0.1", 636), netns=ad.netns)
    directory = start(bed=ad, servers=["ldaps://" + relay.address])
    sam = ad.account(groups=())
    sid = ad.sid(sam)
    assert directory.upn(sam)["flags"] == ENABLED
    assert directory.told(sid, 3000)                # its making
    relay.refuse()
    relay.cut()
    directory.event("directory_down")
    directory.do("clear")
    ad.disable(sam)
    relay.listen()
    directory.event("directory_up", 2)
    assert directory.told(sid, 3000)
    assert not directory.do("wait", 1, "all")["told"]
    assert directory.upn(sam)["flags"] == 0


@pytest.fixture
def two_ways(start, start_relay, ad):
    """(directory, relay): knows alice from a server that has gone since; the relay leads to one that was never there yet."""
    first, second = (start_relay(("127.0.0.1", 636), netns=ad.netns) for _ in range(2))
    second.refuse()
    directory = start(servers=["ldaps://" + first.address, "ldaps://" + second.address])
    assert directory.told("missed")                 # watching begins
    assert directory.upn("alice")["result"] == "found"
    directory.do("clear")
    first.refuse()
    first.cut()
    return directory, second


def gone(directory, relay):
    """The server is away again, and the directory process knows it."""
    relay.refuse()
    relay.cut()

    def known_to_be_down():
        return directory.find(USER, "nobody-of-this-name", fresh=True)["result"] == "directory-unavailable"
    wait_until(known_to_be_down, 5)


@pytest.mark.slow
def test_a_server_that_comes_up_for_a_moment_takes_nothing_from_those_that_are_known(two_ways):
    directory, relay = two_ways
    relay.listen()
    assert directory.told("missed", 8000)           # nobody watched meanwhile: ask again
    gone(directory, relay)
    answer = directory.upn("alice")
    assert (answer["result"], answer["voucher"]) == ("found", "good") and answer["ttl"] <= 5, answer
    assert not directory.do("wait", 1, "all")["told"]


def test_what_may_have_been_missed_is_asked_again_at_once_though_its_time_is_not_over(start, start_relay, own_ad):
    first, second = (start_relay(("127.0.0.1", 636), netns=own_ad.netns) for _ in range(2))
    second.refuse()
    directory = start(bed=own_ad, servers=["ldaps://" + first.address, "ldaps://" + second.address])
    sam = own_ad.account(groups=())
    assert directory.upn(sam)["flags"] == ENABLED
    first.refuse()
    first.cut()
    directory.event("directory_down", 2)
    directory.do("clear")
    own_ad.disable(sam)                             # nobody watches
    second.listen()
    assert directory.told("missed", 8000)
    answer = directory.upn(sam)
    assert answer["flags"] == 0 and answer["age"] == 0, answer


def test_a_change_that_was_seen_counts_though_no_server_answers_after_it(two_ways, ad):
    directory, relay = two_ways
    relay.listen()
    assert directory.told("missed", 8000)
    sam = ad.account(groups=())
    sid = ad.sid(sam)
    assert directory.told(sid)                      # its making
    assert directory.upn(sam)["flags"] == ENABLED
    assert directory.upn("alice")["result"] == "found"
    time.sleep(0.3)
    directory.do("clear")
    ad.disable(sam)
    assert directory.told(sid)
    gone(directory, relay)
    assert directory.upn(sam)["result"] == "directory-unavailable"
    assert directory.upn("alice")["result"] == "found"


def test_after_a_change_of_a_group_nobodys_old_membership_is_used(two_ways, ad):
    directory, relay = two_ways
    relay.listen()
    assert directory.told("missed", 8000)
    sam = ad.account()
    assert directory.upn(sam)["groups"] == 1 and directory.upn("alice")["groups"] == 1
    time.sleep(0.3)                                 # what made the account has been told by now
    directory.do("clear")
    ad.leave(sam)
    assert directory.told("all")
    gone(directory, relay)
    for name in (sam, "alice"):
        assert directory.upn(name)["result"] == "directory-unavailable", name


def test_many_askers_at_once_cost_few_searches(start):
    directory = start()
    answer = directory.do("flood", 500, UPN, b"alice@corp.example".hex())
    assert answer["found"] == 500 and answer["max_ms"] < 1000, answer


def test_messages_of_any_bytes_are_refused_and_do_no_harm(start):
    directory = start()
    for verb, data in ((1, b""), (1, b"x"), (1, b"\xff" * 900), (1, b"\xff" * 1024), (2, b"\0" * 192), (99, b"x"), (1, b"A" * 872)):
        assert directory.do("raw", verb, data.hex())["wire"] == 0, (verb, len(data))
    assert directory.upn("alice")["result"] == "found"


# --- the file ---

def test_a_change_of_the_accounts_file_is_told_and_a_wrong_one_is_not_taken(made, place, accounts):
    directory = made(Directory(place, None, {"kind": "file", "file": accounts.path})).up()
    assert directory.upn("alice")["flags"] == ENABLED
    sid = directory.upn("alice")["sid"]
    accounts.change("alice", enabled=False)
    assert directory.told(sid, 2000)
    assert directory.upn("alice")["flags"] == 0
    with open(accounts.path, "w") as f:
        f.write("accounts:\n  - {sam: mallory, enabled: true}\n")
    assert "the old accounts stay in force" in directory.event("accounts_unusable")
    assert directory.find(USER, "mallory")["groups"] == 0
    assert directory.upn("alice")["flags"] == 0
    accounts.change("alice", enabled=True)
    directory.event("directory_up", 3)
    assert directory.upn("alice")["flags"] == ENABLED
