#!/usr/bin/env python3
"""Redis behind TLS and an ACL, behind sentinels, and as a cluster: campaigns go through it, also while the master fails
over and while a slot moves, and what is not to be trusted gets nothing.

usage: test_redis_kinds.py SLUICE SLUICE-SINK [unittest's options]
"""
import os
import re
import subprocess
import time
import unittest

import house
from contract import Campaign, RedisError
from house import RedisServer, Server, find_program, free_port, judge, wait_until
from signed import Authority

AWAY, BACK = "redis is away, sending stops", "redis is back, sending goes on"
TLS_FILES = "--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file"


def rights():
    """The ACL rules that sluice(1) tells people to give."""
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../deploy/sluice.1")) as file:
        text = file.read().replace("\\-", "-").replace("\\(ti", "~")
    return re.search(r"(?s)\.\\\" ACL\n\.nf\n(.*?)\n\.fi", text)[1].replace("\\e\n", " ").split()


class Port(RedisServer):
    """One that listens on loopback, and on a socket for the test."""

    def __init__(self, house_, name, *arguments):
        self.port = free_port()
        super().__init__(house_, name, "--port", str(self.port), "--bind", "127.0.0.1", *arguments)


class Locked(Port):
    """One that wants the password pw."""

    def __init__(self, house_, name, *arguments):
        super().__init__(house_, name, "--requirepass", "pw", "--masterauth", "pw", *arguments)

    def client(self):
        client = super().client()
        try:
            client("AUTH", "pw")
        except BaseException:
            client.close()
            raise
        return client

    def answers(self):
        try:
            client = self.client()
        except OSError:
            assert self.running(), "redis-server ended at once"
            return False
        client.close()
        return True


class Cluster:
    """A client that goes where a cluster sends it."""

    def __init__(self, servers, clients):
        self.clients = {server.port: client for server, client in zip(servers, clients)}
        self.port = servers[0].port

    def __call__(self, *words):
        if words[0] == "SCAN":
            return ["0", [key for client in self.clients.values() for key in client(*words[:1], "0", *words[2:])[1]]]
        asking = False
        for _ in range(500):
            try:
                client = self.clients[self.port]
                return client.pipeline([("ASKING",), words])[1] if asking else client(*words)
            except RedisError as error:
                kind, *rest = str(error).split()
                if kind not in ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"):
                    raise
                asking = kind == "ASK"
                if kind in ("MOVED", "ASK"):
                    self.port = int(rest[1].split(":")[1])
                else:
                    time.sleep(0.02)
        raise AssertionError(f"{words} goes round in circles")

    def pipeline(self, commands):
        return [self(*words) for words in commands]


