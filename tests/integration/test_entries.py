#!/usr/bin/env python3
"""Bad input never loses a recipient and never stops a campaign.

usage: test_entries.py SLUICE SLUICE-SINK [unittest's options]
"""
import json
import random

import house
from house import judge, wait_until

LONG = "x" * 65
# An entry, what its event says of it, and at which byte.
BAD = [
    (b"", "empty", 0),
    (b"   ", "empty", 0),
    (b'{"to": "a@big.example"', None, None),
    (b'{"to": "a@big.example",}', None, None),
    (b'{"to" "a@big.example"}', None, 6),
    (b'{"to": "a@big.example"} trailing', None, 24),
    (b'["a@big.example"]', None, None),
    (b'{"name": "Ann"}', 'no "to"', 0),
    (b'  {"name": "Ann"}', 'no "to"', 2),
    (b'{"to": 5}', '"to" is not a string', 7),
    (b'{"to": ""}', '"to" is empty', None),
    (b'{"to": null, "name": "x"}', '"to" is not a string', 7),
    (b'{"to": "a@big.example", "id": {"deep": 1}}', '"id" is neither', None),
    (b'{"to": "a@big.example", "id": "' + b"7" * 200 + b'"}', '"id" is too long', None),
    (b'{"to": "\xff@big.example"}', None, None),
    (b"\xff\xfe\x00\x01\x02", "not UTF-8", 0),
    (bytes(range(1, 255)), None, None),
    (b"nobody", "has no @", 6),
    (b"@big.example", None, 0),
    (b"ann@", None, 4),
    (b"a b@big.example", None, 1),
    (b"ann@big..example", None, 8),
    (b"ann@-big.example", None, None),
    (f"{LONG}@big.example".encode(), None, None),
    (f"a@{'x' * 64}.example".encode(), None, None),
    (f"a@{'.'.join(['x' * 60] * 5)}".encode(), None, None),
    (b"a@big.example\r\nRCPT TO:<b@big.example>", None, 13),
    (b'{"to": "a@big.example\\r\\nRCPT TO:<b@big.example>"}', None, None),
    (b'{"to": "a@big.example\\u0000"}', None, None),
    (b"<a@big.example>", None, 0),
    (b'{"to": "' + b"y" * 2000 + b'@big.example"}', "too long", None),
    (b'{"to": "a@big.example", "name": "' + b"z" * 70000 + b'"}', "longer than a recipient may be", 65536),
    (b"z" * 3000000, "longer than a recipient may be", 65536),
    (b"{" * 5000, None, None),
    (b'{"to":' + b"[" * 60000, None, None),
]


