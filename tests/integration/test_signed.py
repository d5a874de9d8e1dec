#!/usr/bin/env python3
"""What arrives is signed by whom it should be, and verifiers that others wrote take every signature of it.

usage: test_signed.py SLUICE SLUICE-SINK [unittest's options]
"""
import base64
import email
import email.policy
import glob
import itertools
import os
import random
import signal

import dkim_keys
import dkim_verify
import house
from house import wait_until

LETTERS = {
    "short": {"text": "Hi {{name}}"},
    "both": {"text": "Dear {{name}},\nhello.\n", "html": "<p>Dear {{name}},</p>\n<p>hello  there</p>\n" * 50,
             "subject": "🎉 {{name}}, a subject that is long enough to be folded somewhere in its middle, twice at least",
             "list_unsubscribe": "https://shop.example/u?c={{id}}, mailto:u@shop.example?subject={{id}}",
             "list_id": "News <news.shop.example>", "feedback_id": "c1:shop:news:12345", "reply_to": "r@shop.example"},
    "white": {"text": "\n\n  two  spaces\t\n.\n..dots\n \n{{name}}  \n\n\n\n", "from": "متجر <news@shop.example>"},
    "empty": {"text": "{{nothing}}"},
    "long": {"text": ("x" * 3000 + " " + "é" * 2000 + "\n") * 3 + "{{name}}",
             "headers": '{"X-Mine": "{{name}}", "Comments": "a  b"}'},
    "html": {"text": None, "html": "<p dir=\"rtl\">مرحبا {{name}}</p>\n.\n..<br>\n" + "<td>x</td>" * 300,
             "from": "\"Shop, Inc.\" <news@shop.example>"},
    "emoji": {"text": "🎉🎈 {{name}} 你好\n" * 40, "subject": "🎉" * 60 + "{{name}}", "reply_to": "متجر <r@shop.example>"},
    "dots": {"text": ".\n..\n.{{name}}\n" * 30 + "\n\n\n"},
    "own": {"text": None, "subject": None, "from": None,
            "mime": "From: Grüße <news@shop.example>\r\nSubject: {{name}}\r\nMIME-Version: 1.0\r\n"
                    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
                    ".\r\n..ü\r\n" + "é" * 1500 + "\r\n{{name}} \r\n\r\n\r\n"},
    "whole": {"text": None, "subject": None, "from": None,
              "mime": "From: Shop <news@shop.example>\nSubject: Hi {{name}}\nCc: c@shop.example\n"
                      "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nDear {{name}}\n--b\n"
                      "Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n"
                      "Content-Disposition: attachment; filename=x.bin\n\n" +
                      base64.encodebytes(random.Random(7).randbytes(5 << 20)).decode() + "\n--b--\n"},
}
NAMES = ["Ann", "", "  Bob  ", "Zoë 🎈", "عبد الله", ".\r\n.", "a" * 200, "x: y\nBcc: z@x.example", "--b"]


class Signed(house.Case):
    def setUp(self):
        self.records, self.blocks = {}, ""
        self.stored = self.house.path("stored")
        os.mkdir(self.stored)

    def key(self, domain, selector, kind="rsa:2048", more=""):
        path, record = dkim_keys.make_key(self.house.directory, selector, kind)
        self.records[f"{selector}._domainkey.{domain}"] = record
        self.blocks += f"dkim {domain}-{selector} {{ domain = {domain} selector = {selector} key = \"{path}\" {more} }}\n"

    def begin(self):
        self.house.dns("big IN MX 10 mx.big\nmx.big IN A 127.20.1.1\n" +
                       "".join(dkim_keys.zone_line(*pair) + "\n" for pair in self.records.items()))
        self.house.sink("isp big {\n listen = {127.20.1.1:PORT}\n}", "--store", self.stored)
        return self.house.engine(self.blocks)

    def send(self, name, recipients, **fields):
        c = self.house.campaign(name).create(sealed=1, **fields).push(recipients).announce().wait_for("done")
        self.assertEqual(c.totals(), {"delivered": len(recipients)}, c.events())

    def arrived(self, name, n):
        def files():
            return glob.glob(os.path.join(self.stored, name + ".*.eml"))
        wait_until(lambda: len(files()) == n, f"{n} messages of {name}")
        for file in files():
            with open(file, "rb") as stream:
                yield stream.read()

    def parses(self, message):
        """Without a defect, in its structure and in each field."""
        parsed = email.message_from_bytes(message, policy=email.policy.strict)
        for part in parsed.walk():
            self.assertEqual(part.defects, [])
            for name, value in part.items():
                self.assertEqual(value.defects, (), name)
            if not part.is_multipart():
                part.get_content()

    def test_every_message_verifies(self):
        self.key("shop.example", "s1")
        self.begin()
        recipients = [{"to": f"user{i}@big.example", "name": name, "id": str(i)} for i, name in enumerate(NAMES)]
        for name, fields in LETTERS.items():
            own = recipients[:3] if name == "whole" else recipients
            self.send(name, own, **fields)
            for i, message in enumerate(self.arrived(name, len(own))):
                with self.subTest(f"{name} {i}"):
                    dkim_verify.check(self, message, self.records, ["shop.example"])
                    self.parses(message)

    def test_who_signs(self):
        self.key("shop.example", "s1")
        self.key("shop.example", "e1", "ed25519", "ed25519 = yes")
        self.key("news.shop.example", "n1", "rsa:1024")
        self.key("esp.example", "all", more="always = yes expire = 7d")
        self.begin()
        for name, sender, domains in (("a", "a@shop.example", ["shop.example", "shop.example", "esp.example"]),
                                      ("b", "b@deals.shop.example", ["shop.example", "shop.example", "esp.example"]),
                                      ("c", "c@news.shop.example", ["news.shop.example", "esp.example"]),
                                      ("d", "d@other.example", ["esp.example"])):
            self.send(name, ["user@big.example"], **{"from": sender})
            for message in self.arrived(name, 1):
                dkim_verify.check(self, message, self.records, domains)
                for tags in dkim_verify.signatures(message):
                    expire_s = int(tags.get("x", tags["t"])) - int(tags["t"])
                    self.assertEqual(expire_s, 7 * 86400 if tags["d"] == "esp.example" else 0)

    def test_nobody_signs(self):
        self.key("shop.example", "s1")
        self.begin()
        self.send("a", ["user@big.example"], **{"from": "a@other.example"})
        for message in self.arrived("a", 1):
            self.assertEqual(dkim_verify.signatures(message), [])

    def test_a_new_key_signs_after_sighup(self):
        self.key("shop.example", "s1")
        engine = self.begin()
        self.send("before", ["user@big.example"] * 20)
        _, second = dkim_keys.make_key(self.house.directory, "s1")
        engine.send(signal.SIGHUP)
        engine.wait_log('msg="keys were read again"')
        new = {"s1._domainkey.shop.example": second}
        for message in self.arrived("before", 20):
            self.assertEqual(dkim_verify.python_verdicts(message, self.records), [True])

        def all_new(name):  # each shard takes the keys when it looks up; all are signed by the one or the other
            self.send(name, ["user@big.example"] * 20)
            by_new = [dkim_verify.python_verdicts(m, new) for m in self.arrived(name, 20)]
            by_old = [dkim_verify.python_verdicts(m, self.records) for m in self.arrived(name, 20)]
            for one, other in zip(by_new, by_old):
                self.assertEqual([*one, *other].count(True), 1)
            return by_new == [[True]] * 20
        tries = itertools.count()
        wait_until(lambda: all_new(f"after{next(tries)}"), "all messages to be signed by the new key")


if __name__ == "__main__":
    house.main()
