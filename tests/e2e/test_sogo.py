"""A real ActiveSync server behind easproxy: what phones do all day, by certificate with the trusted header, and by password."""
import base64
import os
import threading
import time

import pytest

from site_ import settings, wbxml
from site_.enrol import hashed
from site_.process import wait_until


def child(element, tag):
    return next(c for c in element[1:] if isinstance(c, tuple) and c[0] == tag)


@pytest.fixture
def by_header(start_proxy, configure, sogo):
    """SOGo's port that believes the header; its firewall, in a real site, lets easproxy alone come to it."""
    upstream = settings.upstream_of(sogo.trusting_tls, server_name=sogo.server_name, ca=sogo.ca, ping_seconds=120)
    return start_proxy(configure("https://unused", {"proxy.upstreams": [upstream]}), netns=sogo.netns)


@pytest.fixture
def by_password(start_proxy, configure, sogo, accounts):
    accounts.change("alice", password=hashed("alicepw"))
    upstream = settings.upstream_of(sogo.basic_tls, server_name=sogo.server_name, ca=sogo.ca, credential="passthrough")
    return start_proxy(configure("https://unused", {
        "proxy.upstreams": [upstream], **settings.PASSWORDS}),
        netns=sogo.netns)


@pytest.fixture
def bob(phone, by_header, pki):
    return phone(by_header, pki.device_ca.device("bob@corp.example"), user="bob", device_id="SOGO%dB%d" % (os.getpid(), time.monotonic_ns()))


class Mailbox:
    """What a phone keeps of its inbox."""

    def __init__(self, device, headers=()):
        self.device, self.headers, self.subjects = device, headers, []
        folders = wbxml.decode(device.folder_sync(headers=headers).body)
        assert wbxml.all_of(folders, "Status")[0] == "1"
        adds = [c for c in child(folders, "Changes")[1:] if c[0] == "Add"]
        self.inbox = next(child(add, "ServerId")[1] for add in adds if child(add, "Type")[1] == "2")
        self.key = wbxml.all_of(wbxml.decode(device.sync("0", self.inbox, headers=headers).body), "SyncKey")[0]

    def update(self):
        while (response := self.device.sync(self.key, self.inbox, headers=self.headers)).body:
            assert response.status == 200
            document = wbxml.decode(response.body)
            self.subjects += wbxml.all_of(document, "Subject")
            self.key = wbxml.all_of(document, "SyncKey")[0]
        return self.subjects


def test_a_certificates_owner_asks_for_options_is_provisioned_and_syncs_her_folders_and_inbox(sogo, bob):
    response = bob.options()
    assert response.status == 200 and "14.1" in response.get("MS-ASProtocolVersions")
    document = wbxml.decode(bob.post("Provision", wbxml.provision()).body)
    assert document[0] == "Provision" and wbxml.all_of(document, "Status") == ["1", "2"], "SOGo has no policy for anybody"
    subject = "By certificate %d" % time.monotonic_ns()
    sogo.deliver("bob", subject)
    assert subject in Mailbox(bob).update()


def test_a_waiting_ping_is_answered_when_a_mail_arrives(sogo, bob):
    mailbox = Mailbox(bob)
    mailbox.update()
    ping = bob.ping(heartbeat=60, folders=(mailbox.inbox,))
    wait_until(lambda: ping.waiting, 1)
    subject = "Wake up %d" % time.monotonic_ns()
    sogo.deliver("bob", subject)
    response = ping.wait(40)
    assert response.status == 200
    assert wbxml.all_of(wbxml.decode(response.body), "Status")[0] == "2", "changes in a folder that was named"
    assert subject in mailbox.update()


@pytest.mark.parametrize("way", ["counted", "chunked", "100-continue"])
def test_a_mail_that_a_phone_sends_arrives_whichever_way_it_is_framed(sogo, bob, phone, by_header, pki, way):
    mailbox = Mailbox(bob)
    alice = phone(by_header, pki.device_ca.device("alice@corp.example"), device_id="SOGO%dA%d" % (os.getpid(), time.monotonic_ns()))
    subject = "Sent %s %d" % (way, time.monotonic_ns())
    mime = ("From: alice@example.com\r\nTo: bob@example.com\r\nSubject: %s\r\nMIME-Version: 1.0\r\n"
            "Content-Type: text/plain\r\n\r\n%s\r\n" % (subject, "line of text\r\n" * 3000)).encode()
    body = wbxml.send_mail(mime, str(time.monotonic_ns()))
    headers = alice.headers()
    with alice.connect() as line:
        if way == "counted":
            response = line.request("POST", alice.target("SendMail"), headers, body)
        else:
            head = ["POST %s HTTP/1.1" % alice.target("SendMail"), "Host: mail.example.com", *("%s: %s" % h for h in headers)]
            if way == "chunked":
                head.append("Transfer-Encoding: chunked")
                pieces = [body[at:at + 1000] for at in range(0, len(body), 1000)]
                data = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"
            else:
                head += ["Content-Length: %d" % len(body), "Expect: 100-continue"]
                data = body
            line.send("\r\n".join([*head, "", ""]).encode())
            if way == "100-continue":
                assert line.reader._until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
            line.send(data)
            response = line.response()
    assert response.status == 200 and response.body == b"", response.start
    wait_until(lambda: subject in mailbox.update(), 10, 0.2)


def test_a_phone_without_certificate_syncs_by_its_password_and_a_wrong_one_is_asked_again(sogo, phone, by_password):
    def basic(password):
        return [("Authorization", "Basic " + base64.b64encode(("alice:" + password).encode()).decode())]
    device = phone(by_password, device_id="SOGO%dP%d" % (os.getpid(), time.monotonic_ns()))
    assert device.options(headers=basic("alicepw")).status == 200
    subject = "By password %d" % time.monotonic_ns()
    sogo.deliver("alice", subject)
    assert subject in Mailbox(device, basic("alicepw")).update()
    assert phone(by_password).folder_sync(headers=basic("wrong")).status == 401
    assert phone(by_password, user="bob").folder_sync(headers=basic("alicepw")).status == 403
    by_password.assert_never("alicepw")


def test_two_people_at_once_never_see_each_others_mail(sogo, phone, by_header, pki):
    """P17: interleaved over pooled connections to one real server."""
    stamps = {name: "only %s %d" % (name, time.monotonic_ns()) for name in ("alice", "bob")}
    for name, subject in stamps.items():
        sogo.deliver(name, subject)
    seen = {}

    def read(name):
        device = phone(by_header, pki.device_ca.device(name + "@corp.example"), user=name,
                       device_id="SOGO%dT%s%d" % (os.getpid(), name, time.monotonic_ns()))
        seen[name] = Mailbox(device).update()
    threads = [threading.Thread(target=read, args=(name,)) for name in stamps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert stamps["alice"] in seen["alice"] and stamps["bob"] in seen["bob"]
    assert stamps["bob"] not in seen["alice"] and stamps["alice"] not in seen["bob"]
