"""The migration cockpit by command line and API: reports, switches, days, quarantine, with easproxy and easenroll on one Redis (issue 4)."""
import base64
import concurrent.futures
import csv
import datetime
import io
import os
import subprocess
import time

import pytest

from site_ import answers, settings
from site_.accounts import USERS
from site_.portal import PASSWORD, add, browser, enroll, signed_in, start_enroll  # noqa: F401 (fixtures)
from site_.process import wait_until
from site_.proxy import binary

SALES, STAFF = "CN=EAS-Sales,OU=Groups,DC=corp,DC=example", "CN=Staff\u00e9 \"x\",OU=Groups,DC=corp,DC=example"
RULES = [{"group": SALES, "certificate": "allowed", "password": "allowed"}, {"certificate": "allowed", "password": "allowed"}]
DAY = 86400


@pytest.fixture
def migration(start_enroll, redis_server, place, accounts):
    """An easenroll on the Redis, with groups of its own list and of the proxy's section."""
    accounts.change("alice", groups=[USERS, SALES])
    accounts.change("bob", groups=[USERS, SALES, STAFF])
    redis = {k: v for k, v in settings.redis(redis_server, place).items() if k == "redis"}
    return start_enroll({**redis, "lockout": {"memory_mib": 1}, "enroll.migration": {"groups": [STAFF], "days": 30},
                         "proxy": {"policies": [{"name": "p", "required_group": USERS, "device": 1, "methods": RULES}], "what": ["easproxy", "refuses"]}})


def record(redis_server, number, sid, ago=0, **fields):
    key = "%064x" % number
    redis_server.client.hset("easgate:device:" + key, mapping={
        "sid": sid, "upn": fields.pop("upn", "alice@corp.example"), "device": "Dev%d" % number, "state": "seen", "first_seen": int(time.time()) - 40 * DAY,
        "last_seen": int(time.time() - ago), "last_method": "certificate", "last_command": "Sync", "device_type": "iPhone", "user_agent": "Mail/1",
        "last_client": "192.0.2.1:1", **fields})
    return key


