"""The sample mail server (tests/mail), driven directly. Bodies are encoded and decoded by libwbxml2's own tools, so
what is asserted is XML that another program read; real devices' recorded requests are sent where they are present."""
import base64
import glob
import os
import re
import subprocess
import time
import xml.etree.ElementTree as ElementTree

import pytest

from site_.device import EAS, Device, Held, base64_query, curl
from site_.process import Daemon

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(ROOT, "build")))
SUITES = os.environ.get("SUITES", os.path.join(ROOT, "..", "shared", "suites"))
CAPTURES = os.path.join(SUITES, "..", "testbed", "captures")
DOCTYPE = ('<?xml version="1.0"?><!DOCTYPE ActiveSync PUBLIC "-//MICROSOFT//DTD ActiveSync//EN" '
           '"http://www.microsoft.com/">')


def encode(xml, place):
    source, target = os.path.join(place, "ask.xml"), os.path.join(place, "ask.wbxml")
    with open(source, "w", encoding="utf-8") as f:
        f.write(DOCTYPE + xml)
    subprocess.run(["xml2wbxml", "-n", "-a", "-k", "-o", target, source], check=True, capture_output=True)
    with open(target, "rb") as f:
        return f.read()


def decode(body):
    """The root element as ElementTree, namespaces taken off the names."""
    done = subprocess.run(["wbxml2xml", "-l", "ACTIVESYNC", "-m", "0", "-k", "-o", "-", "-"], input=body, check=True,
                          capture_output=True)
    return ElementTree.fromstring(re.sub(rb'\sxmlns="[^"]*"', b"", done.stdout))


class Phone(Device):
    """A device without TLS, named by the trusted header. ask() takes XML and gives the decoded answer."""

    def __init__(self, address, place, user="alice", device_id="PHONE1", version="14.1"):
        super().__init__(address, user=user, device_id=device_id, plain=True)
        self.place, self.version = place, version

    def headers(self):
        return [("X-EAS-User", self.user), ("Content-Type", "application/vnd.ms-sync.wbxml"),
                ("MS-ASProtocolVersion", self.version)]

    def ask(self, command, xml):
        """The root of the answer, or None for an empty body; always 200."""
        response = self.post(command, encode(xml, self.place))
        assert response.status == 200, response.start
        if not response.body:
            return None
        assert response.body[:4] == b"\x03\x01\x6a\x00"
        assert response.get("content-type") == "application/vnd.ms-sync.wbxml"
        return decode(response.body)

    def sync(self, key, folder="1", inner=""):
        return self.ask("Sync", '<Sync xmlns="AirSync:"><Collections><Collection><SyncKey>%s</SyncKey>'
                                "<CollectionId>%s</CollectionId>%s</Collection></Collections></Sync>"
                        % (key, folder, inner))

    def inbox(self):
        """All of the inbox from nothing: (SyncKey, [(ServerId, Subject)])."""
        assert self.sync("0").findtext(".//SyncKey") == "1"
        answer = self.sync("1")
        return (answer.findtext(".//SyncKey"),
                [(add.findtext("ServerId"), add.findtext(".//Subject")) for add in answer.iter("Add")])

    def send(self, mail, client_id, save=True):
        return self.ask("SendMail", '<SendMail xmlns="ComposeMail:"><ClientId>%s</ClientId>%s<MIME>%s</MIME>'
                                    "</SendMail>" % (client_id, "<SaveInSentItems/>" if save else "",
                                                     base64.b64encode(mail).decode()))

    def hold(self, command, xml):
        body = encode(xml, self.place)
        lines = ["POST %s HTTP/1.1" % self.target(command), "Host: mail", *("%s: %s" % h for h in self.headers()),
                 "Content-Length: %d" % len(body), "", ""]
        return self.held("\r\n".join(lines).encode() + body)

    def held(self, data):
        line = self.connect()
        line.send(data)
        return Held(line)

    def ping(self, seconds=60, folder="1"):
        return self.hold("Ping", '<Ping xmlns="Ping:"><HeartbeatInterval>%d</HeartbeatInterval><Folders><Folder>'
                                 "<Id>%s</Id><Class>Email</Class></Folder></Folders></Ping>" % (seconds, folder))


