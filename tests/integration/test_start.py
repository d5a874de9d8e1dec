#!/usr/bin/env python3
"""An engine that cannot start says in one sentence what is wrong and what to do, and harms nobody.

usage: test_start.py SLUICE SLUICE-SINK [unittest's options]
"""
import os
import resource
import socket
import subprocess

import house
from house import judge, wait_until


class Start(house.Case):
    def refused(self, config, code=1, **options):
        """Runs the engine to its end and returns what it said on standard error."""
        path = self.house.write("refused.conf", config)
        ended = subprocess.run([house.programs["sluice"], "run", "-c", path], capture_output=True, text=True,
                               timeout=house.PATIENCE_S, stdin=subprocess.DEVNULL, **options)
        self.assertEqual(ended.returncode, code, ended.stderr)
        self.assertEqual(ended.stdout, "")
        self.assertLess(len(ended.stderr.splitlines()), 6, ended.stderr)
        return ended.stderr

    def config(self, config="", **settings):
        return self.house.engine_config(config, redis="unix:/nonexistent/redis.sock", **settings)

    def test_a_source_that_is_not_this_machines(self):
        said = self.refused(self.config("pool far { source 203.0.113.77 { ehlo = far.shop.example name = far } }"))
        self.assertIn("203.0.113.77", said)
        self.assertIn("far", said)
        self.assertIn("not an address of this machine", said)
        self.assertNotIn("127.0.1.1", said)

    def test_http_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            said = self.refused(self.config(http=f"127.0.0.1:{port}"))
        for word in ("http", "127.0.0.1", str(port), "in use"):
            self.assertIn(word, said)

    def test_wrong_configurations(self):
        good = self.config()
        line = len(good.splitlines())
        for wrong, words in (("rote = 5/s\n", ["rote", f":{line + 1}:"]),
                             ("defaults { connections = 0 }\n", ["connections", "1", f":{line + 1}:"]),
                             ("defaults { rate = fast }\n", ["rate", f":{line + 1}:"]),
                             ("isp a { mx = {.a.example} }\nisp b { mx = {.a.example} }\n", [".a.example"]),
                             ("pool main { source 127.0.1.9 { ehlo = x.example } }\n", ["main"]),
                             ("defaults { connections = 5\n", ["refused.conf"]),
                             ("poll = 1s\n", ["poll", "twice"])):
            said = self.refused(good + wrong)
            for word in ["refused.conf", *words]:
                self.assertIn(word, said, wrong)

    def test_a_configuration_that_is_not_there(self):
        ended = subprocess.run([house.programs["sluice"], "run", "-c", "/nonexistent/sluice.conf"], capture_output=True,
                               text=True, timeout=house.PATIENCE_S)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("/nonexistent/sluice.conf", ended.stderr)

    def test_no_pool(self):
        lines = [line for line in self.config().splitlines() if not line.startswith("pool")]
        self.assertIn("pool", self.refused("\n".join(lines) + "\n"))

    def test_too_few_descriptors(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
        said = self.refused(self.config(sessions_max=4000), preexec_fn=limit)
        self.assertIn("descriptors", said)
        self.assertIn("ulimit -n", said)
        self.assertIn("sessions_max", said)

    def test_a_state_directory_that_cannot_be(self):
        self.house.write("file", "not a directory")
        said = self.refused(self.config(state_dir=self.house.path("file") + "/state"))
        self.assertIn("state_dir", said)

    def test_an_embedded_redis_that_cannot_be(self):
        environment = dict(os.environ, PATH="/nonexistent")
        said = self.refused(self.house.engine_config(redis=""), env=environment)
        self.assertIn("redis-server is not installed", said)

    def test_a_second_engine_with_the_same_id(self):
        sink = self.house.isps(big="latency { body = 1ms..5ms }")
        engine = self.house.engine()
        c = self.house.campaign("c").create(sealed="1").push([f"u{i}@big.example" for i in range(3000)]).announce()
        c.wait_count(300)
        said = self.refused(self.house.engine_config())
        self.assertIn("an engine with this id runs already", said)
        self.assertTrue(engine.running())
        judge(self, c.wait_for("done"), 3000, sink)
        self.assertEqual(c.totals(), {"delivered": 3000})

    def test_two_engines_share_a_redis_but_no_source(self):
        sink = self.house.isps(big="latency { body = 1ms..5ms }")
        first = self.house.engine(name="one", state_dir=self.house.path("state-one"))
        c = self.house.campaign("c").create(sealed="1")
        c.push([f"u{i}@big.example" for i in range(300)]).announce().wait_for("done")
        second = self.house.engine(name="two", state_dir=self.house.path("state-two"))
        second.wait_log("source works on another engine")
        self.assertEqual([c.redis("GET", f"sluice:source:127.0.1.{i}") for i in (1, 2)], ["one", "one"])
        self.assertEqual(first.end(), 0)  # it lets go of them, and the second goes on
        c.push([f"u{i}@big.example" for i in range(300)]).announce().wait_count(600)
        judge(self, c.wait_for("done"), 600, sink)
        self.assertEqual(c.totals(), {"delivered": 600})
        self.assertTrue(second.running())


if __name__ == "__main__":
    house.main()
