"""The portal over its API: signing in under the lock-out guard, sessions, CSRF, own devices, delivery, administrators (threats E 47, 49)."""
import os
import re
import shutil
import subprocess
import tempfile
import warnings

import pytest
import yaml

from site_.accounts import USERS
from site_.chromium import Chromium
from site_.enroll import ADMINS, Enroll, configuration
from site_.proxy import ROOT

warnings.simplefilter("ignore", DeprecationWarning)
PASSWORD = "Correct-1 battery"
HASH = subprocess.run(["openssl", "passwd", "-6", "-salt", "easgatetests", PASSWORD], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def start_enroll(place, pki, accounts, made):
    """start_enroll(changes, ad): an easenroll that is ready; people of the file have PASSWORD, root is an administrator."""
    def start(changes=None, ad=None, **kw):
        directory = tempfile.mkdtemp(prefix="enroll-", dir=place)
        os.chmod(directory, 0o755)
        config = configuration(directory, pki, accounts, ad, "nobody" if os.getuid() == 0 else None, changes)
        enroll = Enroll(config, directory, netns=ad.netns if ad else None, **kw)
        enroll.close = enroll.stop
        return made(enroll)
    for sam in ("alice", "bob", "mallory"):
        accounts.change(sam, password=HASH)
    accounts.add("root", password=HASH, groups=[USERS, ADMINS])
    return start


@pytest.fixture
def enroll(start_enroll):
    return start_enroll()


@pytest.fixture
def browser(pki):
    return lambda enroll: enroll.browser(pki.server_ca.pem)


@pytest.fixture
def signed_in(enroll, browser):
    """signed_in(name): a browser of the common easenroll with a session."""
    def start(name="alice", where=None):
        b = browser(where or enroll)
        answer = b.sign_in(name, PASSWORD)
        assert answer.status == 200, answer.body
        return b
    return start


def add(b, name="Phone", kind="android"):
    answer = b.post("/api/devices", {"name": name, "kind": kind})
    assert answer.status == 201, answer.body
    return answer.json["device"]


# --- signing in

@pytest.mark.quick
def test_a_person_signs_in_with_name_and_password_and_gets_a_session(enroll, browser):
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


def test_after_three_wrong_passwords_no_more_are_tried_and_the_answer_says_when(enroll, browser):
    for _ in range(3):
        assert browser(enroll).sign_in("alice", "wrong").status == 401
    for name in ("alice", "ALICE", "alice@corp.example"):
        answer = browser(enroll).sign_in(name, PASSWORD)
        assert answer.status == 429 and 1 <= int(answer.get("Retry-After")) <= 1800
    assert browser(enroll).sign_in("bob", PASSWORD).status == 200


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


def test_who_is_disabled_loses_the_session_within_seconds(enroll, signed_in, accounts):
    b = signed_in("bob")
    accounts.change("bob", enabled=False)
    enroll.wait_event("portal_session_ended", timeout=10)
    assert b.get("/api/devices").status == 401
    assert b.sign_in("bob", PASSWORD).status == 401


def test_who_is_not_in_the_required_group_is_told_so_after_the_right_password_only(start_enroll, browser):
    enroll = start_enroll({"enroll.portal.required_group": USERS})
    assert browser(enroll).sign_in("mallory", "wrong").json["error"] == "refused"
    answer = browser(enroll).sign_in("mallory", PASSWORD)
    assert answer.status == 403 and answer.json["error"] == "not-in-group" and not answer.get("Set-Cookie")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"name":"a","name":"b","password":"x"}', b'{"name":1,"password":[]}',
                                  b'{"name":"al\xff","password":"x"}', b"[" * 5000, b'{"name":"a\\u0000b","password":"x"}'])
def test_a_hostile_body_is_refused(enroll, browser, body):
    assert browser(enroll).request("POST", "/api/session", body).status in (400, 401)


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
    device = add(alice)["id"]
    for path in ("/api/devices/%s/revoke", "/api/devices/%s/delivery"):
        mine, none = bob.post(path % device), bob.post(path % ("0" * 32))
        assert (mine.status, mine.body) == (none.status, none.body) and mine.status == 404
    assert bob.get("/api/devices").json["devices"] == []
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

def test_the_page_is_small_and_allows_no_script_but_its_own(enroll, browser):
    b, size = browser(enroll), 0
    for path, kind in (("/", "text/html"), ("/portal.css", "text/css"), ("/portal.js", "text/javascript"), ("/texts.en.json", "application/json")):
        answer = b.get(path)
        assert answer.status == 200 and answer.get("Content-Type").startswith(kind)
        size += len(answer.body)
        assert b.get(path, [("If-None-Match", answer.get("ETag"))]).status == 304
        policy = answer.get("Content-Security-Policy")
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.get("X-Content-Type-Options") == "nosniff" and answer.get("Strict-Transport-Security")
    assert size < 60 * 1024
    html = b.get("/").body.decode()
    assert "<script>" not in html and "onclick" not in html and " style=" not in html and "//" not in html.replace("<!--", "")


