"""What judges the rest is right itself: the checks of the sources find what they are for, the runner counts well."""
import importlib.machinery
import importlib.util
import os
import select
import subprocess
import sys

import pytest

from site_.proxy import ROOT

pytestmark = [pytest.mark.quick, pytest.mark.no_asan]


def tool(name, top):
    return subprocess.run([os.path.join(ROOT, "tests/tools", name), str(top)], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))


@pytest.fixture
def tree(tmp_path):
    """tree({path: text}): a small source tree in which nothing is wrong, with these files put in."""
    def write(changes):
        files = {"common/STAGES": "base -- words\nlog -- lines\n", "common/base.h": "", "common/log.h": "",
                 "common/log.c": '#include "common/log.h"\n#include "common/base.h"\n',
                 "proxy/STAGES": "settings\nkerberos/\nworker/\nmain\n", "proxy/settings.h": '#include "common/log.h"\n',
                 "proxy/main.c": '#include "proxy/worker/session.h"\n',
                 "proxy/kerberos/STAGES": "outside: ask.h\nask\n(keys)\nprocess\n", "proxy/kerberos/ask.h": "",
                 "proxy/kerberos/keys.h": "", "proxy/kerberos/process.c": '#include "proxy/kerberos/ask.h"\n',
                 "proxy/worker/STAGES": "reply -- answers\nsession (session_state) relay -- all of it\n",
                 "proxy/worker/reply.c": "", "proxy/worker/session.h": '#include "proxy/kerberos/ask.h"\n',
                 "proxy/worker/session_state.h": "", "proxy/worker/relay.c": '#include "proxy/worker/session_state.h"\n',
                 **changes}
        for name, text in files.items():
            os.makedirs(tmp_path / os.path.dirname(name), exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path
    return write


def test_layers_is_content_with_a_tree_in_order(tree):
    done = tool("layers", tree({}))
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path, include, what", [
    ("common/base.c", "proxy/settings.h", "does not belong in common/"),
    ("common/base.c", "common/log.h", "later stage"),
    ("proxy/settings.c", "proxy/worker/session.h", "later stage"),
    ("proxy/worker/reply.c", "proxy/worker/session.h", "later stage"),
    ("proxy/kerberos/ask.c", "proxy/worker/session.h", "later stage"),
    ("proxy/main.c", "proxy/kerberos/keys.h", "not for other folders"),
    ("proxy/worker/relay.c", "proxy/kerberos/keys.h", "not for other folders"),
    ("proxy/kerberos/process.c", "proxy/kerberos/keys.h", "own stage alone"),
    ("proxy/worker/reply.c", "reply.h", "no such file"),
    ("enroll/main.c", "proxy/settings.h", "does not belong in enroll/"),
    ("proxy/main.c", "enroll/main.h", "does not belong in proxy/"),
])
def test_layers_finds_an_include_that_points_the_wrong_way(tree, path, include, what):
    done = tool("layers", tree({"enroll/STAGES": "main\n", "enroll/main.h": "", path: '#include "%s"\n' % include}))
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.startswith(path + ":1: ") and what in line], done.stdout


@pytest.mark.parametrize("changes, what", [
    ({"proxy/worker/new.c": ""}, "new.c is in no stage"),
    ({"proxy/STAGES": "settings\nkerberos/\nworker/\n"}, "main.c is in no stage"),
    ({"common/STAGES": "base\nlog\nlong\n"}, "no file long"),
    ({"proxy/new/a.c": ""}, "STAGES is missing"),
])
def test_layers_finds_stages_that_are_not_true(tree, changes, what):
    done = tool("layers", tree(changes))
    assert done.returncode == 1 and what in done.stdout


def test_banned_finds_calls_in_code_but_not_in_words(tree):
    source = '/* strcpy( in a comment */\nint f(void)\n{\n\tputs("system(");\n\tmy_sprintf(x);\n\t%s;\n}\n'
    for call, found in (("strcpy(a, b)", True), ("sprintf (a, b)", True), ("text_copy(a, b)", False), ("x->system(1)", False),
                        ("strtok(a, b)", True), ("return rand()", True)):
        done = tool("banned", tree({"proxy/main.c": source % call}))
        assert (done.returncode, done.stdout.count("\n")) == ((1, 1) if found else (0, 0)), call
    assert done.stdout.startswith("proxy/main.c:6: rand: use RAND_bytes")
    done = tool("banned", tree({"proxy/main.c": "", "tests/unit/test_a.c": source % "strcpy(a, b)", "bench/a.c": "gets(a);\n"}))
    assert done.stdout == "bench/a.c:1: gets: use read() with a size\n"


