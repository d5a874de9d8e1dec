#!/usr/bin/env python3
"""What becomes of mail where TLS is good, bad or broken: each way for it to be so has one clear outcome, nobody is
bounced for it, and nothing goes in plain text where that is forbidden.

usage: test_tls.py SLUICE SLUICE-SINK [unittest's options]
"""
import collections
import os
import unittest

import house
from house import judge, wait_until
from postfix import Postfix
from signed import Authority

# How an ISP of the sink is bad, and what the event says of that where it matters.
CERTIFICATES = {
    "expired": "certificate: certificate has expired",
    "wrong_name": "certificate: hostname mismatch",
    "self": "certificate: self-signed certificate",
    "stranger": "certificate: self-signed certificate in certificate chain",
    "broken": "certificate: unable to get local issuer certificate",
}
BROKEN = {
    "truncates": ("tls = starttls handshake { action = truncate }", "handshake: the peer closed"),
    "closes": ("tls = starttls handshake { action = close }", "handshake: the peer closed"),
    "resets": ("tls = starttls handshake { action = reset }",
               "handshake: the connection broke: Connection reset by peer"),
    "babbles": ('tls = starttls handshake { action = garbage reply = "500 what is that?\r\n" }',
                "handshake: wrong version number"),
    "old": ("tls = starttls tls_min = 1.0 tls_max = 1.1", "handshake: tlsv1 alert protocol version"),
    "refuses-now": ('tls = starttls starttls { reply = "454 4.7.0 no TLS today" }', "no TLS today"),
    "refuses": ('tls = starttls starttls { reply = "502 5.5.1 no TLS here" }', "no TLS here"),
    "says-nonsense": ('tls = starttls starttls { action = garbage reply = "go ahead\r\n" }', ""),
    "hangs-up": ("tls = starttls starttls { action = close }", ""),
    "hides": ("tls = hidden", "TLS is demanded, and the server does not offer STARTTLS"),
}
CLASSES = {"refuses-now": "bad-configuration", "refuses": "bad-configuration", "says-nonsense": "protocol-errors",
           "hides": "bad-configuration"}  # bad-connection for the others
INJECTS = 'tls = starttls starttls { action = inject reply = "250-mx\\r\\n250 PIPELINING\\r\\n250 ok\\r\\n" }'
# What a relay makes of good credentials, what is said of it, and the mechanism.
AUTHS = {
    "babbles": ('auth { action = garbage reply = "@@@@\\r\\n" }', "", "plain"),
    "babbles-more": ('auth { action = garbage reply = "334 !!!!\\r\\n334-????\\r\\nx\\r\\n" }', "", "login"),
    "hangs-up": ("auth { action = close }", "", "plain"),
    "asks-again": ('auth { reply = "334 VXNlcm5hbWU6" }', "", "login"),
}
SECRET = "correct-horse-battery"
EACH = 4


class World(house.Case):
    """ISPs of the sink, each with a `tls` of ours; and an engine of one shard and one source, where all is counted."""

    def begin(self, isps, more="", **settings):
        zone, sink, blocks = [], [], []
        for i, (name, (ours, theirs)) in enumerate(isps.items()):
            address, host = f"127.20.{i + 1}.1", f"mx.{name}.example"
            zone.append(f"{name} IN MX 10 mx.{name}\nmx.{name} IN A {address}")
            sink.append(f"isp {name} {{ listen = {{{address}:PORT}} names = {{{host}}} {theirs} }}")
            if ours:
                blocks.append(f"isp {name} {{ mx = {{{host}}} tls = {ours} }}")
        self.house.dns("\n".join(zone))
        ca = self.house.path("ca.pem")
        self.sink = self.house.sink("\n".join(sink), "--tls-ca", ca)
        defaults = f"defaults {{ connections = 1 per_connection = {EACH} retry = {{1h}} }}\n"
        return self.house.engine(defaults + "\n".join(blocks) + "\n" + more,
                                 sources=1, shards=1, tls_ca=ca, **settings)

    def send(self, name, isps, **fields):
        fields.setdefault("events", "full")
        c = self.house.campaign(name).create(sealed=1, **fields)
        return c.push([f"u{i}@{isp}.example" for i in range(EACH) for isp in isps]).announce()

    def by_isp(self, c, n):
        """The events of each ISP, once every recipient has one."""
        c.wait_count(n, patience_s=30)
        events = collections.defaultdict(list)
        for event in c.events():
            events[event["to"].split("@")[1].split(".")[0]].append(event)
        return events

    def reports(self):
        report = self.sink.report()
        self.assertEqual(report["violation_total"], 0, report)  # of which MAIL in plain text would be one
        return {isp["isp"]: isp for isp in report["isps"]}

    def stays(self, name, events, said, stage="starttls", encrypted=False, tries=1):
        for event in events:
            self.assertEqual((event["type"], event["stage"], event["final"]), ("deferred", stage, "0"), event)
            self.assertEqual(event.get("reply", ""), said, name)
            self.assertEqual("tls" in event, encrypted, event)
        report = self.reports()[name]
        self.assertEqual((report["mails"], report["accepted"]), (0, 0), report)
        self.assertTrue(1 <= report["connections"] <= tries, report)  # who waits for long is deferred with the others

    def goes(self, name, events, encrypted):
        for event in events:
            self.assertEqual(event["type"], "delivered", event)
            if encrypted:
                self.assertRegex(event["tls"], r"^TLSv1\.[23] \S+( verified)?$")
            else:
                self.assertNotIn("tls", event)
        report = self.reports()[name]
        self.assertEqual((report["accepted"], report["accepted_tls"]), (EACH, EACH * encrypted), report)


