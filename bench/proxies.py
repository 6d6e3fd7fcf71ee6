"""The three proxies of a bench run: their configurations, start and stop.

Every one: one worker, TLS with a client certificate required, CRLs checked, the user as a header from the
certificate, an access line for each request, kept connections to the mail server. easproxy runs the sample
configuration in every row; the peers run the variant that suits them best for the row.
"""
import json
import os
import pwd
import socket
import subprocess
import time
import urllib.request

import yaml

import measure

HEADER = "X-EAS-User"

HAPROXY_DEBIAN_TLS = """
    ssl-default-bind-ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
"""

HAPROXY = """
global
    log {log}
    maxconn 9900
    nbthread 1
    {tls}
    {extra}
defaults
    log global
    mode http
    option httplog
    option dontlognull
    option abortonclose
    option http-keep-alive
    http-reuse always
    timeout connect 5s
    timeout client 3600s
    timeout server 3600s
    timeout http-keep-alive 300s
frontend phones
    bind {address} ssl crt {server} ca-file {ca} verify required crl-file {crl} backlog 4096 {bind}
    http-request set-header {header} %[ssl_c_s_dn(CN)]
    default_backend mail
backend mail
    server origin {origin} pool-max-conn 1000
"""

NGINX = """
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
user {user};
events {{ worker_connections 19900; {events} }}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_prefer_server_ciphers on;
    access_log {folder}/access.log combined {access};
    client_body_temp_path {folder}/t1;
    proxy_temp_path {folder}/t2;
    fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4;
    scgi_temp_path {folder}/t5;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    upstream mail {{
        server {origin};
        keepalive 1000;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {address} ssl backlog=4096;
        server_name {host};
        ssl_certificate {server};
        ssl_certificate_key {key};
        ssl_client_certificate {ca};
        ssl_verify_client on;
        ssl_verify_depth 3;
        ssl_crl {crl};
        {extra}
        client_max_body_size 0;
        location /Microsoft-Server-ActiveSync {{
            proxy_pass http://mail;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header {header} $ssl_client_s_dn;
            proxy_read_timeout 3600s;
            proxy_send_timeout 3600s;
            {location}
        }}
    }}
}}
"""

HAPROXY_FILE_LOG = "stderr format raw local0"
NGINX_FILE_LOG = "buffer=64k flush=1s"
NGINX_CACHE = "ssl_session_tickets off; ssl_conf_command NumTickets 1; ssl_session_cache "

