#!/usr/bin/env python3
"""New addresses, with days of a few seconds: what the sink saw of each day against the curve, and what people do by hand.

usage: test_warmup.py SLUICE SLUICE-SINK [unittest's options]
"""
import collections
import json
import os
import re
import subprocess
import time

import house
from house import wait_until

DAY_S = 4


class WarmUp(house.Case):
    def config(self, curve, day_length, warm=0, **settings):
        sources = " ".join(f"source 127.0.1.{i + 1} {{ name = s{i + 1}  ehlo = m{i + 1}.shop.example "
                           f"{'' if i >= 1 else 'warmup = test'} }}" for i in range(1 + warm))
        text = self.house.engine_config("", day_length=day_length, warmup_settle="200ms", **settings)
        text = re.sub(r"pool main \{.*\}\n", f"pool main {{ {sources} }}\n", text)
        return text + f"isp big {{ mx = .big.example }}\nwarmup test {{ {curve} }}\n"

    def engine(self, *arguments, **settings):
        self.text = self.config(*arguments, **settings)
        return self.house.start(house.Engine(self.house, "engine", self.text))

    def sluice(self, *arguments, code=0, command="warmup"):
        done = subprocess.run([house.programs["sluice"], command, *arguments, "-c", self.house.path("engine.conf")],
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr or done.stdout

    def show(self, *which):
        return {row["isp"]: row for row in map(json.loads, self.sluice("show", "--json", *which).splitlines())}

    def history(self, counter):
        """By day: stage, cap and what was granted of it, as Redis remembers; today's record is one of them."""
        client = self.house.client()
        found = client("HGET", "sluice:warmup:s1", counter)
        days = {}
        if found:
            words = found.split()
            days[int(words[3])] = (int(words[2]), None, int(words[4]))
        for item in (client("HGET", "sluice:warmup:s1", counter + "/history") or "").split():
            day, stage, cap, granted = item.split(":")[:4]
            days[int(day)] = (int(stage), int(cap), int(granted))
        return days

    def seen_by_day(self, sink, isp):
        rows = [row for row in sink.started() if row["isp"] == isp and row["source"].startswith("127.0.1.1")]
        return collections.Counter(int(row["time_us"]) // (DAY_S * 1000000) for row in rows)

    def ops(self):
        entries = [entry[1] for entry in self.house.client()("XRANGE", "sluice:ops", "-", "+")]
        return [dict(zip(entry[::2], entry[1::2])) for entry in entries if "warmup" in entry]

    def test_days_follow_the_curve_across_a_kill(self):
        caps = {1: 10, 2: 20, 3: 40, 4: 80, 5: 160}
        sink = self.house.isps(big="", small="")
        engine = self.engine("caps = {10, 20, 40, 80, 160}  gate = none  advance = calendar  isp other { caps = {5, 5, 5, 5, 9} }",
                             f"{DAY_S}s")
        c = self.house.campaign("w").create().push([f"u{i}@big.example" for i in range(5000)])
        c.push([f"u{i}@small.example" for i in range(500)]).announce()
        wait_until(lambda: len(self.history("big")) >= 2, "the first day to end")
        wait_until(lambda: self.seen_by_day(sink, "big")[max(self.history("big"))] >= 5, "the second to have begun")
        engine.kill()
        engine.start()
        wait_until(lambda: len(self.history("big")) >= 4, "the third day to end")
        engine.end()
        for isp, counter, cap_of in (("big", "big", caps), ("small", "other", {1: 5, 2: 5, 3: 5, 4: 5, 5: 9})):
            seen, days = self.seen_by_day(sink, isp), self.history(counter)
            self.assertEqual(set(seen) - set(days), set())
            first, *others = sorted(days)
            for day, (stage, cap, granted) in days.items():
                self.assertEqual(stage, min(day - first + 1, 5))  # each day is a step
                if cap is not None:
                    self.assertEqual(cap, cap_of[stage])
                self.assertLessEqual(granted, cap_of[stage])
                self.assertLessEqual(seen[day], granted)
            # So short a day has no time for all of its cap, but one that is whole and without a kill for more than half.
            self.assertTrue(any(seen[day] > days[day][2] // 2 for day in others), (isp, seen, days))
        self.assertEqual([o["to"] for o in self.ops() if o["isp"] == "big"][:4], ["1", "2", "3", "4"])
        plot = self.sluice("plot", "s1", "big").splitlines()
        # "#" is what was accepted: of a day that ends with a kill nobody may have been left to report it.
        self.assertRegex(plot[2], r"1 of 5 +10 +10 +10 +[0-9]+ +[#+]+")
        self.assertRegex(plot[4], r"3 of 5 +40 +40 +40 +[0-9]+ +[#+]+")
        report = sink.report()
        self.assertEqual(report["violation_total"], 0, report)
        self.check_audit(c, len(self.history("big")) + len(self.history("other")))

    def check_audit(self, c, days):
        """Every day kept its cap; with as many events more of one day as the largest cap is, it did not."""
        audit = json.loads(self.sluice("w", "--json", command="audit"))
        self.assertEqual((audit["exceeded"], audit["days_exceeded"]), (0, 0), audit)
        # For each of two ISPs the first may have begun just before it ended, and the last may have had no start yet.
        self.assertTrue(days - 4 <= len(audit["days"]) <= days, (audit["days"], days))
        self.assertEqual([day for day in audit["days"] if not day["known"] or day["starts"] > day["cap"]], [])
        event = next(e for e in c.events() if e["source"] == "s1" and e["isp"] == "big")
        pairs = [x for k in ("type", "seq", "source", "isp", "started", "final") for x in (k, event[k])]
        for i in range(160):
            c.redis("XADD", c.key("events"), "*", *pairs)
        said = self.sluice("w", command="audit", code=1)
        self.assertRegex(said, r"s1 +big +.* +EXCEEDED: [0-9]+ too many")
        self.assertIn("of these exceeded their cap", said)

    def test_what_is_too_much_goes_to_the_warm_source(self):
        sink = self.house.isps(big="")
        self.engine("caps = {3}  gate = none", "1h", warm=1)
        c = self.house.campaign("spill").create(sealed="1").push([f"u{i}@big.example" for i in range(300)]).announce()
        c.wait_for("done")
        by_source = collections.Counter(row["source"].split(":")[0] for row in sink.started())
        self.assertLessEqual(by_source["127.0.1.1"], 3)
        self.assertEqual(sum(by_source.values()), 300)

    def test_by_hand(self):
        self.house.isps(big="", small="")
        self.engine("caps = {10000000, 20000000}  gate = none", "23h")
        self.assertIn("no warm-up has begun", self.sluice("show"))
        c = self.house.campaign("h").create().push([f"u{i}@big.example" for i in range(20)]).announce()
        c.wait_count(20, "delivered")
        wait_until(lambda: self.show()["big"]["accepted"] == 20, lambda: f"the counts to be told: {self.show()}")
        row = self.show()["big"]
        self.assertEqual((row["day"], row["days"], row["cap"], row["state"]), (1, 2, 10000000, "running"))
        self.assertLessEqual(20, row["used"])
        self.assertEqual(row["next_reason"], "little-volume")
        text = self.sluice("show", "s1", "big")
        self.assertRegex(text, r"s1 +big +day 1 of 2 +[0-9,]+ of 10,000,000 used +running +"
                               r"stays until 9,000,000 are accepted in a day \(today 20\), then day 2 with 20,000,000")
        self.assertIn("is at", self.sluice("set-day", "s1", "big", "2").replace("is running at", "is at"))
        self.assertEqual(self.show()["big"]["day"], 2)
        self.assertIn("the curve of big has 2 days", self.sluice("set-day", "s1", "big", "3", code=1))
        self.assertIn("no day on which it is done", self.sluice("set-day", "s1", "big", "done", code=1))
        self.assertIn("warmed up are s1", self.sluice("show", "s9", code=1))
        self.assertIn("gmial is no isp of the configuration", self.sluice("show", "s1", "gmial", code=1))
        self.sluice("set-day", "s1", "big", "zero", code=2)
        self.sluice("walk", code=2)
        self.sluice("pause", "s1")  # all its counters: also of ISPs that it has not sent to
        self.assertEqual({row["state"] for row in self.show().values()}, {"paused"})
        self.assertEqual(set(self.show()), {"big", "other"})
        time.sleep(1.5)  # an engine may still have a piece for the counter that it knew as running
        before = c.count("delivered")
        c.push([f"v{i}@big.example" for i in range(5)] + [f"v{i}@small.example" for i in range(5)]).announce()
        time.sleep(2)
        self.assertEqual(before, 20)
        self.assertLessEqual(c.count("delivered"), before + 5)  # none to `other`, which never had a piece
        paused = c.count("delivered")
        plot = self.sluice("plot", "s1", "big")
        self.assertRegex(plot, r"DATE +DAY +PLANNED +CAP +USED +ACCEPTED")
        self.assertIn("paused by hand", plot)
        self.assertIn("is running at day 2 of 2", self.sluice("resume", "s1/big"))
        self.assertIn("s1/other", self.sluice("resume", "s1"))
        self.assertIn("nothing of it is paused", self.sluice("resume", "s1"))
        c.wait_count(30, "delivered")
        self.assertGreater(30, paused)
        reasons = [o["warmup"] for o in self.ops() if o["isp"] == "big"]
        self.assertEqual(reasons, ["began", "set-by-hand", "paused-by-hand", "resumed-by-hand"])


if __name__ == "__main__":
    house.main()
