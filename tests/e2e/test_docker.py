"""What docker/ says is true: the image has every library, its files go together, and easproxy needs no privilege.

The image itself is built only with EASGATE_IMAGES=1 (root, debootstrap, buildah and a package mirror; some minutes).
"""
import functools
import os
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from site_ import settings
from site_.proxy import ROOT, Proxy, binary

pytestmark = pytest.mark.no_asan        # about the program as it is shipped
root_only = pytest.mark.skipif(os.getuid() != 0, reason="needs root")
UID = 10001


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def instructions():
    """[(stage, WORD, rest)] of the Dockerfile, continued lines joined, comments left out."""
    text = re.sub(r"^#.*\n", "", read("docker/Dockerfile"), flags=re.M).replace("\\\n", " ")
    found, stage = [], -1
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(None, 1)
        stage += word == "FROM"
        found.append((stage, word, rest))
    return found


def last_stage(word):
    last = instructions()[-1][0]
    return [rest for stage, name, rest in instructions() if (stage, name) == (last, word)]


def runtime_packages():
    run, = last_stage("RUN")
    return re.search(r"--no-install-recommends +([^&]+)", run)[1].split()


def stem(package):
    """A library's name without its version, which differs between releases: libssl3 and libssl3t64 are both libssl."""
    return re.sub(r"[-0-9.]+$", "", re.sub(r"t64$", "", package))


def output(*argv):
    return subprocess.run(argv, check=True, text=True, stdout=subprocess.PIPE, env=dict(os.environ, LC_ALL="C")).stdout


def programs():
    return binary(), binary("easenroll")


@functools.lru_cache(maxsize=1)
def packages():
    """{library: package} of all that the programs load; dpkg may know a file by its way before /usr was merged."""
    files = dict(re.findall(r"^\s*(\S+) => (/\S+)", output("ldd", *programs()), re.M))
    ways = {}
    for name, path in files.items():
        real = os.path.realpath(path)
        for way in (path, real, "/usr" + path, re.sub(r"^/usr", "", real)):
            ways[way] = name
    done = subprocess.run(["dpkg", "-S", *ways], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found = {ways[path]: package for package, path in re.findall(r"^([^:,\s]+)\S*: (\S+)$", done.stdout, re.M)}
    assert set(files) == set(found), "of no package: %s" % (set(files) - set(found))
    return found


def needed():
    return re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-d", *programs()))


def closure(packages):
    """These installed packages and all that they depend on."""
    depends = {}
    for line in output("dpkg-query", "-W", "-f", "${Package}\t${Pre-Depends}, ${Depends}\n").splitlines():
        name, text = line.split("\t", 1)
        depends[name] = re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]+)", text)
    found, left = set(), list(packages)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += depends.get(name, [])
    return found


# --- Dockerfile ---

dpkg_only = pytest.mark.skipif(not shutil.which("dpkg"), reason="not Debian")


@dpkg_only
@pytest.mark.quick
@pytest.mark.skipif("COV" in os.environ, reason="built to be measured")
def test_the_images_packages_are_those_of_the_libraries_that_the_program_links():
    linked = {packages()[name] for name in needed()} - {"libc6"}
    assert len(linked) >= 10
    named = set(runtime_packages()) - {"ca-certificates"}
    assert {stem(name) for name in linked} == {stem(name) for name in named}
    with open("/etc/os-release") as f:
        if 'VERSION_ID="13"' in f.read():
            assert linked == named


@dpkg_only
@pytest.mark.quick
@pytest.mark.skipif("COV" in os.environ, reason="built to be measured")
def test_every_library_in_the_end_comes_with_the_images_packages():
    stems = {stem(name) for name in runtime_packages()}
    loaded = set(packages().values())
    assert len(loaded) > 20 and "not found" not in output("ldd", *programs())
    assert loaded - closure(name for name in loaded if stem(name) in stems) == set()


@pytest.mark.quick
def test_the_last_stage_has_no_compiler_and_no_root_and_is_watched():
    assert not [name for name in runtime_packages() if re.search(r"-dev$|^(gcc|make|binutils|python3|curl)\b", name)]
    assert last_stage("USER") == ["%d:%d" % (UID, UID)]
    assert re.search(r"useradd --uid %d .*easgate" % UID, last_stage("RUN")[0])
    assert last_stage("COPY") == [
        "--from=build /made/usr/local/sbin/easproxy /made/usr/local/sbin/easenroll /usr/local/sbin/"]
    assert "443" in last_stage("EXPOSE")[0].split()
    assert last_stage("STOPSIGNAL") == ["SIGTERM"]
    assert yaml.safe_load(last_stage("ENTRYPOINT")[0]) == ["/usr/local/sbin/easproxy"]
    watch = yaml.safe_load(last_stage("HEALTHCHECK")[0].split("CMD", 1)[1])
    assert watch == ["/usr/local/sbin/easproxy", "status"]