def mail_to(to, subject="hello", body="one\r\ntwo\r\n", sender="alice@example.test", more=""):
    return ("From: <%s>\r\nTo: %s\r\nSubject: %s\r\n%sMIME-Version: 1.0\r\n\r\n%s"
            % (sender, to, subject, more, body)).encode()


def answer_of(held, timeout=5.0):
    response = held.wait(timeout)
    assert getattr(response, "status", None) == 200, response
    return decode(response.body)


@pytest.fixture
def start(made):
    """start(*arguments): the server's Daemon with .address; it must end with status 0 and nothing on stderr but
    its log lines (a sanitizer's report would be there)."""
    class Server(Daemon):
        def __init__(self, *arguments):
            super().__init__([os.path.join(BUILD, "sample-mail"), "--log", *arguments])
            line = self.stdout.wait(lambda text: text.startswith("listening "), what="listening line")
            self.address = line.split(" ", 1)[1]

        def logged(self, *words, timeout=5.0):
            return self.stderr.wait(lambda text: all(word in text.split() for word in words), timeout, what=words)

        def close(self):
            assert self.stop() == 0, self.stderr.tail()
            assert not self.stderr.find(lambda text: not text.startswith("user=")), self.stderr.tail()
            self.assert_nothing_left()

    return lambda *arguments: made(Server(*arguments))


@pytest.fixture
def server(start):
    return start("--user-header", "X-EAS-User")


@pytest.fixture
def phone(server, place, made):
    return lambda *args, **kw: made(Phone(server.address, place, *args, **kw))


# who asks, and what is offered

def test_options_names_the_versions_and_commands(phone):
    response = phone().options(headers=[("X-EAS-User", "alice")])
    assert response.status == 200
    assert response.get("ms-asprotocolversions") == "2.5,12.0,12.1,14.0,14.1,16.0,16.1"
    assert {"Sync", "Ping", "SendMail", "Provision", "FolderSync"} <= set(
        response.get("ms-asprotocolcommands").split(","))
    assert response.get("allow") == response.get("public") == "OPTIONS,POST"


def test_without_a_user_or_with_two_of_them_there_is_401(phone):
    assert phone().options().status == 401
    assert phone().options(headers=[("X-EAS-User", "alice"), ("X-EAS-User", "bob")]).status == 401
    assert phone().options(headers=[("Authorization", "Basic YWxpY2U6eA==")]).status == 401


def test_basic_names_the_user_with_any_password(start, place, made):
    device = made(Phone(start("--basic").address, place))
    refused = device.options()
    assert refused.status == 401 and refused.get("www-authenticate").startswith("Basic")
    assert device.options(headers=[("Authorization", "Basic " + base64.b64encode(b"bob:any").decode())]).status == 200
    assert device.options(headers=[("Authorization", "Basic %%%")]).status == 401
    assert device.options(headers=[("X-EAS-User", "alice")]).status == 401


def test_it_does_not_start_without_a_way_to_know_the_user():
    done = subprocess.run([os.path.join(BUILD, "sample-mail")], capture_output=True, timeout=10)
    assert done.returncode == 2 and b"usage:" in done.stderr


@pytest.mark.parametrize("user, name", [("alice", "alice"), ("CORP\\Alice", "alice"), ("alice@example.test", "alice"),
                                        ("carol@else.test", "carol@else.test")])
def test_a_user_is_the_same_account_by_each_of_its_names(phone, user, name):
    found = phone(user=user).inbox()[1]
    assert found == [("1:1", "Welcome, " + name)]


# commands

