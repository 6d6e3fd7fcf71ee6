"""facts/threats.md E 47 and E 49, what tests of the portal's API do not say already: text from people in profiles and headers, bodies, redirects, passwords."""
import json
import os
import plistlib
import re
import subprocess
import urllib.parse

import pytest
import yaml

from site_.portal import PASSWORD, add, browser, enroll, signed_in, start_enroll  # noqa: F401 (fixtures)

NASTY = ['</string></dict><dict><key>PayloadType</key><string>com.apple.mdm', "]]><!ENTITY x SYSTEM 'file:///etc/passwd'>&x;", "<script>alert(1)</script>", "%s%n../../etc/passwd"]


def test_threat_47_names_from_people_and_the_directory_are_text_in_a_profile(enroll, accounts, signed_in, browser):
    accounts.change("alice", display_name='Al <b>& "Ice"</b></string><key>x</key>')
    b = signed_in()
    for name in NASTY[:3]:
        device = add(b, name, "iphone")
        answer = browser(enroll).get(b.post("/api/devices/%s/delivery" % device["id"]).json["path"])
        assert answer.status == 200
        disposition = answer.get("Content-Disposition") or ""
        assert re.fullmatch(r'(attachment|inline)?(; *filename="[A-Za-z0-9._-]+")?', disposition), disposition
        profile = subprocess.run(["openssl", "cms", "-verify", "-inform", "DER", "-noverify"], input=answer.body, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout
        assert b"<!ENTITY" not in profile and b"<script>" not in profile
        kinds = [p["PayloadType"] for p in plistlib.loads(profile)["PayloadContent"]]
        assert "com.apple.mdm" not in kinds and set(kinds) <= {"com.apple.security.scep", "com.apple.eas.account", "com.apple.security.root", "com.apple.security.pkcs1"}
        assert b.post("/api/devices/%s/revoke" % device["id"]).status == 200


def test_threat_47_a_device_name_is_no_file_name_and_no_header(enroll, signed_in, browser):
    b = signed_in()
    device = add(b, NASTY[3] + '"; filename="x.exe')
    answer = browser(enroll).get(b.post("/api/devices/%s/delivery" % device["id"]).json["path"])
    assert answer.status == 200 and answer.get("X-Content-Type-Options") == "nosniff"
    assert "etc" not in (answer.get("Content-Disposition") or "") and "exe" not in (answer.get("Content-Disposition") or "")
    assert b.post("/api/devices", {"name": "a\r\nSet-Cookie: x=y", "kind": "mac"}).status == 400


def test_threat_47_a_link_is_not_guessed_and_never_shows_whose_it_was(enroll, signed_in, browser):
    b = signed_in()
    path = b.post("/api/devices/%s/delivery" % add(b)["id"]).json["path"]
    token = path[3:]
    assert len(token) >= 32
    near = [token[:-1], token + "0", token[:-1] + ("0" if token[-1] != "0" else "1"), token[::-1], "0" * len(token)]
    answers = [browser(enroll).get("/d/" + t) for t in near]
    assert {a.status for a in answers} == {404} and len({a.body for a in answers}) == 1
    assert signed_in("bob").get(path).status == 200         # whoever has it, once: that is what the link is
    again = browser(enroll).get(path)
    assert (again.status, again.body) == (404, answers[0].body)


def test_threat_47_nothing_redirects_to_where_a_request_says(enroll, signed_in):
    b = signed_in()
    for path in ("/?next=https://evil.example/", "/?url=//evil.example", "/d/?to=https://evil.example/", "/api/me?redirect=https://evil.example/"):
        for headers in ((), (("X-Forwarded-Host", "evil.example"),), (("X-Forwarded-Proto", "http"), ("Referer", "https://evil.example/"))):
            answer = b.get(path, headers)
            assert answer.status in (200, 404) and answer.get("Location") is None and b"evil.example" not in answer.body, path
    device = add(b)
    offer = b.post("/api/devices/%s/delivery" % device["id"], {}, [("X-Forwarded-Host", "evil.example")]).json
    assert offer["url"].startswith("https://enroll.example.com/") and "evil" not in json.dumps(offer)


def test_threat_47_bodies_that_are_bombs_are_refused_and_the_next_is_served(enroll, signed_in, browser):
    b = signed_in()
    big = json.dumps({"name": "x" * 10_000_000, "kind": "mac"}).encode()
    try:
        assert b.request("POST", "/api/devices", big).status == 413
    except (ConnectionError, OSError):
        pass                                                # closed before it was all sent
    deep = b'{"name":' * 3000 + b"1" + b"}" * 3000
    for body in (deep, b'{"name":"' + b"x" * 65000 + b'","kind":"mac"}', b'{"kind":"mac","name":1e999}'):
        assert b.request("POST", "/api/devices", body).status in (400, 413)
    packed = b.request("POST", "/api/devices", b"\x1f\x8b" + b"\0" * 100, [("Content-Encoding", "gzip")])
    assert packed.status in (400, 415)
    assert browser(enroll).get("/").status == 200 and b.get("/api/devices").json == {"devices": []}


def test_threat_47_every_answer_to_a_sign_in_carries_what_browsers_need(enroll, browser):
    for password in (PASSWORD, "wrong"):
        answer = browser(enroll).sign_in("alice", password)
        assert answer.get("Strict-Transport-Security") and answer.get("Cache-Control") == "no-store" and answer.get("X-Content-Type-Options") == "nosniff"
        assert answer.get("Content-Security-Policy") == "default-src 'none'; frame-ancestors 'none'" and answer.get("Access-Control-Allow-Origin") is None


def test_threat_49_each_file_has_a_password_of_its_own_of_a_hundred_bits_that_is_kept_nowhere(enroll, signed_in, browser):
    b = signed_in()
    device, passwords = add(b)["id"], set()
    for _ in range(20):
        passwords.add(b.post("/api/devices/%s/delivery" % device).json["password"])
    assert len(passwords) == 20
    for password in passwords:
        assert re.fullmatch(r"([0-9A-Z]{4}-){4}[0-9A-Z]{4}", password), password
    letters = set("".join(passwords)) - {"-"}
    assert 28 <= len(letters) <= 32, letters            # 20 characters of five bits: of 400, hardly one of 32 is missing
    offer = b.post("/api/devices/%s/delivery" % device).json
    answer = browser(enroll).get(offer["path"])
    assert answer.status == 200 and answer.get("Cache-Control") == "no-store"
    wrong = subprocess.run(["openssl", "pkcs12", "-legacy", "-noout", "-passin", "pass:" + offer["password"].lower()[:-1]], input=answer.body, stderr=subprocess.PIPE)
    assert wrong.returncode != 0
    found = subprocess.run(["grep", "-rlaF", "-e", offer["password"], "-e", offer["path"][3:], enroll.config["state_dir"]], stdout=subprocess.PIPE)
    assert found.returncode == 1, found.stdout
    key = subprocess.run(["openssl", "pkcs12", "-legacy", "-nodes", "-nocerts", "-passin", "pass:" + offer["password"]], input=answer.body, stdout=subprocess.PIPE, check=True).stdout
    der = subprocess.run(["openssl", "pkey", "-outform", "DER"], input=key, stdout=subprocess.PIPE, check=True).stdout
    for path in subprocess.run(["find", enroll.config["state_dir"], "-type", "f"], stdout=subprocess.PIPE, text=True).stdout.split():
        with open(path, "rb") as f:
            assert der[40:72] not in f.read(), path         # the private key is in no file of ours


def _operations():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "enroll", "worker", "openapi.yaml")) as f:
        paths = yaml.safe_load(f)["paths"]
    return sorted((method.upper(), path) for path, item in paths.items() for method in item if method != "parameters")


