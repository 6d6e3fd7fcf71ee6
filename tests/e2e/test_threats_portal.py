"""facts/threats.md E 47 and E 49, what tests of the portal's API do not say already: text from people in profiles and headers, bodies, redirects, passwords."""
import json
import plistlib
import re
import subprocess

import pytest

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