def test_provision_gives_a_policy_and_then_the_final_key(phone):
    device = phone()
    ask = '<Provision xmlns="Provision:"><Policies><Policy><PolicyType>%s</PolicyType>%s</Policy></Policies></Provision>'
    first = device.ask("Provision", ask % ("MS-EAS-Provisioning-WBXML", ""))
    key = first.findtext(".//PolicyKey")
    assert first.findtext("Status") == "1" and first.findtext(".//Policy/Status") == "1" and int(key) > 0
    assert first.findtext(".//EASProvisionDoc/DevicePasswordEnabled") == "0"
    accept = "<PolicyKey>%s</PolicyKey><Status>1</Status>"
    wrong = device.ask("Provision", ask % ("MS-EAS-Provisioning-WBXML", accept % (int(key) ^ 1)))
    assert wrong.findtext(".//Policy/Status") == "5" and wrong.find(".//PolicyKey") is None
    final = device.ask("Provision", ask % ("MS-EAS-Provisioning-WBXML", accept % key))
    assert final.findtext(".//Policy/Status") == "1" and final.findtext(".//PolicyKey") not in (key, None)
    assert final.find(".//EASProvisionDoc") is None
    assert device.ask("Provision", ask % ("else", "")).findtext(".//Policy/Status") == "3"


def test_folder_sync_shows_the_four_folders_once(phone):
    device = phone()
    ask = '<FolderSync xmlns="FolderHierarchy:"><SyncKey>%s</SyncKey></FolderSync>'
    first = device.ask("FolderSync", ask % 0)
    assert [(a.findtext("DisplayName"), a.findtext("Type")) for a in first.iter("Add")] == [
        ("Inbox", "2"), ("Drafts", "3"), ("Sent", "5"), ("Trash", "4")]
    again = device.ask("FolderSync", ask % first.findtext("SyncKey"))
    assert again.findtext("Status") == "1" and again.findtext("Changes/Count") == "0"
    assert device.ask("FolderSync", ask % 7).findtext("Status") == "9"


def test_sync_gives_a_key_then_the_welcome_mail_then_nothing(phone):
    device = phone()
    first = device.sync("0")
    assert first.findtext(".//SyncKey") == "1" and first.findtext(".//Status") == "1" and not list(first.iter("Add"))
    second = device.sync("1")
    [add] = second.iter("Add")
    assert second.findtext(".//SyncKey") == "2" and add.findtext("ServerId") == "1:1"
    data = add.find("ApplicationData")
    assert data.findtext("Subject") == "Welcome, alice" and data.findtext("To") == "<alice@example.test>"
    assert data.findtext("Read") == "0" and data.findtext("MessageClass") == "IPM.Note"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", data.findtext("DateReceived"))
    body = data.find("Body")
    assert body.findtext("Type") == "1" and "its way to the mail works" in body.findtext("Data")
    assert device.sync("2") is None


def test_an_answer_that_was_lost_is_given_again_and_an_unknown_key_is_refused(phone):
    device = phone()
    key, found = device.inbox()
    assert device.sync("9").findtext(".//Status") == "3"
    again = device.sync("1")
    assert again.findtext(".//SyncKey") == key and again.findtext(".//Add/ServerId") == found[0][0]
    assert device.sync("1", folder="77").findtext(".//Status") == "8"


def test_a_window_smaller_than_the_news_says_that_there_is_more(phone):
    device = phone()
    for n in range(3):
        assert device.send(mail_to("alice", "mail %d" % n), "id%d" % n) is None
    device.sync("0")
    first = device.sync("1", inner="<WindowSize>3</WindowSize>")
    assert len(list(first.iter("Add"))) == 3 and first.find(".//MoreAvailable") is not None
    second = device.sync("2", inner="<WindowSize>3</WindowSize>")
    assert [a.findtext(".//Subject") for a in second.iter("Add")] == ["mail 2"]
    assert second.find(".//MoreAvailable") is None