def run(enroll, *words):
    return subprocess.run([enroll.program, "-c", enroll.path, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


def group(report, dn):
    return [g for g in report["overview"]["groups"] if g["group"] == dn][0]


def figures(report, dn):
    g = group(report, dn)
    return g["users"], g["ready"], g["unready"], g["devices"], g["holding"]


@pytest.fixture
def sids(accounts):
    return {name: a["sid"] for name, a in accounts.accounts.items()}


def test_the_report_says_how_each_device_came_and_which_ones_hold_a_group_back(migration, redis_server, sids):
    redis = redis_server.client
    alice, bob = sids["alice"], sids["bob"]
    record(redis_server, 1, alice)
    record(redis_server, 2, alice, ago=31 * DAY, last_method="password")               # long gone
    record(redis_server, 3, alice, ago=2 * DAY, last_method="password", device="Dev1")  # the same device, which has moved on
    record(redis_server, 4, alice, last_method="password", state="blocked")
    report = migration.command("migration", "report")
    assert [(d["device"], d["verdict"], d["holds_back"]) for d in report["devices"]] == [
        ("Dev1", "certificate", False), ("Dev4", "blocked", False), ("Dev1", "moved", False), ("Dev2", "old", False)] or \
        {(d["key"][-1], d["verdict"]) for d in report["devices"]} == {("1", "certificate"), ("2", "old"), ("3", "moved"), ("4", "blocked")}
    assert figures(report, SALES) == (1, 1, 0, 2, 0)
    assert report["overview"]["days"] == 30 and report["overview"]["users"] == 1 and report["overview"]["survey"]["whole"] is True

    record(redis_server, 5, bob, upn="bob@corp.example", last_method="password", user_agent="=HYPERLINK(\"x\")")
    record(redis_server, 6, bob, upn="bob@corp.example", last_method="bearer")
    record(redis_server, 7, bob, upn="bob@corp.example", last_method="<b>")
    redis.hset("easgate:lockout:" + bob, mapping={"absorbed": 41, "prevented": 7, "last_bad": 1700000000, "state": b"\xff" * 900})
    report = migration.command("migration", "report")
    assert [figures(report, dn) for dn in (SALES, STAFF, USERS)] == [(2, 1, 1, 5, 3), (1, 0, 1, 3, 3), (2, 1, 1, 5, 3)]
    assert (report["overview"]["absorbed"], report["overview"]["prevented"]) == (41, 7)
    holding = migration.command("migration", "report", "--holding", "--group", STAFF)["devices"]
    assert {(d["upn"], d["device"], d["verdict"], d["absorbed"], d["prevented"], d["last_bad"]) for d in holding} == {
        ("bob@corp.example", "Dev%d" % n, verdict, 41, 7, "2023-11-14T22:13:20Z") for n, verdict in ((5, "password"), (6, "bearer"), (7, "unknown"))}
    assert all(set(d["groups"]) == {SALES, STAFF, USERS} and d["directory"] == "known" for d in holding)
    rows = list(csv.DictReader(io.StringIO(run(migration, "migration", "report", "--csv").stdout)))
    assert [r["upn"] for r in rows if r["verdict"] == "without"] == ["root@corp.example"] and len(rows) == 8
    assert {r["key"] for r in rows if r["key"]} == {"%064x" % n for n in range(1, 8)}
    risky, = [r for r in rows if r["device"] == "Dev5"]
    assert risky["user_agent"] == "'=HYPERLINK(\"x\")" and risky["method"] == "password" and SALES in risky["groups"], "no spreadsheet runs it"
    text = run(migration, "migration", "report").stdout
    assert SALES in text and "bob@corp.example" in text and "password" in text
    missing = run(migration, "migration", "report", "--group", "CN=none")
    assert missing.returncode == 1 and "No configuration names" in missing.stderr


def without(report, dn):
    return group(report, dn)["without"], [p["upn"] for p in report["people"] if dn in p["groups"]]


def test_the_report_says_who_of_a_group_has_no_device(migration, redis_server, sids, accounts, browser):
    """Enabled members alone; somebody whose devices are old or blocked has none."""
    for sam, more in (("carol", {"enabled": False}), ("dave", {}), ("erin", {"expires": "2020-01-01"}), ("frank", {})):
        accounts.add(sam, groups=[SALES], **more)
    record(redis_server, 1, sids["alice"])
    record(redis_server, 2, sids["bob"], ago=31 * DAY, upn="bob@corp.example")
    record(redis_server, 3, accounts.accounts["frank"]["sid"], state="blocked", upn="frank@corp.example")
    names = ["bob@corp.example", "dave@corp.example", "frank@corp.example"]
    wait_until(lambda: without(migration.command("migration", "report"), SALES) == (3, names), 5, 0.3)
    report = migration.command("migration", "report")
    assert without(report, STAFF) == (1, ["bob@corp.example"]) and without(report, USERS) == (2, ["bob@corp.example", "root@corp.example"])
    assert report["overview"]["without"] == 4 and figures(report, SALES) == (1, 1, 0, 1, 0)
    assert {p["upn"]: p["old"] for p in report["people"]}["bob@corp.example"] == 1
    assert migration.command("migration", "report", "--holding")["people"] == []
    lines = run(migration, "migration", "report", "--group", SALES).stdout
    assert "WITHOUT A DEVICE" in lines and "dave@corp.example" in lines and "root@corp.example" not in lines
    rows = list(csv.DictReader(io.StringIO(run(migration, "migration", "report", "--csv").stdout)))
    assert sorted(r["upn"] for r in rows if r["verdict"] == "without" and SALES in r["groups"]) == names
    root = browser(migration)
    assert root.sign_in("root", PASSWORD).status == 200
    answer = root.get("/api/admin/migration/without?limit=1&skip=1&text=corp.example").json
    assert (answer["total"], [p["upn"] for p in answer["people"]]) == (4, ["dave@corp.example"])
    assert root.get("/api/admin/migration/without?group=CN%3Dnone").status == 404


@pytest.mark.no_asan
def test_in_active_directory_nested_groups_primary_groups_and_large_ones_are_gone_through(start_enroll, ad, redis_server, place):
    name, base = "m%d" % os.getpid(), ad.base
    outer, inner = ("CN=%s-%s (x),OU=Groups,%s" % (name, n, base) for n in ("outer", "inner"))
    crowd = ["CN=%s-%03d,OU=People,%s" % (name, n, base) for n in range(101)]       # more than a page
    seen, nested, primary, disabled = (ad.account(groups=()) for _ in range(4))
    dn = {sam: ad.find(sam, "cn")[0].encode() for sam in (seen, nested, primary, disabled)}
    with ad.connection() as handle:
        for group_dn, sam, members in ((inner, "inner", [dn[nested], dn[primary], dn[seen]]), (outer, "outer", [dn[seen], dn[disabled], inner.encode()])):
            handle.add_s(group_dn, [("objectClass", [b"group"]), ("sAMAccountName", [("%s-%s" % (name, sam)).encode()]), ("groupType", [b"-2147483646"]),
                                    ("member", members)])
        handle.modify_s(inner, [(0, "member", [outer.encode()])])                  # round in a circle
        for number, one in enumerate(crowd):
            handle.add_s(one, [("objectClass", [b"user"]), ("sAMAccountName", [("%s-%03d" % (name, number)).encode()]), ("userAccountControl", [b"544"])])
        handle.modify_s(outer, [(0, "member", [c.encode() for c in crowd])])
    ad.set(primary, primaryGroupID=ad.sid("%s-inner" % name).rpartition("-")[2])    # AD takes the group out of its memberOf
    ad.disable(disabled)
    redis = {k: v for k, v in settings.redis(redis_server, place).items() if k == "redis"}
    enroll = start_enroll({**redis, "lockout": {"memory_mib": 1}, "enroll.migration": {"groups": [outer, inner], "days": 30}}, ad=ad)
    record(redis_server, 1, ad.sid(seen), upn=seen + "@corp.example")
    report = enroll.command("migration", "report")
    assert figures(report, outer)[:2] == (1, 1) and figures(report, inner)[:2] == (1, 1), "by tokenGroups"
    people = {p["upn"]: p["groups"] for p in report["people"]}
    assert group(report, outer)["without"] == len(crowd) + 2 and report["overview"]["survey"]["whole"] is True
    assert set(people) == {nested + "@corp.example", primary + "@corp.example", *("%s-%03d" % (name, n) for n in range(len(crowd)))}
    assert all(set(groups) == {outer, inner} for groups in people.values()), "each is in the other"


def basic(user):
    return [("Authorization", "Basic " + base64.b64encode(("%s:%s" % (user, PASSWORD)).encode()).decode())]


@pytest.fixture
def proxy(migration, start_proxy, configure, backend, redis_server, place):
    return start_proxy(configure(backend, {**settings.redis(redis_server, place), "lockout.memory_mib": 1, "proxy.revocation.redis": False,
                                           "proxy.policies.0.methods": RULES}))


def test_a_group_is_switched_and_back_by_command_api_and_at_once(migration, proxy, phone, backend, browser, redis_server):
    """Refused where it would shut anybody out whom nobody has accepted; in the audit trail; the waiting Ping ends within a second of the event."""
    redis, hold = redis_server.client, backend.when("Ping", answers.hold())
    alice, root = phone(proxy), browser(migration)
    assert root.sign_in("root", PASSWORD).status == 200
    assert alice.sync(headers=basic("alice")).status == 200
    wait_until(lambda: redis.keys("easgate:device:*"), 5)
    refused = run(migration, "migration", "switch", SALES, "certificate")
    assert refused.returncode == 1 and "1 devices that come by password" in refused.stderr and not redis.exists("easgate:switches")
    body = {"group": SALES, "to": "certificate"}
    answer = root.post("/api/admin/migration/switch", body)
    assert (answer.status, answer.json["error"], answer.json["devices"]) == (409, "shuts-out", 1)
    ping = alice.ping(headers=basic("alice"))
    hold.wait_waiting(backend)
    began = time.time()
    done = root.post("/api/admin/migration/switch", dict(body, accept=1))
    assert done.status == 200 and done.json["switched"] is True and done.json["shut_out"] == 1
    assert redis.hgetall("easgate:switches") == {SALES: "certificate %d" % int(datetime.datetime.strptime(
        done.json["since"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc).timestamp())}
    ping.wait(6)
    assert time.time() - began < 1.5
    assert alice.sync(headers=basic("alice")).status == 403
    entry = redis.xrevrange("easgate:events", count=1)[0][1]
    assert entry["type"] == "switch" and len(entry["mac"]) == 64
    overview = root.get("/api/admin/migration").json
    assert [g["switched"] for g in overview["groups"] if g["group"] == SALES] == [True] and overview["other_switches"] == 0
    began = time.time()
    assert migration.command("migration", "switch", SALES, "back")["switched"] is False
    wait_until(lambda: alice.sync(headers=basic("alice")).status == 200, 6, 0.02)
    assert time.time() - began < 1.5 and not redis.exists("easgate:switches")
    trail = [(e["action"], e["actor"].split()[0], e["detail"]) for e in migration.command("audit", "list")["entries"] if e["object"] == "group " + SALES]
    assert trail == [("group-switched", "admin", "to certificates, 1 devices shut out"), ("group-switched", "cli", "back")]
    assert run(migration, "audit", "verify").returncode == 0


@pytest.mark.quick
def test_what_no_rule_names_is_not_switched_and_nobody_else_may(migration, browser, redis_server):
    redis = redis_server.client
    alice, root = browser(migration), browser(migration)
    assert alice.sign_in("alice", PASSWORD).status == root.sign_in("root", PASSWORD).status == 200
    for dn, word in (("CN=other", "No configuration names"), (SALES.lower(), "No configuration names"), (USERS, "No rule of")):
        done = run(migration, "migration", "switch", dn, "certificate")
        assert done.returncode == 1 and word in done.stderr, done
    assert alice.post("/api/admin/migration/switch", {"group": SALES, "to": "certificate"}).status == 403
    csrf, root.csrf = root.csrf, None
    assert root.post("/api/admin/migration/switch", {"group": SALES, "to": "certificate"}).json["error"] == "csrf"
    root.csrf = csrf
    assert run(migration, "migration", "switch", SALES, "sideways").returncode == 2
    assert not redis.exists("easgate:switches", "easgate:events")
    redis.hset("easgate:switches", mapping={"CN=forged": "certificate 1", SALES: "\x00" * 70000})
    overview = root.get("/api/admin/migration").json
    assert overview["other_switches"] == 1 and [(g["switched"], g["since"]) for g in overview["groups"] if g["group"] == SALES] == [(True, None)]
    redis.delete("easgate:switches")
    redis.set("easgate:switches", "of another type")
    assert root.get("/api/admin/migration").status == 503
    assert run(migration, "migration", "switch", SALES, "back").returncode == 1
    failed = [e for e in migration.command("audit", "list")["entries"] if e["action"] == "switch-failed"]
    assert len(failed) == 1 and failed[0]["object"] == "group " + SALES


def test_new_devices_wait_and_are_released_blocked_and_forgotten(migration, start_proxy, configure, backend, phone, pki, redis_server, place, browser):
    proxy = start_proxy(configure(backend, {**settings.redis(redis_server, place), "proxy.revocation.redis": False, "proxy.policies.0.quarantine": "new",
                                            "proxy.policies.0.device": "pin"}))
    root, alice = browser(migration), pki.device_ca.device("alice@corp.example")
    assert root.sign_in("root", PASSWORD).status == 200
    device = phone(proxy, alice)
    assert device.sync().status == 403
    waiting, = root.get("/api/admin/records").json["records"]
    assert migration.command("device", "waiting")["records"] == [waiting]
    assert (waiting["key"], waiting["upn"], waiting["state"], waiting["method"]) == (alice.sha256, "alice@corp.example", "quarantined", "certificate")
    assert root.get("/api/admin/migration").json["quarantined"] == 1
    at = "/api/admin/records/%s/" % alice.sha256
    assert root.post(at + "release").json == {"key": alice.sha256, "state": "registered"}
    wait_until(lambda: device.sync().status == 200, 3, 0.05)
    assert migration.command("device", "block", alice.sha256)["state"] == "blocked"
    wait_until(lambda: device.sync().status == 403, 3, 0.05)
    assert migration.command("device", "forget", alice.sha256)["state"] == ""
    wait_until(lambda: root.get("/api/admin/records").json["records"] or device.sync() and None, 3, 0.05)
    redis_server.client.hset("easgate:device:" + alice.sha256, "mac", "0" * 64)
    assert root.post(at + "release").json["error"] == "record-foreign"
    assert root.post("/api/admin/records/%s/release" % ("0" * 64)).status == 404
    assert run(migration, "device", "release", "f" * 64).returncode == 1
    trail = [e["action"] for e in migration.command("audit", "list")["entries"] if e["object"] == "record " + alice.sha256]
    assert trail == ["record-released", "record-blocked", "record-forgotten", "record-released", "record-act-failed"]


@pytest.mark.quick
def test_days_are_told_and_what_redis_holds_harms_nobody(migration, browser, redis_server, sids):
    redis, root = redis_server.client, browser(migration)
    assert root.sign_in("root", PASSWORD).status == 200
    today = datetime.datetime.now(datetime.timezone.utc).date()
    day = lambda ago: (today - datetime.timedelta(days=ago)).strftime("easgate:daily:%Y%m%d")
    redis.hset(day(0), mapping={"requests_certificate": 12, "stale_absorbed": 3, "lockouts_prevented": "-1", "binds_wrong": "9" * 400})
    redis.hset(day(20), mapping={"requests_password": str(2**63), "requests_bearer": "<b>"})
    redis.pfadd(day(20) + ":password", "a", "b")
    redis.set(day(3), "of another type")
    redis.set(day(3) + ":certificate", "no HyperLogLog")
    days = root.get("/api/admin/migration/days").json["days"]
    assert len(days) == 21 and days[0]["day"] == str(today - datetime.timedelta(days=20)) and days[-1]["day"] == str(today)
    assert (days[0]["requests_password"], days[0]["requests_bearer"], days[0]["seen_password"]) == (10**12, 0, 2)
    assert {k: v for k, v in days[-1].items() if v and k != "binds_right"} == {"day": str(today), "requests_certificate": 12, "stale_absorbed": 3}
    assert migration.command("migration", "days")["days"] == days and str(today) in run(migration, "migration", "days", "400").stdout
    assert [root.get("/api/admin/migration/days?days=" + d).status for d in ("400", "401", "0", "x")] == [200, 400, 400, 400]

    record(redis_server, 1, "S-1-5-\x1b[2J", upn="\u202eevil", device="x" * 5000, user_agent="\x1b]0;x\x07", last_seen="9" * 30, state="<script>")
    record(redis_server, 2, "../../x", upn="y" * 100000, last_method="password")
    redis.set("easgate:device:" + "e" * 64, "of another type")
    redis.hset("easgate:device:" + "d" * 64, "only", "this")
    redis.hset("easgate:device:NOT-A-KEY", "sid", "x")
    redis.set("easgate:lockout:../../x", "of another type")
    report = migration.command("migration", "report")
    assert {d["key"]: (d["sid"], d["upn"], d["device"], d["user_agent"], d["last_seen"], d["directory"]) for d in report["devices"]} == {
        "%064x" % 1: ("?", "?", "?", "?", None, "none"), "%064x" % 2: ("../../x", "?", "Dev2", "Mail/1", report["devices"][0]["last_seen"] or report["devices"][1]["last_seen"], "none")}
    shown = run(migration, "migration", "report")
    assert "\x1b" not in shown.stdout and shown.returncode == 0


@pytest.mark.quick
def test_without_redis_or_directory_it_is_said_what_is_missing(start_enroll, browser):
    alone = start_enroll()
    root = browser(alone)
    assert root.sign_in("root", PASSWORD).status == 200
    for method, path in (("GET", "migration"), ("GET", "migration/devices"), ("GET", "migration/days"), ("GET", "records"), ("POST", "migration/switch")):
        answer = root.request(method, "/api/admin/" + path, {} if method == "POST" else None)
        assert (answer.status, answer.json["error"]) == (409, "no-redis")
    assert "redis" in run(alone, "migration", "report").stderr


def test_redis_lost_in_the_middle_is_a_failed_survey_and_the_next_one_is_whole(migration, browser, redis_server, sids):
    root = browser(migration)
    assert root.sign_in("root", PASSWORD).status == 200
    record(redis_server, 1, sids["alice"])
    assert len(migration.command("migration", "report")["devices"]) == 1
    redis_server.stop()
    wait_until(lambda: root.get("/api/admin/migration").status == 503, 5)
    failed = run(migration, "migration", "report")
    assert failed.returncode == 1 and "Redis does not answer" in failed.stderr
    redis_server.start()
    wait_until(lambda: root.get("/api/admin/migration?fresh=true").status == 200, 10, 0.1)
    assert len(migration.command("migration", "report")["devices"]) == 1


def test_the_record_of_a_certificate_ends_a_week_after_it_revoked_or_not(migration, browser, redis_server):
    redis, alice, root = redis_server.client, browser(migration), browser(migration)
    assert alice.sign_in("alice", PASSWORD).status == root.sign_in("root", PASSWORD).status == 200
    device = add(alice)["id"]
    assert alice.get(alice.post("/api/devices/%s/delivery" % device).json["path"]).status == 200
    wait_until(lambda: redis.keys("easgate:device:*"), 5)
    key, = redis.keys("easgate:device:*")
    assert 371 * DAY < redis.ttl(key) <= 372 * DAY
    assert root.get("/api/admin/devices").json["devices"][0]["record"] == key[-64:]
    assert root.post("/api/admin/devices/%s/revoke" % device, {}).status == 200
    wait_until(lambda: redis.hget(key, "state") == "blocked" and 371 * DAY < redis.ttl(key) <= 372 * DAY, 5)


def test_threat_47_who_signs_out_while_redis_thinks_is_still_named_in_the_trail(migration, browser, redis_server, sids):
    """The session is gone when the answer comes: nothing of it may be looked at any more."""
    root = browser(migration)
    assert root.sign_in("root", PASSWORD).status == 200
    wait_until(lambda: root.get("/api/admin/migration").status == 200, 5)
    trail = lambda: [(e["action"], e["actor"]) for e in migration.command("audit", "list")["entries"] if e["object"] == "record " + "f" * 64]
    redis_server.hang()
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(root.post, "/api/admin/records/%s/release" % ("f" * 64))
            wait_until(trail, 5)
            assert root.request("DELETE", "/api/session").status == 204
            redis_server.resume()
            assert answer.result(20).status in (404, 503)
    finally:
        redis_server.resume()
    assert trail() == [("record-released", "admin " + sids["root"]), ("record-act-failed", "admin " + sids["root"])]
