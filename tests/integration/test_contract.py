#!/usr/bin/env python3
"""The public contract of a campaign in Redis, as producers and consumers see it.

usage: test_contract.py SLUICE SLUICE-SINK [unittest's options]
"""
import os
import time
import urllib.error
import urllib.request

import house
from house import Redis, judge, wait_until

BRIEF = {"type", "seq", "id", "to", "source", "isp", "status", "code", "ms", "started", "attempt", "final"}
FULL = {"stage", "reply", "mx", "ip", "bytes", "message_id"}
SINK = """
    rcpt { match = gone reply = "550 5.1.1 no such user" }
    rcpt { match = later reply = "450 4.2.0 not now" first = 1 }
"""


class Contract(house.Case):
    def test_a_campaign_from_start_to_done(self):
        sink = self.house.isps(big=SINK, small="")
        c = self.house.campaign("Spring-1.x_y")
        self.house.engine("isp big { mx = {.big.example} }\n defaults { retry = {1s} }")
        ops = lambda: [entry[1] for entry in c.redis("XRANGE", "sluice:ops", "-", "+") if c.name in entry[1]]
        c.announce().wait_for("incomplete")
        self.assertEqual(ops(), [])
        c.push([{"to": f"u{i}@big.example", "name": f"N{i}", "id": str(100 + i)} for i in range(500)])
        c.push([f"u{i}@small.example" for i in range(500)]).push(["gone@big.example", "later@big.example"])
        self.assertEqual(c.count(), 0)
        before_us = time.time() * 1e6
        c.create().announce().wait_count(1002, "delivered", "bounced").wait_for("idle")
        events = judge(self, c, 1002, sink)
        self.assertEqual(c.totals(), {"delivered": 1001, "bounced": 1, "deferred": 1})
        first = events[0][0]
        self.assertEqual(set(first) - {"stream"}, BRIEF)
        self.assertEqual((first["id"], first["to"], first["isp"]), ("100", "u0@big.example", "big"))
        self.assertEqual((first["status"], first["code"], first["attempt"], first["final"]), ("2.0.0", "250", "1", "1"))
        self.assertIn(first["source"], ("127.0.1.1", "127.0.1.2"))
        self.assertTrue(before_us < int(first["started"]) < time.time() * 1e6)
        self.assertTrue(before_us / 1000 - 1 < int(first["stream"].split("-")[0]) < time.time() * 1000)
        gone, = events[1000]
        self.assertEqual(set(gone) - {"stream"}, (BRIEF - {"id"}) | {"class", "kind", "rule"} | FULL)
        self.assertEqual((gone["type"], gone["stage"], gone["class"], gone["kind"], gone["code"], gone["status"]),
                         ("bounced", "rcpt", "bad-mailbox", "hard", "550", "5.1.1"))
        self.assertEqual((gone["reply"], gone["mx"], gone["ip"]), ("no such user", "mx.big.example", "127.20.1.1"))
        deferred, delivered = events[1001]
        self.assertEqual((deferred["type"], deferred["final"], deferred["kind"]), ("deferred", "0", "soft"))
        self.assertEqual((delivered["type"], delivered["attempt"]), ("delivered", "2"))
        self.assertGreaterEqual(int(delivered["started"]), int(deferred["next_at"]) * 1000)
        self.assertEqual(delivered["source"], deferred["source"])  # a retry prefers its last source
        # Pushed while it is idle, then sealed.
        c.push(["more@small.example"] * 2).announce().wait_count(1004, "delivered", "bounced")
        c.set(sealed="1").wait_for("done")
        judge(self, c, 1004, sink)
        status = c.status()
        self.assertEqual((status["taken"], status["trimmed"], status["reason"]), ("1004", "1004", ""))
        self.assertLessEqual(int(status["started_at"]), int(status["done_at"]))
        self.assertEqual([entry[entry.index("phase") + 1] for entry in ops()], ["sending", "done"])
        wait_until(lambda: c.redis("SISMEMBER", "sluice:campaigns", c.name) == 0, "the campaign to leave the set")
        for key in c.keys():
            self.assertTrue(29 * 86400 < c.redis("TTL", c.key(key)) <= 30 * 86400, key)

    def test_full_events(self):
        sink = self.house.isps(big="")
        self.house.engine()
        c = self.house.campaign("full").create(events="full", sealed="1").push(["ann@big.example"]).announce()
        c.wait_for("done")
        (event,), = judge(self, c, 1, sink).values()
        self.assertEqual(set(event) - {"stream"}, (BRIEF - {"id"}) | FULL)
        self.assertEqual((event["stage"], event["mx"], event["ip"]), ("body", "mx.big.example", "127.20.1.1"))
        self.assertEqual(event["bytes"], sink.accepted("full")[0]["bytes"])
        self.assertTrue(event["message_id"].startswith("<full.0."), event)

    def test_keys_expire_after_keep(self):
        self.house.isps(big="")
        self.house.engine()
        c = self.house.campaign("brief-life").create(sealed="1", keep="3").push(["ann@big.example"] * 20).announce()
        wait_until(lambda: c.count("delivered") == 20, "the campaign")
        wait_until(lambda: c.keys() == set(), "all its keys to expire")
        wait_until(lambda: c.redis("SMEMBERS", "sluice:campaigns") == [], "it to leave the set")

    def test_a_done_campaign_goes_on_when_more_is_pushed(self):
        sink = self.house.isps(big="")
        self.house.engine(poll="1m")
        c = self.house.campaign("again").create(sealed="1").push(["ann@big.example"] * 20).announce().wait_for("done")
        c.push(["bob@big.example"] * 30).announce().wait_count(50, "delivered")
        c.wait_for("done", patience_s=30)  # the wake is enough: the engine lists campaigns once a minute
        judge(self, c, 50, sink)
        self.assertEqual(c.status()["taken"], "50")
        for key in c.keys():
            self.assertGreater(c.redis("TTL", c.key(key)), 0)

    def test_a_wake_starts_an_idle_engine(self):
        self.house.isps(big="")
        self.house.engine(poll="1m")
        first = self.house.campaign("first").create().push(["ann@big.example"])
        self.house.campaign("before").create().push(["ann@big.example"]).announce().wait_count(1, patience_s=30)
        first.redis("SADD", "sluice:campaigns", "first")  # not announced: the engine sleeps for a minute
        second = self.house.campaign("second").create().push(["ann@big.example"]).announce()
        second.wait_count(1, patience_s=30)
        first.wait_count(1, patience_s=30)  # the look that the wake caused shows it too

    def test_its_end_is_told_once(self):
        """Though the engine looks at it every half second, and hears of its leaving the set only after a minute."""
        self.house.isps(big="")
        self.house.engine(poll="1m")
        c = self.house.campaign("ended").create(sealed="1").push(["ann@big.example"] * 5).announce().wait_for("done")
        time.sleep(2.5)
        ops = [entry[1] for entry in c.redis("XRANGE", "sluice:ops", "-", "+")]
        self.assertEqual([entry[entry.index("phase") + 1] for entry in ops], ["sending", "done"])

    def test_several_campaigns_at_once(self):
        sink = self.house.isps(big="latency { body = 1ms..4ms }", small="")
        self.house.engine()
        campaigns = []
        for i in range(12):
            c = self.house.campaign(f"many-{i}").create(sealed="1", text=f"To {{{{name}}}} of {i}.")
            c.push([{"to": f"u{j}@{'big' if j % 3 else 'small'}.example", "name": str(j)} for j in range(150)])
            campaigns.append(c)
        for c in campaigns:
            c.announce()
        for c in campaigns:
            c.wait_for("done")
            judge(self, c, 150, sink)
            self.assertEqual(c.totals(), {"delivered": 150})

    def test_two_pools_and_the_engine_chooses_sources_of_the_campaigns_own(self):
        sink = self.house.isps(big="")
        self.house.engine("pool other { source 127.0.2.1 { ehlo = o.shop.example name = north } }", default_pool="main")
        a = self.house.campaign("a").create(sealed="1", pool=None).push(["ann@big.example"] * 40).announce()
        b = self.house.campaign("b").create(sealed="1", pool="other").push(["ann@big.example"] * 40).announce()
        for c, addresses, names in ((a, {"127.0.1.1", "127.0.1.2"}, {"127.0.1.1", "127.0.1.2"}),
                                    (b, {"127.0.2.1"}, {"north"})):
            c.wait_for("done")
            judge(self, c, 40, sink)
            self.assertLessEqual({row["source"] for row in sink.accepted(c.name)}, addresses)
            self.assertLessEqual({event["source"] for event in c.events()}, names)

    def test_the_embedded_redis(self):
        sink = self.house.isps(big="")
        engine = self.house.engine(redis="")
        path = os.path.join(self.house.path("state"), "redis.sock")
        c = self.house.campaign("private", self.house.client(path)).create(sealed="1")
        c.push([f"u{i}@big.example" for i in range(300)]).announce().wait_for("done")
        judge(self, c, 300, sink)
        self.assertEqual(c.redis("CONFIG", "GET", "appendonly")[1], "yes")
        self.assertEqual(engine.end(), 0)
        self.assertRaises(OSError, Redis, path)
        engine.start()
        again = self.house.campaign("private", self.house.client(path))
        judge(self, again, 300, sink)
        again.push(["more@big.example"]).announce().wait_count(301)
        judge(self, again.wait_for("done"), 301, sink)

    def test_another_prefix_sees_nothing(self):
        self.house.isps(big="")
        self.house.engine(prefix="other")
        c = self.house.campaign("c").create().push(["ann@big.example"]).announce()
        wait_until(lambda: c.redis("EXISTS", "other:engine:engine"), "the engine's heartbeat")
        self.assertEqual(c.redis("EXISTS", "sluice:engine:engine"), 0)
        self.assertEqual((c.status(), c.totals()), ({}, {}))

    def test_health_and_metrics(self):
        self.house.isps(big="")
        port = house.free_port()
        self.house.engine(http=f"127.0.0.1:{port}")
        c = self.house.campaign("seen").create(sealed="1").push(["ann@big.example"] * 25).announce().wait_for("done")

        def read(path):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                    return answer.read().decode()
            except urllib.error.HTTPError as error:
                self.assertEqual(error.code, 503)
                return ""
        wait_until(lambda: read("/health"), "the engine to be healthy")  # it publishes once a second
        metrics = read("/metrics").splitlines()
        self.assertIn('sluice_messages_total{event="delivered"} 25', metrics)
        self.assertEqual(c.totals(), {"delivered": 25})
        self.house.redis_server.kill()
        wait_until(lambda: not read("/health"), "the engine to be ill without Redis")


if __name__ == "__main__":
    house.main()