def test_a_body_is_cut_where_the_device_wants_it(phone):
    device = phone()
    device.send(mail_to("alice", "umlauts", "äöü" * 10), "u")
    device.sync("0")
    preference = ('<Options><BodyPreference xmlns="AirSyncBase:"><Type>%d</Type><TruncationSize>%d</TruncationSize>'
                  "</BodyPreference></Options>")
    body = list(device.sync("1", inner=preference % (1, 5)).iter("Body"))[-1]
    assert body.findtext("Data") == "äö" and body.findtext("Truncated") == "1"
    assert body.findtext("EstimatedDataSize") == "60"
    device.sync("0")
    whole = list(device.sync("1", inner=preference % (4, 100000)).iter("Body"))[-1]
    assert whole.findtext("Type") == "4" and whole.findtext("Data").startswith("From: <alice@example.test>")


def test_reading_and_deleting_on_one_device_reaches_the_other(phone):
    first, second = phone(device_id="ONE"), phone(device_id="TWO")
    key, _ = first.inbox()
    other, _ = second.inbox()
    change = ('<GetChanges/><Commands><Change><ServerId>1:1</ServerId><ApplicationData><Read xmlns="Email:">1</Read>'
              "</ApplicationData></Change></Commands>")
    mine = first.sync(key, inner=change)
    assert mine.findtext(".//Status") == "1" and mine.find(".//Responses") is None and mine.find(".//Change") is None
    seen = second.sync(other)
    assert seen.findtext(".//Change/ServerId") == "1:1" and seen.findtext(".//Change//Read") == "1"
    first.sync(mine.findtext(".//SyncKey"),
               inner="<Commands><Delete><ServerId>1:1</ServerId></Delete></Commands>")
    gone = second.sync(seen.findtext(".//SyncKey"))
    assert gone.findtext(".//Delete/ServerId") == "1:1"
    first.sync("0", folder="4")
    assert [a.findtext(".//Subject") for a in first.sync("1", folder="4").iter("Add")] == ["Welcome, alice"]


def test_fetch_gives_the_whole_mail_and_a_status_for_one_that_is_not_there(phone):
    device = phone()
    key, _ = device.inbox()
    answer = device.sync(key, inner="<Commands><Fetch><ServerId>1:1</ServerId></Fetch><Fetch><ServerId>1:9</ServerId>"
                                    "</Fetch></Commands>")
    good, bad = answer.iter("Fetch")
    assert good.findtext("Status") == "1" and "mail works" in good.findtext(".//Data")
    assert bad.findtext("Status") == "8" and bad.find("ApplicationData") is None


def test_the_estimate_counts_what_a_sync_would_bring(phone):
    device = phone()
    ask = ('<GetItemEstimate xmlns="GetItemEstimate:"><Collections><Collection><SyncKey xmlns="AirSync:">%s</SyncKey>'
           "<CollectionId>%s</CollectionId></Collection></Collections></GetItemEstimate>")
    assert device.ask("GetItemEstimate", ask % (1, 1)).findtext(".//Status") == "3"
    device.sync("0")
    answer = device.ask("GetItemEstimate", ask % (1, 1))
    assert answer.findtext(".//Status") == "1" and answer.findtext(".//Estimate") == "1"
    assert device.ask("GetItemEstimate", ask % (5, 1)).findtext(".//Status") == "4"
    assert device.ask("GetItemEstimate", ask % (1, 9)).findtext(".//Status") == "2"


def test_move_items_moves_and_says_the_new_name(phone):
    device = phone()
    key, _ = device.inbox()
    move = "<Move><SrcMsgId>%s</SrcMsgId><SrcFldId>1</SrcFldId><DstFldId>%s</DstFldId></Move>"
    answer = device.ask("MoveItems", '<MoveItems xmlns="Move:">%s%s%s</MoveItems>' % (
        move % ("1:1", 4), move % ("1:5", 4), move % ("1:1", 4)))
    assert [r.findtext("Status") for r in answer.iter("Response")] == ["3", "1", "1"]
    assert answer.findtext(".//DstMsgId") == "4:1"
    assert device.sync(key).findtext(".//Delete/ServerId") == "1:1"


