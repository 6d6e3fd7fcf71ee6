"""The documents say what the programs say: its metrics, events, reasons, commands and examples, both ways."""
import json
import os
import re
import shutil
import subprocess

import pytest
import yaml

from site_ import answers
from site_.enroll import Enroll, configuration
from site_.proxy import ROOT, binary

DOCUMENTS = ["README.md", "docs/configuration.md", "docs/operations.md", "docs/security.md", "docs/migration.md",
             "docs/enrolment.md", "tests/README.md", "bench/README.md", "docker/README.md"]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def sources(*tops):
    for top in tops:
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in names:
                if name.endswith(".c"):
                    yield read(os.path.relpath(os.path.join(folder, name), ROOT))


def section(text, title):
    """From a heading to the next one of the same or a higher level."""
    match = re.search(r"^(#+) %s\n" % re.escape(title), text, re.M)
    assert match, title
    end = re.search(r"^#{1,%d} " % len(match.group(1)), text[match.end():], re.M)
    return text[match.end():match.end() + end.start()] if end else text[match.end():]


def first_cells(text):
    """Every `word` of the first column of the tables."""
    rows = re.findall(r"^\| (`[^|]*?) \|", text, re.M)
    return [word for row in rows for word in re.findall(r"`([^`]+)`", row)]


def test_every_link_leads_to_a_file_and_a_heading():
    for document in DOCUMENTS:
        text = read(document)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith(("http://", "https://")):
                continue
            path, _, anchor = target.partition("#")
            there = os.path.normpath(os.path.join(os.path.dirname(document), path)) if path else document
            assert os.path.exists(os.path.join(ROOT, there)), "%s: %s" % (document, target)
            if anchor:
                headings = [re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-")
                            for h in re.findall(r"^#+ (.*)$", read(there), re.M)]
                assert anchor in headings, "%s: %s" % (document, target)


def examples():
    for document in DOCUMENTS:
        for number, text in enumerate(re.findall(r"^```yaml\n(# easgate\.yaml\n.*?)^```", read(document), re.M | re.S)):
            yield pytest.param(text, id="%s-%d" % (document, number))