def test_every_text_that_the_page_uses_is_in_the_text_file(enroll, browser):
    b = browser(enroll)
    texts, script, html = b.get("/texts.en.json").json, b.get("/portal.js").body.decode(), b.get("/").body.decode()
    used = set(re.findall(r'data-text="([^"]+)"', html)) | set(re.findall(r'\bt\("([a-z-]+[a-z])"', script))
    assert used and not used - set(texts), used - set(texts)


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


def test_a_thousand_wrong_passwords_never_bring_an_account_near_its_lockout(ad, start_enroll, browser):
    """Strangers try; the domain's own count stays under threshold less margin, and the owner can still sign in to the domain."""
    from concurrent.futures import ThreadPoolExecutor
    sam = ad.account()
    enroll = start_enroll({"enroll.guard": {"attempts": 100, "margin": 2, "window_seconds": 1800, "address_attempts": 100000}}, ad=ad)
    with ThreadPoolExecutor(48) as pool:
        statuses = set(pool.map(lambda i: browser(enroll).sign_in(sam, "wrong %d" % i).status, range(1000)))
    assert statuses <= {401, 429, 503}
    count, threshold = int(ad.get(sam, "badPwdCount")), int(_threshold(ad))
    assert 0 < count <= threshold - 2, (count, threshold)
    assert ad.get(sam, "lockoutTime") in (None, "0")
    assert ad.password_is(sam, "Passw0rd." + sam)


def test_the_guard_of_the_portal_stops_long_before(ad, start_enroll, browser):
    sam = ad.account()
    enroll = start_enroll(ad=ad)
    statuses = [browser(enroll).sign_in(sam, "wrong %d" % i).status for i in range(10)]
    assert statuses[-1] == 429 and int(ad.get(sam, "badPwdCount")) <= 3


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


# --- the page in a browser

needs_chromium = pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")


@pytest.fixture
def chromium(enroll, place, made):
    return made(Chromium(place, "MAP enroll.example.com " + enroll.tls_address()))


def shot(page, name):
    """Kept where EASGATE_SCREENSHOTS says, in light and dark, for desktop and phone."""
    directory = os.environ.get("EASGATE_SCREENSHOTS")
    for width, height in ((1280, 900), (390, 844)):
        for dark in (False, True):
            page.size(width, height, dark)
            wide = page.run("document.documentElement.scrollWidth")
            assert wide <= width, "%s is %d wide on a screen of %d" % (name, wide, width)
            if directory:
                page.screenshot(os.path.join(directory, "%s-%d-%s.png" % (name, width, "dark" if dark else "light")))
    page.size(1280, 900)


def enter(page, name):
    page.open("https://enroll.example.com/")
    page.wait("document.querySelector('#view-sign-in:not([hidden])')")
    page.type("#name", name)
    page.type("#password", PASSWORD)
    page.press("Enter", 13)
    page.wait("document.querySelector('#view-devices:not([hidden])')")


@needs_chromium
def test_a_person_signs_in_adds_downloads_and_revokes_in_a_browser(chromium, enroll, browser):
    page = chromium
    page.open("https://enroll.example.com/")
    page.wait("document.querySelector('#view-sign-in:not([hidden])')")
    assert page.run("document.activeElement.id") == "name"
    page.run("document.activeElement.blur()")
    shot(page, "sign-in")
    page.type("#name", "alice")
    page.type("#password", "wrong")
    page.press("Enter", 13)
    page.wait("document.querySelector('#alert').textContent.includes('wrong')")
    assert page.run("document.querySelector('#password').value") == ""
    page.type("#password", PASSWORD)
    page.press("Enter", 13)
    page.wait("document.querySelector('#view-devices:not([hidden])')")
    page.run("document.querySelector('#view-devices > button').click()")
    page.run("document.querySelector('#kinds input[value=android]').click()")
    page.type("#device-name", "<img src=x onerror=alert(1)> phone")
    shot(page, "add")
    page.run("document.querySelector('#form-add button[type=submit]').click()")
    page.wait("document.querySelector('#view-install:not([hidden]) #qr svg')")
    assert page.run("document.querySelector('#secret-text').textContent.length") == 24
    shot(page, "install")
    answer = browser(enroll).get(page.run("document.querySelector('#download').getAttribute('href')"))
    assert answer.status == 200 and answer.get("Content-Type") == "application/x-pkcs12"
    page.run("document.querySelector('#view-install > button').click()")
    page.wait("document.querySelector('#devices li')")
    assert page.run("document.querySelector('#devices h2').textContent") == "<img src=x onerror=alert(1)> phone"
    assert page.run("document.querySelectorAll('main img').length") == 0
    shot(page, "devices")
    page.run("document.querySelector('#devices button.danger').click()")
    page.wait("document.querySelector('#ask').open")
    shot(page, "ask")
    page.run("document.querySelector('#ask-yes').click()")
    page.wait("document.querySelector('#devices .state-revoked')")
    page.run("document.querySelector('#sign-out').click()")
    page.wait("document.querySelector('#view-sign-in:not([hidden])')")
    assert not [line for line in page.console if "Content Security Policy" in line or "exceptionThrown" in line], page.console


