#!/usr/bin/env python3
"""A Redis that is killed and comes back without what it acknowledged last: the engine does it again, and nobody is lost
or has the message twice without a word.

usage: test_replay.py SLUICE SLUICE-SINK [unittest's options]
"""
import os
import shutil
import time

import house
from house import judge, wait_until

RECIPIENTS = 9000
MANNERS = {"big": "latency { mail = 0ms..2ms  body = 1ms..6ms }",
           "moody": "latency { body = 0ms..5ms }\nrcpt { reply = \"450 4.2.0 not now\" percent = 3 }"}


def recipients():
    names = list(MANNERS)
    return [{"to": f"u{i}@{names[i % 2]}.example"} for i in range(RECIPIENTS)]


class Forgetful(house.Case):
    def forget(self, server, c, seconds):
        """Kills redis-server, and puts back its append-only file as it was some time before."""
        file, copy = os.path.join(server.directory, "appendonlydir"), os.path.join(server.directory, "copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(file, copy)
        time.sleep(seconds)
        before = c.count("delivered")
        server.kill()
        shutil.rmtree(file)
        os.rename(copy, file)
        server.start()
        c.redis = self.house.client()
        return before - c.count("delivered")

    def test_what_redis_forgot_is_done_again(self):
        server = self.house.redis_server
        sink = self.house.isps(**MANNERS)
        self.house.engine("defaults { connections = 4  retry = {200ms}  expire = 1h }", shards=2)
        c = self.house.campaign("again").create(sealed="1").push(recipients()).announce()
        wait_until(lambda: c.count("delivered") >= RECIPIENTS // 4, lambda: f"a part of the campaign: {c.totals()}")
        forgotten = self.forget(server, c, 0.5)
        c.wait_for("done")
        self.assertGreater(forgotten, 0, "Redis forgot nothing: the test tests nothing")
        judge(self, c, RECIPIENTS, sink)
        self.assertEqual(c.totals().get("in_doubt", 0), 0)
        self.assertEqual(len(sink.accepted(c.name)), RECIPIENTS)


if __name__ == "__main__":
    house.main()
