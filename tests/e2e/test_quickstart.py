"""`make quickstart` as its reader has it: every step holds, the ready-made commands work, and a step that does not hold is told."""
import os
import re
import shlex
import signal
import subprocess

import pytest

from site_.process import wait_until
from site_.proxy import ROOT, binary

pytestmark = pytest.mark.no_asan
QUICKSTART = os.path.join(ROOT, "tests", "quickstart")
LINE = re.compile(r"(ok    |FAILED) +(\d+) ms  (.+)")
MUST = ["easenroll makes its CA", "easenroll, with portal", "signs in on the portal", "registers a device, fetches its certificate", "Sync, the welcome mail",
        "SendMail to oneself wakes the Ping", "without a certificate, refused", "easenroll device revoke", "the revoked device is refused", "portal and audit trail say so"]


def environment(**more):
    env = {k: v for k, v in os.environ.items() if k not in ("ONCE", "BUILD")}
    return dict(env, EASPROXY=binary(), EASENROLL=binary("easenroll"), SAMPLE_MAIL=binary("sample-mail"), **more)


def test_every_step_holds_and_the_status_says_so():
    done = subprocess.run([QUICKSTART], env=environment(ONCE="1"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and all(LINE.fullmatch(line) for line in lines), done.stdout
    assert [line for line in lines if not line.startswith("ok ")] == []
    said = [LINE.fullmatch(line)[3] for line in lines]
    at = [next((i for i, line in enumerate(said) if want in line), None) for want in MUST]
    assert None not in at and at == sorted(at), (MUST, said)
    assert int(re.search(r"its Ping ended after (\d+) ms", done.stdout)[1]) < 1000


def test_a_revocation_that_does_nothing_is_told_and_the_status_says_so(place):
    script = os.path.join(place, "easenroll")
    with open(script, "w") as f:
        f.write('#!/bin/sh\ncase "$*" in *"device revoke"*) exit 0 ;; esac\nexec %s "$@"\n' % shlex.quote(binary("easenroll")))
    os.chmod(script, 0o755)
    done = subprocess.run([QUICKSTART], env=dict(environment(ONCE="1"), EASENROLL=script), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
    assert done.returncode == 1, done.stdout
    failed = [LINE.fullmatch(line)[3].split(":")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert failed == ["easenroll device revoke", "the revoked device is refused", "portal and audit trail say so"], done.stdout


def test_it_stays_up_its_commands_work_and_it_leaves_nothing_behind(place):
    log = os.path.join(place, "out")
    with open(log, "w") as out:
        process = subprocess.Popen([QUICKSTART], env=environment(), stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    def text():
        with open(log) as f:
            return f.read()
    try:
        wait_until(lambda: "Stop it with Ctrl-C" in text() or process.poll() is not None, 90)
        said = text()
        assert process.poll() is None, said
        portal = re.search(r"^Portal: (https://localhost:\d+)   sign in as (\w+), password (\S+)", said, re.M)
        place_of_it = re.search(r"^Files .*: (/tmp/easgate-quickstart\.\w+)$", said, re.M)[1]
        page = subprocess.run(["curl", "-sS", "--cacert", place_of_it + "/server.pem", portal[1] + "/"], stdout=subprocess.PIPE, timeout=20, check=True).stdout
        assert b"<!DOCTYPE html>" in page and os.stat(place_of_it + "/second.password").st_mode & 0o077 == 0
        commands = said.split("\n\n")[-2].replace("\\\n", " ").splitlines()
        answers = [subprocess.run(["bash", "-c", c], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20)
                   for c in commands if "tail -f" not in c]
        for (command, answer), want in zip(zip(commands, answers), ("200 OK", "Inbox", "certificate required", "403", "Second device", "Revoked Certificates", "", "# HELP")):
            assert want in answer.stdout, (command, answer.stdout)
        assert len(answers) == 8
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not os.path.exists(place_of_it)
    assert not subprocess.run(["pgrep", "-f", place_of_it], stdout=subprocess.PIPE).stdout
