"""The portal and the admin pages as people have them: in Chromium, by mouse and by keyboard, in light and dark, on a desktop and on a phone.
Screenshots of every page stay in build/check/portal (or EASGATE_SCREENSHOTS) to be looked at."""
import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import time

import pytest

from site_ import settings
from site_.chromium import Chromium
from site_.enrol import new_request
from site_.portal import PASSWORD, add, browser, enroll, signed_in, start_enroll  # noqa: F401 (fixtures)
from site_.proxy import ROOT

pytestmark = pytest.mark.no_asan
SCREENS = os.environ.get("EASGATE_SCREENSHOTS") or os.path.join(ROOT, os.environ.get("BUILD", "build"), "check", "portal")
SIZES = ((1280, 900), (390, 844))


@pytest.fixture
def open_page(place, made):
    """open_page(enroll): a browser on its portal."""
    def start(enroll):
        page = made(Chromium(place, "MAP enroll.example.com " + enroll.tls_address()))
        page.open("https://enroll.example.com/")
        page.wait("document.querySelector('#view-sign-in:not([hidden])')")
        return page
    return start


@pytest.fixture
def page(enroll, open_page):
    page = open_page(enroll)
    yield page
    assert not page.faults(), page.faults()


def shown(view):
    return "document.querySelector('#view-%s:not([hidden])')" % view


def enter(page, name="alice"):
    page.type("#name", name)
    page.type("#password", PASSWORD)
    page.press("Enter")
    page.wait(shown("devices"))


# Colours of every text that is seen and what lies behind it; only what is given plainly, which is all that the page has.
CONTRAST = """(() => {
const rgb = (c) => { const m = c.match(/[\\d.]+/g).map(Number); return m.length > 3 && m[3] === 0 ? null : m; };
const light = (c) => { const l = c.slice(0, 3).map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : Math.pow((v + 0.055) / 1.055, 2.4); }); return 0.2126 * l[0] + 0.7152 * l[1] + 0.0722 * l[2]; };
const bad = [], walk = document.createTreeWalker(document.querySelector('dialog[open]') || document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
	const e = walk.currentNode.parentElement, r = e.getBoundingClientRect(), s = getComputedStyle(e);
	if (!walk.currentNode.textContent.trim() || !r.width || r.x < 0 || s.visibility === 'hidden' || e.closest('script, style, noscript, [hidden], :disabled')) continue;
	let behind = null, opacity = 1;
	for (let p = e; p; p = p.parentElement) { opacity *= Number(getComputedStyle(p).opacity); behind = behind || rgb(getComputedStyle(p).backgroundColor); }
	behind = behind || [255, 255, 255];
	const ink = rgb(s.color).slice(0, 3).map((v, i) => v * opacity + behind[i] * (1 - opacity));
	const a = light(ink), b = light(behind), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
	if (ratio < 4.5) bad.push(ratio.toFixed(2) + ' ' + walk.currentNode.textContent.trim().slice(0, 40));
}
return bad; })()"""

# Sizes of what is touched (WCAG 2.2, 2.5.8: 24 by 24), and of what is wider than the screen.
TOUCH = """[...document.querySelectorAll('button, input, a.button, select')].filter((e) => { const r = e.getBoundingClientRect();
return r.width && !e.closest('label') && (r.width < 24 || r.height < 24); }).map((e) => e.id || e.textContent)"""


def shot(page, name):
    """Kept for each width in light and dark; on each of them everything must be readable and nothing wider than the screen."""
    os.makedirs(SCREENS, exist_ok=True)
    for width, height in SIZES:
        for dark in (False, True):
            page.size(width, height, dark)
            wide = page.run("document.documentElement.scrollWidth")
            assert wide <= width, "%s is %d wide on a screen of %d" % (name, wide, width)
            assert page.run(CONTRAST) == [], (name, width, dark)
            assert page.run(TOUCH) == [], name
            path = os.path.join(SCREENS, "%s-%d-%s.png" % (name, width, "dark" if dark else "light"))
            with open(path, "wb") as f:
                f.write(page.png())
    page.size(*SIZES[0])


