"""Fixtures of the system tests. The parts are in site_/; here is only how long each lives.

For a whole run, also with -n: `ad`, `sogo` (kept by site_/keeper.py), `pki` (one a process).
For one test: everything else.
"""
import os
import shutil
import subprocess
import sys
import tempfile

import pytest

from site_ import keeper, settings
from site_.accounts import AccountsFile
from site_.device import Device
from site_.directory import ActiveDirectory
from site_.mail import Sogo
from site_.pki import Pki
from site_.proxy import Proxy
from site_.recording import RecordingBackend
from site_.redis import RedisServer
from site_.relay import Relay


def pytest_configure(config):
    """The process that was started by hand owns the run's directory and the keeper; xdist's workers use them."""
    config.addinivalue_line("markers", "quick: part of the developer's round, make check-quick")
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    directory = tempfile.mkdtemp(prefix="easgate-", dir="/tmp")     # short, for unix sockets
    os.chmod(directory, 0o755)
    os.environ["EASGATE_SITE_DIR"] = directory
    config._easgate_keeper = subprocess.Popen([sys.executable, keeper.__file__, directory], stdin=subprocess.PIPE,
                                              stdout=subprocess.PIPE, start_new_session=True)
    assert config._easgate_keeper.stdout.readline() == b"ready\n", "the keeper did not start"


def pytest_unconfigure(config):
    process = getattr(config, "_easgate_keeper", None)
    if process:
        process.stdin.close()
        process.stdout.close()
        process.wait(60)


def pytest_collection_modifyitems(config, items):
    """
    What takes minutes is not even counted unless it is asked for. What takes half a minute goes first: at the end nobody waits for the one
    worker that has begun it last.
    """
    if os.environ.get("EASGATE_LONG") != "1":
        left_out = [item for item in items if item.get_closest_marker("long")]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if not item.get_closest_marker("long")]
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def site_dir():
    return os.environ["EASGATE_SITE_DIR"]


@pytest.fixture
def place(site_dir):
    """A short directory of the test's own that other users can enter; gone afterwards unless EASGATE_KEEP=1."""
    path = tempfile.mkdtemp(prefix="t-", dir=site_dir)
    os.chmod(path, 0o755)
    yield path
    if os.environ.get("EASGATE_KEEP") != "1":
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def pki():
    return Pki()


@pytest.fixture(scope="session")
def ad(site_dir):
    """The Active Directory bed that all tests share: change only accounts of your own, cause no faults here."""
    bed = ActiveDirectory(keeper.ask(site_dir, "ad", "ad"))
    yield bed
    bed.close()


@pytest.fixture(scope="session")
def _own_ad(site_dir):
    seed = keeper.ask(site_dir, "ad", "ad")
    name = "ad-" + os.environ.get("PYTEST_XDIST_WORKER", "own")
    bed = ActiveDirectory(keeper.ask(site_dir, "ad", name, {"AD_SEED": seed}))
    yield bed
    bed.close()


@pytest.fixture
def own_ad(_own_ad):
    """A bed that no other test uses meanwhile, to pause, stop and block; it works again for the next one."""
    yield _own_ad
    _own_ad.heal()


@pytest.fixture(scope="session")
def sogo(site_dir):
    return Sogo(keeper.ask(site_dir, "eas", "eas"))


@pytest.fixture
def made():
    """made(thing): thing.close() when the test is over, the last one first."""
    things = []

    def remember(thing):
        things.append(thing)
        return thing
    yield remember
    faults = []
    for thing in reversed(things):
        try:
            thing.close()
        except (AssertionError, OSError) as e:
            faults.append(e)
    if faults:
        raise faults[0]


@pytest.fixture
def start_backend(made, place):
    """start_backend(...): a RecordingBackend; tls=identity for a TLS one."""
    return lambda **kw: made(RecordingBackend(place=place, **kw))


@pytest.fixture
def backend(start_backend):
    return start_backend()


@pytest.fixture
def start_relay(made):
    return lambda *args, **kw: made(Relay(*args, **kw))


@pytest.fixture
def start_redis(made, place):
    def start(**kw):
        directory = tempfile.mkdtemp(prefix="redis-", dir=place)
        os.chmod(directory, 0o755)      # the proxy's user comes by the unix socket
        return made(RedisServer(directory, **kw))
    return start


@pytest.fixture
def redis_server(start_redis):
    return start_redis(secret=b"a secret of the fleet, for tests only")


@pytest.fixture
def accounts(place):
    """A file directory with alice and bob, who may sync, and mallory, who may not."""
    accounts = AccountsFile(os.path.join(place, "accounts.yaml"))
    accounts.add("alice")
    accounts.add("bob")
    accounts.add("mallory", groups=[])
    return accounts


@pytest.fixture
def crl(pki, place):
    """Path of a fresh, empty CRL of the device CA; pki.device_ca.write_crl(crl, [...]) replaces it."""
    return pki.device_ca.write_crl(os.path.join(place, "device.crl"))


@pytest.fixture
def configure(place, pki, accounts, crl):
    """configure(upstream, changes={...}, ad=None, node="node"): a configuration dict, see site_/settings.py.

    Proxies that run at the same time are given different nodes."""
    def build(upstream, changes=None, ad=None, node="node", **kw):
        kw.setdefault("user", "nobody" if os.getuid() == 0 else None)
        return settings.minimal(os.path.join(place, node), pki, upstream, accounts=accounts, ad=ad, crl=crl,
                                changes=changes, **kw)
    return build


@pytest.fixture
def start_proxy(place):
    """start_proxy(config, netns=None, ...): a Proxy that is ready. At the end each must stop cleanly."""
    started = []

    def start(config, **kw):
        directory = tempfile.mkdtemp(prefix="proxy-", dir=place)
        os.chmod(directory, 0o755)
        proxy = Proxy(config, directory, **kw)
        started.append(proxy)
        return proxy

    yield start
    faults = []
    for proxy in started:
        try:
            proxy.stop()
        except AssertionError as e:
            faults.append(e)
    if faults:
        raise faults[0]


@pytest.fixture
def phone(pki, made):
    """phone(proxy, identity=None, ...): a Device that trusts the test's server CA; no certificate unless given."""
    def make(proxy, identity=None, **kw):
        address = proxy if isinstance(proxy, str) else proxy.address()
        if not isinstance(proxy, str):
            kw.setdefault("netns", proxy.netns)
        return made(Device(address, identity, ca=kw.pop("ca", pki.server_ca.pem), **kw))
    return make


@pytest.fixture
def kerberos_proxy(ad, place, configure, start_proxy):
    """kerberos_proxy(server=ad, changes={...}, redis=None): easproxy in the domain's namespace: LDAPS directory, Kerberos to
    its httpd, revocation from CRLs, and with `redis` (a RedisServer) from there too."""
    def start(server=None, changes=None, redis=None, node="node", **kw):
        site = server or ad
        more = {"proxy.upstreams": [settings.kerberos_upstream(site)], "proxy.kerberos": settings.kerberos(site),
                "proxy.policies.0.required_group": site.users}
        if redis:
            more.update(settings.redis(redis, place))
        return start_proxy(configure("https://unused", ad=site, changes={**more, **(changes or {})}, node=node),
                           netns=site.netns, **kw)
    return start


@pytest.fixture
def revocation_in_redis(pki, redis_server):
    """A Redis that says of every CA of a device's chain that its revocations are kept there."""
    for ca in (pki.device_ca, pki.root):
        redis_server.crl(ca)
    return redis_server
