#!/usr/bin/env python3
"""Engines as hosts of their own: Redis, DNS, the mail servers and three engines, each in a network namespace with one
cable to a bridge. One engine is killed, another one's cable is pulled for longer than its heart is missed.

Runs itself again within a network, mount and, where it is not root, user namespace; nothing of it is left behind, and
nothing of the machine's network is touched. Where that is forbidden it is skipped (exit code 77), and says so.

usage: test_hosts.py SLUICE SLUICE-SINK [unittest's options]
"""
import os
import socket
import subprocess
import sys
import time

import house
from house import count_by, judge, wait_until

INSIDE = "SLUICE_TEST_HOSTS"
NETWORK, BRIDGE = "10.99", "10.99.0.254"
SMTP_PORT, REDIS, DNS = 2525, "10.99.0.1", "10.99.0.2"
ISPS = {"big": "10.99.1.1", "small": "10.99.1.2"}
ENGINES = ("e1", "e2", "e3")
CONNECTIONS, SOURCES = 4, 2
SESSIONS = CONNECTIONS * SOURCES * len(ISPS)  # of an engine
LIFE_S = 10  # of a heartbeat
MANNERS = "latency { body = 20ms..80ms }"


def ip(*words):
    subprocess.run([house.find_program("ip"), *words], check=True, capture_output=True)


class Hosts:
    """Hosts on one bridge. A host is a namespace; its cable is a pair of interfaces."""

    def __init__(self):
        ip("link", "set", "lo", "up")
        ip("link", "add", "br0", "type", "bridge")
        ip("address", "add", BRIDGE + "/16", "dev", "br0")
        ip("link", "set", "br0", "up")

    def add(self, name, *addresses):
        ip("netns", "add", name)
        ip("link", "add", "to-" + name, "type", "veth", "peer", "name", "cable", "netns", name)
        ip("link", "set", "to-" + name, "master", "br0")
        for address in addresses:
            ip("-n", name, "address", "add", address + "/16", "dev", "cable")
        ip("-n", name, "link", "set", "lo", "up")
        ip("-n", name, "link", "set", "cable", "up")
        self.plug(name)

    @staticmethod
    def plug(name, plugged=True):
        ip("link", "set", "to-" + name, "up" if plugged else "down")

    @staticmethod
    def on(name, server):
        """The server, to be started on this host."""
        server.command = [house.find_program("nsenter"), "--net=/run/netns/" + name, *server.command]
        return server