class Entries(house.Case):
    def test_bad_ones_are_told_and_the_others_sent(self):
        seed = 4711
        print(f"seed {seed}", end=" ", flush=True)
        draw = random.Random(seed)
        bad = [*BAD, *((bytes(draw.randrange(256) for _ in range(draw.randrange(1, 300))), None, None)
                       for _ in range(40))]
        entries = [*((entry, reason, at, True) for entry, reason, at in bad),
                   *((f"u{i}@big.example".encode(), None, None, False) for i in range(1500))]
        draw.shuffle(entries)
        sink = self.house.isps(big="")
        self.house.engine()
        c = self.house.campaign("mixed").create(sealed="1").push([e[0] for e in entries]).announce().wait_for("done")
        events = judge(self, c, len(entries), sink)
        for seq, (entry, reason, at, is_bad) in enumerate(entries):
            event, = events[seq]
            if not is_bad:
                self.assertEqual((event["type"], event["to"]), ("delivered", entry.decode()))
                continue
            self.assertEqual((event["type"], event["final"], event["stage"]), ("invalid", "1", "recipient"),
                             (entry[:100], event))
            self.assertRegex(event["reply"], r"^[^\r\n]+, at byte \d+$")
            said, position = event["reply"].rsplit(", at byte ", 1)
            self.assertIn(reason or "", said, entry[:100])
            self.assertLessEqual(int(position), len(entry), entry[:100])
            if at is not None:
                self.assertEqual(int(position), at, (entry[:100], event["reply"]))

    def test_good_ones_that_look_odd(self):
        zone = "big IN MX 10 mx.big\nmx.big IN A 127.20.1.1\nxn--bcher-kva IN MX 10 mx.big"
        self.house.dns(zone)
        sink = self.house.sink("isp big { listen = {127.20.1.1:PORT} }")
        self.house.engine()
        # As pushed, and as the server hears it; None: it cannot be sent there, for the sink has no SMTPUTF8.
        odd = [(b'  {"to": " ann@big.example "}  ', "ann@big.example"),
               ('{"to": "ann@bücher.example"}'.encode(), "ann@xn--bcher-kva.example"),
               ("bob@BÜCHER.example".encode(), "bob@xn--bcher-kva.example"),
               (b'{"to": "\\u0061nn@big.example", "id": 9007199254740993}', "ann@big.example"),
               (b'"quoted..@local"@big.example', '"quoted..@local"@big.example'),
               (b"o'neil+tag=1/2@big.example", "o'neil+tag=1/2@big.example"),
               (b"a" * 64 + b"@big.example", "a" * 64 + "@big.example"),
               (b'{"to": "ann@big.example", "essay": "' + b"n" * 60000 + b'"}', "ann@big.example"),
               (json.dumps({"to": "ann@big.example", "name": "x\r\nBcc: eve@big.example\r\n\r\nbody"}).encode(),
                "ann@big.example"),
               (json.dumps({"to": "ann@big.example", "name": "\0\x1b[2J\u202e.\r\n.\r\nQUIT\r\n"}).encode(),
                "ann@big.example"),
               (json.dumps({"to": "ann@big.example", "deep": [[[{"x": 1}]]], "": "", "name": 7}).encode(),
                "ann@big.example"),
               ("jürgen@big.example".encode(), None)]
        c = self.house.campaign("odd").create(sealed="1", text="Dear {{name}},\n.{{name}}\n..\n.\n{{essay}}")
        c.push([entry for entry, _ in odd]).announce().wait_for("done")
        events = judge(self, c, len(odd), sink)
        heard = {int(row["seq"]): row["recipient"] for row in sink.accepted("odd")}
        for seq, (entry, address) in enumerate(odd):
            event, = events[seq]
            if address:
                self.assertEqual((event["type"], heard.get(seq)), ("delivered", address), (entry[:100], event))
            else:
                self.assertEqual((event["type"], event["class"], heard.get(seq)), ("bounced", "content-related", None))

    def test_unique(self):
        sink = self.house.isps(big="", small="")
        self.house.engine()
        draw = random.Random(9)
        n, people = 4000, 1300
        entries = [f"u{draw.randrange(people)}@{draw.choice(['big', 'small', 'BIG'])}.example" for _ in range(n)]
        distinct = {entry.lower() for entry in entries}
        c = self.house.campaign("once").create(sealed="1", unique="1").push(entries).announce().wait_for("done")
        events = judge(self, c, n, sink)
        self.assertEqual(c.totals(), {"delivered": len(distinct), "suppressed": n - len(distinct)})
        sent = [row["recipient"].lower() for row in sink.accepted("once")]
        self.assertEqual(sorted(sent), sorted(distinct))
        self.assertTrue(all(len(own) == 1 for own in events.values()))

    def test_strict(self):
        sink = self.house.isps(big="")
        self.house.engine()
        entries = [{"to": "ann@big.example", "name": "Ann"}, {"to": "bob@big.example"}, "eve@big.example"]
        strict = self.house.campaign("strict").create(sealed="1", strict="1").push(entries).announce()
        loose = self.house.campaign("loose").create(sealed="1").push(entries).announce()
        events = judge(self, strict.wait_for("done"), 3, sink)
        self.assertEqual(strict.totals(), {"delivered": 1, "invalid": 2})
        for seq in (1, 2):
            self.assertIn("name", events[seq][0]["reply"])
        judge(self, loose.wait_for("done"), 3, sink)
        self.assertEqual(loose.totals(), {"delivered": 3})

    def test_an_incomplete_campaign_says_why_and_goes_on_when_it_is_complete(self):
        sink = self.house.isps(big="")
        self.house.engine()
        faults = [({"from": None}, "incomplete", "from", {"from": "Shop <news@shop.example>"}),
                  ({"from": "nonsense"}, "incomplete", "from", {"from": "news@shop.example"}),
                  ({"text": None}, "incomplete", "", {"html": "<p>Hi {{name}}</p>"}),
                  ({"text": "Hi {{name"}, "incomplete", "text", {"text": "Hi {{name}}"}),
                  ({"html": "{{#a}}never closed"}, "incomplete", "html", {"html": "<p>closed</p>"}),
                  ({"text": "{{#a}}{{#b}}x{{/a}}{{/b}}"}, "incomplete", "text", {"text": "{{#a}}{{/a}}"}),
                  ({"subject": "{{/never}}"}, "incomplete", "subject", {"subject": "{{#never}}{{/never}}"}),
                  ({"text": "{{> partial}}"}, "incomplete", "partials", {"text": "none"}),
                  ({"text": "{{=<% }}"}, "incomplete", "text", {"text": "{{=<% %>=}}<%name%>"}),
                  ({"text": None, "mime": "no header"}, "incomplete", "mime", {"mime": "From: a@shop.example\n\nHi"}),
                  ({"from": "Shop <news@shop.example>\r\nBcc: eve@big.example"}, "incomplete", "from",
                   {"from": "news@shop.example"}),
                  ({"reply_to": "a@shop.example\nX-Own: 1"}, "incomplete", "reply_to", {"reply_to": "a@shop.example"}),
                  ({"list_id": "News\r\nBcc: eve@big.example"}, "incomplete", "list_id",
                   {"list_id": "News <news.shop.example>"}),
                  ({"list_unsubscribe": "https://shop.example/u\r\nX-Own: 1"}, "incomplete", "list_unsubscribe",
                   {"list_unsubscribe": "https://shop.example/u"}),
                  ({"headers": '{"X-Shop": "1", "Bcc": "eve@big.example"}'}, "incomplete", "headers",
                   {"headers": '{"X-Shop": "1"}'}),
                  ({"headers": '{"X-Shop\\r\\nBcc": "eve@big.example"}'}, "incomplete", "headers", {"headers": "{}"}),
                  ({"headers": '{"X-Shop": "a", "x-shop": "b", "Subject": "c"}'}, "incomplete", "headers",
                   {"headers": "{}"}),
                  ({"return_path": "b@shop.example>\r\nRCPT TO:<eve@big.example"}, "incomplete", "return_path",
                   {"return_path": "b@shop.example"}),
                  ({"headers": "{broken"}, "incomplete", "headers", {"headers": "{\"X-Shop\": \"1\"}"}),
                  ({"pool": "nowhere"}, "waiting", "nowhere", {"pool": "main"}),
                  ({"in_doubt": "maybe"}, "incomplete", "hold, resend, drop", {"in_doubt": "drop"}),
                  ({"state": "stopped"}, "incomplete", "running, paused, cancelled", {"state": "running"}),
                  ({"unique": "yes"}, "incomplete", "unique", {"unique": "0"}),
                  ({"return_path": "<>,"}, "incomplete", "return_path", {"return_path": "bounce@shop.example"})]
        campaigns = []
        for i, (fault, phase, reason, cure) in enumerate(faults):
            c = self.house.campaign(f"wrong-{i}").create(sealed="1", **fault).push(["ann@big.example"] * 5).announce()
            campaigns.append((c, phase, reason, cure))
        for c, phase, reason, _ in campaigns:
            c.wait_for(phase)
            wait_until(lambda: c.status()["reason"], "a reason")
            self.assertIn(reason, c.status()["reason"], c.name)
            self.assertEqual(c.totals(), {}, c.name)
        self.assertEqual(sink.started(), [])
        for c, _, _, cure in campaigns:
            c.set(**cure).announce()
        for c, _, _, _ in campaigns:
            judge(self, c.wait_for("done"), 5, sink)
            self.assertEqual(c.totals(), {"delivered": 5}, c.name)

    def test_keys_of_the_wrong_type_harm_nobody_else(self):
        sink = self.house.isps(big="")
        engine = self.house.engine()
        redis = self.house.client()
        broken = []
        for i, (key, command) in enumerate((("campaign", ("SET", "text")), ("recipients", ("SET", "text")),
                                            ("status", ("RPUSH", "x")), ("leases", ("SET", "x")))):
            c = self.house.campaign(f"type-{i}", redis)
            if key != "campaign":
                c.create(sealed="1")
            if key != "recipients":
                c.push(["ann@big.example"] * 3)
            redis(command[0], c.key(key), *command[1:])
            broken.append((c.announce(), key))
        redis("SADD", "sluice:campaigns", "x" * 200, "", "spaces are none", "{braces}")
        good = self.house.campaign("good").create(sealed="1").push(["ann@big.example"] * 200).announce()
        judge(self, good.wait_for("done"), 200, sink)
        self.assertTrue(engine.running())
        for c, key in broken:  # mended, they are sent
            self.assertEqual(c.redis("EXISTS", c.key("events")), 0)
            redis("DEL", c.key(key))
            if key == "campaign":
                c.create(sealed="1")
            elif key == "recipients":
                c.push(["ann@big.example"] * 3)
            c.announce()
        for c, key in broken:
            wait_until(lambda: c.count("delivered") == 3, lambda: f"{key} mended: {c.status()}, {c.totals()}")
            c.wait_for("done")


if __name__ == "__main__":
    house.main()
