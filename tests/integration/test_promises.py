#!/usr/bin/env python3
"""Settings of Redis that do not keep what is promised are told, before the start and at it.

usage: test_promises.py SLUICE SLUICE-SINK [unittest's options]
"""
import subprocess

import house

EVERYSEC = "Redis writes to its disk once a second (appendfsync everysec)"
NO_FILE = "Redis' append-only file is off"
EVICTS = "Redis throws keys away when its memory is full (maxmemory-policy)"
UNTOLD = "Redis tells neither its state nor its settings (INFO, CONFIG GET)"
SYNC_UNTOLD = "Redis does not tell its settings (CONFIG GET)"
ALL = [EVERYSEC, NO_FILE, EVICTS, UNTOLD, SYNC_UNTOLD]


class Promises(house.Case):
    def check(self, **settings):
        """The lines of config --check about Redis."""
        path = self.house.write("check.conf", self.house.engine_config(**settings))
        ran = subprocess.run([house.programs["sluice"], "config", "-c", path, "--check"], capture_output=True, text=True,
                             timeout=house.PATIENCE_S)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertIn("check.conf: good", ran.stdout)
        return ran.stderr

    def expect(self, text, *said):
        self.assertEqual([s for s in ALL if s in text], [s for s in ALL if s in said], text)

    def restart(self, *arguments):
        server = self.house.redis_server
        server.kill()
        server.command = server.command + list(arguments)
        server.start()

    def test_at_the_start_and_at_another_process(self):
        engine = self.house.engine()
        engine.wait_log(EVERYSEC)
        self.expect(engine.read_log(), EVERYSEC)
        self.expect(self.check(), EVERYSEC)
        self.assertIn("sluice: note: ", self.check())
        self.restart("--appendonly", "no", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
        engine.wait_log(EVICTS)
        self.assertIn(f'level=warning msg="{NO_FILE}"', engine.read_log())
        self.assertIn('set="appendonly yes"', engine.read_log())
        said = self.check()
        self.expect(said, NO_FILE, EVICTS)
        self.assertIn("Set: appendonly yes", said)
        self.assertIn("Set: maxmemory-policy noeviction", said)
        self.restart("--appendonly", "yes", "--appendfsync", "always", "--maxmemory", "0")
        self.expect(self.check())
        self.assertEqual(engine.end(), 0)
        self.assertEqual(engine.read_log().count(EVICTS), 1)

    def test_what_redis_does_not_tell(self):
        redis = self.house.client()
        redis("ACL", "SETUSER", "ann", "on", ">secret", "~*", "&*", "+@all", "-config")
        redis("ACL", "SETUSER", "bob", "on", ">secret", "~*", "&*", "+@all", "-config", "-info")
        for user, said in (("ann", SYNC_UNTOLD), ("bob", UNTOLD)):
            url = f"unix://{user}:secret@{self.house.redis_server.socket}"
            self.expect(self.check(redis=url), said)
            engine = self.house.engine(redis=url, name=user)
            engine.wait_log(said)
            self.expect(engine.read_log(), said)
            self.assertEqual(engine.end(), 0)

    def test_a_redis_that_is_away(self):
        self.assertIn("could not be checked", self.check(redis="unix:/nonexistent/redis.sock"))


if __name__ == "__main__":
    house.main()
