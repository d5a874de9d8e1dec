#!/usr/bin/env python3
"""Nothing is lost and nothing is sent twice unknowingly, whatever is killed when.

usage: test_crash.py SLUICE SLUICE-SINK [unittest's options]
"""
import collections
import os
import random
import signal
import subprocess
import time

import house
from house import judge, wait_until

# Slow enough that a kill finds messages at every stage, quick enough for a test.
MANNERS = {"big": "latency { mail = 0ms..2ms  rcpt = 0ms..2ms  body = 1ms..10ms }",
           "plain": "pipelining = false  latency { rcpt = 0ms..1ms  body = 0ms..4ms }",
           "moody": "latency { body = 0ms..5ms }\n"
                    "rcpt { reply = \"450 4.2.0 not now\" percent = 2 }\n"
                    "rcpt { reply = \"550 5.1.1 no such user\" percent = 2 sticky = true }\n"
                    "data { action = reset percent = 0.1 }"}
SESSIONS = 5 * 2 * 3  # connections, sources, ISPs
CONFIG = "defaults { connections = 5  retry = {100ms}  expire = 1h }"


def recipients(n):
    names = list(MANNERS)
    return [{"to": f"u{i}@{names[i % 3]}.example", "name": f"N{i}"} for i in range(n)]


def doubts(campaign):
    return campaign.totals().get("in_doubt", 0)