class SeveralHosts(house.Case):
    def start_world(self):
        self.hosts = Hosts()
        self.hosts.add("redis", REDIS)
        self.hosts.add("dns", DNS)
        self.hosts.add("sink", *ISPS.values())
        h = self.house
        h.smtp_port = SMTP_PORT
        server = house.RedisServer(h, "redis", "--port", "6379", "--bind", REDIS, "--protected-mode", "no")
        h.redis_server = self.hosts.on("redis", server)
        h.write("example.zone", "$ORIGIN example.\n$TTL 300\n@ IN SOA ns.example. a.example. 1 3600 600 86400 60\n@ IN NS ns\n"
                f"ns IN A {DNS}\n" + "".join(f"{n} IN MX 10 mx.{n}\nmx.{n} IN A {a}\n" for n, a in ISPS.items()))
        conf = h.write("nsd.conf", f"""server:
  ip-address: {DNS}@53
  server-count: 1
  database: ""
  username: ""
  zonesdir: "{h.directory}"
  pidfile: "{h.directory}/nsd.pid"
  xfrdfile: "{h.directory}/xfrd"
  zonelistfile: "{h.directory}/zones"
  xfrdir: "{h.directory}"
remote-control:
  control-enable: no
zone:
  name: example
  zonefile: example.zone
""")
        nsd = h.start(self.hosts.on("dns", house.Server(h, "nsd", [house.find_program("nsd"), "-d", "-c", conf])))
        wait_until(lambda: self.answers(nsd), "an answer of nsd")
        config = "\n".join(f"isp {name} {{ listen = {{{address}:PORT}} {MANNERS} }}" for name, address in ISPS.items())
        self.sink = h.start(self.hosts.on("sink", house.Sink(h, config.replace("PORT", str(SMTP_PORT)))))

    @staticmethod
    def answers(nsd):
        assert nsd.running(), "nsd ended: " + nsd.read_log()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.2)
            try:
                s.sendto(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\3big\7example\0\0\x0f\0\1", (DNS, 53))
                return s.recv(512)[:2] == b"\x12\x34"
            except OSError:
                return False

    def engine(self, name):
        number = ENGINES.index(name) + 1
        sources = [f"{NETWORK}.2.{number * 10 + i}" for i in range(SOURCES)]
        self.hosts.add(name, *sources)
        pool = " ".join(f"source {address} {{ ehlo = {name}-{i}.shop.example }}" for i, address in enumerate(sources))
        config = (f'engine = {name}\nstate_dir = "{self.house.path("state-" + name)}"\nhttp = ""\nhostname = {name}.shop.example\n'
                  f'redis = "redis://{REDIS}:6379"\nsmtp_port = {SMTP_PORT}\nresolver = "{DNS}:53"\nshards = 2\n'
                  f"sessions_max = 512\npoll = 500ms\npool main {{ {pool} }}\n"
                  f"defaults {{ connections = {CONNECTIONS}  retry = {{1s}}  expire = 1h  adapt = no\n timeout_connect = 5s }}\n")
        return self.house.start(self.hosts.on(name, house.Engine(self.house, name, config)))

    def owners(self, c):
        """Of the open leases."""
        return {value.split(" ")[0] for value in c.redis("HVALS", c.key("leases"))}

    def test_one_killed_one_cut_off(self):
        n = 6000
        self.start_world()
        engines = {name: self.engine(name) for name in ENGINES}
        c = self.house.campaign("hosts").create(sealed="1", in_doubt="resend")
        c.push([f"u{i}@{('big', 'small')[i % 2]}.example" for i in range(n)]).announce()
        wait_until(lambda: self.owners(c) >= set(ENGINES) and c.count("delivered") >= n // 6,
                   lambda: f"all three to be at work: {self.owners(c)}, {c.totals()}")
        engines["e1"].kill()
        self.hosts.plug("e2", False)
        began = time.monotonic()
        wait_until(lambda: not self.owners(c) & {"e1", "e2"},
                   lambda: f"the third to take over: {c.redis('HGETALL', c.key('leases'))}, {c.totals()}")
        # Nobody is taken for dead before his heart has been missed for a whole life.
        self.assertGreater(time.monotonic() - began, LIFE_S * 0.9)
        self.hosts.plug("e2")
        c.wait_for("done")
        events = judge(self, c, n, self.sink)
        self.assertEqual(c.count("delivered"), n)
        by_source = count_by((e for own in events.values() for e in own if e["type"] == "delivered"), "source")
        for name in ENGINES:
            number = ENGINES.index(name) + 1
            self.assertGreater(sum(by_source[f"{NETWORK}.2.{number * 10 + i}"] for i in range(SOURCES)), 0, by_source)
        doubts = c.count("in_doubt")
        print(f"in doubt {doubts}, ", end="", flush=True)
        self.assertGreater(doubts, 0, "neither the kill nor the cut found a body under way: the test tests nothing")
        self.assertLessEqual(doubts, 3 * 2 * SESSIONS)
        # Whoever was cut off is of use again: its cable was all that it lacked.
        more = self.house.campaign("more").create(sealed="1")
        more.push([f"v{i}@{('big', 'small')[i % 2]}.example" for i in range(1000)]).announce()
        wait_until(lambda: any(e["source"].startswith(f"{NETWORK}.2.2") for e in more.events()), "the second to send again")
        more.wait_for("done")
        judge(self, more, 1000, self.sink)
        for name in ("e2", "e3"):
            self.assertEqual(engines[name].end(), 0, engines[name].read_log())


def enter():
    """Becomes this program within namespaces of its own."""
    words = ["unshare", "--net", "--mount"] + ([] if os.geteuid() == 0 else ["--user", "--map-root-user"])
    tried = subprocess.run([*words, "sh", "-c", "mount -t tmpfs none /run && ip link add br0 type bridge && ip netns add x"],
                           capture_output=True, text=True)
    if tried.returncode:
        print("SKIPPED: this machine allows no network namespaces, so engines as hosts of their own are not tested: "
              + tried.stderr.strip())
        sys.exit(77)
    os.environ[INSIDE] = "1"
    script = "mount -t tmpfs none /run && exec \"$@\""
    os.execvp(words[0], [*words, "sh", "-c", script, "sh", sys.executable, "-B", *sys.argv])


if __name__ == "__main__":
    if INSIDE not in os.environ:
        enter()
    house.main()