class Kinds(house.Case):
    def client(self, server):
        return self.house.client(server.socket)

    def begin(self, url, **settings):
        self.sink = self.house.isps(big="latency { body = 20ms..40ms }")
        return self.house.engine("defaults { connections = 4 }", redis=url, shards=1, **settings)

    def campaign(self, client, name, n):
        c = Campaign(client, name).create(sealed="1").push([f"u{i}@big.example" for i in range(n)])
        return c.announce()

    def list(self):
        done = subprocess.run([house.programs["sluice"], "campaign", "list", "-c", self.house.path("engine.conf")],
                              capture_output=True, text=True, timeout=house.PATIENCE_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def secure(self, name="localhost"):
        """A server that speaks TLS alone, asks for a certificate, and has one for `name`."""
        ours = Authority(self.house)
        theirs, mine = ours.certificate(name), ours.certificate("sluice")
        files = {"redis_ca": ours.file, "redis_cert": mine, "redis_key": mine}
        options = [word for pair in zip(TLS_FILES, (theirs, theirs, ours.file)) for word in pair]
        port = free_port()
        server = self.house.start(RedisServer(self.house, "redis", *options, "--tls-port", str(port)))
        subprocess.run(["chmod", "600", mine], check=True)
        return server, port, files

    def test_tls_and_acl(self):
        server, port, files = self.secure()
        self.client(server)("ACL", "SETUSER", "sluice", "on", ">se%cret", *rights())
        engine = self.begin(f"rediss://sluice:se%25cret@localhost:{port}", **files)
        c = self.campaign(self.client(server), "c", 300).wait_for("done")
        judge(self, c, 300, self.sink)
        self.assertEqual(c.totals(), {"delivered": 300})
        self.assertRegex(self.list(), r"(?m)^c\s")
        denied = [entry for entry in self.client(server)("ACL", "LOG")]
        self.assertEqual(denied, [])
        self.assertNotIn("se%", engine.read_log())
        self.assertNotIn("cret", engine.read_log())
        # A password that is wrong is said to be; it is not shown.
        self.client(server)("ACL", "SETUSER", "sluice", "resetpass", ">another")
        self.client(server)("CLIENT", "KILL", "TYPE", "normal")
        engine.wait_log("WRONGPASS")
        self.assertNotIn("cret", engine.read_log())

    def test_the_wrong_server(self):
        """Its certificate is for another name: it hears nothing, not even the password."""
        server, port, files = self.secure("elsewhere.example")
        engine = self.begin(f"rediss://:secret@localhost:{port}", **files)
        engine.wait_log("certificate: hostname mismatch")
        self.assertEqual(engine.read_log().count(AWAY), 1)
        self.assertNotIn("secret", engine.read_log())
        stats = self.client(server)("INFO", "commandstats")
        self.assertNotIn("cmdstat_auth", stats)
        self.assertNotIn("cmdstat_function", stats)
        engine.kill()
        other = self.house.engine(name="named", redis=f"rediss://localhost:{port}", redis_name="elsewhere.example",
                                  shards=1, **files)
        other.wait_log("engine runs")
        wait_until(lambda: "cmdstat_function" in self.client(server)("INFO", "commandstats"), "the library to be loaded")

    def sentinels(self, master, auth):
        ports = []
        for i in range(3):
            ports.append(free_port())
            path = self.house.write(f"sentinel{i}.conf", f"""port {ports[i]}
bind 127.0.0.1
dir {self.house.directory}
requirepass watch
sentinel monitor main 127.0.0.1 {master.port} 2
sentinel auth-pass main {auth}
sentinel down-after-milliseconds main 1000
sentinel failover-timeout main 3000
""")
            self.house.start(Server(self.house, f"sentinel{i}", [find_program("redis-server"), path, "--sentinel"]))
        return ports

    def test_sentinels(self):
        n = 900  # of one lease: after a failover nothing new is leased for a while

        def client(server):
            self.house.clients.append(server.client())
            return self.house.clients[-1]

        master, replica = (self.house.start(Locked(self.house, name, "--repl-diskless-sync-delay", "0"))
                           for name in ("first", "second"))
        client(replica)("REPLICAOF", "127.0.0.1", str(master.port))
        wait_until(lambda: "master_link_status:up" in client(replica)("INFO", "replication"), "the replica to follow")
        ports = self.sentinels(master, "pw")
        wait_until(lambda: all(self.peers(port) == (1, 2) for port in ports), "the sentinels to know each other")
        # The first is nobody; the second is asked.
        hosts = ",".join(f"127.0.0.1:{port}" for port in [free_port(), *ports])
        engine = self.begin(f"sentinel://:pw@{hosts}/main", redis_sentinel_password="watch")
        c = self.campaign(client(master), "c", n)
        c.wait_count(n // 4, "delivered")
        master.kill()
        engine.wait_log(AWAY)
        engine.wait_log(BACK)
        c.redis = client(replica)
        self.assertEqual(c.redis("ROLE")[0], "master")
        c.wait_for("done")
        judge(self, c, n, self.sink)

    @staticmethod
    def peers(port):
        """How many replicas and other sentinels one knows."""
        said = subprocess.run(["redis-cli", "-p", str(port), "-a", "watch", "--no-auth-warning", "INFO", "sentinel"],
                              capture_output=True, text=True).stdout
        found = re.search(r"slaves=(\d+),sentinels=(\d+)", said)
        return (int(found[1]), int(found[2]) - 1) if found else None

    def test_cluster(self):
        n = 900
        servers = [self.house.start(Port(self.house, f"node{i}", "--cluster-enabled", "yes", "--cluster-node-timeout",
                                         "1000")) for i in range(3)]
        made = subprocess.run(["redis-cli", "--cluster", "create", *[f"127.0.0.1:{s.port}" for s in servers],
                               "--cluster-yes"], capture_output=True, text=True, timeout=house.PATIENCE_S)
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        clients = [self.client(server) for server in servers]
        wait_until(lambda: all("cluster_state:ok" in c("CLUSTER", "INFO") for c in clients), "the cluster")
        engine = self.begin(f"cluster://127.0.0.1:{free_port()},127.0.0.1:{servers[1].port}")
        redis = Cluster(servers, clients)
        c = self.campaign(redis, "c", n)
        others = [self.campaign(redis, name, 200) for name in ("a", "b", "d")]
        c.wait_count(n // 4, "delivered")
        errors = self.move(servers, clients, clients[0]("CLUSTER", "KEYSLOT", "{c}"))
        self.assertIn("errorstat_ASK", errors)
        self.assertIn("errorstat_MOVED", errors)
        c.wait_for("done")
        judge(self, c, n, self.sink)
        for other in others:
            judge(self, other.wait_for("done"), 200, self.sink)
        # The command line finds them on all servers.
        self.assertEqual({line.split()[0] for line in self.list().splitlines()} & {"a", "b", "c", "d"},
                         {"a", "b", "c", "d"})
        engine.end()
        self.assertNotIn("Sanitizer", engine.read_log())

    def move(self, servers, clients, slot):
        """The slot with all its keys, one by one, to another server. What the old one has refused, and whom."""
        ids = [client("CLUSTER", "MYID") for client in clients]
        owner = next(i for i, client in enumerate(clients) if client("CLUSTER", "COUNTKEYSINSLOT", slot))
        to = (owner + 1) % len(servers)
        clients[owner]("CONFIG", "RESETSTAT")
        clients[to]("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[owner])
        clients[owner]("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
        while keys := clients[owner]("CLUSTER", "GETKEYSINSLOT", slot, 1):
            clients[owner]("MIGRATE", "127.0.0.1", servers[to].port, "", 0, 5000, "KEYS", *keys)
            time.sleep(0.05)
        wait_until(lambda: "errorstat_ASK" in clients[owner]("INFO", "errorstats"), "the engine to be sent on")
        for i in (to, owner, *range(len(servers))):
            clients[i]("CLUSTER", "SETSLOT", slot, "NODE", ids[to])
        wait_until(lambda: "errorstat_MOVED" in clients[owner]("INFO", "errorstats"), "the engine to be told of the move")
        return clients[owner]("INFO", "errorstats")


if __name__ == "__main__":
    house.main()
