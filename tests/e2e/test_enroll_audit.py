"""The audit trail against the program's own log: intact, changed, cut at its end, cut and continued."""
import json
import os
import sqlite3

import pytest

from site_ import enrol
from site_.accounts import USERS

pytestmark = pytest.mark.no_asan        # the C code is in unit tests


@pytest.fixture
def config(place, pki, accounts):
    accounts.change("alice", display_name="Alice Example", password=enrol.hashed(enrol.PASSWORD), groups=[USERS])
    user = "nobody" if os.getuid() == 0 else None
    return enrol.configuration(os.path.join(place, "enrol"), pki.root.server("enroll.example.com"), accounts, user)


def run_once(config, place, made, names):
    """easenroll from start to stop, with these devices added; its log as a log server keeps it."""
    enroll = enrol.Enroll(config, place)
    enroll.close = enroll.stop
    made(enroll)
    for name in names:
        enroll.ask("device", "add", "--account", "alice", "--kind", "other", name)
    enroll.stop()
    return enroll, ["Nov 29 12:00:00 host easenroll[7]: " + json.dumps(line) for line in enroll.log.lines if isinstance(line, dict)]


def tamper(config, *statements):
    """As somebody does who may write the file."""
    with sqlite3.connect(config["state_dir"] + "/enroll/registry.db") as db:
        for trigger in ("audit_no_update", "audit_no_delete"):
            db.execute("DROP TRIGGER IF EXISTS " + trigger)
        for statement in statements:
            db.execute(statement)
    db.close()


def test_e46_a_trail_that_was_cut_at_its_end_is_told_by_the_log(config, place, made):
    log = os.path.join(place, "log")

    def verify(enroll, lines, *more):
        with open(log, "w") as f:
            f.write("not a line of ours\n" + "\n".join(lines) + "\n")
        done = enroll.run("audit", "verify", "--log", log, *more, check=False)
        return done.returncode, done.stdout.decode() + done.stderr.decode()

    enroll, lines = run_once(config, place, made, ("one", "two", "three"))
    heads = [json.loads(line[line.index("{"):])["head"] for line in lines if '"audit_head"' in line]
    last = int(heads[-1].partition(":")[0])
    whole = enroll.run("audit", "verify")
    assert heads[-1] in whole, "the end at the stop was told"
    status, text = verify(enroll, lines)
    assert status == 0 and "whole, and all %d ends" % len(heads) in text
    status, text = verify(enroll, [line for line in lines if '"audit_head"' not in line])
    assert status == 1 and "no audit_head" in text, "what tells nothing is not taken for a yes"

    tamper(config, "DELETE FROM audit WHERE n>%d" % (last - 1))
    assert "only a log can tell" in enroll.run("audit", "verify"), "the chain alone cannot tell"
    status, text = verify(enroll, lines)
    assert status == 1 and "ends with entry %d" % (last - 1) in text and "newest entries were cut off" in text
    done = enroll.run("audit", "verify", "--at", heads[-1], "--json", check=False)
    assert done.returncode == 1 and json.loads(done.stdout)["whole"] is False and b"cut off" in done.stderr

    enroll, more = run_once(config, place, made, ("four", "five"))
    status, text = verify(enroll, lines + more)
    assert status == 1 and "entry %d is not the one" % last in text and "written anew" in text
    status, text = verify(enroll, more)
    assert status == 0, text

    tamper(config, "UPDATE audit SET detail='nothing of note' WHERE n=2")
    status, text = verify(enroll, more)
    assert status == 1 and "entry 2 was changed" in text