class Killed(house.Case):
    def kill_often(self, engine, campaign, n, kills, draw):
        """Kills the engine each time another part of the campaign is through, at moments drawn by lot."""
        for i in range(kills):
            wait_until(lambda: campaign.count("delivered", "bounced", "in_doubt") >= n * (i + 1) // (kills + 3),
                       lambda: f"part {i} of the campaign: {campaign.totals()}, {campaign.status()}")
            time.sleep(draw.random() * 0.1)
            before = doubts(campaign)
            engine.kill()
            engine.start()
            # What the crash left in doubt is told before much else is done.
            self.assertLessEqual(doubts(campaign) - before, 3 * SESSIONS)
        self.assertLessEqual(doubts(campaign), 3 * SESSIONS * kills)

    def prepare(self, name, n, **fields):
        seed = 20261
        print(f"seed {seed}", end=" ", flush=True)
        sink = self.house.isps(**MANNERS)
        engine = self.house.engine(CONFIG)
        campaign = self.house.campaign(name).create(sealed="1", **fields).push(recipients(n)).announce()
        return sink, engine, campaign, random.Random(seed)

    def test_doubts_are_held(self):
        n, kills = 20000, 12
        sink, engine, c, draw = self.prepare("held", n)
        self.kill_often(engine, c, n, kills, draw)
        wait_until(lambda: c.status().get("reason") == "recipients in doubt are held" or c.status()["phase"] == "done",
                   lambda: f"the end: {c.status()}, {c.totals()}")
        events = judge(self, c, n, sink, open_doubt=True)
        held = [own for own in events.values() if own[-1]["type"] == "in_doubt"]
        self.assertGreater(len(held), 0, "no kill found a body under way: the test tests nothing")
        self.assertEqual(len(held), doubts(c))
        self.assertEqual(c.redis("LLEN", c.key("held")), len(held))
        self.assertEqual(c.status()["phase"], "waiting")
        self.assertEqual(engine.starts, kills + 1)

    def test_doubts_are_sent_again(self):
        n, kills = 6000, 5
        sink, engine, c, draw = self.prepare("resent", n, in_doubt="resend")
        self.kill_often(engine, c, n, kills, draw)
        c.wait_for("done")
        judge(self, c, n, sink)
        self.assertEqual(c.count("delivered", "bounced"), n)
        self.assertGreater(doubts(c), 0)

    def test_doubts_are_dropped(self):
        n, kills = 6000, 5
        sink, engine, c, draw = self.prepare("dropped", n, in_doubt="drop")
        self.kill_often(engine, c, n, kills, draw)
        c.wait_for("done")
        judge(self, c, n, sink)
        self.assertEqual(c.count("delivered", "bounced", "in_doubt"), n)
        self.assertGreater(doubts(c), 0)

    def test_with_the_embedded_redis(self):
        """It gets SIGTERM when the engine dies, and the next engine waits for its end."""
        n, kills = 3000, 3
        sink = self.house.isps(**MANNERS)
        engine = self.house.engine(CONFIG, redis="")
        path = os.path.join(self.house.path("state"), "redis.sock")
        c = self.house.campaign("private", self.house.client(path)).create(sealed="1").push(recipients(n)).announce()
        for i in range(kills):
            c.wait_count(n * (i + 1) // (kills + 2))
            engine.kill()
            engine.start()
            c.redis = self.house.client(path)
        wait_until(lambda: c.status().get("reason") == "recipients in doubt are held" or c.status()["phase"] == "done",
                   lambda: f"the end: {c.status()}, {c.totals()}")
        judge(self, c, n, sink, open_doubt=True)

    def test_attempts_and_due_times_survive(self):
        sink = self.house.isps(big="rcpt { reply = \"450 4.2.0 later\" first = 3 }", small="")
        engine = self.house.engine("defaults { retry = {2s}  expire = 1h }")
        c = self.house.campaign("retried").create(sealed="1").push(["ann@big.example"]).announce()
        for number in (1, 2, 3):
            c.wait_count(number, "deferred")
            due = c.redis("ZRANGE", c.key("retry"), "0", "0", "WITHSCORES")
            engine.kill()
            engine.start()
            self.assertIn(c.redis("ZRANGE", c.key("retry"), "0", "0", "WITHSCORES"), (due, []))
        c.wait_for("done")
        own, = judge(self, c, 1, sink).values()
        self.assertEqual([e["attempt"] for e in own], ["1", "2", "3", "4"])
        for before, after in zip(own, own[1:]):
            self.assertGreaterEqual(int(after["started"]), int(before["next_at"]) * 1000)


class Asked(house.Case):
    """SIGTERM."""

    def test_the_rest_is_given_back_and_nothing_doubled(self):
        n = 8000
        sink = self.house.isps(**MANNERS)
        engine = self.house.engine(CONFIG, shutdown="60s")
        c = self.house.campaign("asked").create(sealed="1").push(recipients(n)).announce()
        for i in range(5):
            c.wait_count(n * (i + 1) // 8, "delivered")
            self.assertEqual(engine.end(), 0)
            given_back = c.redis("HVALS", c.key("leases"))
            self.assertTrue(all(lease.startswith("- ") for lease in given_back), given_back)
            for key in ("sluice:engine:engine", "sluice:source:127.0.1.1", "sluice:source:127.0.1.2"):
                self.assertEqual(c.redis("EXISTS", key), 0, key)
            engine.start()
        c.wait_for("done")
        judge(self, c, n, sink)
        self.assertEqual(c.count("delivered", "bounced"), n)
        # A reset tells nothing of a message whose body was on its way; nothing else may be in doubt.
        self.assertEqual(collections.Counter(row["seq"] for row in sink.accepted(c.name)).most_common(1)[0][1], 1)

    def silent_at_the_dot(self, **fields):
        sink = self.house.isps(deaf="body { action = silence  accept = true }", small="")
        c = self.house.campaign("deaf").create(sealed="1", **fields).push([f"u{i}@deaf.example" for i in range(100)])
        return sink, c

    def test_no_reply_by_then_is_in_doubt(self):
        sink, c = self.silent_at_the_dot()
        engine = self.house.engine("defaults { connections = 2 }", shards=1, shutdown="1s")
        c.announce()
        wait_until(lambda: len(sink.accepted()) == 4, "four messages")
        self.assertEqual(engine.end(), 0)
        self.assertEqual(c.totals(), {"in_doubt": 4})
        self.assertEqual({e["seq"] for e in c.events()}, {row["seq"] for row in sink.accepted()})
        self.assertTrue(all(e["final"] == "0" and e["rule"] == "timeout" for e in c.events()), c.events())
        self.assertEqual(c.redis("LLEN", c.key("held")), 4)

    def test_who_watches_is_told_of_those_held(self):
        """`sluice send` does not wait for ever for what only people can decide."""
        sink, _ = self.silent_at_the_dot()
        engine = self.house.engine("defaults { connections = 2 }", shards=1, shutdown="1s")
        config = ["-c", self.house.path("engine.conf")]
        body, to = self.house.write("body.txt", "Dear {{name}}\n"), self.house.write("to.csv", "to\na@deaf.example\n")
        send = subprocess.Popen([house.programs["sluice"], "send", *config, "--campaign", "watched", "--subject", "Hi",
                                 "--from", "news@shop.example", "--text", body, "--to", to],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: len(sink.accepted()) == 1, "the message")
        self.assertEqual(engine.end(), 0)
        self.assertIsNone(send.poll())
        engine.start()
        out, err = send.communicate(timeout=house.PATIENCE_S)
        self.assertEqual(send.returncode, 1, err)
        self.assertIn("campaign watched: waiting, 1 recipients, in_doubt 1", out)
        self.assertIn("campaign watched waits: 1 in doubt are held", err)
        shown = subprocess.run([house.programs["sluice"], "campaign", "show", "watched", *config], check=True,
                               capture_output=True, text=True).stdout
        self.assertRegex(shown, r"phase +waiting \(recipients in doubt are held\)")
        self.assertRegex(shown, r"held +1 ")

    def test_a_second_signal_ends_it_at_once(self):
        sink, c = self.silent_at_the_dot()
        engine = self.house.engine("defaults { connections = 2 }", shards=1, shutdown="1h")
        c.announce()
        wait_until(lambda: len(sink.accepted()) == 4, "four messages")
        engine.send(signal.SIGTERM)
        engine.wait_log("asked to end")
        time.sleep(1)
        self.assertTrue(engine.running())
        self.assertEqual(engine.end(), 0)
        self.assertEqual(c.totals(), {"in_doubt": 4})

    def test_an_idle_engine_ends(self):
        self.house.isps(big="")
        engine = self.house.engine(shutdown="1h")
        c = self.house.campaign("quiet").create().push(["ann@big.example"]).announce().wait_for("idle")
        self.assertEqual(engine.end(signal.SIGINT), 0)
        self.assertEqual(c.totals(), {"delivered": 1})


if __name__ == "__main__":
    house.main()