@needs_chromium
def test_an_administrator_works_in_a_browser(chromium, enroll, signed_in):
    add(signed_in(), "Tablet of Alice", "ipad")
    page = chromium
    enter(page, "root")
    page.run("document.querySelector('#nav-admin').click()")
    page.wait("document.querySelector('#admin-body table')")
    shot(page, "admin-devices")
    for tab in ("accounts", "audit", "state"):
        page.run("document.querySelector('#tab-%s').click()" % tab)
        page.wait("document.querySelector('#tab-%s[aria-selected=true]') && document.querySelector('#admin-body table')" % tab)
        shot(page, "admin-" + tab)
    page.run("document.querySelector('#tab-devices').click()")
    page.wait("document.querySelector('#admin-body button.danger')")
    page.run("document.querySelector('#admin-body button.danger').click()")
    page.wait("document.querySelector('#ask').open")
    page.run("document.querySelector('#ask-yes').click()")
    page.wait("document.querySelector('#admin-body .state-revoked')")


@needs_chromium
def test_every_field_and_button_has_a_name_for_screen_readers(chromium, signed_in):
    add(signed_in())
    page = chromium
    enter(page, "alice")
    for view in ("devices", "add"):
        page.run("[...document.querySelectorAll('[data-view=%s]')][0].click()" % view)
        nodes = page.call("Accessibility.getFullAXTree")["nodes"]
        for node in nodes:
            if node.get("role", {}).get("value") in ("button", "textbox", "radio", "link", "tab") and not node.get("ignored"):
                assert node.get("name", {}).get("value"), node


# --- what is written about it

def _described():
    with open(os.path.join(ROOT, "enroll", "worker", "openapi.yaml")) as f:
        return yaml.safe_load(f)


def test_the_openapi_file_describes_every_route_and_no_other():
    served = set()
    for name in ("api_session.c", "api_user.c", "api_admin.c"):
        with open(os.path.join(ROOT, "enroll", "worker", name)) as f:
            text = f.read()
        names = dict(re.findall(r'#define (\w+_PATH)\s+"([^"]+)"', text))
        for method, path in re.findall(r'^\t\{ "([A-Z]+)", ("[^"]+"|\w+_PATH),', text, re.M):
            served.add((method.lower(), path.strip('"') if path[0] == '"' else names[path]))
    described = {(method, path) for path, item in _described()["paths"].items() for method in item if method != "parameters"}
    prefixes = {(m, p) for m, p in served if p.endswith("/")}
    assert served - prefixes <= described, served - prefixes - described
    for method, path in described - served:
        assert any(m == method and path.startswith(p + "{") for m, p in prefixes), (method, path)
    for method, prefix in prefixes:
        assert any(m == method and p.startswith(prefix + "{") for m, p in described), (method, prefix)


def test_the_server_answers_as_the_openapi_file_says(signed_in):
    root, described = signed_in("root"), _described()
    device = add(root)
    answers = {"/api/me": root.get("/api/me").json, "/api/devices": root.get("/api/devices").json,
               "/api/admin/devices/{id}": root.get("/api/admin/devices/" + device["id"]).json}
    wanted = described["components"]["schemas"]["Device"]
    for found in (answers["/api/devices"]["devices"][0], answers["/api/admin/devices/{id}"]["device"], device):
        assert set(wanted["required"]) <= set(found) <= set(wanted["properties"]), found
    for path, item in described["paths"].items():
        url = path.replace("{id}", device["id"]).replace("{sid}", root.get("/api/me").json["user"]["sid"])
        if "get" in item:
            answer = root.get(url)
            assert answer.status == 200 and answer.json, url
        elif "post" in item:
            answer = root.get(url)
            assert answer.status in (404, 405), url
    words = described["components"]["schemas"]["Error"]["properties"]["error"]["enum"]
    for answer in (root.post("/api/devices", {}), root.post("/api/devices", b"x"), root.get("/api/admin/devices/" + "0" * 32),
                   root.post("/api/admin/devices", {"account": "nobody", "name": "x", "kind": "mac"}),
                   root.post("/api/admin/devices/%s/approve" % device["id"])):
        assert answer.status in (400, 404, 409) and answer.json["error"] in words, answer.body


def test_the_command_line_says_the_same_as_the_api(signed_in, enroll):
    root = signed_in("root")
    made = root.post("/api/admin/devices", {"account": "alice", "name": "From above", "kind": "windows"})
    assert made.status == 201 and made.json["device"]["owner"]["name"] == "alice"
    listed = enroll.command("device", "list")
    assert made.json["device"]["id"] in str(listed)
    secret = root.post("/api/admin/secrets", {"account": "alice", "device": made.json["device"]["id"], "purpose": "est"})
    assert secret.status == 201 and len(secret.json["secret"].replace("-", "")) == 32
    enroll.assert_never(secret.json["secret"])