def test_settings_tell_the_mail_address_as_each_version_wants_it(phone):
    ask = '<Settings xmlns="Settings:"><UserInformation><Get/></UserInformation></Settings>'
    new = phone(version="16.1").ask("Settings", ask)
    assert new.findtext(".//Account/EmailAddresses/PrimarySmtpAddress") == "alice@example.test"
    old = phone(version="14.0").ask("Settings", ask)
    assert old.findtext("UserInformation/Get/EmailAddresses/SmtpAddress") == "alice@example.test"


def test_search_finds_accounts_and_says_no_to_the_rest(phone):
    phone(user="bob").inbox()
    ask = '<Search xmlns="Search:"><Store><Name>%s</Name><Query>%s</Query></Store></Search>'
    found = phone().ask("Search", ask % ("GAL", "bob"))
    assert found.findtext(".//EmailAddress") == "bob@example.test" and found.findtext(".//Total") == "1"
    assert phone().ask("Search", ask % ("Mailbox", "x")).findtext(".//Store/Status") == "8"


# mail

def test_sent_mail_arrives_with_its_subject_and_text_and_is_kept_in_sent(phone):
    alice, bob = phone(), phone(user="bob", device_id="PHONE2")
    mail = mail_to('"Bob, the <b>" <bob@example.test>', "=?utf-8?B?%s?= =?iso-8859-1?Q?=FCber?="
                   % base64.b64encode("Grüße".encode()).decode(), "a=C3=A4=\r\nb & <c>\r\n",
                   more="Content-Transfer-Encoding: quoted-printable\r\nContent-Type: text/plain; charset=utf-8\r\n"
                        "Bcc: carol@example.test\r\n")
    assert alice.send(mail, "one") is None
    bob.sync("0")
    got = list(bob.sync("1").iter("Add"))[-1]
    assert got.findtext(".//Subject") == "Grüßeüber"
    assert got.findtext(".//Data").rstrip() == "aäb & <c>"
    assert got.findtext(".//From") == "<alice@example.test>"
    alice.sync("0", folder="3")
    assert alice.sync("1", folder="3").find(".//Add") is not None
    assert len(phone(user="carol", device_id="PHONE3").inbox()[1]) == 2
    bob.sync("0")
    mime = ('<Options><BodyPreference xmlns="AirSyncBase:"><Type>4</Type></BodyPreference></Options>')
    assert "Bcc" not in list(bob.sync("1", inner=mime).iter("Data"))[-1].text


def test_a_mail_in_parts_shows_its_text(phone):
    device = phone()
    parts = ("--b1\r\nContent-Type: multipart/alternative; boundary=b2\r\n\r\n--b2\r\nContent-Type: text/plain\r\n"
             "Content-Transfer-Encoding: base64\r\n\r\n%s\r\n--b2\r\nContent-Type: text/html\r\n\r\n<p>no</p>\r\n--b2--"
             "\r\n--b1--\r\n" % base64.b64encode(b"the text part").decode())
    device.send(mail_to("alice", "parts", parts, more='Content-Type: multipart/mixed; boundary="b1"\r\n'), "p")
    device.sync("0")
    assert list(device.sync("1").iter("Data"))[-1].text == "the text part"


@pytest.mark.parametrize("mail, status", [(mail_to("nobody here"), "107"), (b"no header at all", "107"),
                                          (b"Subject: to nobody\r\n\r\nx", "119")])
def test_a_mail_that_cannot_go_is_answered_with_the_protocols_status(phone, mail, status):
    assert phone().send(mail, "x").findtext("Status") == status