@pytest.mark.quick
def test_what_the_dockerfile_copies_is_in_the_tree_and_goes_to_the_builder():
    sources = [source for _, word, rest in instructions() if word == "COPY" and not rest.startswith("--from")
               for source in rest.split()[:-1]]
    ignored = read(".dockerignore").splitlines()
    assert len(sources) >= 5 and "*" in ignored
    for source in sources:
        assert os.path.exists(os.path.join(ROOT, source)), source
        assert "!" + source in ignored, source
    assert {line[1:] for line in ignored if line.startswith("!")} == set(sources)


# --- compose.yaml and its configuration ---

def compose():
    return yaml.safe_load(read("docker/compose.yaml"))


def configuration():
    return yaml.safe_load(read("docker/config/easgate.yaml"))


def paths_in(value):
    if isinstance(value, dict):
        return [path for entry in value.values() for path in paths_in(entry)]
    if isinstance(value, list):
        return [path for entry in value for path in paths_in(entry)]
    return [value] if isinstance(value, str) and re.match(r"/(etc|run)/", value) else []


@pytest.mark.quick
def test_compose_gives_easproxy_every_file_and_port_that_its_configuration_names():
    everything, config = compose(), configuration()
    service = everything["services"]["easproxy"]
    assert "./config:/etc/easgate:ro" in service["volumes"]
    names = paths_in(config)
    assert len(names) >= 6
    given = {"/run/secrets/" + name for name in service["secrets"]}
    assert {name for name in names if name.startswith("/run/secrets/")} == given
    assert all(name.startswith("/etc/easgate/") for name in set(names) - given)
    for host in config["proxy"]["hosts"]:
        assert host["key"] in given, "a key is a secret"
    for entry in everything["services"].values():
        assert set(entry["secrets"]) <= set(everything["secrets"])
        assert set(entry["networks"]) <= set(everything["networks"])
        assert {v.split(":")[0] for v in entry["volumes"] if not v.startswith(".")} <= set(everything["volumes"])
    inside = service["ports"][0].split(":")[1]
    assert config["proxy"]["listeners"] == [{"address": "0.0.0.0:" + inside}]
    server, = config["redis"]["servers"]
    assert server.split(":")[0] in everything["services"] and everything["networks"]["redis"] == {"internal": True}


@pytest.mark.quick
def test_compose_starts_it_without_a_privilege_and_writable_only_where_it_must_be():
    service = compose()["services"]["easproxy"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert "no-new-privileges:true" in service["security_opt"] and "privileged" not in service
    assert {entry.split(":")[0] for entry in service["tmpfs"]} == {"/run/easgate", "/tmp"}
    assert "easproxy-state:/var/lib/easgate" in service["volumes"]
    assert service["ulimits"]["nofile"] >= 2 * configuration()["proxy"].get("sessions", 9000) + 256
    drain = configuration()["proxy"].get("limits", {}).get("drain_seconds", 30)
    assert int(service["stop_grace_period"].rstrip("s")) > drain + 5


@pytest.mark.quick
def test_composes_configuration_is_one_that_easproxy_takes(tmp_path):
    """Its files and servers are not here: each of them is a finding, the configuration itself is none."""
    path = os.path.join(ROOT, "docker/config/easgate.yaml")
    run = lambda name: subprocess.run([binary(), "-c", name, "check"], text=True, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, timeout=60)
    assert run(path).stdout.splitlines()[0] == "ok      configuration " + path
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(read("docker/config/easgate.yaml").replace("client_ca:", "client_cas:"))
    assert run(wrong).stdout.startswith("FAILED  %s" % wrong)


@pytest.mark.quick
def test_the_readme_names_the_secrets_and_capabilities_and_the_images_user():
    text = read("docker/README.md")
    for name in compose()["secrets"]:
        assert "`%s`" % name in text, name
    for word in ("NET_BIND_SERVICE", "SETUID", "SETGID", "8443", str(UID), "/var/lib/easgate", "/run/easgate"):
        assert word in text, word


# --- without a privilege ---

@root_only
@pytest.mark.skipif(not shutil.which("setpriv"), reason="no setpriv")
def test_started_without_any_privilege_it_serves_phones_and_answers_the_health_check(
        place, configure, made, backend, phone, pki):
    """As compose starts it: a user id that has no name, no capability, no way to get one."""
    config = configure(backend, user="no-such-user-here")
    drop = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--no-new-privs",
            "--inh-caps=-all", "--bounding-set=-all"]
    for folder in (config["state_dir"], config["run_dir"]):
        os.chown(folder, UID, UID)
    os.chown(config["proxy"]["hosts"][0]["key"], UID, UID)
    program = os.path.join(place, "unprivileged")
    with open(program, "w") as f:
        f.write("#!/bin/sh\nexec %s %s \"$@\"\n" % (shlex.join(drop), binary()))
    os.chmod(program, 0o755)
    proxy = Proxy(yaml.safe_dump(config), place, program=program)     # as text: directories stay as they are
    try:
        assert phone(proxy, pki.device_ca.device("alice@corp.example")).sync().status == 200
        for pid in [proxy.daemon.pid, *proxy.children()]:
            with open("/proc/%d/status" % pid) as f:
                status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
            assert set(status["Uid"].split()) == {str(UID)}
            assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0
        for words in (["status"], ["check"]):
            said = subprocess.run([program, "-c", proxy.path, *words], text=True, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=30)
            assert said.returncode == 0 and "FAILED" not in said.stdout, said.stdout
        assert proxy.reload()["event"] == "reloaded"
        assert phone(proxy, pki.device_ca.device("alice@corp.example")).sync().status == 200
    finally:
        proxy.stop()