class Tls(World):
    def test_certificates(self):
        isps = {"good": ("verified", "tls = starttls tls_demand = counted"),
                "chain": ("verified", "tls = starttls certificate = chain key = ecdsa tls_demand = counted")}
        for ours in ("verified", "required", "opportunistic"):
            for which in CERTIFICATES:
                isps[f"{ours[0]}-{which.replace('_', '-')}"] = (
                    ours, f"tls = starttls certificate = {which} tls_demand = counted")
        self.begin(isps)
        events = self.by_isp(self.send("c", isps), EACH * len(isps))
        for name in isps:
            which = name[2:].replace("-", "_")
            with self.subTest(name):
                if name.startswith("v-"):
                    self.stays(name, events[name], CERTIFICATES[which])
                else:
                    self.goes(name, events[name], True)
        for name in ("good", "chain"):
            self.assertTrue(all(e["tls"].endswith(" verified") for e in events[name]), events[name])

    def test_broken(self):
        isps = {}
        for which, (theirs, _) in BROKEN.items():
            isps[f"o-{which}"] = ("", theirs)  # opportunistic is what nobody has to say
            isps[f"r-{which}"] = ("required", theirs + " tls_demand = counted")
        isps["o-injects"] = ("", INJECTS)
        isps["v-injects"] = ("verified", INJECTS + " tls_demand = counted")
        isps["good"] = ("", "tls = starttls tls_demand = counted")
        engine = self.begin(isps)
        first = self.by_isp(self.send("first", isps), EACH * len(isps))
        for which, (_, said) in BROKEN.items():
            with self.subTest(which):
                self.stays(f"r-{which}", first[f"r-{which}"], said)
                self.assertEqual({e["class"] for e in first[f"r-{which}"]}, {CLASSES.get(which, "bad-connection")})
                self.goes(f"o-{which}", first[f"o-{which}"], False)
        for name in ("o-injects", "v-injects", "good"):
            with self.subTest(name):
                self.goes(name, first[name], True)

        # One try each: where TLS is broken is remembered.
        before = self.reports()
        again = [name for name in isps if name.startswith("o-")] + ["good"]
        c = self.send("again", again, events="brief")
        judge(self, c.wait_for("done"), EACH * len(again))
        self.assertEqual({e["type"] for e in c.events()}, {"delivered"})
        self.assertEqual([e for e in c.events() if "tls" in e], [])  # which brief events do not say
        after = self.reports()
        for which in BROKEN:
            name = f"o-{which}"
            with self.subTest(name):
                self.assertLessEqual(before[name]["tls_failed"], 1)
                self.assertEqual(after[name]["tls_failed"], before[name]["tls_failed"])
                self.assertEqual(after[name]["connections"], 2 if which == "hides" else 3)
        self.assertTrue(engine.running())

    def test_a_server_that_demands_what_failed_once(self):
        """Plain text is refused there (530): nobody is bounced, and the next try is over TLS again."""
        isps = {"demands": ("opportunistic retry = {500ms}",
                            "tls = starttls tls_demand = refused handshake { action = close first = 1 }")}
        self.begin(isps)
        c = self.send("c", isps)
        events = judge(self, c.wait_for("done"), EACH)
        for own in events.values():
            self.assertEqual([e["type"] for e in own if e["final"] == "1"], ["delivered"])
            self.assertIn("TLSv1.", own[-1]["tls"])
        first = events[0][0]
        self.assertEqual([first[key] for key in ("type", "code", "stage", "kind")], ["deferred", "530", "mail", "soft"])

    def test_auth_answered_with_garbage(self):
        """A relay that cannot do AUTH: nobody is bounced, nothing is sent, the password is in no log and no event."""
        account = (f'mechanisms = {{plain, login}} auth_required = yes tls_demand = counted '
                   f'account ann {{ secret = "{SECRET}" }}')
        isps = {f"auth-{name}": ("", f"tls = starttls {account} {rule}") for name, (rule, _, _) in AUTHS.items()}
        isps["auth-good"] = ("", f"tls = starttls {account}")
        path = self.house.write("secret", SECRET + "\n")
        os.chmod(path, 0o600)
        relays = "".join(
            f"relay {name} {{ host = mx.{name}.example port = {self.house.smtp_port} auth = {mechanism} user = ann\n"
            f"password_file = {path} }}\nroute {{ domain = {{{name}.example}} relay = {name} }}\n"
            for name, mechanism in ((name, AUTHS.get(name[5:], ("", "", "login"))[2]) for name in isps))
        engine = self.begin(isps, relays)
        c = self.send("c", isps)
        events = self.by_isp(c, EACH * len(isps))
        for which, (_, said, _) in AUTHS.items():
            with self.subTest(which):
                self.stays(f"auth-{which}", events[f"auth-{which}"], said, "auth", True, 4)
        self.goes("auth-good", events["auth-good"], True)
        self.assertEqual(self.reports()["auth-good"]["accepted_authenticated"], EACH)
        self.assertTrue(engine.running())
        self.assertNotIn(SECRET, engine.read_log() + str(c.events()))