@pytest.mark.parametrize("text", examples())
def test_an_example_is_a_configuration_that_the_program_takes(text, place):
    path = os.path.join(place, "easgate.yaml")
    with open(path, "w") as f:
        # nothing outside this machine is asked
        f.write(re.sub(r"corp\.example|example\.com", "test.invalid", text))
    done = subprocess.run([binary(), "-c", path, "check"], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[0] == "ok      configuration " + path


def test_the_documents_have_examples():
    assert len(list(examples())) >= 3


def test_every_make_target_and_command_that_the_readme_names_is_there():
    text = read("README.md") + read("docs/operations.md") + read("docs/security.md")
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    named = set(re.findall(r"`make ([a-z-]+)[` ]", text)) | set(re.findall(r"\bmake ([a-z-]+)\b(?= &&|$)", text, re.M))
    assert {"quickstart", "check"} <= named <= targets, named - targets
    usage = subprocess.run([binary(), "--help"], capture_output=True, text=True, timeout=20).stdout
    for command in set(re.findall(r"`easproxy (?:-c \S+ )?([a-z]+)`", text)):
        assert re.search(r"easproxy \[-c FILE\] %s\b" % command, usage), command


def test_every_command_of_easenroll_that_a_document_names_is_there():
    usage = subprocess.run([binary("easenroll"), "--help"], capture_output=True, text=True, timeout=20).stdout
    offered = {(command, word) for command, words in re.findall(r"^  easenroll ([a-z]+) ([a-z |]+)$", usage, re.M)
               for word in words.split(" | ")}
    groups = {command for command, _ in offered}
    text = "".join(map(read, DOCUMENTS + ["docs/easgate.yaml", "docs/systemd/easenroll.service"]))
    named = re.findall(r"(?:`|^    )easenroll (?:-c \S+ )?([a-z]+)(?: ([a-z]+))?", text, re.M)
    assert len(set(named)) >= 10
    for command, word in named:
        if command in groups:
            assert (command, word) in offered, "easenroll %s %s" % (command, word)
        else:
            assert re.search(r"easenroll \[-c FILE\] %s\b" % command, usage), command


def test_every_command_of_easenroll_says_how_it_is_used_without_a_configuration():
    usage = subprocess.run([binary("easenroll"), "--help"], capture_output=True, text=True, timeout=20).stdout
    offered = re.findall(r"^  easenroll (?:\[-c FILE\] )?([a-z]+) +(.*)$", usage, re.M)
    for command, words in offered:
        if command == "check":
            continue
        done = subprocess.run([binary("easenroll"), "-c", "/nonexistent", command, "--help"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 and not done.stderr, command
        for word in words.split(" | ") if " | " in words else []:
            assert re.search(r"\b%s\b" % word, done.stdout), (command, word)


def test_operations_names_every_metric_and_no_other(start_proxy, configure, backend):
    proxy = start_proxy(configure(backend))
    body = proxy.admin("/metrics").body.decode()
    metrics = set(re.findall(r"^# TYPE (\S+) ", body, re.M))
    documented = first_cells(section(read("docs/operations.md"), "Metrics"))
    assert len(documented) == len(set(documented))
    assert metrics == set(documented), metrics ^ set(documented)


def test_operations_names_the_labels_of_each_metric():
    table = read("proxy/metric_table.c")
    documented = dict(re.findall(r"^\| `(easproxy_\w+)` \| ([\w, ]*)\|", section(read("docs/operations.md"), "Metrics"), re.M))
    for name, labels in re.findall(r'\{\s*"(easproxy_\w+)",(.*?)\}', table, re.S):
        words = re.findall(r'"(\w+)",\s*\w+', labels.rpartition("METRIC_")[2])
        assert [w.strip() for w in documented[name].split(",") if w.strip()] == words, name


@pytest.fixture
def enroll(place, pki, accounts):
    user = "nobody" if os.getuid() == 0 else None
    folder = os.path.join(place, "enroll")
    os.mkdir(folder)
    os.chmod(folder, 0o755)
    started = Enroll(configuration(folder, pki, accounts, user=user), folder)
    yield started
    started.stop()


def test_operations_names_every_metric_of_easenroll_with_its_labels_and_no_other(enroll):
    assert enroll.admin("/healthz").status == 200       # counted, so that its labels are there
    body = enroll.admin("/metrics").body.decode()
    labels = dict.fromkeys(re.findall(r"^# TYPE (\S+) ", body, re.M), ())
    for name, inside in re.findall(r"^(\w+?)(?:_bucket|_sum|_count)?\{(.*?)\} ", body, re.M):
        labels[name] = tuple(label for label in re.findall(r'(\w+)="', inside) if label != "le")
    table = section(read("docs/operations.md"), "Metrics of easenroll")
    rows = re.findall(r"^\| `(easenroll_\w+)` \| ([\w, ]*)\|", table, re.M)
    assert len(rows) == len(dict(rows)) > 10
    assert labels == {name: tuple(w.strip() for w in words.split(",") if w.strip()) for name, words in rows}


def test_operations_names_every_reason_with_its_status_and_no_other():
    text = read("docs/operations.md")
    rows = {name: int(status) for name, status in re.findall(r'= \{\s*"([a-z-]+)",\s*(\d{3}),', read("proxy/worker/reply.c"))}
    faults = section(text, "At three in the morning")
    assert len(rows) > 30
    documented = {name: int(status) for name, status in
                  re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", section(text, "Reasons"), re.M)}
    listed = re.search(r"^Faults: (.*?\(504\))", text, re.M | re.S).group(1)
    for names, status in re.findall(r"((?:`[a-z-]+`,?\s*)+)\((\d+)\)", listed):
        documented.update({name: int(status) for name in re.findall(r"`([a-z-]+)`", names)})
        for name in re.findall(r"`([a-z-]+)`", names):
            assert "| `%s` |" % name in faults, name
    assert documented == rows, set(documented.items()) ^ set(rows.items())


def events_of(*tops):
    events = set()
    for text in sources(*tops):
        events.update(re.findall(r'\\"event\\":\\"([a-z_]+)\\"', text))
        for call in re.findall(r"\b(?:log_(?:say|begin|begin_audit)|say_refused)\s*\(([^;]*?);", text, re.S):
            first = re.search(r'"([^"]*)"', call)
            if first and re.fullmatch(r"[a-z_]+", first.group(1)):
                events.add(first.group(1))
        # which of two it is may be decided in the call
        for call in re.findall(r"\blog_op\s*\(([^;]*?);", text, re.S):
            events.update(re.findall(r'"([a-z_]+)"', call))
    return events


def test_operations_names_every_event_and_no_other():
    events = events_of("common", "proxy")
    documented = set(first_cells(section(read("docs/operations.md"), "Events")))
    assert len(events) > 60
    assert events <= documented, "not documented: %s" % sorted(events - documented)
    assert documented <= events, "no such event: %s" % sorted(documented - events)


def test_operations_names_every_event_of_easenroll_and_no_other():
    text = read("docs/operations.md")
    events = events_of("enroll") - set(first_cells(section(text, "Events")))
    documented = set(first_cells(section(text, "Events of easenroll")))
    assert len(events) > 30
    assert events <= documented, "not documented: %s" % sorted(events - documented)
    assert documented <= events, "no such event: %s" % sorted(documented - events)


def enroll_keys():
    """Path -> [type, default, limits] of each key below enroll:, as its schema and its table of defaults have it."""
    schema, fill = read("enroll/settings_schema.c"), read("enroll/settings.c") + read("enroll/settings_migration.c")
    words = {"STR": "text", "U32": "number", "BOOL": "true/false", "GIVEN": "true/false", "SEQ": "list", "LIST": "list", "MAP": "keys"}
    fields = {name: re.findall(r"^\t([A-Z0-9]+)\(struct (\w+), (\w+)(?:, (\w+))?\),$", rows, re.M) for name, rows in
              re.findall(r"cyaml_schema_field_t (\w+)_fields\[\] = \{\n(.*?)\n\};", schema, re.S)}
    numbers = {(a, b): (value, "%s to %s" % (low, high)) for a, b, value, low, high in
               re.findall(r"FILL_U32\(struct (\w+), (\w+), (\d+), (\d+), (\d+)\)", fill)}
    texts = {(a, b): "needed" if must != "NULL" else "`%s`" % value if value else "none" for a, b, value, must in
             re.findall(r'FILL_TEXT\(struct (\w+), (\w+), "(.*?)", (NULL|".*?")\)', fill)}
    keys = {}

    def walk(name, path):
        for kind, struct, member, below in fields[name]:
            key, entry = path + "." + member, (struct, member)
            default, limits = numbers[entry] if kind == "U32" else (
                texts[entry] if kind == "STR" else {"BOOL": "false", "GIVEN": "true"}.get(kind), None)
            keys[key] = [words[kind], default, limits]
            if below:
                walk(re.sub(r"_(fields|entry)$", "", below), key + ("[]" if kind == "SEQ" else ""))
    walk("enroll", "enroll")
    keys["enroll.ca.delta_seconds"][1] = "3600"     # decided beside crl_seconds
    return keys


def test_configuration_names_every_key_of_enroll_with_its_type_default_and_limits():
    keys = enroll_keys()
    rows = re.findall(r"^\| (enroll\.[\w.\[\]]+) \|(.*?)\|(.*?)\|(.*?)\|", read("docs/configuration.md"), re.M)
    documented = {key: [cell.strip() for cell in cells] for key, *cells in rows}
    assert len(rows) == len(documented) and len(keys) > 70
    assert set(keys) == set(documented), set(keys) ^ set(documented)
    for key, (kind, default, limits) in keys.items():
        assert documented[key][0] == kind, key
        if default is not None:
            assert documented[key][1] == default, key
        assert documented[key][2] == (limits or ""), key


def test_the_sample_names_every_key_of_enroll_and_easenroll_takes_it(place):
    sample = yaml.safe_load(read("docs/easgate.yaml"))

    def paths(value, path):
        yield path
        for key, below in value.items() if isinstance(value, dict) else ():
            yield from paths(below, "%s.%s" % (path, key))
        for below in value if isinstance(value, list) and value and isinstance(value[0], dict) else ():
            for key, leaf in below.items():
                yield from paths(leaf, "%s[].%s" % (path, key))
    assert set(enroll_keys()) == set(paths(sample["enroll"], "enroll")) - {"enroll"}
    example = re.search(r"^```yaml\n# enroll section of easgate\.yaml\n(.*?)^```", read("docs/enrolment.md"),
                        re.M | re.S).group(1)
    for number, config in enumerate((sample, {"directory": {"kind": "file", "file": "/nowhere"}, **yaml.safe_load(example)})):
        path = os.path.join(place, "easgate-%d.yaml" % number)
        with open(path, "w") as f:
            f.write(re.sub(r"corp\.example|example\.com", "test.invalid", yaml.safe_dump(config)))
        done = subprocess.run([binary("easenroll"), "-c", path, "check"], capture_output=True, text=True, timeout=120)
        assert done.stdout.splitlines()[0] == "ok      configuration " + path, done


def test_operations_names_every_field_of_a_request_line():
    fields = set(re.findall(r'\blog_(?:int|cstr|text|bool)\(\s*&?l,\s*"(\w+)"', read("proxy/worker/audit.c")))
    documented = set(first_cells(section(read("docs/operations.md"), "Fields of requests")))
    assert fields == documented, fields ^ documented


def test_security_names_tests_that_are_there():
    for name in re.findall(r"`e2e/(test_\w+\.py)`", read("docs/security.md")):
        assert os.path.exists(os.path.join(ROOT, "tests", "e2e", name)), name
    for names in re.findall(r"unit: ([\w, ]+)", read("docs/security.md")):
        for name in names.split(","):
            assert os.path.exists(os.path.join(ROOT, "tests", "unit", "test_%s.c" % name.strip())), name
    for names in re.findall(r"fuzz: ([\w, ]+)", read("docs/security.md")):
        for name in names.split(","):
            assert os.path.exists(os.path.join(ROOT, "tests", "fuzz", "fuzz_%s.c" % name.strip())), name


def test_the_commands_to_revoke_by_hand_revoke(start_proxy, configure, backend, phone, pki, redis_server, place):
    """As an operator would: the very lines of operations.md, in a shell, with a real Redis."""
    commands = re.search(r"To revoke by hand.*?\n\n((?:    .*\n)+)", read("docs/operations.md")).group(1)
    assert commands.count("redis-cli") == 2
    alice = pki.device_ca.device("alice@corp.example")
    for name, content in (("device-ca.pem", pki.device_ca.pem), ("device.pem", alice.pem)):
        with open(os.path.join(place, name), "wb") as f:
            f.write(content)
    secret = os.path.join(place, "fleet.secret")
    with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
        f.write(redis_server.secret + b"\n")
    for authority in (pki.device_ca, pki.root):
        redis_server.crl(authority.spki_hash)
    proxy = start_proxy(configure(backend, changes={
        "redis": {"servers": ["unix:" + redis_server.socket_path], "fleet_secret_file": secret},
        "proxy.revocation.redis": True, "proxy.revocation.crls": []}))
    proxy.wait_event("redis_loaded", timeout=10)
    device = phone(proxy, alice)
    assert device.options().status == 200
    script = commands.replace("redis-cli", "redis-cli -s " + redis_server.socket_path)
    done = subprocess.run(["sh", "-e", "-c", script], cwd=place, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "ERR" not in done.stdout, done
    line = proxy.wait_event("ended", timeout=5)
    assert (line["reason"], line["audit"]) == ("revoked", True)
    assert phone(proxy, alice).options().status == 403


@pytest.mark.skipif(not shutil.which("jq"), reason="jq is not installed")
def test_the_jq_filters_of_the_documents_read_real_lines(start_proxy, configure, backend, phone, pki, place):
    proxy = start_proxy(configure(backend, changes={"proxy.upstreams.0.response_ms": 300}))
    device = phone(proxy, pki.device_ca.device("alice@corp.example"))
    assert device.sync().status == 200
    backend.when("FolderSync", answers.hold(b""))
    assert device.folder_sync().status == 504
    proxy.wait_event("fault", reason="upstream-timeout")
    lines = "".join(json.dumps(line) + "\n" for line in proxy.log.lines)
    filters = re.findall(r"journalctl [^|]*\| jq -r ('[^']*')", read("docs/operations.md") + read("docs/migration.md"))
    assert len(filters) == 3
    for text in filters:
        done = subprocess.run(["jq", "-r", text.strip("'")], input=lines, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, (text, done.stderr)
        if "fault" in text:
            assert done.stdout.startswith("upstream-timeout"), done.stdout
        if "certificate != null" in text:
            assert "alice\t%s\ttrue" % device.device_id in done.stdout.splitlines()


@pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed")
def test_the_load_balancers_example_is_one_that_haproxy_takes(place):
    example = re.search(r"HAProxy in TCP mode:\n\n((?:    .*\n)+)", read("docs/operations.md")).group(1)
    path = os.path.join(place, "haproxy.cfg")
    with open(path, "w") as f:
        f.write("defaults\n    timeout connect 5s\n" + re.sub(r"^    ", "", example, flags=re.M))
    done = subprocess.run(["haproxy", "-c", "-f", path], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
