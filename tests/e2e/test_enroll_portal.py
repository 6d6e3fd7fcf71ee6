"""The portal over its API: signing in under the lock-out guard, sessions, CSRF, own devices, delivery, administrators (threats E 47, 49)."""
import base64
import gzip
import hashlib
import hmac
import json
import os
import re
import subprocess
import time

import pytest
import yaml

from site_ import settings
from site_.accounts import USERS
from site_.enroll import Browser
from site_.openapi import Description
from site_.portal import PASSWORD, add, browser, enroll, signed_in, start_enroll  # noqa: F401 (fixtures)
from site_.process import wait_until
from site_.proxy import ROOT


# --- signing in

@pytest.mark.quick
def test_threat_47_a_person_signs_in_and_the_cookie_has_every_flag(enroll, browser):
    b = browser(enroll)
    assert b.get("/api/me").status == 401
    answer = b.sign_in("alice@corp.example", PASSWORD)
    assert answer.status == 200 and answer.json["user"]["name"] == "alice" and answer.json["admin"] is False
    cookie = answer.get("Set-Cookie")
    assert cookie.startswith("__Host-easgate=") and "Path=/" in cookie and "Domain" not in cookie
    for flag in ("Secure", "HttpOnly", "SameSite=Strict"):
        assert flag in cookie.split("; "), cookie
    assert answer.get("Cache-Control") == "no-store"
    me = b.get("/api/me").json
    assert me["user"]["upn"] == "alice@corp.example" and me["csrf"] == b.csrf
    enroll.assert_never(PASSWORD, b.cookie, b.csrf)


@pytest.mark.quick
def test_threat_47_wrong_unknown_and_disabled_look_the_same(enroll, browser, accounts):
    accounts.change("bob", enabled=False)
    answers = [browser(enroll).sign_in(name, password) for name, password in
               (("alice", "wrong"), ("nobody", "wrong"), ("mal*", "wrong"), ("", PASSWORD), ("alice", ""))]
    assert {(a.status, a.body) for a in answers} == {(401, answers[0].body)}
    assert not any(a.get("Set-Cookie") for a in answers)
    enroll.assert_never("mal*")


def test_threat_47_after_three_wrong_passwords_no_more_are_tried_and_the_answer_says_when(start_enroll, browser):
    enroll = start_enroll({"lockout": {"attempts": 3, "memory_mib": 1}})
    for i in range(3):
        assert browser(enroll).sign_in("alice", "wrong %d" % i).status == 401
    for name in ("alice", "ALICE", "alice@corp.example"):
        answer = browser(enroll).sign_in(name, PASSWORD)
        assert answer.status == 429 and 1 <= int(answer.get("Retry-After")) <= 1801
    assert browser(enroll).sign_in("alice", "wrong 1").status == 401, "known to be wrong, whatever the budget"
    assert browser(enroll).sign_in("bob", PASSWORD).status == 200


@pytest.mark.no_asan        # times are compared
def test_names_that_nobody_has_are_answered_like_those_of_accounts(start_enroll, browser):
    enroll = start_enroll({"lockout": {"attempts": 3, "memory_mib": 1}})
    assert browser(enroll).sign_in("bob", PASSWORD).status == 200
    for name in ("alice", "zoe"):
        statuses = [browser(enroll).sign_in(name, "wrong %d" % i).status for i in (0, 0, 1, 2, 3, 1)]
        assert statuses == [401, 401, 401, 401, 429, 401], name


def test_the_owner_signs_in_again_from_where_he_did_before_though_the_budget_is_used_up(enroll, browser):
    assert browser(enroll).sign_in("alice", PASSWORD).status == 200
    for _ in range(2):
        assert browser(enroll).sign_in("alice", "wrong").status == 401
    assert browser(enroll).sign_in("alice", PASSWORD).status == 200


def test_threat_47_a_session_id_that_the_browser_came_with_is_never_taken(enroll, browser):
    b = browser(enroll)
    b.cookie = planted = "a" * 64
    assert b.sign_in("alice", PASSWORD).status == 200
    assert b.cookie != planted
    first, b.cookie = b.cookie, b.cookie
    assert b.sign_in("alice", PASSWORD).status == 200 and b.cookie != first
    old = browser(enroll)
    old.cookie = first
    assert old.get("/api/me").status == 401             # replaced by the new one
    old.cookie = planted
    assert old.get("/api/me").status == 401


def test_threat_47_what_changes_something_needs_the_sessions_token(enroll, signed_in):
    b = signed_in()
    other = signed_in("bob")
    for token in (None, "", "0" * 64, other.csrf, b.cookie):
        answer = b.post("/api/devices", {"name": "x", "kind": "ios"}, [("X-Easgate-Csrf", token)])
        assert answer.status == 403 and answer.json["error"] == "csrf", token
    assert b.request("DELETE", "/api/session", headers=[("X-Easgate-Csrf", None)]).status == 403
    assert b.get("/api/devices").json == {"devices": []}


def test_threat_47_no_other_site_can_sign_anybody_in(enroll, browser):
    for header in (("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Origin", "null"),
                   ("Origin", "https://enroll.example.com.evil.example"), ("Content-Type", "text/plain")):
        answer = browser(enroll).sign_in("alice", PASSWORD, [header])
        assert answer.status in (403, 415) and not answer.get("Set-Cookie"), header
    assert browser(enroll).sign_in("alice", PASSWORD, [("Origin", "https://enroll.example.com"), ("Sec-Fetch-Site", "same-origin")]).status == 200


