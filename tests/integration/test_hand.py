#!/usr/bin/env python3
"""People stop and slow down parts of the sending, ask why it goes as it does, and whether every limit was kept.

usage: test_hand.py SLUICE SLUICE-SINK [unittest's options]
"""
import json
import os
import subprocess
import time

import house
from house import judge, wait_until

MANNERS = {"big": "latency { body = 1ms..3ms }", "small": "latency { body = 1ms..3ms }"}
CONFIG = """defaults { connections = 5 }
isp big { mx = mx.big.example  rate = 100/s  burst = 3 }
isp small { mx = mx.small.example  rate = 200/s }
"""


class Hand(house.Case):
    def begin(self, n, domain="big"):
        self.sink = self.house.isps(**MANNERS)
        self.http = f"127.0.0.1:{house.free_port()}"
        self.engine = self.house.engine(CONFIG, http=self.http)
        self.config = self.house.write("sluice.conf", self.house.engine_config(CONFIG, http=self.http))
        self.campaign = self.house.campaign("c").create(sealed="1")
        return self.campaign.push([f"u{i}@{domain}.example" for i in range(n)]).announce()

    def sluice(self, code, *words):
        """What it says on standard output, or, where that is nothing, on standard error."""
        ran = subprocess.run([house.programs["sluice"], "-c", self.config, *words], capture_output=True,
                             stdin=subprocess.DEVNULL, timeout=house.PATIENCE_S)
        out, errors = ran.stdout.decode(), ran.stderr.decode()
        self.assertNotIn("Sanitizer", errors)
        self.assertNotIn("runtime error", errors)
        self.assertEqual(ran.returncode, code, (words, out, errors))
        return out or errors

    def started_after(self, at_us):
        return [row for row in self.sink.started() if int(row["time_us"]) > at_us]

    def test_pause_resume_and_slow(self):
        c = self.begin(3000)
        c.wait_count(200, "delivered")
        self.assertIn("isp:big is paused until", self.sluice(0, "pause", "isp:big", "--for", "1h", "--reason", "they asked"))
        at_us = time.time() * 1e6
        time.sleep(2.5)
        self.assertEqual(self.started_after(at_us + 1e6), [])
        shown = self.sluice(0, "paused")
        self.assertIn("isp:big", shown)
        self.assertIn("they asked", shown)
        said = json.loads(self.sluice(0, "pause", "--list", "--json"))
        self.assertEqual([(e["scope"], e["kind"], e["reason"]) for e in said], [("isp:big", "pause", "they asked")])
        self.assertGreater(said[0]["until_ms"], time.time() * 1000 + 3500 * 1000)
        self.assertIn("paused by hand", self.sluice(0, "why", "big"))
        why = json.loads(self.sluice(0, "why", "c", "--json"))
        self.assertEqual(why["phase"], "sending")
        self.assertEqual(why["ended"] + why["not_taken"] + why["in_engines"] + why["parked"], 3000)
        self.engine.kill()
        at_us = time.time() * 1e6
        self.engine.start()
        time.sleep(3)
        self.assertEqual(self.started_after(at_us), [])
        self.assertIn("isp:big goes at 50 %", self.sluice(0, "slow", "isp:big", "--factor", "50"))
        wait_until(lambda: self.started_after(at_us), "it to go on, more slowly")
        time.sleep(1)
        at_us = time.time() * 1e6
        time.sleep(2)
        rows = [row for row in self.started_after(at_us) if int(row["time_us"]) <= at_us + 2e6]
        self.assertLess(len(rows), 2 * (2 * 50) + 60)  # of two lanes; each with its burst, and what the wire held up
        self.assertIn("isp:big goes on", self.sluice(0, "resume", "isp:big"))
        self.assertIn("nothing is paused", self.sluice(0, "paused"))
        self.assertIn("nothing was said", self.sluice(1, "resume", "isp:big"))
        c.wait_for("done")
        judge(self, c, 3000, self.sink)
        told = str(c.redis("XRANGE", "sluice:ops", "-", "+"))
        for text in ("isp:big", "slow to 50 %", "resume", "they asked"):
            self.assertIn(text, told)
        self.assertIn("ok", self.sluice(0, "audit", "c", "--clock", "1000"))

    def test_an_end_comes_by_itself(self):
        c = self.begin(6000, "small")
        self.sluice(0, "pause", "campaign:c")
        wait_until(lambda: c.status().get("reason", "").startswith("paused by hand"), lambda: f"the phase: {c.status()}")
        self.sluice(0, "pause", "campaign:c", "--for", "2s")  # takes the other's place
        c.wait_for("done")
        self.assertEqual(c.count("delivered"), 6000)
        wait_until(lambda: "nothing is paused" in self.sluice(0, "paused"), "what is over to be taken out")

    def test_what_is_not_understood(self):
        self.begin(1)
        for words, text in ((["pause", "isp:gmial"], "big, small"), (["pause", "source:x"], "127.0.1.1, 127.0.1.2"),
                            (["pause", "lane:127.0.1.1/x"], "names no isp"), (["pause", "pool:x"], "main"),
                            (["pause", "campaign:x"], "there is no campaign x")):
            self.assertIn(text, self.sluice(1, *words))
        for words, text in ((["pause"], "a scope is needed"), (["pause", "gmail"], "isp:NAME"),
                            (["pause", "isp:big", "--for", "soon"], "2h30m"),
                            (["pause", "isp:big", "--until", "2001-01-01 08:00"], "in the past"),
                            (["pause", "isp:big", "--until", "tomorrow"], "2026-11-01"),
                            (["pause", "isp:big", "--for", "1h", "--until", "08:00"], "not go together"),
                            (["slow", "isp:big"], "--factor is needed"),
                            (["slow", "isp:big", "--factor", "0"], "1 to 99"),
                            (["slow", "isp:big", "--factor", "100"], "1 to 99"),
                            (["slow", "campaign:c", "--factor", "5"], "no rate of its own"),
                            (["audit"], "a campaign is needed"), (["audit", "c", "--rate", "fast"], "500/min"),
                            (["why"], "one campaign")):
            self.assertIn(text, self.sluice(2, *words))
        self.assertEqual(json.loads(self.sluice(0, "paused", "--json")), [])

    def test_whereabouts(self):
        c = self.begin(300)
        c.push(["ann@small.example"]).wait_for("done")
        self.assertIn("done", self.sluice(0, "why", "ann@small.example"))
        found = json.loads(self.sluice(0, "why", "300", "--campaign", "c", "--json"))
        self.assertEqual([(f["campaign"], f["seq"], f["final"]) for f in found], [("c", 300, True)])
        self.assertEqual(found[0]["events"][0]["type"], "delivered")
        self.assertIn("nobody knows", self.sluice(1, "why", "bob@small.example"))
        self.engine.end()
        later = self.house.campaign("later", c.redis).create().push(["eve@big.example", "zoe@big.example"])
        later.announce()
        self.assertIn("1 come before it", self.sluice(0, "why", "zoe@big.example"))
        self.assertIn("no engine answers", self.sluice(0, "why", "later"))

    def test_audit(self):
        c = self.begin(1500)
        c.push([f"v{i}@small.example" for i in range(1000)]).wait_for("done")
        audit = json.loads(self.sluice(0, "audit", "c", "--json", "--clock", "1000"))
        self.assertEqual((audit["starts"], audit["exceeded"], len(audit["lanes"])), (2500, 0, 4))
        for lane in audit["lanes"]:
            self.assertEqual(lane["rate"], 100 if lane["isp"] == "big" else 200)
            self.assertLessEqual(lane["worst"]["starts"], lane["worst"]["allowed"] + 1)
        # Against a lower limit than was kept, or with one start too early, it says so.
        self.assertIn("EXCEEDED", self.sluice(1, "audit", "c", "--rate", "50/s"))
        event = c.events()[-1]
        fields = {**{k: event[k] for k in ("type", "source", "isp", "started")}, "seq": "0", "final": "1"}
        for i in range(4):
            fields["started"] = str(int(fields["started"]) + i)
            c.redis("XADD", c.key("events"), "*", *(x for pair in fields.items() for x in pair))
        self.assertIn("EXCEEDED", self.sluice(1, "audit", "--all", "--clock", "1000"))


if __name__ == "__main__":
    house.main()
