#!/usr/bin/env python3
"""A machine that runs short, for real: descriptors (prlimit), ports (ip_local_port_range) and the disk of the private
Redis (a small tmpfs). Nobody is told of it: recipients wait, and all are delivered at their first try.

Runs itself again within a network, mount and, where it is not root, user namespace. Where that is forbidden it is
skipped (exit code 77), and says so.

usage: test_degrade.py SLUICE SLUICE-SINK [unittest's options]
"""
import os
import re
import resource
import subprocess
import sys
import time
import urllib.request

import house
from contract import Campaign
from house import judge, wait_until

INSIDE = "SLUICE_TEST_DEGRADE"
PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
RESERVE = 64 + 8 * 2  # of two shards (io.h)


class Degrade(house.Case):
    def start(self, config, **settings):
        self.http = f"127.0.0.1:{house.free_port()}"
        return self.house.engine(config, http=self.http, **settings)

    def lacked(self, what):
        with urllib.request.urlopen(f"http://{self.http}/metrics", timeout=house.PATIENCE_S) as answer:
            text = answer.read().decode()
        return int(re.search(rf'^sluice_sessions_lacked_total\{{what="{what}"\}} (\d+)$', text, re.M).group(1))

    def judge_nobody_was_told(self, campaign, n, sink):
        events = judge(self, campaign.wait_for("done"), n, sink)
        self.assertEqual(campaign.totals(), {"delivered": n})
        self.assertEqual({event["attempt"] for own in events.values() for event in own}, {"1"})

    def test_descriptors(self):
        names = [f"isp{i}" for i in range(6)]
        sink = self.house.isps(late="", **{name: "latency { body = 10ms..20ms }" for name in names})
        engine = self.start("defaults { connections = 10  per_connection = 10 }")
        pid, limit = engine.process.pid, resource.RLIMIT_NOFILE
        had = resource.prlimit(pid, limit)
        resource.prlimit(pid, limit, (len(os.listdir(f"/proc/{pid}/fd")) + RESERVE + 6, had[1]))
        c = self.house.campaign("c").create(sealed="0")
        c.push([f"r{i}@{names[i % 6]}.example" for i in range(1200)]).announce()
        wait_until(lambda: self.lacked("descriptors"), "sessions to lack descriptors")  # http has one all the same
        c.wait_count(1200)  # each ISP has its turn
        resource.prlimit(pid, limit, (4, had[1]))  # and now nothing at all, not even for DNS
        c.push([f"s{i}@{('late', names[i % 6])[i % 2]}.example" for i in range(300)])
        c.set(sealed="1")
        time.sleep(2)
        self.assertEqual(set(c.totals()), {"delivered"})
        resource.prlimit(pid, limit, had)
        self.judge_nobody_was_told(c, 1500, sink)
        said = engine.read_log().count("no file descriptor for a session")
        self.assertIn(said, range(1, 2 * 3))  # of each shard when it begins, and not for every session

    def test_fewer_descriptors_than_sessions(self):
        def restrain():
            resource.setrlimit(resource.RLIMIT_NOFILE, (450, 450))
        sink = self.house.isps(big="")
        text = self.house.engine_config(sessions_max=4000)
        command = [house.programs["sluice"], "config", "-c", self.house.write("few.conf", text), "--check"]
        checked = subprocess.run(command, capture_output=True, text=True, preexec_fn=restrain, timeout=house.PATIENCE_S)
        self.assertEqual(checked.returncode, 0, checked.stderr)
        needed = "450 file descriptors are allowed, 8384 are needed for 2 shards of 4000 sessions"
        self.assertIn(needed, checked.stderr)
        engine = house.Engine(self.house, "few", text)
        engine.options["before"] = lambda: (restrain(), house._die_with_parent())
        self.house.start(engine)
        self.assertIn(needed, engine.read_log())
        c = self.house.campaign("c").create(sealed="1").push([f"r{i}@big.example" for i in range(200)]).announce()
        self.judge_nobody_was_told(c, 200, sink)

    def test_ports(self):
        sink = self.house.isps(big="latency { body = 10ms..20ms }")
        engine = self.start("defaults { connections = 20  per_connection = 5 }")
        with open(PORT_RANGE, "w") as file:
            file.write("40000 40005")
        try:
            c = self.house.campaign("c").create(sealed="1")
            c.push([f"r{i}@big.example" for i in range(600)]).announce()
            self.judge_nobody_was_told(c, 600, sink)
        finally:
            with open(PORT_RANGE, "w") as file:
                file.write("32768 60999")
        self.assertGreater(self.lacked("ports"), 0)
        self.assertEqual(self.lacked("source"), 0)
        self.assertIn("a source has no port left", engine.read_log())

    def test_disk(self):
        """The append-only file of the private Redis has no room: Redis refuses to write, and nothing is sent."""
        state = self.house.path("small")
        os.mkdir(state)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", state], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", state])
        sink = self.house.isps(big="")
        engine = self.start("defaults { rate = 50/s }", redis="", state_dir=state)
        c = Campaign(self.house.client(os.path.join(state, "redis.sock")), "c").create(sealed="1")
        c.push([f"r{i}@big.example" for i in range(600)]).announce()
        c.wait_count(100)
        filler = os.path.join(state, "filler")
        with open(filler, "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError as full:
                self.assertEqual(full.strerror, "No space left on device")
        engine.wait_log("MISCONF")
        time.sleep(0.5)  # what had its permit is over
        before = len(sink.accepted("c"))
        time.sleep(1.5)
        self.assertEqual(len(sink.accepted("c")), before)
        self.assertTrue(engine.running())
        os.remove(filler)
        self.judge_nobody_was_told(c, 600, sink)
        self.assertIn(engine.read_log().count("redis is away, sending stops"), (1, 2))  # once for each shard that wrote
        self.assertEqual(engine.end(), 0)


def enter():
    """Becomes this program within namespaces of its own."""
    words = ["unshare", "--net", "--mount"] + ([] if os.geteuid() == 0 else ["--user", "--map-root-user"])
    prepare = "ip link set lo up && mount -t tmpfs none /mnt && echo 40000 40009 >" + PORT_RANGE
    tried = subprocess.run([*words, "sh", "-c", prepare], capture_output=True, text=True)
    if tried.returncode:
        print("SKIPPED: this machine allows no network and mount namespaces, so it is not tested what becomes of mail "
              "when descriptors, ports or the disk run out: " + tried.stderr.strip())
        sys.exit(77)
    os.environ[INSIDE] = "1"
    os.execvp(words[0], [*words, "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", sys.executable, "-B", *sys.argv])


if __name__ == "__main__":
    if INSIDE not in os.environ:
        enter()
    house.main()