def test_the_same_mail_is_not_sent_twice(phone):
    device = phone()
    assert device.send(mail_to("alice"), "same") is None
    assert device.send(mail_to("alice"), "same").findtext("Status") == "118"
    assert len(device.inbox()[1]) == 2


def test_before_14_the_mail_itself_is_the_body(phone):
    device = phone(version="12.1")
    response = device._ask("POST", device.target("SendMail", extra="&SaveInSent=T"),
                           [("X-EAS-User", "alice"), ("Content-Type", "message/rfc822"),
                            ("MS-ASProtocolVersion", "12.1")], mail_to("alice", "old way"))
    assert response.status == 200 and not response.body
    assert device.inbox()[1][-1][1] == "old way"


def test_2_5_gets_its_own_body_policy_and_class(phone):
    device = phone(version="2.5")
    assert device.sync("0").findtext(".//Class") == "Email"
    answer = device.sync("1")
    assert "its way to the mail works" in answer.findtext(".//ApplicationData/Body")
    assert answer.find(".//Body/Data") is None
    assert device.sync("2").findtext(".//SyncKey") == "2"       # never an empty body before 12.1


# waiting

def test_a_ping_is_woken_by_a_mail(server, phone):
    alice, bob = phone(), phone(user="bob", device_id="PHONE2")
    alice.inbox()
    held = alice.ping(60)
    bob.send(mail_to("alice@example.test", "wake up"), "w")
    answer = answer_of(held)
    assert answer.findtext("Status") == "2" and answer.findtext("Folders/Folder") == "1"
    assert held.seconds < 5
    assert alice.sync("2").findtext(".//Subject") == "wake up"
    server.logged("user=alice", "cmd=Ping", "device=PHONE1", "status=200")


def test_a_ping_answers_1_when_its_heartbeat_is_over_and_an_empty_one_repeats_it(phone):
    device = phone()
    device.inbox()
    held = device.ping(1)
    assert answer_of(held).findtext("Status") == "1"
    assert 0.95 <= held.seconds < 3
    again = device.held(b"POST %s HTTP/1.1\r\nHost: m\r\nX-EAS-User: alice\r\nMS-ASProtocolVersion: 14.1\r\n"
                        b"Content-Length: 0\r\n\r\n" % device.target("Ping").encode())
    assert answer_of(again).findtext("Status") == "1" and 0.95 <= again.seconds < 3


def test_a_new_ping_takes_the_place_of_the_old_one(server, phone):
    device = phone()
    device.inbox()
    first = device.ping(60)
    deadline = time.monotonic() + 5
    second = device.ping(60)
    while first.waiting and second.waiting and time.monotonic() < deadline:
        time.sleep(0.01)
    done, other = (first, second) if second.waiting else (second, first)
    assert answer_of(done).findtext("Status") == "1" and other.waiting
    assert device.send(mail_to("alice"), "n") is None
    assert answer_of(other).findtext("Status") == "2"


def test_a_ping_with_news_unread_is_answered_at_once(phone):
    device = phone()
    device.inbox()
    device.send(mail_to("alice"), "n")
    assert answer_of(device.ping(60)).findtext("Status") == "2"


@pytest.mark.parametrize("xml, status", [
    ('<Ping xmlns="Ping:"><HeartbeatInterval>60</HeartbeatInterval></Ping>', "3"),
    ('<Ping xmlns="Ping:"><HeartbeatInterval>9999</HeartbeatInterval></Ping>', "5"),
    ('<Ping xmlns="Ping:"><HeartbeatInterval>60</HeartbeatInterval><Folders><Folder><Id>9</Id><Class>Email</Class>'
     "</Folder></Folders></Ping>", "7"),
    ('<Ping xmlns="Ping:"><HeartbeatInterval>x</HeartbeatInterval></Ping>', "4")])
def test_a_wrong_ping_is_answered_at_once_with_its_status(phone, xml, status):
    assert phone().ask("Ping", xml).findtext("Status") == status


