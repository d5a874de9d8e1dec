"""room.py - the machine room of bench/run: the mail servers, the DNS server and Redis on a core of their own, and what
each process spends."""
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

SENDER, OTHERS = "1", "0"  # cores

# The mail servers: all are the same obliging sink, on one port of an address each, as NAME.example.
SERVERS = {
    "plain": "chunking = true",
    "tls": "tls = starttls  chunking = true",
    "full": "tls = starttls  resumption = false  tickets = false",
    "near": "tls = starttls  latency { body = 50ms }",
    "far": "tls = starttls  latency { body = 900ms }",
    "far-plain": "latency { body = 900ms }",
    "late": "latency { greeting = 20ms  mail = 20ms  rcpt = 20ms  body = 20ms }",
    "slow": "latency { body = 50ms }",
}


WAITING_ISPS = 160  # without an entry of their own: scheduling.py


def fail(text):
    sys.exit(f"bench/run: {text}")


def free_port():
    while True:
        port = random.randrange(10000, 30000)  # below what the kernel hands out by itself
        with socket.socket() as s:
            try:
                s.bind(("0.0.0.0", port))
                return port
            except OSError:
                continue


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition, what, seconds=60.0, pause=0.02):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            fail(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(pause)


def run_tool(*command):
    """What a program prints that runs on the sender's core and ends by itself."""
    done = subprocess.run(["taskset", "-c", SENDER, *command], capture_output=True, text=True)
    if done.returncode:
        fail(f"{os.path.basename(command[0])}: {done.stderr}")
    return done.stdout


# ---- processes ----


class Process:
    """A process on some cores, its output in a file."""

    def __init__(self, work, name, cores, *command):
        self.log = os.path.join(work, name + ".log")
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(["taskset", "-c", cores, *command], stdout=log, stderr=log, cwd=work)
        self.name, self.pid = name, self.popen.pid

    def wait_for(self, text, seconds=30):
        def there():
            if self.popen.poll() is not None:
                fail(f"{self.name} ended: {self.tail()}")
            with open(self.log, errors="replace") as log:
                return text in log.read()

        wait_until(there, f"{self.name} to say {text!r}", seconds)

    def tail(self):
        with open(self.log, errors="replace") as log:
            return log.read()[-2000:]

    def place(self, cores):
        for task in os.listdir(f"/proc/{self.pid}/task"):
            os.sched_setaffinity(int(task), {int(core) for core in cores.split(",")})

    def stop(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(40)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        self.popen.wait()


def cpu_of(pid):
    """Seconds of CPU of all threads, user and system: exact from schedstat, else in clock ticks."""
    try:
        total = 0
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
        return total / 1e9
    except (FileNotFoundError, IndexError):
        return ticks_of(pid, children=False)


def ticks_of(pid, children=True):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11 : 15 if children else 13])) / os.sysconf("SC_CLK_TCK")


def cpu_of_family(master):
    """The same of a process, its living children and those that have ended."""
    total = ticks_of(master)
    with open(f"/proc/{master}/task/{master}/children") as file:
        for child in file.read().split():
            try:
                total += ticks_of(child)
            except FileNotFoundError:
                pass
    return total