def test_signing_out_ends_the_session(signed_in):
    b = signed_in()
    answer = b.request("DELETE", "/api/session")
    assert answer.status == 204 and "Max-Age=0" in answer.get("Set-Cookie")
    assert b.get("/api/me").status == 401


def test_a_session_ends_when_nobody_uses_it(start_enroll, signed_in):
    b = signed_in(where=start_enroll({"enroll.portal.idle_seconds": 60, "enroll.portal.session_seconds": 60}))
    assert b.get("/api/me").status == 200
    cookie = b.sign_in("alice", PASSWORD).get("Set-Cookie")
    assert "Max-Age=60" in cookie


def test_threat_47_who_changes_the_password_ends_the_sessions_of_whoever_knew_it(enroll, browser, signed_in, accounts):
    thief = signed_in("bob")
    new = subprocess.run(["openssl", "passwd", "-6", "Quite-another 7"], check=True, capture_output=True, text=True).stdout.strip()
    accounts.change("bob", password=new, display_name="Bob B.")     # the name makes it a change that is told at once
    enroll.wait_event("portal_session_ended", timeout=40)
    assert thief.get("/api/devices").status == 401
    owner = browser(enroll)
    assert owner.sign_in("bob", "Quite-another 7").status == 200 and owner.get("/api/me").json["user"]["name"] == "bob"


def test_who_is_disabled_loses_the_session_within_seconds(enroll, signed_in, accounts):
    b = signed_in("bob")
    accounts.change("bob", enabled=False)
    enroll.wait_event("portal_session_ended", timeout=10)
    assert b.get("/api/devices").status == 401
    assert b.sign_in("bob", PASSWORD).status == 401


def test_who_expires_or_leaves_the_required_group_loses_the_session_within_seconds(start_enroll, signed_in, accounts):
    enroll = start_enroll({"enroll.portal.required_group": USERS})
    people = {name: signed_in(name, enroll) for name in ("alice", "bob", "root")}
    accounts.change("alice", expires="2020-01-01T00:00:00Z")
    accounts.change("bob", groups=[])
    wait_until(lambda: [people[name].get("/api/me").status for name in ("alice", "bob")] == [401, 401], 15)
    assert people["root"].get("/api/me").status == 200


def test_who_is_not_in_the_required_group_is_told_so_after_the_right_password_only(start_enroll, browser):
    enroll = start_enroll({"enroll.portal.required_group": USERS})
    assert browser(enroll).sign_in("mallory", "wrong").json["error"] == "refused"
    answer = browser(enroll).sign_in("mallory", PASSWORD)
    assert answer.status == 403 and answer.json["error"] == "not-in-group" and not answer.get("Set-Cookie")
    assert [(e["action"], e["detail"].partition(",")[0]) for e in enroll.command("audit", "list")["entries"] if e["action"].startswith("sign-in")] == \
        [("sign-in-refused", "password-wrong"), ("sign-in-refused", "not-in-group")]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"name":"a","name":"b","password":"x"}', b'{"name":1,"password":[]}',
                                  b'{"name":"al\xff","password":"x"}', b"[" * 5000, b'{"name":"a\\u0000b","password":"x"}'])
def test_a_hostile_body_is_refused(enroll, browser, body):
    assert browser(enroll).request("POST", "/api/session", body).status == (401 if body == b'{"name":1,"password":[]}' else 400)


# --- devices

def test_a_device_is_added_listed_and_revoked(signed_in):
    b = signed_in()
    device = add(b, "My \u201cphone\u201d <script>alert(1)</script>")
    listed = b.get("/api/devices").json["devices"]
    assert [d["name"] for d in listed] == ["My \u201cphone\u201d <script>alert(1)</script>"] and listed[0]["state"] == "active"
    assert b.post("/api/devices/%s/revoke" % device["id"], {"reason": "lost"}).status == 200
    assert b.get("/api/devices").json["devices"][0]["state"] == "revoked"
    answer = b.post("/api/devices/%s/delivery" % device["id"])
    assert answer.status == 409 and answer.json["error"] == "revoked"


@pytest.mark.parametrize("body", [{}, {"name": "x"}, {"name": "", "kind": "mac"}, {"name": " ", "kind": "mac"}, {"name": "x", "kind": "toaster"},
                                  {"name": "x" * 128, "kind": "mac"}, {"name": "a\nb", "kind": "mac"}, {"name": "a\u202eb", "kind": "mac"}])
def test_a_device_without_a_proper_name_or_kind_is_refused(signed_in, body):
    assert signed_in().post("/api/devices", body).status == 400


def test_one_has_no_more_devices_than_configured(signed_in):
    b = signed_in()
    ids = [add(b, "Phone %d" % i)["id"] for i in range(3)]
    answer = b.post("/api/devices", {"name": "One more", "kind": "mac"})
    assert answer.status == 409 and answer.json["error"] == "too-many"
    assert b.post("/api/devices/%s/revoke" % ids[0]).status == 200
    add(b, "One more")