def test_a_sync_may_wait_too(phone):
    device = phone(device_id="WAIT")
    key, _ = device.inbox()
    ask = ('<Sync xmlns="AirSync:"><Collections><Collection><SyncKey>%s</SyncKey><CollectionId>1</CollectionId>'
           "</Collection></Collections><HeartbeatInterval>%d</HeartbeatInterval></Sync>")
    held = device.hold("Sync", ask % (key, 1))
    assert held.wait().status == 200 and held.outcome.body == b"" and held.seconds >= 0.95
    held = device.hold("Sync", ask % (key, 60))
    phone(user="bob", device_id="B").send(mail_to("alice", "for the sync"), "s")
    assert answer_of(held).findtext(".//Subject") == "for the sync"
    assert device.ask("Sync", ask % (key, 5000)).findtext("Status") == "14"


def test_a_device_that_hangs_up_is_noticed_while_its_ping_is_held(server, phone):
    device = phone()
    device.inbox()
    device.ping(60).line.vanish()
    server.logged("cmd=Ping", "status=499")
    held = device.ping(60)
    held.line.sock.shutdown(1)
    server.stderr.wait(lambda _: len(server.stderr.find(lambda t: "status=499" in t)) == 2, what="second hang-up")


def test_a_request_sent_ahead_of_a_held_answer_is_answered_after_it(server, phone):
    device = phone()
    device.inbox()
    held = device.ping(1)
    held.line.send(b"OPTIONS %s HTTP/1.1\r\nHost: m\r\nX-EAS-User: alice\r\n\r\n" % EAS.encode())
    assert answer_of(held).findtext("Status") == "1"
    assert held.line.response("OPTIONS").status == 200


def test_sigterm_answers_a_held_ping_and_ends_clean(start, place, made):
    server = start("--user-header", "X-EAS-User")
    device = made(Phone(server.address, place))
    device.inbox()
    held = device.ping(60)
    probe = made(Phone(server.address, place, device_id="OTHER"))
    assert probe.options(headers=[("X-EAS-User", "alice")]).status == 200   # the Ping was sent before
    time.sleep(0.2)
    assert server.stop() == 0
    assert held.wait().status == 503 and held.outcome.get("retry-after")


# queries and bad bodies

def test_a_base64_query_says_the_same_as_a_plain_one(server, phone):
    device = phone()
    body = encode('<FolderSync xmlns="FolderHierarchy:"><SyncKey>0</SyncKey></FolderSync>', device.place)
    query = base64_query("FolderSync", device_id=bytes(range(16)), policy_key=7)
    for target in (query, query.replace("=", "%3D").replace("+", "%2B")):
        response = device._ask("POST", EAS + "?" + target, [
            ("X-EAS-User", "alice"), ("Content-Type", "application/vnd.ms-sync")], body)
        assert response.status == 200 and decode(response.body).findtext("Status") == "1"
    server.logged("cmd=FolderSync", "device=000102030405060708090A0B0C0D0E0F")


@pytest.mark.parametrize("query, status", [
    ("", 400), ("?Cmd=Sync", 400), ("?Cmd=Nonsense&DeviceId=a&DeviceType=b", 400),
    ("?Cmd=Sync&Cmd=Ping&DeviceId=a&DeviceType=b", 400), ("?Cmd=Sync&DeviceId=%00&DeviceType=b", 400),
    ("?" + base64_query("Sync", device_id=""), 400), ("?" + base64_query("Sync", version=99), 400),
    ("?" + base64_query("Sync")[:-4], 400), ("?" + base64_query(5), 400),
    ("?Cmd=SmartReply&DeviceId=a&DeviceType=b", 501), ("?" + base64_query("GetAttachment"), 501)])
def test_a_query_that_is_none_is_refused(phone, query, status):
    device = phone()
    response = device._ask("POST", EAS + query, device.headers(), b"")
    assert response.status == status


