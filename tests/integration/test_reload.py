#!/usr/bin/env python3
"""SIGHUP with another configuration: a good one is in force at once, a bad one changes nothing, and mail goes on.

usage: test_reload.py SLUICE SLUICE-SINK [unittest's options]
"""
import signal

import house
from house import wait_until

TAKEN = 'msg="the configuration was read again"'
REFUSED = "all stay as they were"
BIG = "isp big {{ mx = .example  rate = {}/s  connections = 4 }}"


class Reload(house.Case):
    def world(self):
        self.house.dns("big IN MX 10 mx.big\nmx.big IN A 127.20.1.1\n")
        return self.house.sink("isp big {\n listen = {127.20.1.1:PORT}\n}")

    def rewrite(self, engine, config, **settings):
        """As an editor does it, and tells the engine."""
        self.house.write("engine.conf", self.house.engine_config(config, **settings))
        count = engine.read_log().count(TAKEN) + engine.read_log().count(REFUSED)
        engine.send(signal.SIGHUP)
        wait_until(lambda: engine.read_log().count(TAKEN) + engine.read_log().count(REFUSED) > count, "an answer")

    def test_limits_sources_and_bad_files(self):
        self.world()
        engine = self.house.engine(BIG.format(1))
        c = self.house.campaign("c1")
        c.create(sealed=1).push([f"user{i}@big.example" for i in range(1500)]).announce().wait_count(2)
        self.rewrite(engine, BIG.format("many"))
        self.assertIn("engine.conf:", engine.read_log())
        self.assertIn("rate", engine.read_log())
        self.assertNotIn(TAKEN, engine.read_log())
        self.rewrite(engine, BIG.format(1), smtp_port=26, shards=1)
        engine.wait_log('keys="shards, smtp_port"')
        self.rewrite(engine, BIG.format(1), sources=3)
        # At two a second this would take twelve minutes.
        self.rewrite(engine, BIG.format(500), sources=3)
        c.wait_for("done")
        self.assertEqual(c.totals(), {"delivered": 1500})
        self.assertEqual(engine.end(), 0)

    def test_again_and_again_while_mail_goes_out(self):
        self.world()
        engine = self.house.engine(BIG.format(200))
        c = self.house.campaign("c1")
        c.create(sealed=1).push([f"user{i}@big.example" for i in range(3000)]).announce().wait_count(1)
        for i in range(12):
            self.rewrite(engine, BIG.format(200 + 100 * (i % 3)) if i % 2 else "", sources=2 + i % 3)
        self.assertEqual(engine.read_log().count(REFUSED), 0)
        c.wait_for("done")
        self.assertEqual(c.totals(), {"delivered": 3000})
        self.assertEqual(engine.end(), 0)


if __name__ == "__main__":
    house.main()