def memory_of(pid, field):
    """VmHWM, the peak, or VmRSS, what there is now, in KiB."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


# ---- Redis, with as little client as will do ----


class Redis:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.file = self.socket.makefile("rb")

    @staticmethod
    def encode(arguments):
        parts = [a if isinstance(a, bytes) else str(a).encode() for a in arguments]
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)

    def read(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind in b"+:":
            return rest
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.read() for _ in range(int(rest))]
        fail(f"Redis says {line!r}")

    def __call__(self, *arguments):
        self.socket.sendall(self.encode(arguments))
        return self.read()


# ---- the room ----


class Room:
    def __init__(self, work, build):
        self.work, self.build, self.port = work, build, free_port()
        self.cores, self.processes = OTHERS, []

    def open(self):
        self.dkim_key = os.path.join(self.work, "dkim.pem")
        old = os.umask(0o077)
        subprocess.run(["openssl", "genrsa", "-out", self.dkim_key, "2048"], check=True, capture_output=True)
        os.umask(old)
        self.sink = self.start_sink()
        self.dns_port = free_port()
        self.start_dns()
        self.redis_path = os.path.join(self.work, "redis.sock")
        self.redis_process = self.start(
            "redis", "redis-server", "--port", "0", "--unixsocket", self.redis_path, "--dir", self.work,
            "--appendonly", "yes", "--appendfsync", "everysec", "--save", "")  # fmt: skip
        self.redis_process.wait_for("accept connections")
        self.redis = Redis(self.redis_path)

    def start(self, name, *command):
        process = Process(self.work, name, OTHERS, *command)
        self.processes.append(process)
        return process

    @staticmethod
    def address(server):
        return f"127.0.0.{list(SERVERS).index(server) + 1}"

    def start_sink(self):
        path = os.path.join(self.work, "sink.conf")
        with open(path, "w") as file:
            for server, manners in SERVERS.items():
                file.write(f'isp {server} {{ listen = {{"{self.address(server)}:{self.port}"}}  {manners} }}\n')
        sink = self.start("sink", f"{self.build}/sluice-sink", "-c", path, "--json")
        sink.wait_for("ready")
        return sink

    def start_dns(self):
        dnsmasq = shutil.which("dnsmasq") or "/usr/sbin/dnsmasq"
        records = []
        for server in SERVERS:
            records += [f"--mx-host={server}.example,mx.{server}.example,10",
                        f"--host-record=mx.{server}.example,{self.address(server)}"]  # fmt: skip
        for i in range(WAITING_ISPS):  # each an ISP of its own
            records += [f"--mx-host=w{i}.wait.example,mx.w{i}.wait.example,10",
                        f"--host-record=mx.w{i}.wait.example,127.0.2.1"]  # fmt: skip
        dns = self.start(
            "dns", dnsmasq, "--keep-in-foreground", "--conf-file=/dev/null", f"--port={self.dns_port}",
            "--listen-address=127.0.0.1", "--bind-interfaces", "--no-resolv", "--no-hosts", "--pid-file=",
            f"--user={os.environ.get('USER', 'root')}", "--local=/example/", "--local-ttl=3600", "--log-facility=-",
            *records)  # fmt: skip
        dns.wait_for("started, version")

    def place(self, cores):
        """Sink and Redis go to these cores."""
        if cores != self.cores:
            self.sink.place(cores)
            self.redis_process.place(cores)
            self.cores = cores

    def report(self, server):
        """What the sink has counted for a mail server up to now."""
        before = self.reports()
        self.sink.popen.send_signal(signal.SIGUSR1)
        wait_until(lambda: len(self.reports()) > len(before), "a report of the sink", pause=0.002)
        figures = json.loads(self.reports()[-1])
        if figures["violation_total"]:
            fail(f"the sink saw breaches of the protocol: {figures['violations']}")
        return next(isp for isp in figures["isps"] if isp["isp"] == server)

    def reports(self):
        with open(self.sink.log) as log:
            return [line for line in log if line.startswith("{") and line.endswith("}\n")]

    def close(self):
        for process in self.processes:
            process.stop()


class Watch:
    """What the room spends and sees between two moments."""

    def __init__(self, room, server):
        self.room, self.server = room, server
        self.counted, self.spent = room.report(server), self.now()

    def now(self):
        return {"sink": cpu_of(self.room.sink.pid), "redis": cpu_of(self.room.redis_process.pid)}

    def per_message(self, count, **expected):
        """CPU per message in us, octets of one, and how many sessions began with TLS. Fails unless `count` messages
        arrived, and of each of `expected`, by the sink's names, so many."""
        now, counted = self.now(), self.room.report(self.server)
        got = {key: counted[key] - self.counted[key] for key in counted if key != "isp"}
        for key, wanted in ({"accepted": count} | expected).items():
            if got[key] != wanted:
                fail(f"of {wanted} messages {got[key]} count as {key}")
        result = {name: (now[name] - self.spent[name]) * 1e6 / count for name in now}
        return result | {"octets": got["bytes"] / count, "full": got["tls_full"], "resumed": got["tls_resumed"]}