@pytest.mark.no_asan
def test_threat_47_every_path_of_the_api_is_shut_to_whoever_may_not_and_nothing_of_it_happens(enroll, signed_in, browser, accounts):
    """From openapi.yaml, so that no new path is forgotten: without a session, with a user's, with one of an administrator of something else, and by another site."""
    accounts.add("head", password=accounts.accounts["alice"]["password"], groups=["CN=EAS-Users,OU=Groups,DC=corp,DC=example", "CN=EAS-Admins,OU=Other,DC=corp,DC=example"])
    people = {name: signed_in(name) for name in ("alice", "bob", "head", "root")}
    for name in "bob", "root":
        add(people[name])
    device, sid = add(people["alice"])["id"], people["alice"].get("/api/me").json["user"]["sid"]
    secret = people["root"].post("/api/admin/secrets", {"account": "alice"}).json
    secret = people["root"].get("/api/admin/secrets").json["secrets"][0]["id"]
    before = enroll.command("audit", "list", "--limit", "1000")["entries"]

    def ask(who, method, path, **kw):
        path = path.replace("{sid}", sid).replace("{key}", "c" * 64).replace("{id}", secret if "/secrets/" in path else device)
        answer = who.request(method, path, {} if method == "POST" else None, **kw)
        assert answer.get("Cache-Control") == "no-store" and answer.get("X-Content-Type-Options") == "nosniff", path
        assert answer.get("Content-Security-Policy") == "default-src 'none'; frame-ancestors 'none'" and not answer.get("Access-Control-Allow-Origin"), path
        return answer.status, answer.json.get("error") if answer.body[:1] == b"{" else None

    nobody, old = browser(enroll), browser(enroll)
    everybody = [nobody, old, *people.values()]
    for b in everybody:
        b.kept = True
    old.cookie, old.csrf = "0" * 64, people["alice"].csrf
    seen = {"admin": 0, "user": 0, "change": 0}
    for method, path in _operations():
        if (method, path) == ("POST", "/api/session"):
            continue
        for who in nobody, old:
            assert ask(who, method, path) == (401, "sign-in"), (method, path)
        if path.startswith("/api/admin/"):
            seen["admin"] += 1
            for name in "bob", "head":
                assert ask(people[name], method, path) == (403, "not-admin"), (method, path, name)
        elif "{id}" in path:
            seen["user"] += 1
            for name in "bob", "root":      # a device of another
                assert ask(people[name], method, path) == (404, "not-found"), (method, path, name)
        if method == "GET":
            continue
        seen["change"] += 1
        owner = people["root" if path.startswith("/api/admin/") else "alice"]
        for token in (None, "", people["bob"].csrf, owner.cookie, owner.csrf[:-1], owner.csrf + "0"):
            assert ask(owner, method, path, headers=[("X-Easgate-Csrf", token)]) == (403, "csrf"), (method, path, token)
        if not path.endswith("/delivery") and method == "POST":     # (which reads no body)
            for kind in "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx":
                assert ask(owner, method, path, headers=[("Content-Type", kind)])[0] in (415, 404, 409), (method, path, kind)
    for path in sorted({path for _, path in _operations()}):
        allowed = {method for method, p in _operations() if p == path}
        for method in {"PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "GET", "POST"} - allowed:
            assert ask(people["root"], method, path, headers=[("X-HTTP-Method-Override", sorted(allowed)[0])])[0] in (400, 404, 405), (method, path)
    for b in everybody:
        b.close()
    assert seen["admin"] >= 20 and seen["user"] >= 2 and seen["change"] >= 15
    assert enroll.command("audit", "list", "--limit", "1000")["entries"] == before
    assert [d["state"] for d in people["alice"].get("/api/devices").json["devices"]] == ["active"]


def test_threat_47_two_cookies_are_no_session_and_a_header_of_another_address_is_nobody(enroll, signed_in, browser):
    alice, thief = signed_in(), browser(enroll)
    for both in (alice.cookie + "; __Host-easgate=" + "0" * 64, "0" * 64 + "; __Host-easgate=" + alice.cookie):
        thief.cookie = both
        assert thief.get("/api/me").status == 401
    assert browser(enroll).sign_in("bob", "wrong", [("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.9"), ("X-Real-IP", "203.0.113.9")]).status == 401
    assert not [e for e in enroll.command("audit", "list")["entries"] if "203.0.113.9" in e["detail"]]
    enroll.assert_never("203.0.113.9")


def test_a_search_is_for_what_was_typed_and_no_pattern(signed_in):
    alice, root = signed_in(), signed_in("root")
    for name in "100% mine", "a_b*c", "(cn=*)\\28":
        add(alice, name)
    for text, found in (("%", ["100% mine"]), ("_", ["a_b*c"]), ("*", ["(cn=*)\\28", "a_b*c"]), ("a%b", []), ("a*c", []), ("'", []), ("MINE", ["100% mine"]), ("\\28", ["(cn=*)\\28"])):
        names = [d["name"] for d in root.get("/api/admin/devices?text=" + urllib.parse.quote(text)).json["devices"]]
        assert sorted(names) == found, text
    for bad in "%ff", "%00", "%c2%9b", "%e2%80%ae", "%ed%a0%80":
        assert root.get("/api/admin/devices?text=" + bad).status == 400, bad