def test_threat_47_anothers_device_is_as_if_it_were_not_there(signed_in):
    alice, bob = signed_in(), signed_in("bob")
    device, own = add(alice)["id"], add(bob)["id"]      # who has none is no account that anything could be asked of
    for path in ("/api/devices/%s/revoke", "/api/devices/%s/delivery"):
        mine, none = bob.post(path % device), bob.post(path % ("0" * 32))
        assert (mine.status, mine.body) == (none.status, none.body) and mine.status == 404
    assert [d["id"] for d in bob.get("/api/devices").json["devices"]] == [own]
    for path in ("/api/admin/devices", "/api/admin/devices/" + device, "/api/admin/accounts", "/api/admin/audit", "/api/admin/state"):
        answer = bob.get(path)
        assert answer.status == 403 and answer.json["error"] == "not-admin"
    assert alice.get("/api/devices").json["devices"][0]["state"] == "active"


@pytest.mark.parametrize("path", ["/api/devices/../admin/state", "/api/devices/%2e%2e/x/revoke", "/d/..%2f..%2fetc/passwd", "/d/" + "0" * 64,
                                  "/api/devices/%00/revoke", "/portal/../portal.js", "//evil.example/", "/d/", "/api/devices/x/revoke/y"])
def test_threat_47_odd_paths_lead_nowhere(signed_in, path):
    b = signed_in()
    assert b.get(path).status in (400, 404, 405)
    assert b.post(path).status in (400, 404, 405)


# --- delivery