def test_lengths_finds_long_functions_and_files_and_allowances_that_are_not_needed(tree):
    def function(name, calls):
        body = "\tif (a) {\n" + "\t\tb();\n" * 40 + "\t}\n" + "\tc();\n" * calls
        return "static struct x *%s(\n    int a)\n{\n%s}\n\n" % (name, body)
    long, short = function("long_one", 20), function("short_one", 1)
    # two lines of signature, two braces, the condition and its brace, 40 calls, and 20 more
    source = {"proxy/main.c": short + long}
    done = tool("lengths", tree(source))
    assert (done.returncode, done.stdout) == (1, "proxy/main.c:49: long_one: 66 lines\n")
    allowed = "proxy/main.c:long_one 66 it is a table\n"
    assert tool("lengths", tree({"tests/tools/lengths.allowed": allowed, **source})).returncode == 0
    allowed += "proxy/main.c:short_one 99 it was long once\n"
    assert "short_one: not needed" in tool("lengths", tree({"tests/tools/lengths.allowed": allowed, **source})).stdout
    done = tool("lengths", tree({"tests/tools/lengths.allowed": "", "proxy/main.c": "\n" * 501}))
    assert done.stdout == "proxy/main.c: 501 lines\n"


# --- the runner ---

@pytest.fixture(scope="module")
def runner():
    loader = importlib.machinery.SourceFileLoader("easgate_run", os.path.join(ROOT, "tests/run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("easgate_run", loader))
    sys.modules["easgate_run"] = module         # for dataclasses
    loader.exec_module(module)
    return module


GOOD = "[==========] Running 2 test(s).\n[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n[       OK ] b\n" \
       "[  PASSED  ] 2 test(s).\n"
BAD = "[ RUN      ] a\n[  ERROR   ] --- 1 != 2\n[  FAILED  ] a\n[ RUN      ] b\n[  SKIPPED ] b\n" \
      "[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] a\n"


@pytest.mark.parametrize("status, text, counts, names", [
    (0, GOOD, (2, 0, 0), []),
    (1, BAD, (0, 1, 1), ["t: a"]),
    (-11, "[ RUN      ] a\n[       OK ] a\n[ RUN      ] b\n", (1, 1, 0), ["t: b crashed (status -11)"]),
    (99, GOOD, (2, 1, 0), ["t: exit status 99 after its tests"]),
    (None, "[ RUN      ] a\n", (0, 1, 0), ["t: a"]),
    (0, "", (0, 1, 0), ["t: ran no test"]),
    (0, GOOD.replace("\n[ RUN      ] b\n", "\nnoise of a child[ RUN      ] x\n[ RUN      ] b\n"), (2, 0, 0), []),
])
def test_the_runner_counts_a_unit_test_once_and_a_crash_as_failed(runner, status, text, counts, names):
    result = runner.read_cmocka("t", status, text)
    assert ((result.passed, result.failed, result.skipped), result.failures) == (counts, names)
    assert bool(result.tail) == bool(names)


@pytest.mark.parametrize("counts, line, status", [
    ((3, 0, 0), "3 passed, 0 failed", 0), ((3, 0, 2), "3 passed, 0 failed, 2 skipped", 0),
    ((3, 1, 0), "3 passed, 1 failed", 1), ((0, 0, 4), "0 passed, 0 failed, 4 skipped", 1), ((0, 0, 0), "0 passed, 0 failed", 1)])
def test_the_runner_ends_with_one_plain_line_and_is_content_only_if_something_passed(runner, capsys, counts, line, status):
    result = runner.Result(*counts)
    result.seconds = 1.0
    assert runner.report({"unit": result}) == status
    assert capsys.readouterr().out.splitlines()[-1] == line


def test_the_runner_ends_what_takes_too_long_with_all_that_it_started(runner, tmp_path):
    runner.hear_interrupts()
    r = runner.Runner(str(tmp_path), "stage", 1.0)
    status, text = r.run(["sh", "-c", "sleep 600 & echo $!; wait"])
    assert status is None
    try:
        left = os.pidfd_open(int(text.split()[0]))
    except ProcessLookupError:
        pass
    else:
        assert select.select([left], [], [], 5)[0], "it runs on"
        os.close(left)
    assert "sleep 600" in (tmp_path / "check/stage.log").read_text()


def test_the_runner_ends_what_prints_without_end_and_keeps_its_beginning_and_end(runner, tmp_path, monkeypatch):
    runner.hear_interrupts()
    monkeypatch.setattr(runner, "OUTPUT", 1 << 20)
    status, text = runner.Runner(str(tmp_path), "stage", 60).run(["sh", "-c", "echo first; exec yes more"])
    assert status is None
    assert text.startswith("first\nmore\n") and len(text) < 1 << 18 and "printed too much" in text


def test_a_stage_is_not_run_if_what_it_needs_failed(runner, tmp_path, monkeypatch, capsys):
    ran = []
    monkeypatch.setitem(runner.STAGES, "build", (9, lambda r: runner.failure("make all", "    it broke\n")))
    monkeypatch.setitem(runner.STAGES, "unit", (9, lambda r: ran.append("unit") or runner.Result(passed=1)))
    monkeypatch.setitem(runner.STAGES, "checks", (9, lambda r: runner.Result(passed=1)))
    results = runner.run_round(("build", "checks", "unit"), str(tmp_path))
    assert ran == [] and results["unit"].failed == 1 and results["checks"].passed == 1
    assert runner.report(results) == 1 and "it broke" in capsys.readouterr().out
