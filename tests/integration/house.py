"""house.py - real servers for the integration tests: Redis, a name server (nsd), sluice-sink, and the engine itself.

A House owns a directory and every process in it. All of them listen on loopback, on ports that are free, and end with
it: also when the test is killed, for they get SIGKILL from the kernel then. A test that fails prints the last lines of
all their logs.

    class Sending(house.Case):
        def test_one(self):
            self.house.isps(big="", small="connections = 2")       # big.example, small.example, as the sink plays them
            engine = self.house.engine()
            c = self.house.campaign("c1")
            c.create().push(["ann@big.example"]).announce()
            c.wait_for("idle")
            judge(self, c, 1)

A test file is run as `test_x.py SLUICE SLUICE-SINK [unittest's options]`.
"""
import collections
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

from contract import PATIENCE_S, Campaign, Redis, wait_until

programs = {"sluice": "", "sink": ""}
_libc = ctypes.CDLL(None, use_errno=True)


def main():
    programs["sluice"], programs["sink"] = (os.path.abspath(sys.argv.pop(1)) for _ in range(2))
    unittest.main(verbosity=2)


def free_port():
    """Free for TCP and UDP on every address, and below the ports that the kernel gives to those who connect."""
    for _ in range(1000):
        port = random.randrange(10000, 32000)
        try:
            for family, any_address in ((socket.AF_INET, ""), (socket.AF_INET6, "::")):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(family, kind) as s:
                        if family == socket.AF_INET6:
                            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                        s.bind((any_address, port))
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")


def find_program(name):
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise AssertionError(f"{name} is not installed; tests/packages names the package")
    return found


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Server:
    """One process, its log, and how it ends."""

    last_signal = signal.SIGKILL  # when the house is closed

    def __init__(self, house, name, command, **options):
        self.house, self.name, self.command, self.options = house, name, command, options
        self.log = house.path(name + ".log")
        self.process = None

    def start(self):
        assert not self.process or self.process.poll() is not None, f"{self.name} runs already"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stderr=log,
                                            stdout=self.options.get("stdout", log),
                                            preexec_fn=self.options.get("before", _die_with_parent))
        return self

    def send(self, number):
        self.process.send_signal(number)

    def wait(self, patience_s=PATIENCE_S):
        """The exit code; negative: the signal that ended it."""
        return self.process.wait(patience_s)

    def end(self, number=signal.SIGTERM, patience_s=PATIENCE_S):
        self.send(number)
        return self.wait(patience_s)

    def kill(self):
        return self.end(signal.SIGKILL)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def read_log(self):
        with open(self.log, errors="replace") as file:
            return file.read()

    def wait_log(self, text, patience_s=PATIENCE_S):
        def seen():
            if text in self.read_log():
                return True
            assert self.running(), f"{self.name} ended and never said {text!r}"
            return False
        wait_until(seen, f"{text!r} in the log of {self.name}", patience_s)


class RedisServer(Server):
    def __init__(self, house, name, *arguments):
        self.directory = house.path(name)
        os.mkdir(self.directory)
        self.socket = os.path.join(self.directory, "redis.sock")
        super().__init__(house, name, [find_program("redis-server"), "--port", "0", "--unixsocket", self.socket,
                                       "--dir", self.directory, "--appendonly", "yes", "--save", "", *arguments])
        self.url = "unix:" + self.socket

    def start(self):
        super().start()
        wait_until(self.answers, "an answer of redis")
        return self

    def answers(self):
        try:
            client = Redis(self.socket)
        except OSError:
            assert self.running(), "redis-server ended at once"
            return False
        try:
            return client.ready()
        except ConnectionError:
            return False
        finally:
            client.close()

    def client(self):
        return Redis(self.socket)