def test_threat_49_a_pkcs12_file_is_delivered_once_and_opens_with_the_password_shown(signed_in, browser, enroll, place):
    b = signed_in()
    offer = b.post("/api/devices/%s/delivery" % add(b)["id"])
    assert offer.status == 200 and offer.get("Cache-Control") == "no-store"
    offer = offer.json
    assert offer["url"] == "https://enroll.example.com" + offer["path"] and offer["qr"].startswith("<svg")
    assert offer["help"]["kind"] == "android" and len(offer["password"]) == 24
    phone = browser(enroll)
    assert phone.request("HEAD", offer["path"]).status == 200           # a preview uses nothing up
    got = phone.get(offer["path"])
    assert got.status == 200, got.body
    assert got.get("Content-Type") == "application/x-pkcs12" and got.get("Cache-Control") == "no-store"
    assert phone.get(offer["path"]).status == 404
    path = os.path.join(place, "device.p12")
    with open(path, "wb") as f:
        f.write(got.body)
    pem = subprocess.run(["openssl", "pkcs12", "-legacy", "-in", path, "-nokeys", "-clcerts", "-passin", "pass:" + offer["password"]],
                         check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout
    text = subprocess.run(["openssl", "x509", "-noout", "-subject", "-ext", "subjectAltName,extendedKeyUsage"], input=pem, check=True,
                          stdout=subprocess.PIPE).stdout.decode()
    assert "alice" in text and "TLS Web Client Authentication" in text
    certificates = b.get("/api/devices").json["devices"][0]["certificates"]
    assert [c["state"] for c in certificates] == ["live"]
    enroll.assert_never(offer["password"], offer["path"])


def test_a_link_ends_with_a_new_one_and_with_its_device(signed_in, browser, enroll):
    b = signed_in()
    device = add(b)["id"]
    first, second = (b.post("/api/devices/%s/delivery" % device).json["path"] for _ in range(2))
    assert browser(enroll).request("HEAD", first).status == 404
    assert browser(enroll).request("HEAD", second).status == 200
    assert b.post("/api/devices/%s/revoke" % device).status == 200
    assert browser(enroll).get(second).status == 404


def test_an_iphone_gets_a_signed_profile(signed_in, browser, enroll, place):
    b = signed_in()
    offer = b.post("/api/devices/%s/delivery" % add(b, kind="iphone")["id"]).json
    assert offer["password"] == "" and offer["help"]["delivery"] == "profile"
    got = browser(enroll).get(offer["path"])
    assert got.status == 200, got.body
    assert got.get("Content-Type") == "application/x-apple-aspen-config"
    path = os.path.join(place, "mail.mobileconfig")
    with open(path, "wb") as f:
        f.write(got.body)
    plist = subprocess.run(["openssl", "cms", "-verify", "-inform", "DER", "-in", path, "-noverify"], check=True, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE).stdout
    assert b"<plist" in plist
    assert browser(enroll).get(offer["path"]).status == 404


# --- administrators

def test_an_administrator_sees_holds_releases_and_revokes(signed_in, browser, enroll):
    alice, root = signed_in(), signed_in("root")
    device = add(alice, "Tablet")["id"]
    found = root.get("/api/admin/devices?text=tab").json["devices"]
    assert [(d["id"], d["owner"]["name"]) for d in found] == [(device, "alice")]
    assert root.get("/api/admin/devices?text=nothing").json["devices"] == []
    assert root.get("/api/admin/devices/" + device).json["device"]["certificates"] == []
    assert "alice" in [a["name"] for a in root.get("/api/admin/accounts?text=ALICE").json["accounts"]]
    assert browser(enroll).get(alice.post("/api/devices/%s/delivery" % device).json["path"]).status == 200

    def now():
        one = root.get("/api/admin/devices?text=tablet").json["devices"][0]
        return one["live"], one["held"], alice.get("/api/devices").json["devices"][0]["certificates"][0]["state"]
    assert now() == (True, False, "live")
    assert root.post("/api/admin/devices/%s/hold" % device).status == 200 and now() == (False, True, "hold")
    assert root.post("/api/admin/devices/%s/release" % device).status == 200 and now() == (True, False, "live")
    assert root.post("/api/admin/devices/%s/revoke" % device, {"reason": "lost"}).json["device"]["state"] == "revoked"
    entries = root.get("/api/admin/audit?limit=200").json["entries"]
    assert any(e["actor"].startswith("admin S-1-5-21") for e in entries) and entries == sorted(entries, key=lambda e: -e["n"])
    state = root.get("/api/admin/state").json
    assert state["facts"]["devices"] >= 0 and "issuing" in [c["kind"] for c in state["ca"]]
    for path in ("/api/admin/devices?limit=501", "/api/admin/devices?skip=-1", "/api/admin/devices?text=%ff"):
        assert root.get(path).status == 400, path
    assert root.get("/api/admin/devices?text=%27%3B+DROP+TABLE+devices%3B--").status == 200


# --- the page

def _page(b, *headers):
    answer = b.get("/", list(headers))
    assert answer.status == 200 and answer.get("Content-Type") == "text/html; charset=utf-8"
    return answer


def test_the_first_page_is_one_small_answer_with_all_that_it_needs(enroll, browser):
    plain, packed = _page(browser(enroll)), _page(browser(enroll), ("Accept-Encoding", "br;q=1, gzip"))
    assert packed.get("Content-Encoding") == "gzip" and plain.get("Content-Encoding") is None and plain.get("Vary") == "Accept-Encoding"
    assert gzip.decompress(packed.body) == plain.body and len(plain.body) < 60 * 1024
    # ten segments: what a new connection may send before it hears anything (RFC 6928), TLS records and the head included
    assert len(packed.body) + 1500 < 10 * 1460, len(packed.body)
    assert _page(browser(enroll), ("Accept-Encoding", "gzip;q=0")).get("Content-Encoding") is None
    html = plain.body.decode()
    assert not re.search(r"<(link|script|img|iframe|object)\b[^>]*\b(src|href)=(?!\"data:)", html) and "@@" not in html and "@import" not in html
    for kind in (plain, packed):
        again = browser(enroll).get("/", [("If-None-Match", kind.get("ETag")), ("Accept-Encoding", "gzip")])
        assert again.status == 304 and again.body == b"" and "script-src" in again.get("Content-Security-Policy")


def test_threat_47_the_page_lets_no_script_run_but_its_own(enroll, browser):
    answer = _page(browser(enroll))
    policy = dict(part.strip().split(" ", 1) for part in answer.get("Content-Security-Policy").split(";"))
    html = answer.body.decode()
    for tag, directive in (("script", "script-src"), ("style", "style-src")):
        inside, = re.findall("<%s>(.*?)</%s>" % (tag, tag), html, re.S)
        own = "'sha256-%s'" % base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        # strict-dynamic: what that script fetches itself, which is /cockpit.js alone
        assert policy[directive] == own + (" 'strict-dynamic'" if tag == "script" else "")
    assert re.findall(r'el\("script", \{ src: (.*?) \}\)', html) == ['"/cockpit.js"'] and html.count('"script"') == 1
    fetched = browser(enroll).get("/cockpit.js", [("Accept-Encoding", "gzip")])
    assert fetched.get("Content-Type").startswith("text/javascript") and fetched.get("X-Content-Type-Options") == "nosniff"
    assert b"innerHTML" not in gzip.decompress(fetched.body) and "innerHTML" not in html
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert "unsafe" not in str(policy) and not re.search(r"\son\w+=|\sstyle=|javascript:", html.split("<script>")[0].split("</style>")[1])
    assert answer.get("X-Content-Type-Options") == "nosniff" and answer.get("X-Frame-Options") == "DENY"
    assert answer.get("Strict-Transport-Security") == "max-age=31536000" and answer.get("Referrer-Policy") == "no-referrer"
    assert answer.get("Cross-Origin-Opener-Policy") == "same-origin"
    for path in ("/api/me", "/d/" + "0" * 64, "/nothing"):          # what is no page runs nothing at all
        answer = browser(enroll).get(path)
        assert answer.get("Content-Security-Policy") == "default-src 'none'; frame-ancestors 'none'" and answer.get("Cache-Control") == "no-store"
        assert answer.get("X-Content-Type-Options") == "nosniff" and answer.get("Strict-Transport-Security")


def test_every_text_stands_in_the_one_file_and_each_in_it_is_used():
    at = os.path.join(ROOT, "enroll", "worker", "portal")
    texts, script, html = (open(os.path.join(at, name)).read() for name in ("texts.en.json", "portal.js", "index.html"))
    texts = json.loads(texts)
    used = set(re.findall(r'data-(?:text|label)="([^"]+)"', html)) | set(re.findall(r'\b(?:t|word)\("([a-z-]+[a-z])"', script))
    used |= set(re.findall(r'"(col-[a-z]+)"', script)) | {"lang"}
    assert not used - set(texts), used - set(texts)
    made = re.findall(r'\b(?:t|word)\("([a-z-]+-)" \+', script) + ["error-", "step-", "value-", "kind-", "col-", "fact-", "search-"]
    acts = {name + end for name in ("approve", "reject", "hold", "release", "revoke") for end in ("", "-head", "-text")}
    idle = {key for key in texts if key not in used | acts and not key.startswith(tuple(made)) and not re.search(r'[("?:] ?"%s"' % key, script)}
    assert not idle, idle
    steps = re.findall(r'"([a-z-]+)"', re.search(r"kinds\[DEVICE_KINDS\] = \{(.*?)\n\};", open(os.path.join(ROOT, "enroll", "worker", "device_help.c")).read(), re.S)[1])
    assert {s for s in steps if "step-" + s not in texts and "kind-" + s not in texts} == set()
    words = _described()["components"]["schemas"]["Error"]["properties"]["error"]["enum"]
    late = json.load(open(os.path.join(at, "cockpit.en.json")))
    assert {"error-" + w for w in words} - set(texts) - set(late) <= {"error-json-wanted", "error-json-bad", "error-too-large", "error-account-unknown", "error-account-ambiguous"}
    assert not re.search(r">[^<>@]*[A-Za-z]{3}[^<>]*</(button|label|h1|h2|p|legend|figcaption|caption|span)>",
                         re.sub(r'<noscript>.*?</noscript>|<p id="title".*?</p>|<a class="skip".*?</a>', "", html)), "a text that stands in the page itself"


def test_the_api_is_not_on_the_plain_listener(enroll):
    host, _, port = enroll.address("plain").rpartition(":")
    for path in ("/", "/api/me", "/api/session", "/d/" + "0" * 64, "/api/admin/state"):
        with enroll.netns.connect((host, int(port))) as s:
            s.sendall(("GET %s HTTP/1.1\r\nHost: enroll.example.com\r\nConnection: close\r\n\r\n" % path).encode())
            assert b" 404 " in s.recv(4096).split(b"\r\n")[0], path


# --- Active Directory

def test_a_person_signs_in_with_the_password_of_active_directory(ad, start_enroll, browser):
    sam = ad.account()
    enroll = start_enroll(ad=ad)
    for name in (sam, sam + "@corp.example", "CORP\\" + sam):
        answer = browser(enroll).sign_in(name, "Passw0rd." + sam)
        assert answer.status == 200, (name, answer.body)
        assert answer.json["user"]["sid"] == ad.sid(sam)
    assert browser(enroll).sign_in(sam, "Passw0rd." + sam.upper()).status == 401
    assert browser(enroll).sign_in(sam, "").status == 401
    enroll.assert_never("Passw0rd." + sam)


@pytest.mark.no_asan        # what is counted comes to the same
def test_a_thousand_wrong_passwords_never_bring_an_account_near_its_lockout(ad, start_enroll, browser):
    """Strangers try; the domain's own count never reaches the threshold less margin, and the owner can still sign in to the domain."""
    from concurrent.futures import ThreadPoolExecutor
    sam = ad.account()
    enroll = start_enroll({"lockout": {"attempts": 100, "address_attempts": 100000, "memory_mib": 1}}, ad=ad)
    with ThreadPoolExecutor(48) as pool:
        statuses = set(pool.map(lambda i: browser(enroll).sign_in(sam, "wrong %d" % i).status, range(1000)))
    assert statuses <= {401, 429, 503}
    count, threshold = int(ad.get(sam, "badPwdCount")), int(_threshold(ad))
    assert 0 < count < threshold - 2, (count, threshold)
    assert ad.get(sam, "lockoutTime") in (None, "0")
    assert ad.password_is(sam, "Passw0rd." + sam)


def test_the_guard_of_the_portal_stops_long_before(ad, start_enroll, browser):
    sam = ad.account()
    enroll = start_enroll(ad=ad)
    statuses = [browser(enroll).sign_in(sam, "wrong %d" % i).status for i in range(10)]
    assert statuses[-1] == 429 and int(ad.get(sam, "badPwdCount")) <= 2


def test_disabled_expired_locked_and_to_be_changed_do_not_sign_in(ad, start_enroll, browser):
    disabled, expired, locked, change = (ad.account() for _ in range(4))
    ad.disable(disabled)
    ad.expire(expired)
    ad.lock(locked)
    ad.set(change, pwdLastSet="0")
    enroll = start_enroll(ad=ad)
    for sam in (disabled, expired, locked):
        answer = browser(enroll).sign_in(sam, "Passw0rd." + sam)
        assert answer.status == 401 and answer.json["error"] == "refused", sam
    answer = browser(enroll).sign_in(change, "Passw0rd." + change)
    assert answer.status == 401 and answer.json["error"] == "change-password"
    assert browser(enroll).sign_in(change, "wrong").json["error"] == "refused"


def _threshold(ad):
    import ldap
    with ad.connection() as handle:
        return handle.search_s(ad.base, ldap.SCOPE_BASE, attrlist=["lockoutThreshold"])[0][1]["lockoutThreshold"][0]


# --- what is written about it

def _described():
    with open(os.path.join(ROOT, "enroll", "worker", "openapi.yaml")) as f:
        return yaml.safe_load(f)


def test_the_openapi_file_describes_every_route_and_no_other():
    def read(name):
        with open(os.path.join(ROOT, "enroll", "worker", name)) as f:
            return f.read()
    served, shared = set(), read("portal_parts.h")
    for name in ("api_session.c", "api_user.c", "api_admin.c", "migration.c"):
        text = read(name)
        names = dict(re.findall(r'#define (\w+_PATH)\s+"([^"]+)"', text + shared))
        for method, path in re.findall(r'^\t\{ "([A-Z]+)", ("[^"]+"|\w+_PATH),', text, re.M):
            served.add((method.lower(), path.strip('"') if path[0] == '"' else names[path]))
    described = {(method, path) for path, item in _described()["paths"].items() for method in item if method != "parameters"}
    prefixes = {(m, p) for m, p in served if p.endswith("/")}
    assert served - prefixes <= described, served - prefixes - described
    for method, path in described - served:
        assert any(m == method and path.startswith(p + "{") for m, p in prefixes), (method, path)
    for method, prefix in prefixes:
        assert any(m == method and p.startswith(prefix + "{") for m, p in described), (method, prefix)
    assert len(served) == len(re.findall(r"^\t\{ \"(?:GET|POST|DELETE|PUT|PATCH)", "".join(read(n) for n in ("api_session.c", "api_user.c", "api_admin.c", "migration.c")), re.M))


def migration_comes_true(root, redis_server, group, sid):
    key, of = "c" * 64, "/api/admin/migration"
    redis_server.client.hset("easgate:device:" + key, mapping={"sid": sid, "state": "quarantined", "device": "x", "last_seen": "1", "mac": "?"})
    redis_server.client.zadd("easgate:quarantine", {key: 1})
    redis_server.client.hset(time.strftime("easgate:daily:%Y%m%d", time.gmtime()), "requests_password", 1)
    wait_until(lambda: root.get(of).json["survey"]["at"], 5)
    assert [root.get(of + path).status for path in ("/devices", "/devices?limit=x", "/devices?group=CN%3Dx", "/days", "/days?days=0")] == [200, 400, 404, 200, 400]
    assert [root.get(of + "/without" + query).status for query in ("", "?limit=x", "?group=CN%3Dx")] == [200, 400, 404]
    assert [root.post(of + "/switch", {"group": g, "to": to}).status for g, to in ((group, "x"), ("CN=x", "back"), (group, "certificate"), (group, "back"))] == [400, 404, 200, 200]
    redis_server.client.hset("easgate:device:" + key, mapping={"last_seen": int(time.time()), "last_method": "password"})
    root.get(of + "?fresh=true")
    wait_until(lambda: not root.get(of).json["survey"]["running"], 5)
    assert root.post(of + "/switch", {"group": group, "to": "certificate"}).json["devices"] == 1
    assert root.get("/api/admin/records").json["records"][0]["key"] == key and root.get("/api/admin/records?limit=x").status == 400
    at = "/api/admin/records/%s/"
    assert [root.post(at % key + word).status for word in ("release", "block", "forget", "release", "block", "forget")] == [409, 200, 200, 404, 404, 404]
    mac = hmac.new(redis_server.secret, "\n".join(("device-record", key, sid, "x", "quarantined")).encode(), hashlib.sha256).hexdigest()
    redis_server.client.hset("easgate:device:" + key, mapping={"sid": sid, "device": "x", "state": "quarantined", "mac": mac})
    assert root.post(at % key + "release").json["state"] == "registered"


def test_every_answer_is_described_and_every_description_comes_true(start_enroll, browser, accounts, monkeypatch, redis_server, place):
    """All paths, methods, statuses and fields of openapi.yaml, in both directions."""
    described, asked = Description(os.path.join(ROOT, "enroll", "worker", "openapi.yaml")), Browser.request

    def request(self, method, path, body=None, headers=(), source=None):
        answer = asked(self, method, path, body, headers, source)
        if path.startswith("/api/"):
            described.heard(method, path, body if body is None or isinstance(body, bytes) else json.dumps(body).encode(), answer)
        return answer
    monkeypatch.setattr(Browser, "request", request)
    accounts.change("alice", groups=[USERS, "CN=EAS-Sales,OU=Groups,DC=corp,DC=example"])
    accounts.change("mallory", mail="", password=accounts.accounts["alice"]["password"])
    group = "CN=EAS-Sales,OU=Groups,DC=corp,DC=example"
    enroll = start_enroll({"enroll.profiles.0.approve": True, "lockout": {"attempts": 3, "memory_mib": 1}, "enroll.migration": {"groups": [group]},
                           "redis": settings.redis(redis_server, place)["redis"]})
    people = {name: browser(enroll) for name in ("alice", "mallory", "root")}
    alice, root = people["alice"], people["root"]
    assert alice.get("/api/me").status == alice.request("DELETE", "/api/session").status == 401
    assert alice.sign_in("alice", PASSWORD, [("Origin", "https://evil.example")]).status == 403
    assert [browser(enroll).sign_in("bob", "wrong %d" % i).status for i in range(4)][-1] == 429
    for name, b in people.items():
        assert b.sign_in(name, PASSWORD).status == 200
    assert alice.get("/api/me").status == 200

    none, nobody = "0" * 32, "S-1-5-21-9-9-9-9"
    new = {"name": "Phone", "kind": "android"}
    ids = [alice.post("/api/devices", new).json["device"]["id"] for _ in range(3)]
    assert [alice.post("/api/devices", body).status for body in (new, {})] == [409, 400]
    assert people["mallory"].post("/api/devices", new).status == 403
    alice.get("/api/devices")

    def act(who, path, *bodies):
        return [who.post(path, body).status for body in bodies or ({},)]
    assert act(alice, "/api/devices/%s/delivery" % ids[0]) == [409]             # it waits
    at = "/api/admin/devices/%s/"
    assert act(root, at % ids[0] + "approve", {"reason": "x"}, {}, {}) == [400, 200, 409]
    assert act(root, at % ids[1] + "reject", {"reason": "x"}, {}, {}) == [400, 200, 409]
    offer = alice.post("/api/devices/%s/delivery" % ids[0])
    assert offer.status == 200 and alice.get(offer.json["path"]).status == 200
    assert act(root, at % ids[0] + "hold", {"reason": "x"}, {}) == [400, 200]
    assert [d["id"] for d in root.get("/api/admin/devices").json["devices"] if d.get("held")] == [ids[0]]
    assert act(root, at % ids[0] + "release", {"reason": "x"}, {}) == [400, 200] and alice.get("/api/devices").json["devices"]
    assert root.get("/api/admin/devices/" + ids[0]).json["device"]["certificates"][0]["state"] == "live"
    assert act(alice, "/api/devices/%s/revoke" % ids[0], {"reason": "x"}, {"reason": "lost"}) == [400, 200]
    for word in ("hold", "release"):
        assert act(root, at % ids[0] + word) == [409], word
    for word in ("approve", "reject", "hold", "release", "revoke"):
        assert act(root, at % none + word) == [404], word
    assert act(root, at % ids[2] + "revoke", {"reason": "x"}, {"reason": "cessation"}, {}) == [400, 200, 200]
    for path in ("/api/devices/%s/delivery", "/api/devices/%s/revoke"):
        assert act(alice, path % none) == [404]

    made = {"account": "alice", "name": "From above", "kind": "windows"}
    assert [root.post("/api/admin/devices", dict(made, **change)).status for change in ({}, {}, {}, {}, {"kind": "x"}, {"account": "nobody"})] == \
        [201, 201, 201, 409, 400, 404]
    sid = alice.get("/api/me").json["user"]["sid"]
    for path, wrong in (("accounts", "limit=501"), ("devices", "state=x"), ("devices", "sid=" + nobody), ("secrets", "skip=x"), ("secrets", "sid=" + nobody),
                        ("audit", "limit=x"), ("state", None)):
        assert root.get("/api/admin/" + path).status == 200
        assert wrong is None or root.get("/api/admin/%s?%s" % (path, wrong)).status in (400, 404)
    assert root.get("/api/admin/devices/" + none).status == 404
    assert [d["name"] for d in root.get("/api/admin/devices?state=active&sid=" + sid).json["devices"]] == ["From above"] * 3
    assert root.get("/api/admin/devices?state=waiting").json["devices"] == []

    wanted = {"account": "alice", "purpose": "est"}
    secrets = [root.post("/api/admin/secrets", wanted).status for _ in range(65)]
    assert secrets == [201] * 64 + [409]
    assert [root.post("/api/admin/secrets", dict(wanted, **change)).status for change in ({"purpose": "x"}, {"account": "nobody"}, {"device": none})] == [400, 404, 404]
    one = root.get("/api/admin/secrets?limit=1&sid=" + sid).json["secrets"][0]
    assert one["state"] == "open" and one["owner"]["name"] == "alice"
    assert act(root, "/api/admin/secrets/%s/revoke" % one["id"], {}, {}) == [200, 409] and act(root, "/api/admin/secrets/%s/revoke" % ("0" * 16)) == [404]
    assert {s["state"] for s in root.get("/api/admin/secrets?limit=500").json["secrets"]} == {"open", "ended"}
    assert act(root, "/api/admin/accounts/%s/revoke" % sid, {"reason": "x"}, {}) == [400, 200] and act(root, "/api/admin/accounts/%s/revoke" % nobody) == [404]
    migration_comes_true(root, redis_server, group, sid)
    assert alice.get("/api/admin/state").status == 403 and root.post("/api/devices", b"x").status == 400
    assert alice.request("DELETE", "/api/session").status == 204
    redis_server.hang()         # what the guard knows cannot be asked: nobody's password is tried
    assert browser(enroll).sign_in("mallory", PASSWORD).status == 503
    redis_server.resume()
    assert described.unheard() == set()


def test_the_command_line_says_the_same_as_the_api(start_enroll, browser, accounts):
    """Each command's --json is the API's answer; what changes something changes the same."""
    enroll = start_enroll({"enroll.profiles.0.approve": True})
    alice, root = browser(enroll), browser(enroll)
    assert alice.sign_in("alice", PASSWORD).status == root.sign_in("root", PASSWORD).status == 200
    waiting = [add(alice, name)["id"] for name in ("First", "Second")]
    assert enroll.command("device", "approve", waiting[0])["device"]["state"] == "active"
    assert enroll.command("device", "reject", waiting[1])["device"]["state"] == "revoked"
    added = enroll.command("device", "add", "--account", "alice", "--kind", "windows", "From the shell")["device"]
    assert added["owner"]["name"] == "alice" and added["state"] == "active"
    secret = enroll.command("secret", "add", "--account", "alice", "--device", added["id"], "--purpose", "est")
    assert len(secret["secret"].replace("-", "")) == 32
    for words, path in ((("device", "list"), "devices?limit=500&text="), (("device", "list", "shell"), "devices?text=shell"), (("device", "show", added["id"]), "devices/" + added["id"]),
                        (("device", "list", "--state", "revoked"), "devices?state=revoked"), (("user", "list"), "accounts"), (("secret", "list"), "secrets"), (("audit", "list"), "audit?limit=500")):
        said, told = enroll.command(*words), root.get("/api/admin/" + path).json
        if words[0] == "audit":
            told["entries"].reverse()           # a terminal shows the newest last
        assert said == told, words
    assert {(c["subject"], c["not_after"]) for c in root.get("/api/admin/state").json["ca"]} <= {(c["subject"], c["not_after"]) for c in enroll.command("ca", "show")["certificates"]}
    one = enroll.command("secret", "list", "--account", alice.get("/api/me").json["user"]["sid"])["secrets"][0]
    assert enroll.command("secret", "revoke", one["id"]) == {"id": one["id"], "state": "ended"}
    offer = alice.post("/api/devices/%s/delivery" % waiting[0]).json
    assert alice.get(offer["path"]).status == 200
    for word, state in (("hold", "hold"), ("release", "live"), ("revoke", "revoked")):
        assert enroll.command("device", word, waiting[0])["certificates"] == 1
        assert root.get("/api/admin/devices/" + waiting[0]).json["device"]["certificates"][0]["state"] in (state, "revoking")
    assert enroll.command("user", "revoke", alice.get("/api/me").json["user"]["sid"]) == {"certificates": 0}
    assert {d["state"] for d in alice.get("/api/devices").json["devices"]} == {"revoked"}
    whole = enroll.command("audit", "verify")
    assert whole["whole"] and whole["entries"] >= 12
    enroll.assert_never(secret["secret"])


FAILING = [
    (("device", "show", "0" * 32), 1, ["0" * 32, "easenroll device list"]),
    (("device", "approve", "x"), 1, ["x", "easenroll device list"]),
    (("user", "revoke", "S-1-5-21-9", "--reason", "boredom"), 1, ["reason: lost, "]),
    (("device", "add", "--account", "nobody", "Phone"), 1, ["nobody", "directory"]),
    (("device", "add", "--account", "alice", "--kind", "toaster", "Phone"), 1, ["kind: iphone, "]),
    (("device", "list", "--state", "odd"), 1, ["state: waiting, "]),
    (("user", "revoke", "S-1-5-21-9"), 1, ["S-1-5-21-9", "easenroll user list"]),
    (("secret", "add", "--account", "alice", "--purpose", "x"), 1, ["purpose: scep or est"]),
    (("secret", "revoke", "0" * 16), 1, ["0" * 16, "easenroll secret list"]),
    (("device", "burn", "x"), 2, ["easenroll device revoke ID"]),
    (("device", "revoke"), 2, ["easenroll device revoke ID"]),
    (("secret",), 2, ["easenroll secret list"]),
    (("user", "show"), 2, ["easenroll user show SID"]),
    (("audit", "list", "--limit", "x"), 2, ["--limit NUMBER"]),
    (("burn",), 2, ["unknown command: burn"]),
    (("device", "add", "--account", "alice", "\x1b[2JPhone"), 1, ["name: 1 to 127 bytes"]),
    (("device", "add", "--account", "alice", "Phone\u202egnp"), 1, ["name has control characters"]),
    (("device", "show", "\x1b]0;x\x07"), 1, ["\\x1b]0;x\\x07: ", "easenroll device list"]),
    # an option that a command does not take is not passed over
    (("device", "hold", "0" * 32, "--reason", "lost"), 2, ["easenroll device hold ID"]),
    (("device", "list", "--kind", "ipad"), 2, ["easenroll device list"]),
    (("device", "revoke", "0" * 32, "--state", "active"), 2, ["easenroll device revoke ID"]),
    (("user", "list", "--reason", "lost"), 2, ["easenroll user list"]),
    (("secret", "list", "--purpose", "est"), 2, ["easenroll secret list"]),
    (("secret", "revoke", "0" * 16, "--account", "alice"), 2, ["easenroll secret revoke"]),
    (("audit", "list", "--log", "-"), 2, ["easenroll audit list"]),
    (("audit", "verify", "--limit", "3"), 2, ["easenroll audit verify"]),
    (("migration", "days", "--group", "x"), 2, ["easenroll migration days"]),
    (("migration", "switch", "x", "back", "--accept", "3"), 2, ["easenroll migration switch"]),
    (("status", "now"), 2, ["easenroll status"]),
    (("audit", "verify", "--log", "/nonexistent"), 1, ["/nonexistent cannot be read: No such file"]),
]


def test_a_command_that_fails_says_what_where_and_the_cure(enroll):
    for words, status, says in FAILING:
        done = subprocess.run([enroll.program, "-c", enroll.path, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=20)
        assert (done.returncode, done.stdout) == (status, ""), (words, done.stderr)
        for part in says:
            assert part in done.stderr, (words, done.stderr)
        assert status == 2 or done.stderr.count("\n") == 1, (words, done.stderr)


def test_tables_are_for_people(enroll, signed_in):
    device = add(signed_in(), "Größe Ω")
    def table(*words):
        return subprocess.run([enroll.program, "-c", enroll.path, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=20, check=True).stdout.splitlines()
    head, row = table("device", "list")
    assert head.split() == ["ID", "OWNER", "NAME", "KIND", "STATE", "CREATED", "LAST", "SYNC", "METHOD"] and row.split()[:2] == [device["id"], "alice"]
    assert head.index("KIND") == row.index("android") and "Größe Ω" in row
    assert table("secret", "list")[0].split()[:3] == ["ID", "OWNER", "DEVICE"]
    entry = [line for line in table("audit", "list") if "device-added" in line][0]
    assert "alice@corp.example" in entry and "Größe Ω" in entry
