#!/usr/bin/env python3
"""What crosses shards, in an engine of two: made for the build with ThreadSanitizer, and true in every build.

usage: test_threads.py SLUICE SLUICE-SINK [unittest's options]

A throttled lane belongs to one shard, so the recipients that the other one has leased are parked and come over by a
post; a lane without a limit is worked by both. Meanwhile other threads read what the shards write: /metrics, the
board, the signal that ends them. A race ends the engine with ThreadSanitizer's exit code and its report in the log.
"""
import urllib.request

import house
from house import judge, wait_until


class Threads(house.Case):
    def page(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            return answer.read().decode()

    def metric(self, name):
        return sum(float(line.split()[-1]) for line in self.page("/metrics").splitlines()
                   if line.split("{")[0].split()[0] == name)

    def test_two_shards(self):
        self.port = house.free_port()
        sink = self.house.isps(whole="", shared="")
        engine = self.house.engine("isp whole { mx = {.whole.example} rate = 100/s connections = 1 }\n"
                                   "isp shared { mx = {.shared.example} connections = 8 }\n",
                                   http=f"127.0.0.1:{self.port}")
        redis = self.house.client()
        campaigns = [self.house.campaign(f"c{i}", redis).create() for i in range(4)]
        for c in campaigns:
            c.push([f"u{i}@{'whole' if i % 2 else 'shared'}.example" for i in range(500)]).announce()
        wait_until(lambda: self.page("/status") and self.metric("sluice_posts_total") > 20, "posts between the shards")
        campaigns[0].set(state="paused")
        campaigns[0].wait_for("waiting")
        campaigns[0].set(state="running")
        for c in campaigns:
            wait_until(lambda: self.page("/metrics") and c.count("delivered") == 500, c.status)
            c.wait_for("idle")
            judge(self, c, 500, sink)
        self.assertEqual(engine.end(), 0, "SIGTERM")
        self.assertNotIn("ThreadSanitizer", engine.read_log())
        self.assertEqual(sink.end(), 0, "SIGTERM")

    def test_the_end_in_the_middle(self):
        """Both shards are asked to end while they send, and again: what is owed is in Redis, and another start goes on."""
        sink = self.house.isps(whole="", shared="")
        engine = self.house.engine("isp whole { mx = {.whole.example} rate = 100/s connections = 1 }\n"
                                   "isp shared { mx = {.shared.example} connections = 8 }\n")
        c = self.house.campaign("c").create()
        c.push([f"u{i}@{'whole' if i % 2 else 'shared'}.example" for i in range(1000)]).announce()
        for part in (100, 300):
            c.wait_count(part, "delivered")
            self.assertEqual(engine.end(), 0, "SIGTERM")
            engine.start()
        c.wait_count(1000, "delivered").wait_for("idle")
        judge(self, c, 1000, sink)
        self.assertEqual(engine.end(), 0, "SIGTERM")
        self.assertNotIn("ThreadSanitizer", engine.read_log())


if __name__ == "__main__":
    house.main()
