#!/usr/bin/env python3
"""A Postfix of Debian's as the receiver: what the engine sends, the most common server of all takes and understands.

usage: test_postfix.py SLUICE SLUICE-SINK [unittest's options]
"""
import email
import email.policy
import os
import unittest

import house
from house import judge, wait_until
from postfix import Postfix

@unittest.skipUnless(os.geteuid() == 0, "Postfix needs root")
class Receives(house.Case):
    def setUp(self):
        self.house.dns("big IN MX 10 mx.big\nmx.big IN A 127.20.1.1")
        self.postfix = self.house.start(Postfix(self.house, self.house.smtp_port))

    def test_messages_arrive_as_they_were_written(self):
        self.house.engine("defaults { connections = 10 }")
        people = [{"to": f"u{i}@big.example", "name": name, "note": note}
                  for i, (name, note) in enumerate([("Ann", "plain"), ("Jörg Ωmega", "ümläut " * 40),
                                                    ("<b>&\"'", ". a dot\n.\n..\n...three"), ("", ""),
                                                    ("日本", "long " + "x" * 3000), ("R", "cr\rin it\r\nand crlf"),
                                                    *((f"N{i}", f"note {i}") for i in range(300))])]
        c = self.house.campaign("arrive").create(
            sealed="1", events="full", subject="Hi {{name}}, read this", text="Dear {{name}},\n.\n.{{note}}\n\nBye.\n",
            html="<p>Dear {{name}},</p>\n<p>.{{note}}</p>")
        c.push(people).announce().wait_for("done")
        events = judge(self, c, len(people))
        self.assertEqual(c.totals(), {"delivered": len(people)})
        wait_until(lambda: len(self.postfix.messages("arrive")) == len(people), "all messages in the maildir")
        one_line = lambda text: " ".join(text.split())
        for seq, raw in self.postfix.messages("arrive").items():
            person, event = people[seq], events[seq][0]
            message = email.message_from_bytes(raw, policy=email.policy.default)
            self.assertEqual([type(d).__name__ for d in message.defects], [])
            self.assertEqual(message["To"].addresses[0].addr_spec, person["to"])
            self.assertEqual(message["From"].addresses[0].addr_spec, "news@shop.example")
            self.assertEqual(one_line(message["Subject"]), one_line(f"Hi {person['name']}, read this"))
            self.assertEqual(message["X-Campaign"], f"arrive/{seq}")
            self.assertEqual(str(message["Message-ID"]), event["message_id"])
            lines = lambda text: text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
            text = message.get_body(("plain",)).get_content()
            self.assertEqual(lines(text), lines(f"Dear {person['name']},\n.\n.{person['note']}\n\nBye.\n"))
            escaped = {ord("<"): "&lt;", ord(">"): "&gt;", ord("&"): "&amp;", ord('"'): "&quot;", ord("'"): "&#39;"}
            html = message.get_body(("html",)).get_content()
            self.assertEqual(lines(html), lines(f"<p>Dear {person['name'].translate(escaped)},</p>\n"
                                                f"<p>.{person['note'].translate(escaped)}</p>"))
            # To the byte: what arrived is as long as what was sent, line ends as they are on the wire.
            self.assertEqual(len(raw.replace(b"\n", b"\r\n")), int(event["bytes"]))

    def test_a_whole_message_of_ones_own(self):
        self.house.engine()
        mime = ("From: Shop <news@shop.example>\r\nTo: {{to}}\r\nSubject: Own {{name}}\r\nMIME-Version: 1.0\r\n"
                "Content-Type: text/plain; charset=utf-8\r\n\r\nHello {{name}},\r\n.dot\r\n..\r\nbye\r\n")
        c = self.house.campaign("own").create(sealed="1", mime=mime, subject=None, text=None, **{"from": None})
        c.push([{"to": "ann@big.example", "name": "Ann"}]).announce().wait_for("done")
        judge(self, c, 1)
        self.assertEqual(c.totals(), {"delivered": 1})
        wait_until(lambda: self.postfix.messages("own"), "the message")
        message = email.message_from_bytes(self.postfix.messages("own")[0], policy=email.policy.default)
        self.assertEqual((message["Subject"], message["To"]), ("Own Ann", "ann@big.example"))
        self.assertEqual(message.get_content(), "Hello Ann,\n.dot\n..\nbye\n")

    def test_refusals(self):
        self.house.engine("defaults { retry = {500ms}  expire = 2s }")
        to = ["ann@big.example", "gone@big.example", "full@big.example", "listed@big.example"]
        c = self.house.campaign("refused").create(sealed="1").push(to * 10).announce().wait_for("done")
        events = judge(self, c, 40)
        bad = self.house.campaign("content").create(sealed="1", subject="Something forbidden").push(to[:1]).announce()
        judge(self, bad.wait_for("done"), 1)
        self.assertEqual({(own[-1]["to"], own[-1]["type"], own[-1]["code"], own[-1]["status"]) for own in
                          events.values()},
                         {("ann@big.example", "delivered", "250", "2.0.0"),
                          ("gone@big.example", "bounced", "550", "5.1.1"),
                          ("full@big.example", "expired", "452", "4.2.2"),
                          ("listed@big.example", "bounced", "554", "5.7.1")})
        self.assertTrue(all(e["final"] == "0" for own in events.values() for e in own[:-1]))
        refused, = bad.events()
        self.assertEqual((refused["type"], refused["stage"], refused["code"], refused["status"]),
                         ("bounced", "body", "550", "5.7.1"))
        self.assertIn("not this subject", refused["reply"])
        wait_until(lambda: len(self.postfix.messages("refused")) >= 10, "the accepted ones")
        self.assertEqual(set(self.postfix.messages("refused")),
                         {seq for seq, own in events.items() if own[-1]["type"] == "delivered"})

    def test_an_address_in_utf8(self):
        self.house.engine()
        c = self.house.campaign("utf8").create(sealed="1").push(["jürgen@big.example", "ann@big.example"]).announce()
        judge(self, c.wait_for("done"), 2)
        self.assertEqual(c.totals(), {"delivered": 2})
        wait_until(lambda: len(self.postfix.messages("utf8")) == 2, "both")
        self.assertIn("jürgen@big.example".encode(), self.postfix.messages("utf8")[0].split(b"\n\n")[0])


if __name__ == "__main__":
    house.main()