# --- the image ---

def base_image(place, buildah):
    """debian:trixie-slim as the registry has it, with its security archive, made from packages."""
    root = os.path.join(place, "base")
    subprocess.run(["debootstrap", "--variant=minbase", "trixie", root], check=True, stdout=subprocess.DEVNULL,
                   timeout=600)
    sources = os.path.join(root, "etc/apt/sources.list")
    with open(sources) as f:
        mirror = f.read().split()[1].rstrip("/")
    with open(sources, "a") as f:
        f.write("deb %s-security trixie-security main\n" % mirror)
    subprocess.run(["tar", "-C", root, "--one-file-system", "-cf", os.path.join(place, "base.tar"), "."], check=True)
    shutil.rmtree(root)
    with open(os.path.join(place, "Dockerfile"), "w") as f:
        f.write("FROM scratch\nADD base.tar /\n")
    buildah("bud", "-t", "docker.io/library/debian:trixie-slim", place)


@root_only
@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("EASGATE_IMAGES") != "1", reason="EASGATE_IMAGES=1 builds the image")
@pytest.mark.skipif(not shutil.which("buildah") or not shutil.which("debootstrap"), reason="no buildah or debootstrap")
def test_the_image_is_built_and_its_easproxy_finds_no_fault_in_a_configuration(tmp_path, pki, accounts, crl, backend):
    place = str(tmp_path)
    env = dict(os.environ, STORAGE_DRIVER="vfs", BUILDAH_ISOLATION="chroot")

    def buildah(*words):
        done = subprocess.run(["buildah", "--root", place + "/store", "--runroot", place + "/run", *words], cwd=ROOT,
                              env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200)
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    container = None
    try:
        base_image(place, buildah)
        buildah("bud", "--pull-never", "--network", "host", "--format", "docker", "-f", "docker/Dockerfile",
                "-t", "easgate", ".")
        container = buildah("from", "--pull-never", "localhost/easgate").split()[-1]
        run = lambda *words: buildah("run", "--isolation", "chroot", "-v", place + "/etc:/etc/easgate:ro",
                                     container, "--", *words)
        os.makedirs(place + "/etc")
        assert re.match(r"easproxy \d", run("/usr/local/sbin/easproxy", "--version"))
        assert run("id", "-u").split() == [str(UID)]
        assert "not found" not in run("ldd", "/usr/local/sbin/easproxy", "/usr/local/sbin/easenroll")
        assert re.match(r"easenroll \d", run("/usr/local/sbin/easenroll", "--version"))
        config = settings.minimal(place + "/etc", pki, backend, accounts=accounts, crl=crl)
        shutil.copy(accounts.path, place + "/etc/accounts.yaml")
        shutil.copy(crl, place + "/etc/device.crl")
        text = yaml.safe_dump(config).replace(accounts.path, "/etc/easgate/accounts.yaml")
        text = text.replace(crl, "/etc/easgate/device.crl").replace(place + "/etc", "/etc/easgate")
        config = yaml.safe_load(text)
        config.update(state_dir="/var/lib/easgate", run_dir="/run/easgate")
        with open(place + "/etc/easgate.yaml", "w") as f:
            yaml.safe_dump(config, f)
        for folder, _, names in os.walk(place + "/etc"):
            for path in [folder, *(os.path.join(folder, name) for name in names)]:
                os.chown(path, UID, UID)
        said = run("/usr/local/sbin/easproxy", "check")
        assert "FAILED" not in said and "keys, certificates and CAs fit together" in said
    finally:
        if container:
            buildah("rm", container)
        if os.path.exists(place + "/store"):
            buildah("rmi", "--all", "--force")
