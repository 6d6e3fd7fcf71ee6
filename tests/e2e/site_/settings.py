"""The proxy's configuration for tests: a small one that works, changed by paths.

    minimal(place, pki, ..., changes={"proxy.policies.0.methods": [{"certificate": "allowed"}], "redis": {...}})
"""
import copy
import os

POLICY = {"name": "default", "required_group": "CN=EAS-Users,OU=Groups,DC=corp,DC=example", "device": "any",
          "user_must_match": True}
# by what a device may come in: a certificate is asked for and not demanded; and passwords beside it
OPTIONAL = {"proxy.policies.0.methods": [{"certificate": "allowed"}]}
PASSWORDS = {"proxy.policies.0.methods": [{"certificate": "allowed", "password": "allowed"}]}


def minimal(place, pki, upstream, accounts=None, ad=None, crl=None, user=None, changes=None):
    """One host, one worker, one upstream with the header credential; directory from `accounts` or `ad`.

    `upstream`: a RecordingBackend, or a URL. `crl`: path of the device CA's CRL; one of the root's comes with it, as
    the second entry. `user`: whom the processes run as.
    """
    files = {name: os.path.join(str(place), name) for name in ("state", "run", "tls")}
    for path in files.values():
        os.makedirs(path, exist_ok=True)
    certificate, key = pki.mail.write(files["tls"], "mail")
    client_ca = _write(files["tls"], "client-ca.pem", pki.device_ca.pem + pki.root.pem)
    issuer_ca = _write(files["tls"], "device-ca.pem", pki.device_ca.pem)
    config = {
        "state_dir": files["state"], "run_dir": files["run"],
        "log": {"level": "debug", "access": True},
        "directory": directory(place, accounts, ad),
        "proxy": {
            "workers": 1, "sessions": 500,
            "listeners": [{"address": "127.0.0.1:0"}],
            "hosts": [{"names": ["mail.example.com", "autodiscover.example.com"], "certificate": certificate,
                       "key": key, "client_ca": [client_ca],
                       "policy": "default", "upstream": "mail"}],
            "identity": ["sid", "upn"],
            "revocation": {"crls": _crls(files["tls"], pki, issuer_ca, crl) if crl else [],
                           "refresh_seconds": 1, "max_age_seconds": 86400},
            "policies": [copy.deepcopy(POLICY)],
            "upstreams": [upstream_of(upstream, files["tls"])],
            "limits": {"drain_seconds": 2},
            "admin": {"address": "127.0.0.1:0"},
        },
    }
    if user:
        config["user"] = user
    return changed(config, changes or {})


def _crls(directory, pki, issuer_ca, crl):
    """Every issuer in the chain is asked about, the root that issued the device CA too."""
    root_ca = _write(directory, "root-ca.pem", pki.root.pem)
    return [{"issuer_ca": issuer_ca, "file": crl},
            {"issuer_ca": root_ca, "file": pki.root.write_crl(os.path.join(directory, "root.crl"))}]


def directory(place, accounts=None, ad=None):
    if ad is None:
        return {"kind": "file", "file": accounts.path}
    password = _write(str(place), "ldap.password", ad.reader_password.encode(), 0o600)
    return {"kind": "ldap", "ldap": {
        "servers": [ad.ldaps], "ca": ad.ca, "base": ad.base, "bind": "simple", "bind_name": ad.reader,
        "bind_password_file": password, "timeout_ms": 2000, "watch_seconds": 1}}


def upstream_of(upstream, place=None, **values):
    """An entry of `upstreams` for a RecordingBackend or a URL: a TCP connection counts as healthy."""
    url = upstream if isinstance(upstream, str) else upstream.url
    entry = {"name": "mail", "servers": [url], "server_name": "", "credential": "header", "header": "X-EAS-User",
             "header_value": "sam", "health_path": "", "health_seconds": 1, "connect_ms": 2000,
             "response_ms": 10000, "ping_seconds": 3600, "pool": 100}
    return dict(entry, **values)


def kerberos(ad, **values):
    """The section proxy.kerberos for the bed's right service account."""
    return dict({"principal": ad.principal, "keytab": ad.keytab, "kdcs": ["127.0.0.1:88"], "processes": 1,
                 "timeout_ms": 2000}, **values)


def kerberos_upstream(ad, tls=True, **values):
    """The entry of `upstreams` for the bed's httpd."""
    mail = ad.mail
    return upstream_of(mail.tls_url if tls else mail.url, **dict(
        {"ca": mail.ca if tls else "", "server_name": mail.host, "credential": "kerberos", "spn": mail.spn}, **values))


def redis(server, place):
    """Changes that make Redis the state of all nodes, revocations too."""
    secret = _write(str(place), "fleet.secret", server.secret + b"\n", 0o600)
    return {"redis": {"servers": ["unix:" + server.socket_path], "fleet_secret_file": secret},
            "proxy.revocation.redis": True}


def changed(config, changes):
    """A copy with {"a.b.0.c": value} put in; a value of None takes the key away, an index past the end appends."""
    config = copy.deepcopy(config)
    for path, value in changes.items():
        *parents, last = path.split(".")
        at = config
        for part in parents:
            at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
        if isinstance(at, list):
            at[int(last):int(last) + 1] = [] if value is None else [value]
        elif value is None:
            at.pop(last, None)
        else:
            at[last] = value
    return config


def _write(directory, name, content, mode=0o644):
    path = os.path.join(directory, name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as f:
        f.write(content)
    return path
