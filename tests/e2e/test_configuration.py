"""The configuration as an operator meets it: `easproxy check`, a start and a reload with good and wrong files."""
import os
import re
import socket
import subprocess
import time

import pytest

from site_.proxy import binary

# A line of the program is one finding; the file may have a long path.
FINDING = re.compile(r"^(ok      |FAILED  )\S")


@pytest.fixture
def check(place):
    """check(config): (exit status, lines) of `easproxy check`; text is taken as it is."""
    import yaml

    def run(config, *args):
        path = os.path.join(place, "easgate.yaml")
        with open(path, "w") as f:
            f.write(config if isinstance(config, str) else yaml.safe_dump(config, sort_keys=False))
        done = subprocess.run([binary(), "-c", path, "check", *args], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60)
        lines = done.stdout.splitlines()
        assert all(FINDING.match(line) for line in lines), done.stdout
        return done.returncode, lines
    return run


@pytest.fixture
def good(configure, backend):
    return configure(backend)


def failures(lines):
    return [line[8:] for line in lines if line.startswith("FAILED")]


def changed(config, path, value):
    from site_.settings import changed as change
    return change(config, {path: value})


# --- easproxy check ---

def test_check_finds_nothing_wrong_with_a_good_configuration(check, good):
    status, lines = check(good)
    assert (status, failures(lines)) == (0, [])
    text = "\n".join(lines)
    for what in ("configuration", "keys, certificates and CAs fit together", "mail server", "CRL", "accounts", "listener"):
        assert what in text, what


WRONG = {
    "an unknown key": ("proxy.limits.colour", "red", r"proxy\.limits: unknown key \"colour\": expected one of head_bytes, headers"),
    "a wrong type": ("proxy.workers", "many", r"proxy\.workers: found \"many\": expected a whole number"),
    "a number with a point": ("proxy.workers", 1.5, r"proxy\.workers: found \"1\.5\": expected a whole number"),
    "a number out of range": ("proxy.limits.headers", 1000, r"proxy\.limits\.headers: 1000 is out of range: expected 8 to 128"),
    "a zero where zero is out of range": ("proxy.limits.idle_seconds", 0, r"proxy\.limits\.idle_seconds: 0 is out of range"),
    "a missing section": ("directory", None, r"directory is missing"),
    "a list for a text": ("user", ["nobody"], r"user: found a list: expected a text"),
    "a word that is no choice": ("log.level", "loud", r"log\.level: \"loud\" is none of: error, warning, info, debug"),
    "a policy that is not there": ("proxy.hosts.0.policy", "none", r"proxy\.hosts\[0\]: policy \"none\" is not in proxy\.policies"),
    "an upstream that is not there": ("proxy.hosts.0.upstream", "none", r"upstream \"none\" is not in proxy\.upstreams"),
    "an address with a name": ("proxy.listeners.0.address", "localhost:443", r"\"localhost:443\" is no address"),
    "Redis revocation without Redis": ("proxy.revocation.redis", True, r"proxy\.revocation\.redis: true needs the section redis"),
    "a directory in clear, gssapi": ("directory", {"kind": "ldap", "ldap": {
        "servers": ["ldaps://dc1.corp.example", "ldap://dc2.corp.example"], "base": "DC=corp,DC=example", "bind": "gssapi",
        "bind_name": "svc-ldap@CORP.EXAMPLE", "keytab": "/k"}},
        r"directory\.ldap\.servers: \"ldap://dc2\.corp\.example\" would send .* in clear: expected ldaps://, or start_tls: true"),
    "a directory in clear, simple": ("directory", {"kind": "ldap", "ldap": {
        "servers": ["ldap://dc2.corp.example"], "base": "DC=corp,DC=example", "bind_name": "me", "bind_password_file": "/p"}},
        r"directory\.ldap\.servers: \"ldap://dc2\.corp\.example\" would send the password in clear: expected ldaps://"),
    "a host's name that is a URL": ("proxy.hosts.0.names", ["https://mail.example.com"],
                                    r"names: \"https://mail.example.com\" is no name: expected a DNS name"),
    "a host's name with a port": ("proxy.hosts.0.names", ["mail.example.com:443"], r"names: \"mail.example.com:443\" is no name"),
    "a trusted header that frames": ("proxy.upstreams.0.header", "content-length", r"header: content-length has a meaning of its own"),
    "a trusted header of the proxy's": ("proxy.upstreams.0.header", "X-Forwarded-For", r"header: X-Forwarded-For has a meaning of its own"),
    "https without a CA": ("proxy.upstreams.0.servers", ["https://mail.corp.example"], r"ca is missing: expected the PEM file"),
    "kerberos without its section": ("proxy.upstreams.0.credential", "kerberos", r"credential kerberos needs spn"),
}