# What each configuration changes; bench/README.md says what was tried beside these.
#   tickets  what the packages do where the configuration is silent: TLS tickets on
#   tuned    no tickets; the access log written the cheapest way
#   resumed  the quickest resumption that works with any number of workers
#   private  the quickest at all: a cache that each worker has for itself (nginx only)
#   bodies   large buffers, and nothing spooled to disk
VARIANTS = {
    "haproxy": {
        "tickets": {},
        "tuned": {"tls": HAPROXY_DEBIAN_TLS, "log": HAPROXY_FILE_LOG,
                  "extra": "tune.http.logurilen 256"},
        "resumed": {"tls": HAPROXY_DEBIAN_TLS, "log": HAPROXY_FILE_LOG},
        "bodies": {"tls": HAPROXY_DEBIAN_TLS, "log": HAPROXY_FILE_LOG,
                   "extra": "tune.bufsize 66000"},
    },
    "nginx": {
        "tickets": {},
        "tuned": {"extra": "ssl_session_tickets off; ssl_conf_command NumTickets 0;",
                  "access": NGINX_FILE_LOG},
        "resumed": {"extra": NGINX_CACHE + "shared:s:20m;", "access": NGINX_FILE_LOG},
        "private": {"extra": NGINX_CACHE + "builtin:20000;", "access": NGINX_FILE_LOG},
        "bodies": {"extra": "ssl_session_tickets off; ssl_conf_command NumTickets 0;",
                   "access": NGINX_FILE_LOG,
                   "location": "proxy_buffering off; proxy_request_buffering off; "
                               "proxy_buffer_size 64k; proxy_buffers 8 64k; "
                               "client_body_buffer_size 64k;"},
    },
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Proxy:
    """One running proxy. `kind` is its column of the table, `variant` how it is configured."""

    def __init__(self, kind, variant, crl, bench):
        self.kind, self.variant, self.crl = kind, variant, crl
        folder, pki, origin = bench.folder, bench.pki, bench.origin_of(variant)
        self.build = bench.build
        self.folder = os.path.join(folder, f"{kind}-{variant}-{crl}-{time.monotonic_ns()}")
        self.pki, self.origin, self.domain = pki, origin, bench.domain
        self.process = self.address = None
        os.mkdir(self.folder, 0o755)

    def __str__(self):
        return f"{self.kind} ({self.variant}, {self.crl} revoked)"

    @property
    def pid(self):
        return self.process.pid

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def start(self):
        started = time.monotonic()
        self.launch()
        self.seconds = time.monotonic() - started
        return self

    def run(self, command):
        with open(os.path.join(self.folder, "stderr"), "ab") as err:
            self.process = measure.start(command, measure.PROXY_CPU, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=err)

    def said(self):
        with open(os.path.join(self.folder, "stderr"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def alive(self):
        if self.process.poll() is not None:
            raise measure.BenchError(f"{self} ended: {self.said()[-2000:]}")

    def wait_port(self, seconds=120):
        host, port = self.address.split(":")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.alive()
            try:
                socket.create_connection((host, int(port)), 5).close()
                return
            except OSError:
                time.sleep(0.02)
        raise measure.BenchError(f"{self} does not listen")

    def stop(self):
        measure.stop(self.process)


class Haproxy(Proxy):
    def launch(self):
        self.address = f"127.0.0.1:{free_port()}"
        values = {"log": f"{self.origin.sink} local0", "tls": "", "extra": "", "bind": ""}
        values.update(VARIANTS["haproxy"][self.variant])
        config = self.write("haproxy.cfg", HAPROXY.format(
            address=self.address, origin=self.origin.address, header=HEADER,
            server=self.pki.path("server-both.pem"), ca=self.pki.path("ca.pem"),
            crl=self.pki.crl_bundle(self.crl), **values))
        self.run(["/usr/sbin/haproxy", "-db", "-q", "-f", config])
        self.wait_port()


class Nginx(Proxy):
    def launch(self):
        self.address = f"127.0.0.1:{free_port()}"
        values = {"access": "", "extra": "", "events": "", "location": ""}
        values.update(VARIANTS["nginx"][self.variant])
        config = self.write("nginx.conf", NGINX.format(
            folder=self.folder, address=self.address, origin=self.origin.address, header=HEADER,
            host=self.pki.host, server=self.pki.path("server.pem"), user="root",
            key=self.pki.path("server.key"), ca=self.pki.path("ca.pem"),
            crl=self.pki.crl_bundle(self.crl), **values))
        self.run(["/usr/sbin/nginx", "-p", self.folder, "-c", config,
                  "-e", os.path.join(self.folder, "error.log")])
        self.wait_port()


class Easproxy(Proxy):
    """Runs as an ordinary user where it is started by root, as in production.

    Variants: `sample`; `kerberos`, which differs in the credential alone; `passwords`, which takes them, too, under the
    lockout guard as the sample configuration has it.
    """

    def settings(self):
        state, run = (os.path.join(self.folder, name) for name in ("state", "run"))
        for path in (state, run):
            os.mkdir(path, 0o700)
        settings = {
            "state_dir": state, "run_dir": run,
            "log": {"level": "info", "access": True},
            "directory": {"kind": "file", "file": self.pki.path("accounts.yaml")},
            "proxy": {
                "workers": 1, "sessions": 9000,
                "listeners": [{"address": "127.0.0.1:0"}],
                "hosts": [{
                    "names": [self.pki.host], "certificate": self.pki.path("server.pem"),
                    "key": self.pki.path("server.key"), "client_ca": [self.pki.path("ca.pem")],
                    "policy": "default", "upstream": "mail"}],
                "identity": ["sid", "upn"],
                "revocation": {
                    "crls": [{"issuer_ca": issuer, "file": path}
                             for issuer, path in self.pki.crls(self.crl)],
                    "max_age_seconds": 86400, "unknown": "refuse"},
                "policies": [{"name": "default", "device": "any", "user_must_match": True}],
                "upstreams": [{"name": "mail", "servers": ["http://" + self.origin.address],
                               "credential": "header", "header": HEADER, "header_value": "sam",
                               "health_path": "", "pool": 1000}],
                "admin": {"address": "127.0.0.1:0"},
            },
        }
        if self.variant == "kerberos":
            settings["proxy"]["upstreams"][0].update(credential="kerberos", spn=self.domain.spn)
            settings["proxy"]["kerberos"] = {
                "principal": self.domain.principal, "keytab": self.domain.keytab, "kdcs": [self.domain.kdc],
                "processes": 2, "timeout_ms": 2000}
        if self.variant == "passwords":
            settings["proxy"]["policies"][0]["methods"] = [{"certificate": "allowed", "password": "allowed"}]
            settings["lockout"] = {"mode": "enforce", "memory_mib": 16}
        if os.getuid() == 0:
            settings["user"] = "nobody"
            entry = pwd.getpwnam("nobody")
            for path in (state, run):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        return settings

    def launch(self):
        config = self.write("easgate.yaml", yaml.safe_dump(self.settings(), sort_keys=False))
        self.run([os.path.join(self.build, "easproxy"), "-c", config])
        self.wait_ready()

    def events(self):
        for line in self.said().splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event

    def tickets(self):
        """{"hit", "miss"}: tokens made from a cached ticket, and with the KDC; by its own metrics."""
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        found = (line.partition("easproxy_kerberos_cache_total{result=")[2].partition("} ") for line in lines)
        return {name.strip('"'): int(float(value)) for name, _, value in found if value}

    def wait_ready(self, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.alive()
            events = list(self.events())
            listening = {e.get("what"): e["address"] for e in events if e.get("event") == "listening"}
            if "proxy" in listening and any(e.get("event") == "ready" for e in events):
                self.address, self.admin = listening["proxy"], listening.get("admin")
                return
            time.sleep(0.02)
        raise measure.BenchError(f"{self} is not ready: {self.said()[-2000:]}")


KINDS = {"easproxy": Easproxy, "haproxy": Haproxy, "nginx": Nginx}