@unittest.skipUnless(os.geteuid() == 0, "Postfix needs root")
class AtPostfix(house.Case):
    """The same at a Postfix that takes nothing in plain text."""

    WAYS = ["verified", "required", "opportunistic", "off"]

    def test_encrypt(self):
        names = [f"{way}.example" for way in self.WAYS]
        zone = [f"{way} IN MX 10 mx.{way}\nmx.{way} IN A 127.20.1.{i + 1}" for i, way in enumerate(self.WAYS)]
        zone.append("stranger IN MX 10 mx.stranger\nmx.stranger IN A 127.20.1.1")
        self.house.dns("\n".join(zone))
        authority = Authority(self.house)
        pem = authority.certificate("mx.verified.example")
        postfix = self.house.start(Postfix(
            self.house, self.house.smtp_port, {f"127.20.1.{i + 1}": "" for i in range(len(self.WAYS))}, names,
            f"smtpd_tls_security_level = encrypt\nsmtpd_tls_cert_file = {pem}\nsmtpd_tls_key_file = {pem}\n"
            "smtpd_tls_loglevel = 2"))
        blocks = [f"isp {way} {{ mx = {{mx.{way}.example}} tls = {way} }}" for way in self.WAYS]
        blocks.append("isp stranger { mx = {mx.stranger.example} tls = verified }")
        self.house.engine("defaults { connections = 1 per_connection = 2 retry = {1h} }\n" + "\n".join(blocks),
                          sources=1, shards=1, tls_ca=authority.file)
        people = [f"u{i}@{way}.example" for way in [*self.WAYS, "stranger"] for i in range(6)]
        c = self.house.campaign("c").create(sealed=1, events="full").push(people).announce().wait_count(len(people))
        said = {isp: [e for e in c.events() if e["isp"] == isp] for isp in [*self.WAYS, "stranger"]}
        for isp in self.WAYS[:3]:
            for event in said[isp]:
                self.assertEqual(event["type"], "delivered", event)
                self.assertRegex(event["tls"], r"^TLSv1\.3 \S+" + (" verified$" if isp == "verified" else "$"))
        for event in said["off"]:
            self.assertEqual((event["type"], event["code"], event["stage"]), ("deferred", "530", "mail"), event)
            self.assertIn("Must issue a STARTTLS command first", event["reply"])
        for event in said["stranger"]:
            self.assertEqual((event["type"], event["stage"]), ("deferred", "starttls"), event)
            self.assertEqual(event["reply"], "certificate: hostname mismatch")
        wait_until(lambda: len(postfix.arrived()) == 18, "the letters")
        # Two letters a connection, of which the first of each of three ways has no session to resume.
        log = postfix.read_log()
        self.assertEqual(log.count("TLS connection established from"), 9, log)
        self.assertEqual(log.count("Reusing old session"), 6, log)


if __name__ == "__main__":
    house.main()
