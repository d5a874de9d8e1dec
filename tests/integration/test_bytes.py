#!/usr/bin/env python3
"""To the byte: a letter is the same by DATA and by BDAT, in plain text and over TLS, at Postfix and at the sink, and the
same that `sluice render` shows; and its signature verifies wherever it arrives.

usage: test_bytes.py SLUICE SLUICE-SINK [unittest's options]
"""
import glob
import json
import os
import re
import subprocess
import unittest

import dkim_keys
import dkim_verify
import house
from house import judge, wait_until
from postfix import Postfix
from signed import Authority
from test_signed import LETTERS

# Domains of the same length, so that nothing folds differently: what Sluice may do there, and what Postfix does.
WAYS = {
    "1": ("tls = off", "smtpd_tls_security_level=none"),
    "2": ("tls = off chunking = {.example}", "smtpd_tls_security_level=none"),
    "3": ("tls = required", "smtpd_tls_security_level=encrypt"),
    "4": ("tls = required chunking = {.example}", "smtpd_tls_security_level=encrypt"),
}
NAMES = ["Zoë 🎈", "", "عبد الله", ".\r\n."]
SECURE, CHUNKED = {"3", "4"}, {"2", "4"}
DOMAINS = [kind + way for kind in "ps" for way in WAYS]  # p1 to p4 are Postfix's, s1 to s4 the sink's


def what_lasts(message):
    """A letter without what differs between two recipients, or two renderings, of it."""
    header, body = dkim_verify.split(message)
    own = [field for name, field in dkim_verify.fields(message) if name not in ("dkim-signature", "date", "message-id")]
    header = re.sub(rb"(?m)^(To: .*@)[ps][1-4](\.example)", rb"\1DOMAIN\2", b"".join(own))
    return re.sub(rb"(?m)^(X-Campaign: \w+/)\d+\r$", rb"\1SEQ", header), body