class Sink(Server):
    """sluice-sink: the judge. Its ledger says what was accepted, by campaign and seq."""

    def __init__(self, house, config, *arguments):
        self.ledger, self.starts = house.path("ledger.tsv"), house.path("starts.tsv")
        path = house.write("sink.conf", config)
        super().__init__(house, "sink", [programs["sink"], "--json", "-c", path, "--ledger", self.ledger, "--starts",
                                         self.starts, *arguments], stdout=subprocess.PIPE)

    def start(self):
        super().start()
        line = self.process.stdout.readline()
        assert b"ready" in line, f"the sink did not start: {self.read_log()}"
        return self

    def report(self):
        """What it counted until now; the files are complete up to here."""
        self.send(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())

    def isp(self, name):
        return next(isp for isp in self.report()["isps"] if isp["isp"] == name)

    @staticmethod
    def _rows(path):
        with open(path) as file:
            heading, *rows = [line.rstrip("\n").split("\t") for line in file]
        return [dict(zip(heading, row)) for row in rows]

    def accepted(self, campaign=None):
        self.report()
        return [row for row in self._rows(self.ledger) if campaign in (None, row["campaign"])]

    def started(self):
        """One row for each MAIL: time_us, isp, source, connection."""
        self.report()
        return self._rows(self.starts)


class Engine(Server):
    def __init__(self, house, name, config):
        super().__init__(house, name, [programs["sluice"], "run", "-c", house.write(name + ".conf", config)])
        self.starts = 0

    def start(self):
        super().start()
        self.starts += 1
        def runs():
            assert self.running(), "the engine ended at once: " + self.read_log()
            return self.read_log().count('msg="engine runs"') == self.starts
        wait_until(runs, "the engine to run")
        return self

    def memory_kib(self, what="VmHWM"):
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(what + ":"))


class House:
    """Everything a test needs, made as it asks for it. `prefix` of source addresses: 127.0.1."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="sluice-it-")
        os.chmod(self.directory, 0o755)
        self.servers, self.clients = [], []
        self.smtp_port, self.dns_port = free_port(), free_port()
        self._redis = None

    def path(self, name):
        return os.path.join(self.directory, name)

    def write(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text)
        return self.path(name)

    def start(self, server):
        self.servers.append(server)
        server.start()
        return server

    @property
    def redis_server(self):
        if not self._redis:
            self._redis = self.start(RedisServer(self, "redis", "--appendfsync", "everysec"))
        return self._redis

    @redis_server.setter
    def redis_server(self, server):
        self._redis = self.start(server)

    def client(self, path=None):
        client = Redis(path or self.redis_server.socket)
        self.clients.append(client)
        wait_until(client.ready, "redis to have loaded its data")
        return client

    def campaign(self, name, redis=None):
        return Campaign(redis or self.client(), name)

    def nsd(self, directory, port, zones):
        """nsd on a port of loopback. `zones`: files in `directory`, by name."""
        conf = os.path.join(directory, "nsd.conf")
        with open(conf, "w") as file:
            file.write(f"""server:
  ip-address: 127.0.0.1@{port}
  server-count: 1
  database: ""
  username: ""
  zonesdir: "{directory}"
  pidfile: "{directory}/nsd.pid"
  xfrdfile: "{directory}/xfrd"
  zonelistfile: "{directory}/zones"
  xfrdir: "{directory}"
remote-control:
  control-enable: no