def test_the_first_page_is_one_request_and_less_than_60_kilobytes(page):
    asked = [e["request"]["url"] for e in page.said("Network.requestWillBeSent") if not e["request"]["url"].startswith("data:")]
    assert asked == ["https://enroll.example.com/"], asked
    bytes_in = sum(e["encodedDataLength"] for e in page.said("Network.loadingFinished"))
    assert 5000 < bytes_in < 14600, bytes_in          # head included; one flight of a new connection
    assert page.run("document.activeElement.id") == "name" and page.run("document.documentElement.lang") == "en"


@pytest.mark.slow
def test_threat_47_a_person_signs_in_adds_what_has_markup_in_its_name_downloads_and_revokes(page, browser, enroll):
    page.run("document.activeElement.blur()")
    shot(page, "sign-in")
    page.type("#name", "alice")
    page.type("#password", "wrong")
    page.press("Enter")
    page.wait("document.querySelector('#alert').textContent.includes('wrong')")
    assert page.run("document.querySelector('#password').value") == "" and page.run("document.activeElement.id") == "password"
    shot(page, "sign-in-wrong")
    page.insert(PASSWORD)
    page.press("Enter")
    page.wait("document.querySelector('#devices-none:not([hidden])')")
    shot(page, "devices-none")

    page.click("#add")
    page.click("#kinds input[value=android]")
    page.type("#device-name", "<img src=x onerror=alert(1)> phone")
    shot(page, "add")
    page.click("#form-add button[type=submit]")
    page.wait(shown("install") + "?.querySelector('#qr svg')")
    password = page.run("document.querySelector('#secret-text').textContent")
    path = page.run("document.querySelector('#download').getAttribute('href')")
    read = subprocess.run(["zbarimg", "--quiet", "--raw", "-"], input=page.png("#qr"), stdout=subprocess.PIPE, timeout=20).stdout.decode().strip()
    assert read == "https://enroll.example.com" + path and re.fullmatch(r"/d/[0-9A-Za-z_-]{32,}", path)
    shot(page, "install-android")
    page.click("#download")
    data, name = page.downloaded()
    opened = subprocess.run(["openssl", "pkcs12", "-legacy", "-nokeys", "-passin", "pass:" + password], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert opened.returncode == 0 and b"BEGIN CERTIFICATE" in opened.stdout and name.endswith(".p12")
    assert browser(enroll).get(path).status == 404

    page.click("#install-done")
    page.wait("document.querySelector('#devices li')")
    assert page.run("document.querySelector('#devices h2').textContent") == "<img src=x onerror=alert(1)> phone"
    assert page.run("document.querySelectorAll('main img').length") == 0
    page.click("#add")
    page.click("#kinds input[value=iphone]")
    page.type("#device-name", "My iPhone")
    page.press("Enter")
    page.wait(shown("install") + "?.querySelector('#qr svg') && document.querySelector('#secret').hidden")
    shot(page, "install-iphone")
    page.click("#install-done")
    page.wait("document.querySelectorAll('#devices li').length === 2")
    shot(page, "devices")
    page.run("document.querySelector('#devices li:last-child button.danger').id = 'lost'")
    page.click("#lost")
    page.wait("document.querySelector('#ask').open")
    shot(page, "ask")
    page.click("#ask-yes")
    page.wait("document.querySelector('#devices .state-revoked')")
    assert "revoked" in page.run("document.querySelector('#status').textContent")
    shot(page, "devices-revoked")

    page.open("https://enroll.example.com/")            # the session is found again
    page.wait(shown("devices") + "?.querySelector('li')")
    page.click("#sign-out")
    page.wait(shown("sign-in"))
    assert page.run("document.querySelector('#devices').children.length") == 0          # nothing stays behind for the next one
    assert page.run("document.querySelector('#secret-text').textContent") == ""
    page.open("https://enroll.example.com/")
    page.wait(shown("sign-in"))


def test_a_session_that_was_ended_elsewhere_leads_back_to_signing_in(page, accounts, enroll):
    enter(page)
    accounts.change("alice", enabled=False)
    enroll.wait_event("portal_session_ended", timeout=10)
    page.click("[data-view=devices]")
    page.wait(shown("sign-in"))
    assert "over" in page.run("document.querySelector('#alert').textContent")
    shot(page, "session-over")


def end_a_secret(page, root, device, click, confirm, says):
    """Of two one-time secrets the administrator ends one on the page: it opens nothing any more, and the other does."""
    secrets = [root.post("/api/admin/secrets", {"account": "alice", "purpose": "est"}).json["secret"] for _ in range(2)]
    states = "[...document.querySelectorAll('#admin-body tbody tr')].map((row) => row.innerText.match(/Open|Used|Ended/)[0])"
    page.click("#tab-secrets")
    page.wait("document.querySelectorAll('#admin-body tbody tr').length === 2")
    shot(page, "admin-secrets")
    text = page.run("document.body.innerText")
    assert page.run(states) == ["Open", "Open"] and not any(secret in text for secret in secrets)
    click("End it", "alice@corp.example")
    page.wait("document.querySelector('#ask').open")
    assert "alice@corp.example" in page.run("document.querySelector('#ask').innerText")
    page.click("#ask-no")
    page.wait("!document.querySelector('#ask').open")
    assert page.run(states) == ["Open", "Open"], "who changed his mind has ended nothing"
    click("End it", "alice@corp.example")
    confirm()
    says("The secret is ended")
    assert page.run(states) == ["Ended", "Open"]
    assert sorted(s["state"] for s in root.get("/api/admin/secrets").json["secrets"]) == ["ended", "open"]
    basic = [base64.b64encode(("alice:" + secret).encode()).decode() for secret in secrets]
    statuses = [device.request("POST", "/.well-known/est/simpleenroll", new_request()[0], [("Content-Type", "application/pkcs10"), ("Authorization", "Basic " + b)]).status for b in basic]
    assert sorted(statuses) == [202, 401], "with the one that is left a device would come, and waits for approval"


@pytest.mark.slow
def test_an_administrator_searches_approves_rejects_holds_releases_revokes_and_reads(start_enroll, open_page, signed_in, browser):
    enroll = start_enroll({"enroll.profiles.0.approve": True})
    alice = signed_in("alice", enroll)
    tablet = alice.post("/api/devices", {"name": "Tablet of Alice", "kind": "android"}).json["device"]
    alice.post("/api/devices", {"name": "Phone in doubt", "kind": "android"})
    page = open_page(enroll)
    enter(page, "root")
    page.click("#nav-admin")
    page.wait("document.querySelectorAll('#admin-body tbody tr').length === 2")
    page.wait("document.querySelector('#waiting-text').textContent.includes('(2)')")
    shot(page, "admin-devices")

    def click(word, name):
        page.run("document.querySelectorAll('[data-test]').forEach((e) => e.removeAttribute('data-test'))")
        page.wait("document.querySelector('[aria-label=%s]')" % json.dumps("%s: %s" % (word, name)))
        page.run("document.querySelector('[aria-label=%s]').dataset.test = 1" % json.dumps("%s: %s" % (word, name)))
        page.click("[data-test]")

    def confirm():
        page.wait("document.querySelector('#ask').open")
        page.click("#ask-yes")

    def says(text):
        page.wait("document.querySelector('#status').textContent.includes(%s)" % json.dumps(text))
    click("Approve", "Tablet of Alice")
    says("approved")
    page.click("#only-waiting")
    page.wait("document.querySelectorAll('#admin-body tbody tr').length === 1")
    click("Reject", "Phone in doubt")
    confirm()
    says("rejected")
    page.wait("document.querySelector('#admin-body').textContent.includes('Nothing found')")
    shot(page, "admin-nothing")
    assert browser(enroll).get(alice.post("/api/devices/%s/delivery" % tablet["id"]).json["path"]).status == 200
    page.click("#only-waiting")
    page.type("#search", "TABLET")
    page.press("Enter")
    page.wait("document.querySelectorAll('#admin-body tbody tr').length === 1")
    click("Hold", "Tablet of Alice")
    confirm()
    says("on hold")
    page.wait("document.querySelector('#admin-body .state-hold')")
    click("Release", "Tablet of Alice")
    says("released")
    page.click("#admin-body button.link")
    page.wait(shown("device") + "?.querySelectorAll('.rows').length === 2")
    text = page.run("document.querySelector('#device-body').innerText")
    for word in ("device-approved", "alice@corp.example", "root@corp.example", tablet["id"]):
        assert word in text, text
    shot(page, "admin-device")
    page.click("#device-back")
    page.wait(shown("admin"))
    for tab in ("accounts", "audit", "state"):
        page.click("#tab-" + tab)
        page.wait("document.querySelector('#tab-%s[aria-selected=true]') && document.querySelector('#admin-body table')" % tab)
        if tab == "audit":
            page.wait("document.querySelector('#admin-body').innerText.includes('device-approved')")
            assert "root@corp.example" in page.run("document.querySelector('#admin-body').innerText")
        if tab == "state":
            page.wait("document.querySelector('#admin-body').innerText.includes('Issuing CA')")
        shot(page, "admin-" + tab)
    end_a_secret(page, signed_in("root", enroll), browser(enroll), click, confirm, says)
    page.click("#tab-accounts")
    click("Revoke all", "alice@corp.example")
    confirm()
    says("1 certificates")
    assert [d["state"] for d in alice.get("/api/devices").json["devices"]] == ["revoked"] * 3, "the one that came with the secret, too"
    assert not page.faults(), page.faults()


GROUPS = {name: "CN=EAS-%s,OU=Groups,DC=corp,DC=example" % name for name in ("Sales", "Works", "Board")}


@pytest.fixture
def fleet(start_enroll, redis_server, accounts, place):
    """People in groups, devices that came by all methods, and figures of some weeks."""
    people = {"alice": ["Sales"], "bob": ["Sales", "Works"], "mallory": ["Board"]}
    for name, groups in people.items():
        accounts.change(name, groups=[GROUPS[g] for g in groups])
    accounts.add("carol.of.a-long-name", groups=[GROUPS["Sales"]])
    now, client = int(time.time()), redis_server.client
    devices = [("alice", "certificate", "iPhone", "ApplC39VN0X", "seen"), ("alice", "password", "iPad", "ApplDMPZ7", "seen"), ("bob", "bearer", "Outlook", "A7F0 <b>bold</b>", "seen"),
               ("bob", "certificate", "SamsungDevice", "SEC1A2B3C4D5E6F7", "registered"), ("mallory", "certificate", "iPhone", "ApplF2LX", "registered"),
               ("mallory", "password", "Android", "androidc1234567890", "quarantined"), ("bob", "password", "Android", "androidc99", "blocked")]
    for i, (name, method, kind, device, state) in enumerate(devices):
        account, key = accounts.accounts[name], "%064x" % (i + 1)
        fields = {"sid": account["sid"], "upn": account["upn"], "device": device, "state": state, "first_seen": now - 4000000 + i, "last_seen": now - 3600 * i,
                  "last_method": method, "last_command": "Sync", "device_type": kind, "user_agent": "Mail/1", "last_client": "203.0.113.%d:4711" % i}
        mac = "\n".join(["device-record", key, fields["sid"], device, state])
        client.hset("easgate:device:" + key, mapping=dict(fields, mac=hmac.new(redis_server.secret, mac.encode(), hashlib.sha256).hexdigest()))
        if state == "quarantined":
            client.zadd("easgate:quarantine", {key: now})
    client.hset("easgate:lockout:" + accounts.accounts["alice"]["sid"], mapping={"absorbed": 1234, "prevented": 7, "last_bad": now - 60})
    for ago in range(60):
        day = time.strftime("easgate:daily:%Y%m%d", time.gmtime(now - 86400 * ago))
        client.hset(day, mapping={"requests_certificate": 90000 - 1400 * ago, "requests_password": 9000 + 1100 * ago, "requests_bearer": 4000, "stale_absorbed": 20 * ago,
                                  "lockouts_prevented": ago // 7})
        client.pfadd(day + ":certificate", *range(120 - 2 * ago))
        client.pfadd(day + ":password", *range(5 + ago))
    redis = {k: v for k, v in settings.redis(redis_server, place).items() if k == "redis"}
    return start_enroll({**redis, "enroll.migration": {"groups": list(GROUPS.values())}})


@pytest.mark.slow
def test_an_administrator_sees_how_far_the_migration_is_switches_a_group_and_lets_a_device_in(fleet, open_page, redis_server):
    page, client = open_page(fleet), redis_server.client
    enter(page, "root")
    page.click("#nav-admin")
    page.click("#tab-migration")
    page.wait("document.querySelectorAll('#cockpit .graph svg').length === 3 && document.querySelector('#cockpit-wait table')")
    assert page.run("document.querySelectorAll('#seen tbody tr').length") == 7
    assert page.run("document.querySelectorAll('#cockpit b').length") == 0, "a device's name is text"
    assert page.run("[...document.querySelectorAll('#overview li')].map((e) => e.querySelector('p.small').textContent)") == [
        "0 of 2 people ready · devices that hold back: 2 · without a device: 1", "0 of 1 people ready · devices that hold back: 1", "0 of 1 people ready · devices that hold back: 1"]
    shot(page, "migration")
    for part in ("overview", "cockpit-wait", "seen", "graphs"):
        for width, height in SIZES:
            page.size(width, height, part == "seen")
            page.run("document.querySelector('#%s').scrollIntoView()" % part)
            with open(os.path.join(SCREENS, "migration-%s-%d.png" % (part, width)), "wb") as f:
                f.write(page.png("#" + part))
    page.size(*SIZES[0])
    page.run("document.querySelector('#cockpit [aria-label=\"Show who has none: EAS-Sales\"]').click()")
    page.wait("document.querySelector('#h-seen').textContent === 'Without a device in EAS-Sales'")
    assert page.run("[...document.querySelectorAll('#seen tbody tr')].map((e) => e.innerText.trim().split(/\\s+/)[0])") == ["carol.of.a-long-name@corp.example"]
    shot(page, "migration-without")
    page.run("document.querySelector('#seen button').click()")
    page.wait("document.querySelectorAll('#seen tbody tr').length === 7")

    def press(label, yes=True):
        page.run("document.querySelectorAll('[data-test]').forEach((e) => e.removeAttribute('data-test'))")
        page.wait("document.querySelector('#cockpit [aria-label=%s]')" % json.dumps(label))
        page.run("document.querySelector('#cockpit [aria-label=%s]').dataset.test = 1" % json.dumps(label))
        page.click("[data-test]")
        page.wait("document.querySelector('#ask').open")
        if yes:
            page.click("#ask-yes")

    press("Switch to certificates: EAS-Sales", yes=False)
    assert "2 devices of 2 people" in page.run("document.querySelector('#ask-text').textContent")
    shot(page, "migration-ask")
    page.click("#ask-no")
    assert not client.exists("easgate:switches")
    press("Switch to certificates: EAS-Sales")
    page.wait("document.querySelector('#status').textContent.includes('by certificates alone')")
    assert list(client.hgetall("easgate:switches")) == [GROUPS["Sales"]]
    press("Switch back: EAS-Sales")
    page.wait("document.querySelector('#status').textContent.includes('switched back')")
    assert not client.exists("easgate:switches")
    press("Let in: androidc1234567890")
    page.wait("document.querySelector('#status').textContent.includes('is let in')")
    page.wait("!document.querySelector('#cockpit-wait table')")
    assert client.hget("easgate:device:%064x" % 6, "state") == "registered"
    page.click("#only-holding")
    page.wait("document.querySelectorAll('#seen tbody tr').length === 3")
    page.type("#search", "ALICE")
    page.press("Enter")
    page.wait("document.querySelectorAll('#seen tbody tr').length === 1")
    page.click("#graphs summary")
    page.wait("document.querySelector('#graphs details[open] tbody tr')")
    assert page.run("document.querySelectorAll('#graphs details[open] tbody tr').length") == 60
    page.click("#tab-audit")
    page.wait("document.querySelector('#admin-body').innerText.includes('group-switched')")
    page.click("#tab-secrets")
    page.wait("document.querySelector('#tab-secrets[aria-selected=true]') && document.querySelector('#admin-body .empty')")
    assert not page.faults(), page.faults()


def test_what_people_call_their_devices_shuts_nobody_out_of_the_page_and_an_error_keeps_the_keyboard_where_it_was(enroll, open_page, signed_in, accounts):
    alice = signed_in()
    for name in "W" * 127, "\u0647\u0627\u062a\u0641 \u0645\u0631\u064a\u0645 \U0001f4f1":
        add(alice, name)
    page = open_page(enroll)
    enter(page, "root")
    page.click("#nav-admin")
    page.wait("document.querySelectorAll('#admin-body td').length > 10")
    for width in 1280, 900, 390, 320:       # the buttons of a row are never beyond the edge, nor is a tab
        page.size(width, 700)
        cut = page.run("[...document.querySelectorAll('#admin-body button, #admin-body time, .tabs button')].filter((e) => e.getBoundingClientRect().right > innerWidth).map((e) => e.textContent)")
        assert cut == [], (width, cut)
        os.makedirs(SCREENS, exist_ok=True)
        with open(os.path.join(SCREENS, "long-names-%d.png" % width), "wb") as f:
            f.write(page.png())
    page.size(*SIZES[0])
    page.run("document.querySelector('nav [data-view=devices]').click()")
    page.wait(shown("devices"))
    page.click("#add")
    page.type("#device-name", "Phone")
    page.run("document.querySelector('#form-add button[type=submit]').focus()")
    enroll.stop()
    page.press("Enter")
    page.wait("document.querySelector('#alert').textContent.includes('cannot be reached')")
    assert page.run("document.activeElement.textContent") == "Continue" and page.run("document.querySelector('#device-name').value") == "Phone"


def test_the_migration_page_says_when_there_is_no_redis(enroll, open_page):
    page = open_page(enroll)
    enter(page, "root")
    page.click("#nav-admin")
    page.click("#tab-migration")
    page.wait("document.querySelector('#alert').textContent.includes('None is configured')")
    assert not page.faults(), page.faults()


def focused(page):
    """What has the focus: id, or what it says; it must be seen to have it."""
    what, outline, seen = page.run("(() => { const e = document.activeElement, r = e.getBoundingClientRect(); "
                                   "return [e.id || e.getAttribute('aria-label') || e.value || e.textContent, getComputedStyle(e).outlineStyle, "
                                   "e === document.body || r.width > 0 && r.bottom > 0 && r.top < innerHeight]; })()")
    assert seen, "%s has the focus and is not on the screen" % what
    assert what in ("", "admin-panel") or outline != "none" or page.run("document.activeElement.matches('h1, body')"), "%s does not show that it has the focus" % what
    return what


def tab_to(page, want, most=25):
    """Tabs until it has the focus; what was passed on the way."""
    passed = []
    for _ in range(most):
        page.press("Tab")
        passed.append(focused(page))
        if passed[-1] == want:
            return passed
    raise AssertionError("%s is not reached by Tab: %s" % (want, passed))


def test_everything_is_done_by_keyboard_alone(page):
    """Tab, arrows, space, Enter and Escape, nothing else."""
    assert focused(page) == "name"
    page.insert("root")
    page.press("Tab")
    page.insert(PASSWORD)
    page.press("Tab")
    assert focused(page) == "Sign in"
    page.press("Enter")
    page.wait(shown("devices") + " && !document.querySelector('#devices-none').hidden")
    assert focused(page) == "h-devices"                         # a screen reader says where one is
    assert tab_to(page, "add") == ["add"]
    page.press("Enter")
    page.wait(shown("add"))
    assert tab_to(page, "iphone") == ["iphone"] or page.run("document.activeElement.name") == "kind"
    for _ in range(3):
        page.press("ArrowRight")
    assert page.run("document.querySelector('#kinds input:checked').value") == "android"
    assert tab_to(page, "device-name") == ["device-name"]
    page.insert("By keyboard")
    page.press("Enter")
    page.wait(shown("install") + "?.querySelector('#qr svg')")
    assert focused(page) == "h-install"
    assert tab_to(page, "install-done") == ["download", "copy", "install-done"]
    page.press("Enter")
    page.wait("document.querySelectorAll('#devices li').length === 1")
    tab_to(page, "Revoke: By keyboard")
    page.press("Enter")
    page.wait("document.querySelector('#ask').open")
    assert focused(page) == "ask-no"                            # Enter by mistake harms nobody
    page.press("Tab")
    page.press("Tab")
    assert page.run("document.querySelector('#ask').contains(document.activeElement) || document.activeElement === document.body")
    page.press("Escape")
    page.wait("!document.querySelector('#ask').open")
    page.wait("document.activeElement.matches('button.danger')")
    assert focused(page) == "Revoke: By keyboard"               # back where one was
    page.press("Enter")
    page.wait("document.querySelector('#ask').open")
    tab_to(page, "ask-yes")
    page.press(" ")
    page.wait("document.querySelector('#devices .state-revoked')")
    assert focused(page) == "h-devices"

    for _ in range(10):                                         # backwards to the top
        page.press("Tab", shift=True)
        if focused(page) == "nav-admin":
            break
    page.press("Enter")
    page.wait(shown("admin") + "?.querySelector('table')")
    assert focused(page) == "h-admin" and tab_to(page, "tab-devices") == ["tab-devices"]
    for want in ("tab-accounts", "tab-migration", "tab-secrets", "tab-audit"):
        page.press("ArrowRight")
        assert focused(page) == want
        page.wait("document.querySelector('#%s[aria-selected=true]')" % want)
    page.press("End")
    assert focused(page) == "tab-state"
    page.press("ArrowRight")
    assert focused(page) == "tab-devices"
    tab_to(page, "search")
    page.insert("keyboard")
    page.press("Enter")
    page.wait("document.querySelectorAll('#admin-body tbody tr').length === 1")
    for _ in range(25):
        page.press("Tab", shift=True)
        if focused(page) == "sign-out":
            break
    page.press("Enter")
    page.wait(shown("sign-in"))
    assert focused(page) == "name"


NEEDS_NAME = ("button", "textbox", "searchbox", "radio", "checkbox", "link", "tab", "table", "heading", "dialog", "navigation", "tabpanel", "search", "figure")


def read_out(page, view):
    """The tree that screen readers get: what is operated has a name, there is one first heading, and it is the view's."""
    nodes = [n for n in page.call("Accessibility.getFullAXTree")["nodes"] if not n.get("ignored")]
    roles = [n["role"]["value"] for n in nodes if "role" in n]
    for n in nodes:
        role = n.get("role", {}).get("value")
        if role in NEEDS_NAME and role not in ("table", "figure", "search"):
            assert n.get("name", {}).get("value"), (view, n)
    levels = [p["value"]["value"] for n in nodes if n.get("role", {}).get("value") == "heading" for p in n["properties"] if p["name"] == "level"]
    assert levels and levels[0] == 1 and levels.count(1) == 1, (view, levels)
    assert {"banner", "main"} <= set(roles) and ("navigation" in roles) == (view != "sign-in"), (view, roles)
    assert {"status", "alert"} <= set(roles), "the places where news is said must be there before it is said"
    return nodes


def test_every_view_reads_well_to_a_screen_reader(page, signed_in):
    add(signed_in(), "Somebody's phone")
    read_out(page, "sign-in")
    assert page.run("[...document.querySelectorAll('input')].filter((e) => !e.labels.length).map((e) => e.id)") == []
    assert page.run("(() => { const all = [...document.querySelectorAll('[id]')].map((e) => e.id); return all.filter((id, i) => all.indexOf(id) !== i); })()") == []
    for name in ("aria-labelledby", "aria-describedby", "aria-controls", "for"):
        assert page.run("[...document.querySelectorAll('[%s]')].flatMap((e) => e.getAttribute('%s').split(' ')).filter((id) => !document.getElementById(id))" % (name, name)) == []
    assert page.run("[document.querySelector('#status').ariaLive, document.querySelector('#status').getAttribute('role'), document.querySelector('#alert').getAttribute('role')]") == \
        ["polite", "status", "alert"]
    titles = {page.run("document.title")}
    enter(page, "root")
    page.click("#nav-admin")
    page.wait(shown("admin") + "?.querySelector('table')")
    read_out(page, "admin")
    titles.add(page.run("document.title"))
    page.click("#admin-body button.link")
    page.wait(shown("device"))
    nodes = read_out(page, "device")
    assert "Somebody's phone" in [n["name"]["value"] for n in nodes if n.get("role", {}).get("value") == "heading"]
    page.click("[data-view=devices]")
    page.wait(shown("devices"))
    read_out(page, "devices")
    titles.add(page.run("document.title"))
    page.click("#add")
    page.wait(shown("add"))
    nodes = read_out(page, "add")
    titles.add(page.run("document.title"))
    assert len([n for n in nodes if n.get("role", {}).get("value") == "radio"]) == 6
    assert [n["name"]["value"] for n in nodes if n.get("role", {}).get("value") == "group"] == ["What kind of device is it?"]
    page.type("#device-name", "x")
    page.press("Enter")
    page.wait(shown("install") + "?.querySelector('#qr svg')")
    read_out(page, "install")
    titles.add(page.run("document.title"))
    assert len(titles) == 5, titles                      # each view has a title of its own
