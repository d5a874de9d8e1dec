#!/usr/bin/env python3
"""The engine needs no privileges, does its work under the unit that ships, and tells nobody what is secret.

usage: test_privileges.py SLUICE SLUICE-SINK UNIT [unittest's options]
"""
import os
import re
import shutil
import subprocess
import sys
import urllib.request

import dkim_keys
import house
from confined import USER, confine, unit_of
from house import judge, wait_until

EXPOSURE = 2.0  # of 10, as `systemd-analyze security` counts
unit_file = None


class Unit(house.Case):
    def test_exposure(self):
        """systemd's own judgement of the unit."""
        ran = subprocess.run([house.find_program("systemd-analyze"), "security", "--offline=true", "--no-pager",
                              f"--threshold={int(EXPOSURE * 10)}", unit_file], capture_output=True, text=True)
        said = re.search(r"Overall exposure level for \S+: (\d+\.\d)", ran.stdout)
        self.assertTrue(said, ran.stdout + ran.stderr)
        self.assertLessEqual(float(said[1]), EXPOSURE, ran.stdout)
        self.assertEqual(ran.returncode, 0, ran.stdout)

    def test_filter_refuses(self):
        """That the confinement of these tests is one: what the unit forbids fails in it."""
        ran = subprocess.run(["/usr/bin/python3", "-c", """
import ctypes, mmap, os, socket
def refused(what, call):
    try:
        call()
    except OSError as error:
        assert error.errno == 1, (what, error)
        return
    raise SystemExit(what + " was allowed")
libc = ctypes.CDLL(None, use_errno=True)
def raw(*words):
    if libc.syscall(*words) < 0:
        raise OSError(ctypes.get_errno(), "")
refused("a packet socket", lambda: socket.socket(socket.AF_PACKET))
refused("a netlink socket", lambda: socket.socket(socket.AF_NETLINK))
refused("a namespace", lambda: raw(272, 0x10000000))
refused("memory to write and execute", lambda: mmap.mmap(-1, 4096, prot=7))
refused("a set-uid file", lambda: os.chmod("/tmp/none", 0o4755))
refused("mount", lambda: raw(165, 0, 0, 0, 0, 0))
refused("ptrace", lambda: raw(101, 0, 0, 0, 0))
refused("chown", lambda: os.chown("/tmp/none", 0, 0))
socket.socket(socket.AF_INET).close()
socket.socket(socket.AF_UNIX).close()
print("all refused")
"""], preexec_fn=confine(unit_of(unit_file)), capture_output=True, text=True)
        self.assertEqual(ran.stdout, "all refused\n", ran.stderr)

    def test_a_campaign_without_privileges(self):
        """Start, send, write to disk and end, with a Redis of its own, as the unit would have it."""
        n = 500
        sink = self.house.isps(big="", small="tls = starttls")
        program, state = shutil.copy(house.programs["sluice"], self.house.path("program")), self.house.path("state")
        os.mkdir(state, 0o700)
        if os.geteuid() == 0:
            os.chown(state, USER, USER)
        config = self.house.engine_config(redis="")
        # The leak sanitizer traces its own process, which nobody may.
        os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
        engine = house.Engine(self.house, "engine", config)
        engine.command[0] = program
        engine.options["before"] = confine(unit_of(unit_file))
        self.house.start(engine)
        with open(f"/proc/{engine.process.pid}/status") as file:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        self.assertNotIn("0", status["Uid"].split())
        self.assertNotIn("0", status["Gid"].split())
        for mask in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(int(status[mask], 16), 0, mask)
        path = os.path.join(state, "redis.sock")
        c = self.house.campaign("c", self.house.client(path)).create(sealed="1")
        c.push([f"u{i}@{('big', 'small')[i % 2]}.example" for i in range(n)]).announce().wait_for("done")
        judge(self, c, n, sink)
        self.assertEqual(c.count("delivered"), n)
        c.redis("BGREWRITEAOF")
        info = lambda key: re.search(rf"{key}:(\w+)", c.redis("INFO", "persistence"))[1]
        wait_until(lambda: info("aof_rewrite_in_progress") == "0" and info("aof_rewrite_scheduled") == "0",
                   "the end of the rewriting")
        self.assertEqual(info("aof_last_bgrewrite_status"), "ok")
        for directory, _, files in os.walk(state):
            for name in files:
                self.assertEqual(os.stat(os.path.join(directory, name)).st_mode & 0o077, 0, name)
        self.assertEqual(engine.end(), 0, engine.read_log())


class Secrets(house.Case):
    PASSWORD, WRONG = "pa55-of-redis-Xq", "not-the-pa55-Yz"

    def said(self, engine, port, c):
        """All that leaves the engine where people and other programs read."""
        run = lambda *words: subprocess.run([house.programs["sluice"], *words, "-c", self.house.path("engine.conf")],
                                            capture_output=True, text=True)
        said = {"log": engine.read_log(), "events": str(c.events()), "status hash": str(c.status()),
                "ops": str(c.redis("XRANGE", "sluice:ops", "-", "+"))}
        for path in ("/metrics", "/status", "/health"):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    said[path] = answer.read().decode()
            except urllib.error.HTTPError as error:
                said[path] = error.read().decode()
        for words in (["config", "--check"], ["config", "--print"], ["status"], ["campaign", "show", "c"]):
            ran = run(*words)
            said[" ".join(words)] = ran.stdout + ran.stderr
        for what in ("cmdline", "environ"):
            with open(f"/proc/{engine.process.pid}/{what}") as file:
                said[what] = file.read()
        return said

    def test_redis_and_keys(self):
        """Of a Redis that wants a password, first another one, and of a key that signs: at the talkative level."""
        redis = self.house.redis_server.client()
        self.house.clients.append(redis)
        acl = lambda password: redis("ACL", "SETUSER", "ann", "on", "resetpass", ">" + password, "~*", "&*", "+@all")
        acl(self.WRONG)
        key, record = dkim_keys.make_key(self.house.directory, "key")
        zone = dkim_keys.zone_line("s1._domainkey.shop.example", record)
        zone += "\nbig IN MX 10 mx.big\nmx.big IN A 127.20.1.1"
        self.house.dns(zone)
        sink, port = self.house.sink("isp big { listen = {127.20.1.1:PORT} }"), house.free_port()
        url = f"unix://ann:{self.PASSWORD}@{self.house.redis_server.socket}"
        config = self.house.engine_config(f'dkim shop.example {{ selector = s1 key = "{key}" }}', redis=url,
                                          http=f"127.0.0.1:{port}", log_level="debug")
        engine = house.Server(self.house, "engine",
                              [house.programs["sluice"], "run", "-c", self.house.write("engine.conf", config)])
        self.house.start(engine)
        engine.wait_log("WRONGPASS")
        c = self.house.campaign("c").create(sealed="1", events="full").push(["ann@big.example"])
        early = self.said(engine, port, c)
        acl(self.PASSWORD)
        c.announce().wait_for("done")
        judge(self, c, 1, sink)
        with open(key) as file:
            secrets = [self.PASSWORD, self.WRONG, *file.read().split("\n")[1:-2]]
        self.assertGreater(len(secrets), 20)
        for said in (early, self.said(engine, port, c)):
            self.assertIn("unix:", said["config --print"])
            for where, text in said.items():
                self.assertEqual([s for s in secrets if s in text], [], where)
        self.assertEqual(engine.end(), 0)


if __name__ == "__main__":
    unit_file = os.path.abspath(sys.argv.pop(3))
    house.main()
