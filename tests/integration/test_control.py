#!/usr/bin/env python3
"""People pause, resume and cancel campaigns by HSET, while an engine sends.

usage: test_control.py SLUICE SLUICE-SINK [unittest's options]
"""
import time

import house
from house import judge, wait_until

MANNERS = {"big": "latency { body = 5ms..15ms }\n rcpt { reply = \"450 4.2.0 later\" percent = 3 }",
           "small": "latency { body = 5ms..15ms }"}
CONFIG = "defaults { connections = 5  retry = {300ms}  expire = 1h }"


def recipients(n):
    return [f"u{i}@{'small' if i % 2 else 'big'}.example" for i in range(n)]


class Control(house.Case):
    def set_and_ask_when(self, campaign, state):
        campaign.set(state=state)
        return time.time() * 1e6

    def assert_quiet_since(self, sink, at_us):
        """No MAIL came later than one second after a pause was acknowledged, nor comes now."""
        late = [row for row in sink.started() if int(row["time_us"]) > at_us + 1e6]
        self.assertEqual(late, [])

    def test_pause_and_resume(self):
        n = 6000
        sink = self.house.isps(**MANNERS)
        self.house.engine(CONFIG)
        c = self.house.campaign("paused").create(sealed="1").push(recipients(n)).announce()
        for part in (1, 2, 3):
            c.wait_count(n * part // 5, "delivered")
            at_us = self.set_and_ask_when(c, "paused")
            wait_until(lambda: c.status()["phase"] == "waiting", lambda: f"the phase: {c.status()}")
            self.assertEqual(c.status()["reason"], "paused")
            time.sleep(2)
            self.assertLess(c.count("delivered"), n)
            self.assert_quiet_since(sink, at_us)
            before = len(sink.started())
            c.set(state="running").announce()
            wait_until(lambda: len(sink.started()) > before, "it to go on")
        c.wait_for("done")
        judge(self, c, n, sink)
        self.assertEqual(c.count("delivered"), n)

    def test_a_pause_holds_across_a_crash(self):
        n = 3000
        sink = self.house.isps(**MANNERS)
        engine = self.house.engine(CONFIG)
        c = self.house.campaign("long").create(sealed="1").push(recipients(n)).announce()
        c.wait_count(n // 3, "delivered")
        at_us = self.set_and_ask_when(c, "paused")
        time.sleep(1.5)
        engine.kill()
        engine.start()
        wait_until(lambda: c.status()["phase"] == "waiting", lambda: f"the phase: {c.status()}")
        time.sleep(2)
        self.assert_quiet_since(sink, at_us)
        c.set(state="running").announce().wait_for("done")
        judge(self, c, n, sink)
        self.assertEqual(c.count("delivered"), n)  # nothing was under way when it was killed

    def test_cancel(self):
        n = 6000
        sink = self.house.isps(**MANNERS)
        self.house.engine("defaults { connections = 5  retry = {1h} }")
        c = self.house.campaign("stopped").create().push(recipients(n)).announce()
        c.wait_count(n // 4, "delivered")
        wait_until(lambda: c.redis("ZCARD", c.key("retry")), "one that waits for its retry")
        at_us = self.set_and_ask_when(c, "cancelled")
        c.wait_for("cancelled")
        self.assert_quiet_since(sink, at_us)
        events = judge(self, c, n, sink)
        self.assertEqual(c.count("delivered", "cancelled"), n)
        self.assertGreater(c.count("cancelled"), 0)
        # Those that were tried before are cancelled too, once.
        self.assertTrue(all(own[-1]["type"] in ("delivered", "cancelled") for own in events.values()))
        self.assertTrue(any(len(own) == 2 and own[-1]["type"] == "cancelled" for own in events.values()))
        self.assertEqual(c.redis("SMEMBERS", "sluice:campaigns"), [])
        ops = [entry[1] for entry in c.redis("XRANGE", "sluice:ops", "-", "+")]
        self.assertEqual([o[o.index("phase") + 1] for o in ops], ["sending", "cancelled"])

    def test_cancel_while_paused_and_before_the_start(self):
        sink = self.house.isps(**MANNERS)
        self.house.engine(CONFIG)
        early = self.house.campaign("early").create(state="cancelled").push(recipients(2500)).announce()
        paused = self.house.campaign("asleep").create(state="paused").push(recipients(2500)).announce()
        early.wait_for("cancelled")
        paused.wait_for("waiting")
        self.assertEqual(paused.totals(), {})
        paused.set(state="cancelled").announce().wait_for("cancelled")
        for c in (early, paused):
            judge(self, c, 2500, sink)
            self.assertEqual(c.totals(), {"cancelled": 2500})
        self.assertEqual(sink.started(), [])

    def test_cancel_what_is_parked(self):
        sink = self.house.isps(hole="greeting { action = silence }", small="")
        self.house.engine("defaults { connections = 1 }")
        c = self.house.campaign("stuck").create().push([f"u{i}@hole.example" for i in range(8000)])
        c.push(["ann@small.example"] * 100).announce().wait_count(100, "delivered")
        wait_until(lambda: "parked" in c.keys(), "a parked list")
        c.set(state="cancelled").announce().wait_for("cancelled")
        judge(self, c, 8100, sink)
        self.assertEqual(c.totals(), {"delivered": 100, "cancelled": 8000})

    def test_one_campaign_paused_does_not_stop_another(self):
        sink = self.house.isps(**MANNERS)
        self.house.engine(CONFIG)
        a = self.house.campaign("a").create(sealed="1", state="paused").push(recipients(2000)).announce()
        b = self.house.campaign("b").create(sealed="1").push(recipients(2000)).announce().wait_for("done")
        self.assertEqual(a.totals(), {})
        a.set(state="running").announce().wait_for("done")
        for c in (a, b):
            judge(self, c, 2000, sink)

    def test_not_before_and_not_after(self):
        sink = self.house.isps(big="rcpt { match = later reply = \"450 4.2.0 later\" }", small="")
        self.house.engine("defaults { retry = {1h} }")
        now = int(time.time())
        future = self.house.campaign("future").create(sealed="1", not_before=now + 86400)
        future.push(["ann@big.example"] * 10).announce()
        past = self.house.campaign("past").create(sealed="1", not_after=now - 5).push(["ann@big.example"] * 10)
        past.announce().wait_for("done")
        soon = self.house.campaign("soon").create(sealed="1", not_after=now + 600)
        soon.push(["later@big.example", "ann@small.example"]).announce().wait_for("done")
        self.assertEqual(past.totals(), {"expired": 10})
        self.assertEqual(soon.totals(), {"expired": 1, "delivered": 1})  # its retry would come too late
        future.wait_for("waiting")
        self.assertRegex(future.status()["reason"], r"^not_before has not come: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(future.totals(), {})
        future.set(not_before=now - 1).announce().wait_for("done")
        for c, n in ((future, 10), (past, 10), (soon, 2)):
            judge(self, c, n, sink)


if __name__ == "__main__":
    house.main()