@unittest.skipUnless(os.geteuid() == 0, "Postfix needs root")
class Bytes(house.Case):
    def setUp(self):
        port, self.stored = self.house.smtp_port, self.house.path("stored")
        os.mkdir(self.stored)
        key, record = dkim_keys.make_key(self.house.directory, "s1")
        self.records = {"s1._domainkey.shop.example": record}
        zone, sink, blocks = [dkim_keys.zone_line("s1._domainkey.shop.example", record)], [], []
        for name in DOMAINS:
            address = f"127.20.{'ps'.index(name[0]) + 1}.{name[1]}"
            zone.append(f"{name} IN MX 10 mx.{name}\nmx.{name} IN A {address}")
            blocks.append(f"isp {name} {{ mx = {{mx.{name}.example}} {WAYS[name[1]][0]} }}")
            if name[0] == "s":
                sink.append(f"isp {name} {{ listen = {{{address}:PORT}} chunking = yes "
                            f"{'tls = starttls tls_demand = refused' if name[1] in SECURE else ''} }}")
        self.house.dns("\n".join(zone))
        self.sink = self.house.sink("\n".join(sink), "--store", self.stored)
        pem = Authority(self.house).certificate("mx.p3.example", "mx.p4.example")
        self.postfix = self.house.start(Postfix(
            self.house, port, {f"127.20.1.{way}": f"-o {level}" for way, (_, level) in WAYS.items()},
            [f"p{way}.example" for way in WAYS],
            f"smtpd_tls_cert_file = {pem}\nsmtpd_tls_key_file = {pem}\nsmtpd_tls_loglevel = 2\n"
            "message_size_limit = 50000000"))
        self.house.engine(f'dkim shop.example {{ selector = s1 key = "{key}" }}\n'
                          "defaults { connections = 1 per_connection = 8 }\n" + "\n".join(blocks))

    def rendered(self, name, person):
        return subprocess.run([house.programs["sluice"], "render", name, "--data", json.dumps(person), "-c",
                               self.house.path("engine.conf")], capture_output=True, check=True).stdout

    def letters_of(self, name, domain, seqs):
        """What arrived in a domain, in the order of `seqs`."""
        if domain[0] == "s":
            for seq in seqs:
                file, = glob.glob(os.path.join(self.stored, f"{name}.{seq}.*.eml"))
                with open(file, "rb") as stream:
                    yield stream.read()
        else:
            arrived = self.postfix.messages(name)
            for seq in seqs:
                self.assertNotIn(b"\r", arrived[seq])
                yield arrived[seq].replace(b"\n", b"\r\n")

    def test_every_letter_by_every_way(self):
        campaigns, expected = {}, 0
        for name, fields in LETTERS.items():
            names = NAMES[:1] if name == "whole" else NAMES
            people = [{"to": f"user{i}@{domain}.example", "name": value, "id": str(i)}
                      for domain in DOMAINS for i, value in enumerate(names)]
            c = self.house.campaign(name).create(sealed=1, events="full", **fields).push(people).announce()
            campaigns[name], expected = (c, people), expected + len(people) // 2
        for c, people in campaigns.values():
            c.wait_count(len(people))
            self.assertEqual([e for e in c.events() if e["type"] != "delivered"], [])
            judge(self, c.wait_for("done"), len(people))
        wait_until(lambda: len(self.postfix.arrived()) == expected,
                   lambda: f"{expected} letters in the maildir; there are {len(self.postfix.arrived())}")
        for name, (c, people) in campaigns.items():
            with self.subTest(name):
                self.is_the_same_everywhere(name, c, people)
        self.went_by_those_ways([e for c, _ in campaigns.values() for e in c.events()])

    def is_the_same_everywhere(self, name, c, people):
        n = len(people) // len(DOMAINS)
        shown = len(name) % n  # another one of each campaign
        wanted = {shown: what_lasts(self.rendered(name, people[shown]))}
        octets = {int(e["seq"]): int(e["bytes"]) for e in c.events()}
        for d, domain in enumerate(DOMAINS):
            seqs = range(d * n, d * n + n)
            for i, message in enumerate(self.letters_of(name, domain, seqs)):
                lasts = what_lasts(message)
                self.assertTrue(lasts == wanted.setdefault(i, lasts), f"{name} {i} differs at {domain}")
                self.assertEqual(len(message), octets[seqs[i]])
                self.assertEqual(dkim_verify.python_verdicts(message, self.records), [True], f"{name} {i} {domain}")

    def went_by_those_ways(self, events):
        for domain in DOMAINS:
            own = [e for e in events if e["to"].endswith(f"@{domain}.example")]
            self.assertEqual({bool(e.get("tls")) for e in own}, {domain[1] in SECURE}, domain)
        hows = {f"s{way}": [row["how"] for row in self.sink.accepted() if row["isp"] == f"s{way}"] for way in WAYS}
        for domain, how in hows.items():
            self.assertEqual({"tls" in h or "resumed" in h for h in how}, {domain[1] in SECURE}, domain)
            chunked = sum("bdat" in h for h in how)
            self.assertTrue(chunked > len(how) / 2 if domain[1] in CHUNKED else chunked == 0, (domain, chunked, len(how)))
        report = self.sink.report()
        self.assertEqual(report["violation_total"], 0, report)
        for isp in report["isps"]:
            self.assertEqual(isp["tls_resumed"] > 0, isp["isp"][1] in SECURE, isp)
        log = self.postfix.read_log()
        ended = re.findall(r"disconnect from .*", log)
        self.assertTrue([line for line in ended if " starttls=1" in line and " bdat=" in line], ended)
        self.assertTrue([line for line in ended if " starttls=1" in line and " data=" in line], ended)
        self.assertTrue([line for line in ended if " starttls=" not in line and " bdat=" in line], ended)
        self.assertIn("TLS connection established", log)
        self.assertRegex(log, r"(?i)reus\w+ (old )?session|session reused")


if __name__ == "__main__":
    house.main()
