#!/usr/bin/env python3
"""Redis behind TLS and an ACL, behind sentinels, and as a cluster: campaigns go through it, also while the master fails
over, while a slot moves, and while Redis answers and does not want to; and what is not to be trusted gets nothing.

Without options the tests run side by side, for most of their time is spent on waiting for servers to agree.

usage: test_redis_kinds.py SLUICE SLUICE-SINK [unittest's options]
"""
import os
import re
import signal
import subprocess
import sys
import time
import unittest

import house
from contract import Campaign, RedisError
from house import RedisServer, Server, find_program, free_port, judge, wait_until
from signed import Authority

AWAY, BACK = "redis is away, sending stops", "redis is back, sending goes on"
TLS_FILES = "--tls-cert-file", "--tls-key-file", "--tls-ca-cert-file"


def manual():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../deploy/sluice.1")) as file:
        return file.read().replace("\\-", "-").replace("\\(ti", "~")


def rights():
    """The ACL rules that sluice(1) tells people to give."""
    return re.search(r"(?s)\.\\\" ACL\n\.nf\n(.*?)\n\.fi", manual())[1].replace("\\e\n", " ").split()


def rights_at_sentinels():
    return re.search(r"Its user at sentinels needs (.*)\.\n", manual())[1].split()


class Port(RedisServer):
    """One that listens on loopback, and on a socket for the test."""

    def __init__(self, house_, name, *arguments):
        self.port = free_port()
        super().__init__(house_, name, "--port", str(self.port), "--bind", "127.0.0.1",
                         *[word.replace("PORT", str(self.port)) for word in arguments])


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
        ours = self.authority = Authority(self.house)
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
        self.client(server)("ACL", "SETUSER", "sluice", ">se%cret")
        engine.wait_log(BACK)
        # A certificate that ran out is noticed by the next connection.
        theirs = self.authority.certificate("old", "localhost", days=-1)
        good = self.client(server)("CONFIG", "GET", "tls-cert-file")[1]
        for file, mark, count in ((theirs, AWAY, 2), (good, BACK, 2)):
            self.client(server)("CONFIG", "SET", "tls-cert-file", file, "tls-key-file", file)
            if mark == AWAY:
                self.client(server)("CLIENT", "KILL", "TYPE", "normal")
            wait_until(lambda: engine.read_log().count(mark) == count, "the engine to say: " + mark)
        self.assertRegex(engine.read_log(), "sending stops.*certificate has expired")
        judge(self, self.campaign(self.client(server), "d", 100).wait_for("done"), 100, self.sink)
        log = engine.read_log()
        self.assertEqual((log.count(AWAY), log.count(BACK)), (2, 2), log)

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

    def all_tls(self):
        """Servers, sentinels and redis-cli that speak TLS alone: words of a server's command line, the same as lines of a
        configuration, words for redis-cli, and settings of the engine."""
        ours = Authority(self.house)
        mine = ours.certificate("localhost")
        subprocess.run(["chmod", "600", mine], check=True)
        words = ["--port", "0", "--tls-port", "PORT", "--tls-replication", "yes", *[
            word for pair in zip(TLS_FILES, (mine, mine, ours.file)) for word in pair]]
        lines = "\n".join(f"{name[2:]} {value}" for name, value in zip(words[::2], words[1::2]))
        return (words, lines, ("--tls", "--cacert", ours.file, "--cert", mine, "--key", mine),
                {"redis_ca": ours.file, "redis_cert": mine, "redis_key": mine, "redis_name": "localhost"})

    def test_unwilling(self):
        """Redis answers, but not what it is asked: sending stops, the log says why and says it once, and goes on."""
        n, redis = 1500, self.house.redis_server
        client = self.client(redis)
        client("ACL", "SETUSER", "sluice", "on", ">pw", *rights())
        client("CONFIG", "SET", "save", "3600 1000000")
        engine = self.begin(f"unix://sluice:pw@{redis.socket}")
        c = self.campaign(client, "c", n)
        dump = os.path.join(redis.directory, "dump.rdb")

        def save(status):
            client("BGSAVE")
            wait_until(lambda: f"rdb_last_bgsave_status:{status}" in client("INFO", "persistence")
                       and "rdb_bgsave_in_progress:0" in client("INFO", "persistence"), "Redis to have saved its data")

        def cannot_save():
            os.mkdir(dump)
            save("err")

        def can_save():
            os.rmdir(dump)
            save("ok")

        kinds = {
            "READONLY": (lambda: client("REPLICAOF", "127.0.0.1", "1"), lambda: client("REPLICAOF", "NO", "ONE")),
            "NOREPLICAS": (lambda: client("CONFIG", "SET", "min-replicas-to-write", "1"),
                           lambda: client("CONFIG", "SET", "min-replicas-to-write", "0")),
            "NOPERM": (lambda: client("ACL", "SETUSER", "sluice", "-fcall"),
                       lambda: client("ACL", "SETUSER", "sluice", "+fcall")),
            "MISCONF": (cannot_save, can_save),
        }
        for i, (word, (off, on)) in enumerate(kinds.items(), 1):
            c.wait_count(c.count("delivered") + 100, "delivered")
            off()
            wait_until(lambda: engine.read_log().count(AWAY) == i, f"the engine to say that Redis is away: {word}")
            time.sleep(0.3)
            quiet = len(self.sink.started())
            time.sleep(0.7)
            self.assertEqual(len(self.sink.started()), quiet, word)
            on()
            wait_until(lambda: engine.read_log().count(BACK) == i, f"the engine to say that Redis is back: {word}")
            said = [line for line in engine.read_log().splitlines() if AWAY in line]
            self.assertIn(f"Redis answers: {word}", said[-1])
            self.assertEqual(len(said), i)
        c.wait_for("done")
        judge(self, c, n, self.sink)
        self.assertEqual(c.totals(), {"delivered": n})

    # ---- sentinels ----

    def sentinels(self, master, options, auth):
        ports = []
        for i in range(3):
            ports.append(free_port())
            path = self.house.write(f"sentinel{i}.conf", options.replace("PORT", str(ports[i])) + f"""
bind 127.0.0.1
dir {self.house.directory}
user default off
user peer on >peer ~* &* +@all
user sluice on >watch {" ".join(rights_at_sentinels())}
sentinel sentinel-user peer
sentinel sentinel-pass peer
sentinel monitor main 127.0.0.1 {master.port} 2
sentinel auth-pass main {auth}
sentinel down-after-milliseconds main 1000
sentinel failover-timeout main 3000
""")
            self.house.start(Server(self.house, f"sentinel{i}", [find_program("redis-server"), path, "--sentinel"]))
        return ports

    def fails_over(self, url, ends, words=(), port="port PORT", cli=(), **settings):
        """`ends`: what becomes of the master. `words`: of the servers' command lines."""
        n = 900  # of one lease: after a failover nothing new is leased for a while

        def client(server):
            self.house.clients.append(server.client())
            return self.house.clients[-1]

        master, replica = (self.house.start(Locked(self.house, name, "--repl-diskless-sync-delay", "0", *words))
                           for name in ("first", "second"))
        client(replica)("REPLICAOF", "127.0.0.1", str(master.port))
        wait_until(lambda: "master_link_status:up" in client(replica)("INFO", "replication"), "the replica to follow")
        ports = self.sentinels(master, port, "pw")
        wait_until(lambda: all(self.peers(port, cli) == (1, 2) for port in ports), "the sentinels to know each other")
        # The first is nobody; the second is asked.
        hosts = ",".join(f"127.0.0.1:{port}" for port in [free_port(), *ports])
        engine = self.begin(url.replace("HOSTS", hosts), redis_sentinel_user="sluice", redis_sentinel_password="watch",
                            **settings)
        time.sleep(4)  # of an engine that has only just begun to connect nobody wants to hear that it does not yet
        c = self.campaign(client(master), "c", n)
        c.wait_count(n // 4, "delivered")
        ends(master)
        engine.wait_log(AWAY)
        engine.wait_log(BACK)
        c.redis = client(replica)
        self.assertEqual(c.redis("ROLE")[0], "master")
        c.wait_for("done")
        judge(self, c, n, self.sink)
        log = engine.read_log()
        self.assertEqual((log.count(AWAY), log.count(BACK)), (1, 1), log)
        return engine

    def test_sentinels(self):
        self.fails_over("sentinel://:pw@HOSTS/main", Server.kill)

    def test_sentinels_with_tls(self):
        """And the master is not dead, but silent: that it is none any more the sentinels alone say (+switch-master)."""
        words, options, cli, settings = self.all_tls()
        engine = self.fails_over("sentinels://:pw@HOSTS/main", lambda master: master.send(signal.SIGSTOP), words, options,
                                 cli, **settings)
        self.assertIn("the sentinels have made 127.0.0.1", engine.read_log())

    @staticmethod
    def peers(port, cli=()):
        """How many replicas and other sentinels one knows."""
        said = subprocess.run(["redis-cli", *cli, "-p", str(port), "--user", "peer", "-a", "peer", "--no-auth-warning",
                               "INFO", "sentinel"], capture_output=True, text=True).stdout
        found = re.search(r"slaves=(\d+),sentinels=(\d+)", said)
        return (int(found[1]), int(found[2]) - 1) if found else None

    # ---- clusters ----

    def cluster(self, words=(), cli=()):
        """Three masters, and a client of each."""
        words = "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *words
        servers = [self.house.start(Port(self.house, f"node{i}", *words)) for i in range(3)]
        made = subprocess.run(["redis-cli", *cli, "--cluster", "create", *[f"127.0.0.1:{s.port}" for s in servers],
                               "--cluster-yes"], capture_output=True, text=True, timeout=house.PATIENCE_S)
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
        clients = [self.client(server) for server in servers]
        self.wait_whole(clients)
        return servers, clients

    @staticmethod
    def wait_whole(clients):
        wait_until(lambda: all("cluster_state:ok" in c("CLUSTER", "INFO") for c in clients), "the cluster")

    def test_cluster_fails_over(self):
        """The master that has the campaign dies, and its replica takes its place; all of it by TLS."""
        n = 900
        words, _, cli, settings = self.all_tls()
        words = *words, "--tls-cluster", "yes"
        servers, clients = self.cluster(words, cli)
        slot = clients[0]("CLUSTER", "KEYSLOT", "{c}")
        port = next(owner[1] for first, last, owner, *_ in clients[0]("CLUSTER", "SLOTS") if first <= slot <= last)
        dies = next(i for i, server in enumerate(servers) if server.port == port)
        replica = self.house.start(Port(self.house, "replica", "--cluster-enabled", "yes", "--cluster-node-timeout",
                                        "1000", "--repl-diskless-sync-delay", "0", *words))
        own = self.client(replica)
        own("CLUSTER", "MEET", "127.0.0.1", port)
        wait_until(lambda: "cluster_known_nodes:4" in own("CLUSTER", "INFO"), "the replica to know the others")
        own("CLUSTER", "REPLICATE", clients[dies]("CLUSTER", "MYID"))
        wait_until(lambda: "master_link_status:up" in own("INFO", "replication"), "the replica to follow")
        self.wait_whole([*clients, own])
        engine = self.begin(f"clusters://127.0.0.1:{servers[1].port},127.0.0.1:{servers[2].port}", **settings)
        redis = Cluster(servers, clients)
        c = self.campaign(redis, "c", n)
        others = [self.campaign(redis, name, 200) for name in ("a", "b", "d")]
        c.wait_count(n // 4, "delivered")
        servers[dies].kill()
        engine.wait_log(AWAY)
        wait_until(lambda: own("ROLE")[0] == "master", "the replica to be the master")
        engine.wait_log(BACK)
        left = [i for i in range(3) if i != dies]
        c.redis = Cluster([replica, *[servers[i] for i in left]], [own, *[clients[i] for i in left]])
        judge(self, c.wait_for("done"), n, self.sink)
        for other in others:
            other.redis = c.redis
            judge(self, other.wait_for("done"), 200, self.sink)
        log = engine.read_log()
        self.assertEqual((log.count(AWAY), log.count(BACK)), (1, 1), log)

    def test_cluster(self):
        n = 900
        servers, clients = self.cluster()
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


def side_by_side():
    """Each test in a process of its own. Returns how many failed."""
    names = unittest.TestLoader().getTestCaseNames(Kinds)
    begun = [subprocess.Popen([sys.executable, "-B", *sys.argv, f"Kinds.{name}"], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT) for name in names]
    failed = 0
    for process in begun:
        said = process.communicate()[0]
        failed += process.returncode != 0
        sys.stdout.buffer.write(said)
    return failed


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.exit(side_by_side() != 0)
    house.main()