""" + "".join(f"zone:\n  name: {name}\n  zonefile: {path}\n" for name, path in zones.items()))
        return self.start(Server(self, "nsd", [find_program("nsd"), "-d", "-c", conf]))

    def dns(self, zone):
        """nsd with `zone` as what stands in the zone example.; names under broken. are answered SERVFAIL."""
        zone = ("$ORIGIN example.\n$TTL 300\n@ IN SOA ns.example. admin.example. 1 3600 600 86400 60\n"
                f"@ IN NS ns\nns IN A 127.0.0.1\n{zone}\n")
        self.write("example.zone", zone)
        server = self.nsd(self.directory, self.dns_port, {"example": "example.zone", "broken": "missing.zone"})
        wait_until(lambda: self._dns_answers(server), "an answer of nsd")
        return server

    def _dns_answers(self, server):
        assert server.running(), "nsd ended: " + server.read_log()
        question = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\2ns\7example\0\0\1\0\1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.2)
            try:
                s.sendto(question, ("127.0.0.1", self.dns_port))
                return s.recv(512)[:2] == b"\x12\x34"
            except OSError:
                return False

    def sink(self, config, *arguments):
        """`config` in the sink's own syntax, PORT for the port."""
        return self.start(Sink(self, config.replace("PORT", str(self.smtp_port)), *arguments))

    def isps(self, **manners):
        """An ISP NAME with the domain NAME.example and one host mx.NAME.example for each; the sink plays them."""
        zone, config = [], []
        for i, (name, body) in enumerate(manners.items()):
            zone += [f"{name} IN MX 10 mx.{name}", f"mx.{name} IN A 127.20.{i + 1}.1"]
            config.append(f"isp {name} {{\n listen = {{127.20.{i + 1}.1:PORT}}\n {body}\n}}")
        self.dns("\n".join(zone))
        return self.sink("\n".join(config))

    def engine_config(self, config="", name="engine", sources=2, redis=None, **settings):
        """A configuration for the servers here: `config` is appended, `settings` are keys of the top; redis="" stands
        for the embedded one."""
        pool = " ".join(f"source 127.0.1.{i + 1} {{ ehlo = m{i + 1}.shop.example }}" for i in range(sources))
        top = {"engine": name, "state_dir": self.path("state"), "http": "", "hostname": "test.shop.example",
               "redis": self.redis_server.url if redis is None else redis, "smtp_port": self.smtp_port,
               "resolver": f"127.0.0.1:{self.dns_port}", "shards": 2, "sessions_max": 512, "poll": "500ms"}
        top.update(settings)
        return "".join(f'{key} = "{value}"\n' for key, value in top.items()) + f"pool main {{ {pool} }}\n{config}\n"

    def engine(self, config="", **options):
        name = options.get("name", "engine")
        return self.start(Engine(self, name, self.engine_config(config, **options)))

    def print_logs(self):
        for server in self.servers:
            lines = server.read_log().splitlines()
            print(f"---- {server.name}: {'runs' if server.running() else server.process.poll()}, its last words:")
            print("\n".join(lines[-40:]))

    def close(self):
        for client in self.clients:
            client.close()
        for server in reversed(self.servers):  # the engine before those it talks to
            if server.running():
                server.send(server.last_signal)
            if server.process:
                server.process.wait()
                if server.process.stdout:
                    server.process.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class Case(unittest.TestCase):
    """A test with a House of its own; when it fails, its servers' logs are printed."""

    def run(self, result=None):
        self.house = House()
        before = len(result.failures) + len(result.errors)
        try:
            super().run(result)
            if len(result.failures) + len(result.errors) > before:
                self.house.print_logs()
        finally:
            self.house.close()


def count_by(rows, field):
    return collections.Counter(row.get(field, "") for row in rows)


def judge(case, campaign, n, sink=None, open_doubt=False):
    """The promises, for a campaign of n recipients of which nothing is owed any more. Returns its events by seq.

    One final event for each seq (under `open_doubt`, an in_doubt event that is not final may be the last there is);
    accepted copies of a seq <= 1 + its in_doubt events; delivered means accepted; totals count the events; no lease,
    list or ledger is left; and the sink saw no breach of the protocol."""
    events = campaign.events()
    by_seq = collections.defaultdict(list)
    for event in events:
        by_seq[int(event["seq"])].append(event)
    case.assertEqual(sorted(by_seq), list(range(n)))
    for seq, own in by_seq.items():
        finals = [e for e in own if e["final"] == "1"]
        if open_doubt and own[-1]["type"] == "in_doubt":
            case.assertEqual(finals, [], own)
        else:
            case.assertEqual(len(finals), 1, own)
            case.assertEqual(own[-1], finals[0])
    case.assertEqual(campaign.totals(), dict(count_by(events, "type")))
    case.assertEqual(campaign.redis("XLEN", campaign.key("events")), len(events))
    rest = {"campaign", "status", "events", "totals", "unique", "steps", *(["held"] if open_doubt else [])}
    case.assertEqual(campaign.keys() - rest, set())
    if sink:
        copies = collections.Counter(int(row["seq"]) for row in sink.accepted(campaign.name))
        for seq, own in by_seq.items():
            doubts = sum(e["type"] == "in_doubt" for e in own)
            delivered = sum(e["type"] == "delivered" for e in own)
            case.assertLessEqual(copies[seq], 1 + doubts, own)
            case.assertLessEqual(delivered, min(copies[seq], 1), own)
            if not doubts:
                case.assertEqual(copies[seq], delivered, own)
        case.assertEqual(set(copies) - set(by_seq), set())
        report = sink.report()
        case.assertEqual(report["violation_total"], 0, report)
    return by_seq
