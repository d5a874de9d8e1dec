#!/usr/bin/env python3
"""Redis goes away and comes back; nothing is lost, and the log says so once.

usage: test_redis.py SLUICE SLUICE-SINK [unittest's options]
"""
import os
import signal
import time

import house
from house import RedisServer, judge, wait_until

AWAY, BACK = "redis is away, sending stops", "redis is back, sending goes on"


class Away(house.Case):
    def durable_redis(self):
        """Writes each command to disk before it answers, so that SIGKILL loses nothing that was acknowledged."""
        self.house.redis_server = RedisServer(self.house, "redis", "--appendfsync", "always")
        return self.house.redis_server

    def test_killed_in_mid_run(self):
        n = 9000
        redis = self.durable_redis()
        sink = self.house.isps(big="latency { body = 1ms..8ms }", small="latency { body = 1ms..8ms }")
        engine = self.house.engine("defaults { connections = 4 }", shards=1)
        c = self.house.campaign("c").create(sealed="1")
        c.push([f"u{i}@{'big' if i % 2 else 'small'}.example" for i in range(n)]).announce()
        for i in range(3):
            wait_until(lambda: c.count("delivered") >= n * (i + 1) // 6, "a part of the campaign")
            redis.kill()
            wait_until(lambda: engine.read_log().count(AWAY) == i + 1, "the engine to say that Redis is away")
            time.sleep(1)
            quiet = len(sink.started())
            time.sleep(1)
            self.assertEqual(len(sink.started()), quiet)  # sending has stopped
            self.assertTrue(engine.running())
            redis.start()
            c.redis = self.house.client()
            wait_until(lambda: engine.read_log().count(BACK) == i + 1, "the engine to say that Redis is back")
        c.wait_for("done", "waiting")
        events = judge(self, c, n, sink)
        self.assertEqual(c.totals(), {"delivered": n})  # a step whose answer was lost is repeated, not done twice
        self.assertTrue(all(len(own) == 1 for own in events.values()))
        log = engine.read_log()
        self.assertEqual((log.count(AWAY), log.count(BACK)), (3, 3))
        self.assertLess(len(log.splitlines()), 60)

    def test_frozen_in_mid_run(self):
        """SIGSTOP: the connection stays, but nothing is answered for longer than an engine may act on its own."""
        n = 4000
        redis = self.durable_redis()
        sink = self.house.isps(big="latency { body = 1ms..8ms }")
        self.house.engine("defaults { connections = 4 }")
        c = self.house.campaign("c").create(sealed="1").push([f"u{i}@big.example" for i in range(n)]).announce()
        c.wait_count(n // 4, "delivered")
        redis.send(signal.SIGSTOP)
        time.sleep(7)
        quiet = len(sink.started())
        time.sleep(1)
        self.assertEqual(len(sink.started()), quiet)
        redis.send(signal.SIGCONT)
        judge(self, c.wait_for("done"), n, sink)
        self.assertEqual(c.totals(), {"delivered": n})

    def test_away_at_the_start(self):
        redis = self.durable_redis()
        sink = self.house.isps(big="")
        c = self.house.campaign("c").create(sealed="1").push(["ann@big.example"] * 100).announce()
        redis.kill()
        engine = self.house.engine(shards=1)
        engine.wait_log(AWAY)
        time.sleep(3)
        self.assertTrue(engine.running())
        self.assertEqual(engine.read_log().count(AWAY), 1)
        self.assertLess(len(engine.read_log().splitlines()), 10)
        redis.start()
        c.redis = self.house.client()
        judge(self, c.wait_for("done"), 100, sink)
        self.assertEqual(c.totals(), {"delivered": 100})

    def test_ended_while_redis_is_away(self):
        """SIGTERM ends the engine within its limit though nobody can be told; the next one sends what is left."""
        n = 3000
        redis = self.durable_redis()
        sink = self.house.isps(big="latency { body = 1ms..8ms }")
        engine = self.house.engine("defaults { connections = 4 }", shutdown="2s")
        c = self.house.campaign("c").create(sealed="1", in_doubt="drop").push(["ann@big.example"] * n).announce()
        c.wait_count(n // 3, "delivered")
        redis.kill()
        wait_until(lambda: AWAY in engine.read_log(), "the engine to say that Redis is away")
        self.assertEqual(engine.end(), 0)
        redis.start()
        c.redis = self.house.client()
        engine.start()
        judge(self, c.wait_for("done"), n, sink)
        self.assertEqual(c.count("delivered", "in_doubt"), n)
        self.assertLessEqual(c.count("in_doubt"), 3 * 4 * 2)

    def test_the_embedded_one_is_killed(self):
        """The engine starts it again, and what it had on disk is there."""
        sink = self.house.isps(big="latency { body = 1ms..8ms }")
        engine = self.house.engine("defaults { connections = 4 }", redis="")
        path = self.house.path("state/redis.sock")
        c = self.house.campaign("c", self.house.client(path)).create(sealed="1")
        c.push([f"u{i}@big.example" for i in range(2000)]).announce().wait_for("done")
        time.sleep(2.5)  # it syncs once a second
        pid = int(next(line.split(":")[1] for line in c.redis("INFO", "server").splitlines()
                       if line.startswith("process_id:")))
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "the private redis answers again" in engine.read_log(), "the engine to start it again")
        c.redis = self.house.client(path)
        judge(self, c, 2000, sink)
        c.push(["ann@big.example"] * 50).announce().wait_count(2050)
        judge(self, c.wait_for("done"), 2050, sink)


if __name__ == "__main__":
    house.main()
