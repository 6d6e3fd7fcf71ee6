"""What is built, installed and started as a service is what README and unit files say."""
import os
import pwd
import re
import shutil
import socket
import stat
import subprocess
import sys

import pytest
import yaml

from site_ import as_systemd
from site_.proxy import ROOT, Proxy, binary

BUILD = os.path.relpath(os.path.abspath(os.environ.get("BUILD", os.path.join(ROOT, "build"))), ROOT)
UNITS = os.path.join(ROOT, "docs/systemd")
TRIXIE = os.environ.get("EASGATE_TRIXIE", "")
CLEAN = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}

pytestmark = pytest.mark.no_asan        # about the program as it is shipped
root_only = pytest.mark.skipif(os.getuid() != 0, reason="needs root")


def make(*arguments, check=True):
    done = subprocess.run(["make", "--no-print-directory", "BUILD=" + BUILD, *arguments], cwd=ROOT, env=CLEAN,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert not check or done.returncode == 0, done.stdout[-3000:]
    return done


def readelf(option, program):
    return subprocess.run(["readelf", "--wide", option, program], check=True, text=True, stdout=subprocess.PIPE,
                          env=dict(os.environ, LC_ALL="C")).stdout


# --- make ---

@pytest.mark.quick
def test_make_help_says_each_target_in_a_line():
    with open(os.path.join(ROOT, "Makefile")) as f:
        targets = re.search(r"^\.PHONY:((?:.*\\\n)*.*)$", f.read(), re.M)[1].replace("\\\n", " ").split()
    lines = dict(line.split(None, 1) for line in make("help").stdout.splitlines())
    assert sorted(lines) == sorted(targets)
    assert {"all", "quickstart", "check", "bench", "deps", "install", "format", "lint", "asan", "fuzz", "clean",
            "help"} <= set(lines)
    assert all(len(text.strip()) > 8 for text in lines.values())


def test_making_again_does_nothing_and_a_changed_header_makes_only_what_includes_it():
    make("all", "unit", "-j2")
    again = make("all", "unit", "-q", check=False)
    assert again.returncode == 0, make("-n", "all", "unit").stdout
    changed = make("-n", "-W", "proxy/worker/policy.h", "all", "unit").stdout
    compiled = set(re.findall(r"-c (\S+)\.c\b", changed))
    assert {"proxy/worker/policy", "proxy/worker/session_steps"} <= compiled
    assert "common/text" not in compiled and "proxy/settings" not in compiled
    assert re.search(r"-o %s/easproxy\b" % re.escape(BUILD), changed), "not linked anew"
    assert not re.search(r"tests/mail", changed)


@pytest.mark.quick
def test_what_is_installed_all_goes_with_uninstall(tmp_path):
    prefix = str(tmp_path / "opt/easgate")
    make("install", "PREFIX=" + prefix)
    found = sorted(os.path.relpath(os.path.join(path, name), prefix) for path, _, names in os.walk(prefix)
                   for name in names)
    pages = sorted(name for name in os.listdir(os.path.join(ROOT, "docs")) if name != "systemd")
    assert found == ["lib/systemd/system/" + name for name in sorted(os.listdir(UNITS))] + \
        ["sbin/easenroll", "sbin/easproxy"] + ["share/doc/easgate/" + name for name in pages]
    modes = {name: stat.S_IMODE(os.stat(os.path.join(prefix, name)).st_mode) for name in found}
    assert modes == {name: 0o755 if name.startswith("sbin/") else 0o644 for name in found}
    make("uninstall", "PREFIX=" + prefix)
    assert not [name for _, _, names in os.walk(prefix) for name in names]


@pytest.mark.quick
def test_destdir_goes_before_the_prefix_and_into_no_file(tmp_path):
    make("install", "DESTDIR=%s" % tmp_path, "PREFIX=/usr")
    for name in ("easproxy", "easenroll"):
        program = tmp_path / "usr/sbin" / name
        assert subprocess.run([program, "--version"], stdout=subprocess.PIPE).stdout.startswith(name.encode() + b" ")
        unit = (tmp_path / ("usr/lib/systemd/system/%s.service" % name)).read_text()
        assert "\nExecStart=/usr/sbin/%s -c /etc/easgate/easgate.yaml\n" % name in unit
        assert "@" not in re.sub(r"@system-service", "", unit) and str(tmp_path) not in unit


# --- the program ---

@pytest.mark.quick
@pytest.mark.parametrize("name", ["easproxy", "easenroll"])
def test_version_and_help_are_said_and_an_unknown_word_is_refused(name):
    with open(os.path.join(ROOT, "Makefile")) as f:
        version = re.search(r"^VERSION := (\S+)$", f.read(), re.M)[1]
    run = lambda *words: subprocess.run([binary(name), *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run("--version").stdout == run("-V").stdout == "%s %s\n" % (name, version)
    usage = run("--help")
    assert usage.returncode == 0 and usage.stderr == ""
    assert all(word in usage.stdout for word in ("check", "status", "--config", "SIGHUP", "SIGTERM"))
    for words in (["serve"], ["check", "status"], ["--no-such-option"]):
        refused = run(*words)
        assert refused.returncode == 2 and refused.stdout == "" and "--config" in refused.stderr


@pytest.mark.quick
@pytest.mark.skipif("COV" in os.environ, reason="built to be measured")
@pytest.mark.parametrize("name", ["easproxy", "easenroll"])
def test_the_program_is_hardened(name):
    program = binary(name)
    head, segments, dynamic = (readelf(option, program) for option in ("-h", "-l", "-d"))
    assert re.search(r"Type: +DYN \(Position-Independent Executable", head), "not position independent"
    assert "GNU_RELRO" in segments
    assert re.search(r"FLAGS_1.*NOW", dynamic) and "TEXTREL" not in dynamic and "RUNPATH" not in dynamic
    assert not re.search(r"RPATH", dynamic)
    assert not re.search(r"GNU_STACK.* RWE ", segments) and not re.search(r"LOAD.* RWE ", segments)
    symbols = readelf("--dyn-syms", program)
    assert "__stack_chk_fail" in symbols, "no stack protector"
    assert re.search(r"__\w+_chk@", symbols), "not fortified"


@pytest.mark.quick
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="x86 only")
def test_every_object_is_made_for_control_flow_enforcement():
    """In the program the linker leaves the mark out, since Debian's C start-up files have none."""
    parts = re.split(r"^File: ", readelf("-n", os.path.join(ROOT, BUILD, "libeasgate.a")), flags=re.M)[1:]
    assert len(parts) > 60
    assert [part.split("\n")[0] for part in parts if not re.search(r"x86 feature:.*IBT.*SHSTK", part)] == []


# --- as a service ---

@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_systemd_finds_no_fault_in_the_units_and_counts_them_as_sandboxed(tmp_path):
    make("install", "PREFIX=%s" % tmp_path)
    units = [str(tmp_path / "lib/systemd/system" / name) for name in ("easproxy.service", "easenroll.service", "easproxy.socket")]
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
    assert verified.returncode == 0 and not re.search("easproxy|easenroll", verified.stdout), verified.stdout
    for unit in units[:2]:
        judged = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=35", unit], text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert judged.returncode == 0, judged.stdout[-600:]


@pytest.mark.quick
def test_the_socket_unit_listens_where_the_sample_configuration_does():
    with open(os.path.join(ROOT, "docs/easgate.yaml")) as f:
        listeners = [entry["address"] for entry in yaml.safe_load(f)["proxy"]["listeners"]]
    with open(os.path.join(UNITS, "easproxy.socket")) as f:
        assert re.findall(r"^ListenStream=(.*)$", f.read(), re.M) == listeners


@pytest.fixture
def start_as_service(place, made):
    """start_as_service(config, listen=""): a Proxy with what the unit leaves it, and systemd's way with directories."""
    started = []

    def start(config, listen=""):
        user = pwd.getpwnam(config["user"])
        os.chown(config["state_dir"], 0, user.pw_gid)
        os.chmod(config["state_dir"], 0o770)
        program = os.path.join(place, "as-service")
        with open(program, "w") as f:
            f.write("#!/bin/sh\nexec %s %s %s nogroup '%s' %s \"$@\"\n" % (
                "/usr/bin/python3", as_systemd.__file__, os.path.join(UNITS, "easproxy.service"), listen, binary()))
        os.chmod(program, 0o755)
        # as text, so that the directories stay as they were made above
        started.append(Proxy(yaml.safe_dump(config), place, program=program))
        return started[-1]
    yield start
    for proxy in started:
        proxy.stop()


def status_of(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


@root_only
def test_the_unit_leaves_the_program_all_that_it_needs(start_as_service, configure, backend, phone, pki):
    """Keys of another owner, a state directory of root's, reload: with the unit's capabilities and system calls."""
    config = configure(backend)
    key = config["proxy"]["hosts"][0]["key"]
    os.chmod(key, 0o600)
    os.chown(key, pwd.getpwnam("daemon").pw_uid, -1)
    proxy = start_as_service(config)
    alice = pki.device_ca.device("alice@corp.example")
    assert phone(proxy, alice).sync().status == 200
    assert proxy.reload()["event"] == "reloaded"
    assert phone(proxy, alice).sync().status == 200

    master = status_of(proxy.daemon.pid)
    kept = sum(1 << n for n in as_systemd.kept(os.path.join(UNITS, "easproxy.service")))
    assert int(master["CapBnd"], 16) == kept & int(status_of(os.getpid())["CapBnd"], 16)
    assert master["NoNewPrivs"] == "1"
    if shutil.which("systemd-analyze"):
        assert master["Seccomp"] == "2"
    children = [status_of(pid) for pid in proxy.children()]
    assert len(children) >= 3
    for child in children:
        assert int(child["CapEff"], 16) == int(child["CapPrm"], 16) == 0
        assert set(child["Uid"].split()) == {str(pwd.getpwnam(config["user"]).pw_uid)}
    assert not [line for line in proxy.log.lines if isinstance(line, dict) and line.get("level") == "error"]


@root_only
def test_a_socket_from_systemd_is_taken_instead_of_bound(start_as_service, configure, backend, phone, pki):
    held = socket.create_server(("127.0.0.1", 0))
    port = held.getsockname()[1]
    held.close()
    address = "127.0.0.1:%d" % port
    config = configure(backend, {"proxy.listeners.0.address": address, "proxy.workers": 2})
    proxy = start_as_service(config, listen=address)
    assert proxy.address() == address
    assert phone(proxy, pki.device_ca.device("alice@corp.example")).sync().status == 200
    inodes = set()
    for pid in [proxy.daemon.pid, *proxy.children()]:
        inodes |= {os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in listeners_of(pid, port)}
    assert len(inodes) == 1, "bound beside the socket that was handed over: %s" % inodes


def listeners_of(pid, port):
    """Descriptors of a process that are TCP sockets listening on the port."""
    with open("/proc/%d/net/tcp" % pid) as f:
        inodes = {line.split()[9] for line in list(f)[1:]
                  if line.split()[3] == "0A" and int(line.split()[1].split(":")[1], 16) == port}
    found = []
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            link = os.readlink("/proc/%d/fd/%s" % (pid, fd))
        except OSError:
            continue
        if link.startswith("socket:[") and link[8:-1] in inodes:
            found.append(fd)
    return found


# --- packages, and the other Debian ---

@pytest.mark.quick
def test_deps_is_done_at_once_where_all_is_installed_and_asks_for_root_where_not():
    """Run as nobody, so that it cannot install anything here."""
    done = subprocess.run([os.path.join(ROOT, "tests/deps")], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=20, env=dict(os.environ, HOME="/nonexistent"),
                          **({"user": "nobody"} if os.getuid() == 0 else {}))
    if done.returncode == 0:
        assert done.stdout == ""
    else:
        assert "sudo make deps" in done.stdout and "DEPS=0" in done.stdout


IN_ROOT = """set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mkdir -p "$1/easgate"
mount --bind . "$1/easgate"
mount -o remount,bind,ro "$1/easgate"
exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 sh -c "cd /easgate; $2"
"""


def in_root(root, command, timeout):
    """Runs a command at the top of the tree, read-only, in another root, with mounts that end with it."""
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "sh", "-c", IN_ROOT, "sh",
                           root, command], cwd=ROOT, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout)
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


@root_only
@pytest.mark.skipif(not TRIXIE, reason="EASGATE_TRIXIE is not set: the directory of a Debian 13 root, or `make`")
def test_debian_13_builds_it_without_a_warning():
    root = os.path.abspath(TRIXIE)
    if TRIXIE == "make":
        root = os.path.join(ROOT, "build/trixie")
        if not os.path.exists(os.path.join(root, "usr/bin/make")):
            subprocess.run(["debootstrap", "--variant=minbase", "--include=make,git", "trixie", root], check=True,
                           stdout=sys.stderr, timeout=600)
    in_root(root, "tests/deps build", 900)
    try:
        said = in_root(root, "make -j2 CI=true BUILD=/tmp/easgate-build tests-bin", 900)
        assert "warning" not in said
        assert re.search(r"ld \S+/easproxy$", said, re.M)
        tests = in_root(root, "for t in /tmp/easgate-build/unit/test_*; do case $t in *.d) ;; "
                        "*_http_head|*_text|*_certificate|*_tls|*_handshake|*_crl|*_config) $t || exit 1;; esac; done", 300)
        assert "[  PASSED  ]" in tests and "[  FAILED  ]" not in tests
        assert in_root(root, "/tmp/easgate-build/easproxy --version", 20).startswith("easproxy ")
    finally:
        shutil.rmtree(os.path.join(root, "tmp/easgate-build"), ignore_errors=True)