@pytest.mark.parametrize("body", [
    b"\x03", b"\x03\x01\x6a\x00", b"\x03\x01\x6a\x01A", b"\x02\x01\x6a\x00\x05", b"\x03\x01\x6a\x00\x45",
    b"\x03\x01\x6a\x00\x05\x05", b"\x03\x01\x6a\x00\x01", b"\x03\x01\x6a\x00\x45\x03unended",
    b"\x03\x01\x6a\x00\x45\xc3\x8f\xff\xff\x7fx\x01", b"\x03\x01\x6a\x00\xc5\x01\x01", b"\x03\x01\x6a\x00\x45\x83\x00\x01",
    b"\x03\x01\x6a\x00\x45\x4b\x03\xff\xfe\x00\x01\x01", b"\x03\x01\x6a\x00\x45\x4b\x03\x01\x02\x00\x01\x01",
    b"\x03\x01\x6a\x00\x00\x99\x45\x01", b"\x03\x01\x6a\x00\x00\x07\x7f\x01", b"\x03\x01\x6a\x00" + b"\x45" * 100000,
    b"\x03\x01\x6a\x00\x45" + b"\x0b" * 30000 + b"\x01", b"<Sync/>"])
def test_a_body_that_is_no_activesync_is_refused_and_harms_nobody(phone, body):
    device = phone()
    response = device._ask("POST", device.target("Sync"), device.headers(), body)
    assert response.status == 400 or decode(response.body).findtext("Status") in ("4", "13")
    assert device.options(headers=[("X-EAS-User", "alice")]).status == 200


def test_other_paths_and_methods_are_refused(phone):
    device = phone()
    user = [("X-EAS-User", "alice")]
    assert device._ask("POST", "/else", user).status == 404
    assert device._ask("GET", EAS, user).status == 405
    assert device._ask("GET", EAS + "/healthcheck.htm", []).status == 200
    assert device._ask("POST", device.target("Sync"), [*user, ("Content-Type", "application/vnd.ms-sync.wbxml")],
                       b"").status == 400       # no version anywhere


def test_it_serves_tls(start, place, pki, made):
    certificate, key = pki.mail.write(place, "mail")
    server = start("--basic", "--tls", certificate, key)
    status, out, error = curl(server.address, "-u", "alice:x", "-X", "OPTIONS", "-i", ca=pki.server_ca.pem)
    assert status == 0 and b" 200 " in out.splitlines()[0], error


# what real clients were recorded to send

def _captures():
    return sorted(glob.glob(os.path.join(CAPTURES, "sogo-*", "*.req")))


@pytest.mark.skipif(not _captures(), reason="no recorded requests of real clients in %s" % CAPTURES)
def test_every_recorded_request_of_a_real_client_is_answered_and_understood(server, phone):
    """The mailbox is another one than theirs, so folder ids and keys are unknown: what is asserted is that every
    query and body is understood, and that each answer is WBXML with the command's own status."""
    device = phone()
    seen = 0
    for path in _captures():
        with open(path, "rb") as f:
            request = f.read()
        head, _, rest = request.partition(b"\r\n\r\n")
        line = head.split(b"\r\n")[0].decode()
        with device.connect() as connection:
            connection.send(head + b"\r\nX-EAS-User: alice\r\nConnection: close\r\n\r\n" + rest)
            response = connection.response(line.split(" ")[0])
        assert response is not None, path
        if line.startswith("OPTIONS"):
            assert response.get("ms-asprotocolversions")
        elif "?" not in line or line.startswith("GET"):
            assert response.status in (400, 405), path
        elif "Cmd=ItemOperations" in line or "Cmd=FolderCreate" in line:
            assert response.status == 501, path
        else:
            assert response.status == 200, (path, response.start)
            root = decode(response.body) if response.body else None
            assert root is None or root.find(".//Status") is not None, path
            seen += 1
    assert seen >= 40