@pytest.mark.parametrize("what", WRONG)
def test_check_names_file_line_key_and_what_was_expected_for(check, good, what):
    path, value, wanted = WRONG[what]
    status, lines = check(changed(good, path, value))
    assert status == 1 and len(lines) == 1, lines
    assert re.match(r"FAILED  \S+/easgate\.yaml:\d+: .*" + wanted, lines[0]), lines[0]


@pytest.mark.parametrize("text, wanted", [
    ("", "the file says nothing"), ("# nothing\n", "the file says nothing"), ("a: [", "this is no YAML"),
    ("a: &x 1\nb: *x\n", "found an alias"), ("{}\n---\n{}\n", "a second document"), ("user: a\nuser: b\n", "user stands twice"),
    ("- a\n", "found a list"), ("\tuser: a\n", "this is no YAML")])
def test_check_refuses_what_is_no_configuration_in_one_line(check, text, wanted):
    status, lines = check(text)
    assert status == 1 and len(lines) == 1 and wanted in lines[0], lines


def test_check_names_a_configuration_that_is_not_there():
    done = subprocess.run([binary(), "-c", "/nonexistent/easgate.yaml", "check"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stdout == ("FAILED  /nonexistent/easgate.yaml: No such file or directory: expected a file of at most 1 MiB "
                           "that may be read\n")


def test_check_names_each_missing_file_in_a_line_of_its_own(check, good):
    config = changed(good, "proxy.hosts.0.key", "/nonexistent/key")
    config = changed(config, "proxy.revocation.crls.0.file", "/nonexistent/crl")
    status, lines = check(config)
    assert status == 1
    assert any(f.startswith("file /nonexistent/key: No such file or directory") for f in failures(lines)), lines
    config = changed(good, "proxy.revocation.crls.0.file", "/nonexistent/crl")
    assert any(f.startswith("CRL /nonexistent/crl: No such file or directory") for f in failures(check(config)[1]))


@pytest.mark.parametrize("key, value", [("certificate", "/nonexistent/c.pem"), ("key", "/nonexistent/c.pem"), ("client_ca", ["/nonexistent/c.pem"])])
def test_check_says_of_a_missing_file_once_that_it_is_missing(check, good, key, value):
    status, lines = check(changed(good, "proxy.hosts.0." + key, value))
    (finding,) = failures(lines)
    assert status == 1 and finding.startswith("file /nonexistent/c.pem: No such file or directory: create it")


def test_check_finds_a_key_that_is_not_the_certificates(check, good, pki, place):
    _, key = pki.device_ca.device("alice@corp.example").write(place, "other")
    status, lines = check(changed(good, "proxy.hosts.0.key", key))
    assert status == 1 and any(key in f and "is not the key of certificate" in f for f in failures(lines)), lines


def test_check_finds_a_certificate_that_devices_would_refuse(check, good, pki, place):
    def findings(identity, names=("mail.example.com",)):
        certificate, key = identity.write(place, "other")
        config = changed(changed(good, "proxy.hosts.0.certificate", certificate), "proxy.hosts.0.key", key)
        return failures(check(changed(config, "proxy.hosts.0.names", list(names)))[1])
    now = int(time.time())
    assert findings(pki.server_ca.server("mail.example.com")) == []
    assert findings(pki.server_ca.server("*.example.com"), ["mail.example.com", "*.example.com"]) == []
    (finding,) = findings(pki.server_ca.server("mail.example.com"), ["mail.example.com", "mail.example.org"])
    assert "is not for mail.example.org: devices that call it so refuse it" in finding
    (finding,) = findings(pki.server_ca.server("mail.example.com", not_before=now - 9000, not_after=now - 60))
    assert "has ended: devices refuse it: renew it" in finding
    (finding,) = findings(pki.server_ca.server("mail.example.com", not_before=now + 3600, not_after=now + 9000))
    assert "is not valid yet" in finding


def test_check_finds_a_ca_whose_certificates_would_all_be_refused(check, good):
    (finding,) = failures(check(changed(good, "proxy.revocation.crls.1", None))[1])
    assert finding.startswith("1 of the CAs in client_ca have neither a CRL nor Redis") and "proxy.revocation.crls" in finding
    assert failures(check(changed(changed(good, "proxy.revocation.crls.1", None), "proxy.revocation.unknown", "allow"))[1]) == []


def test_check_finds_a_secret_that_others_may_read(check, good):
    os.chmod(good["proxy"]["hosts"][0]["key"], 0o644)
    status, lines = check(good)
    assert status == 1 and any("its mode is 0644 and it is a secret: chmod 600" in f for f in failures(lines)), lines


def test_check_finds_a_certificate_that_is_none(check, good, place):
    path = os.path.join(place, "none.pem")
    with open(path, "w") as f:
        f.write("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    for key in ("certificate", "key"):
        status, lines = check(changed(good, "proxy.hosts.0." + key, path))
        assert status == 1 and any(path in f for f in failures(lines)), lines
    os.chmod(path, 0o600)
    status, lines = check(changed(good, "proxy.hosts.0.client_ca", [path]))
    assert status == 1 and any(path in f for f in failures(lines)), lines


def test_check_finds_a_crl_of_another_ca_an_expired_one_and_none_at_all(check, good, pki, crl):
    pki.other_ca.write_crl(crl)
    assert any("CRL %s: " % crl in f for f in failures(check(good)[1]))
    with open(crl, "w") as f:
        f.write("no CRL")
    assert any("expected a CRL as PEM or DER" in f for f in failures(check(good)[1]))
    pki.device_ca.write_crl(crl)
    assert failures(check(good)[1]) == []


@pytest.mark.skipif(os.getuid() != 0, reason="drops to another user only as root")
def test_check_finds_what_the_unprivileged_user_cannot_read_later(check, good, crl):
    os.chmod(crl, 0o600)
    status, lines = check(good)
    assert status == 1 and any("CRL %s: Permission denied" % crl in f and "let user nobody read it" in f
                               for f in failures(lines)), lines


def test_check_reads_the_accounts_file(check, good):
    with open(good["directory"]["file"], "w") as f:
        f.write("accounts:\n  - sam: alice\n    sid: nonsense\n")
    os.chmod(good["directory"]["file"], 0o644)
    status, lines = check(good)
    assert status == 1 and any(re.search(r"accounts\.yaml:3: accounts\[0\]\.sid: .*expected a SID", f) for f in failures(lines))


def test_check_says_which_neighbour_does_not_answer(check, good):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        dead = "127.0.0.1:%d" % s.getsockname()[1]
        config = changed(good, "proxy.upstreams.0.servers", ["http://" + dead])
        config["redis"] = {"servers": [dead]}
        status, lines = check(config)
    assert status == 1
    text = "\n".join(failures(lines))
    assert "mail server %s: Connection refused" % dead in text and "redis %s: Connection refused" % dead in text


def test_check_finds_a_user_that_is_not_there_or_root(check, good):
    if os.getuid() != 0:
        pytest.skip("users are looked at as root")
    assert any("no such user: useradd" in f for f in failures(check(changed(good, "user", "nosuchuser"))[1]))
    assert any("is root" in f for f in failures(check(changed(good, "user", "root"))[1]))


# --- the command line ---

def test_help_and_version_answer_and_a_wrong_command_is_status_2():
    run = lambda *args: subprocess.run([binary(), *args], capture_output=True, text=True, timeout=20)
    assert run("--help").returncode == 0 and "easproxy [-c FILE] check" in run("--help").stdout
    assert re.fullmatch(r"easproxy \d+\.\d+\.\d+\n", run("--version").stdout)
    for args in (["frobnicate"], ["--frobnicate"], ["check", "twice"], ["-c"]):
        done = run(*args)
        assert done.returncode == 2 and done.stdout == "" and "easproxy" in done.stderr, args


def test_status_of_a_proxy_that_does_not_run_says_so(good, place):
    import yaml
    path = os.path.join(place, "easgate.yaml")
    with open(path, "w") as f:
        yaml.safe_dump(good, f)
    done = subprocess.run([binary(), "-c", path, "status"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "does not run with this configuration" in done.stderr


# --- start ---

def start_refused(start_proxy, config):
    """The lines of a proxy that must end by itself with status 1."""
    proxy = start_proxy(config, wait=False)
    assert proxy.wait_exit() == 1
    return proxy.log.lines


def test_a_wrong_configuration_ends_the_start_with_one_line(start_proxy, good):
    line, = start_refused(start_proxy, changed(good, "proxy.colour", "red"))
    assert (line["level"], line["event"]) == ("error", "config_refused")
    assert re.search(r"easgate\.yaml:\d+: proxy: unknown key \"colour\"", line["message"])


def test_a_file_that_is_not_there_ends_the_start(start_proxy, good):
    lines = start_refused(start_proxy, changed(good, "proxy.hosts.0.certificate", "/nonexistent/mail.pem"))
    assert any(l["event"] == "file_unusable" and "/nonexistent/mail.pem: No such file" in l["message"] for l in lines)
    assert not any(l["event"] == "ready" for l in lines)


def test_a_key_of_another_certificate_ends_the_start(start_proxy, good, pki, place):
    _, key = pki.device_ca.device("alice@corp.example").write(place, "other")
    lines = start_refused(start_proxy, changed(good, "proxy.hosts.0.key", key))
    assert any(l["event"] == "config_refused" and key in l["message"] for l in lines)
    assert not any(l["event"] == "ready" for l in lines)


def test_an_address_that_is_taken_ends_the_start(start_proxy, good):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        lines = start_refused(start_proxy, changed(good, "proxy.listeners.0.address", "127.0.0.1:%d" % s.getsockname()[1]))
    assert any(l["event"] == "listen_failed" and "see `ss -ltnp`" in l["message"] for l in lines)


def test_more_sessions_than_descriptors_end_the_start(start_proxy, good):
    lines = start_refused(start_proxy, changed(good, "proxy.sessions", 1000000))
    assert any(l["event"] == "descriptors" and "raise LimitNOFILE= (systemd) or ulimit -Hn" in l["message"] for l in lines)


# --- reload ---

@pytest.fixture
def alice(pki):
    return pki.device_ca.device("alice@corp.example")


@pytest.mark.parametrize("path, value, wanted", [
    ("proxy.colour", "red", r"easgate\.yaml:\d+: proxy: unknown key"),
    ("proxy.hosts.0.certificate", "/nonexistent/mail.pem", "a file cannot be read"),
    ("proxy.hosts.0.policy", "none", r"policy \"none\" is not in proxy\.policies"),
])
def test_a_reload_with_a_wrong_configuration_keeps_the_old_one(start_proxy, good, phone, alice, path, value, wanted):
    proxy = start_proxy(good)
    device = phone(proxy, alice)
    assert device.options().status == 200
    children = proxy.children()
    line = proxy.reload(changed(good, path, value))
    assert line["event"] == "reload_failed" and line["level"] == "error", line
    assert re.search(wanted, line["message"]) and "the old configuration stays in force" in line["message"]
    assert device.options().status == 200           # the same connection
    assert phone(proxy, alice).options().status == 200
    assert proxy.children() == children
    assert proxy.reload(good)["event"] == "reloaded"    # nothing is stuck


def test_a_reload_with_a_key_of_another_certificate_keeps_the_old_one(start_proxy, good, phone, alice, place):
    proxy = start_proxy(good)
    _, key = alice.write(place, "other")
    line = proxy.reload(changed(good, "proxy.hosts.0.key", key))
    assert line["event"] == "reload_failed"
    assert proxy.events("config_refused", process="trial")[0]["message"].startswith(key)
    assert phone(proxy, alice).options().status == 200


def test_a_refused_reload_does_not_change_what_is_logged(start_proxy, good):
    proxy = start_proxy(changed(good, "log.level", "info"))
    config = changed(changed(good, "log.level", "error"), "proxy.hosts.0.certificate", "/nonexistent/mail.pem")
    assert proxy.reload(config)["event"] == "reload_failed"
    assert proxy.reload(changed(good, "log.level", "info"))["event"] == "reloaded"      # an info line


UNCHANGEABLE = {
    "user": "daemon", "proxy.workers": 2, "proxy.sessions": 501, "proxy.limits.session_records": 1024,
    "proxy.admin.address": "127.0.0.2:0", "proxy.listeners.0.address": "127.0.0.2:0",
    "proxy.listeners.1": {"address": "127.0.0.1:0"}, "redis": {"servers": ["127.0.0.1:1"]},
    "proxy.kerberos": {"principal": "a@B", "keytab": "/nonexistent", "kdcs": ["127.0.0.1:88"]},
}


def test_a_reload_refuses_what_only_a_restart_can_change_and_names_it(start_proxy, good, place):
    proxy = start_proxy(good)
    other = dict(UNCHANGEABLE, state_dir=os.path.join(place, "elsewhere"), run_dir=os.path.join(place, "elsewhere"))
    for path, value in other.items():
        line = proxy.reload(changed(good, path, value))
        assert line["event"] == "reload_failed", path
        named = re.search(r"easgate\.yaml: (\S+).* cannot change while the program runs: restart it", line["message"])
        assert named and path.startswith(named.group(1)) or path == "proxy.kerberos", line["message"]
    assert proxy.reload(changed(good, "proxy.sessions", 100))["event"] == "reloaded"    # downwards it may


def test_a_good_reload_counts_at_once(start_proxy, good, phone, alice, start_backend):
    proxy = start_proxy(good)
    device = phone(proxy, alice)
    assert device.options().status == 200
    other = start_backend()
    assert proxy.reload(changed(good, "proxy.upstreams.0.servers", [other.url]))["event"] == "reloaded"
    assert device.options().status == 200
    other.wait_requests(1)
    assert proxy.metric("easproxy_reloads_total", result="good") == 1


def test_many_reloads_in_a_row_all_get_an_answer(start_proxy, good):
    proxy = start_proxy(good)
    for i in range(8):
        config = changed(good, "proxy.limits.idle_seconds", 100 + i)
        assert proxy.reload(config if i % 2 else changed(config, "proxy.colour", "red"))["event"] == \
            ("reloaded" if i % 2 else "reload_failed")
