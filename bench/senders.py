"""senders.py - the contenders of bench/run: each sends a number of messages once and returns what that cost, as
per_second, cpu (us a message) and what the room spent and saw."""
import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

from room import SENDER, Process, Watch, cpu_of, cpu_of_family, fail, free_port, listens, memory_of, run_tool
from room import wait_until

ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
OCTETS = {"plain 1 KiB": 1024, "4 KiB": 4096, "20 KiB": 20480}


# ---- what is sent ----


def filler(octets):
    draw = random.Random(octets)
    words = "the shop has new shirts cups tickets lake summer offer points today only for you and all friends".split()
    text, line = [], ""
    while sum(map(len, text)) + len(line) < octets:
        line += draw.choice(words) + " "
        if len(line) > 64:
            text.append(line.rstrip() + "\n")
            line = ""
    return "".join(text)[:octets]


def campaign_fields(content):
    """About as many octets as the name says, header and both parts together."""
    fields = {"from": "Shop <news@shop.example>", "pool": "bench", "sealed": "1"}
    if content == "plain 1 KiB":
        return fields | {"subject": "News of the week", "text": filler(682)}
    octets = (OCTETS[content] - 670) / 1.09  # header, greetings and markup take the rest
    greeting = "Hello {{name}}, your account {{id}} has {{points}} points.\n"
    html = "<!doctype html><html><body><p>" + greeting + "</p>\n%s<p>Bye {{name}}</p></body></html>\n"
    return fields | {
        "subject": "{{name}}, your points",
        "text": greeting + filler(int(octets * 0.3)),
        "html": html % "".join(f"<p>{line}</p>\n" for line in filler(int(octets * 0.7)).splitlines()),
    }


def entries(server, numbers):
    return [
        b'{"to":"user%d@%s.example","name":"Name%d","id":"%d","points":"%d"}'
        % (i, server.encode(), i % 977, i, i * 7 % 1000)
        for i in numbers
    ]


def push(redis, campaign, content, server, count):
    """Everything but the word to begin."""
    fields = campaign_fields(content)
    redis("HSET", f"sluice:{{{campaign}}}:campaign", *[x for item in fields.items() for x in item])
    for start in range(0, count, 1000):
        redis("RPUSH", f"sluice:{{{campaign}}}:recipients", *entries(server, range(start, min(start + 1000, count))))


# ---- the engine ----


@dataclasses.dataclass(frozen=True)
class Sending:
    """How the engine is to send."""

    content: str
    sessions: int = 64
    server: str = "plain"
    limits: str = ""  # lines of the ISP's block
    signer: str = ""  # dkim_engine; "": unsigned
    shards: int = 1
    per_connection: int = 0
    program: str = "sluice"
    counted: bool = False  # instructions too
    sources: int = 1
    besides: tuple = ()  # servers of the same ISP
    poll: str = "100ms"
    appendfsync: str = "everysec"

    @property
    def cores(self):
        """One shard has a core to itself; more share both with Redis and the sink."""
        return SENDER if self.shards == 1 else "0,1"


class Engine:
    def __init__(self, room, sending, extra, wrapper=()):
        self.room, self.sending, self.http = room, sending, free_port()
        self.state = tempfile.mkdtemp(prefix="state-", dir=room.work)
        path = os.path.join(self.state, "sluice.conf")
        hosts = ", ".join(f".{server}.example" for server in (sending.server, *sending.besides))
        sources = " ".join(f"source 127.0.1.{i + 1} {{ ehlo = m{i + 1}.shop.example }}" for i in range(sending.sources))
        with open(path, "w") as file:
            file.write(
                f'redis = "unix:{room.redis_path}"\nstate_dir = "{self.state}"\nengine = bench\n'
                f'shards = {sending.shards}\nresolver = "127.0.0.1:{room.dns_port}"\nsmtp_port = {room.port}\n'
                f'http = "127.0.0.1:{self.http}"\nhostname = bench.shop.example\npoll = {sending.poll}\nlog_level = warning\n'
                f"isp bench {{ mx = {{{hosts}}} connections = {sending.sessions // sending.sources} "
                f"per_connection = {sending.per_connection} idle = 60s {sending.limits} }}\n"
                f"pool bench {{ {sources} }}\n{extra}\n"
            )
            if sending.signer:
                file.write(f"dkim_engine = {sending.signer}\n")
                file.write(f"dkim shop.example {{ selector = s1 key = {room.dkim_key} }}\n")
        room.place("0" if sending.shards == 1 else sending.cores)
        room.redis("CONFIG", "SET", "appendfsync", sending.appendfsync)
        self.process = Process(self.state, "engine", sending.cores, *wrapper, f"{room.build}/{sending.program}", "-c", path, "run")

    def send(self, campaign, count):
        """Returns seconds from the word to begin to the last event."""
        redis, server = self.room.redis, self.sending.server
        push(redis, campaign, self.sending.content, server, count)
        began = time.monotonic()
        redis("SADD", "sluice:campaigns", campaign)
        redis("PUBLISH", "sluice:wake", campaign)

        def done():
            if self.process.popen.poll() is not None:
                fail(f"the engine ended: {self.process.tail()}")
            totals = redis("HGETALL", f"sluice:{{{campaign}}}:totals")
            return sum(int(n) for n in totals[1::2]) >= count

        wait_until(done, f"{count} events of campaign {campaign}", seconds=60 + count / 200)
        wall = time.monotonic() - began
        totals = redis("HGETALL", f"sluice:{{{campaign}}}:totals")
        delivered = dict(zip(totals[::2], totals[1::2])).get(b"delivered", b"0")
        if int(delivered) != count:
            fail(f"of {count} recipients {delivered.decode()} had their message: {totals}")
        return wall

    def milliseconds(self, campaign):
        """Of each message, from MAIL to the reply to the final dot; in order of size."""
        all_of_them = []
        for _, fields in self.room.redis("XRANGE", f"sluice:{{{campaign}}}:events", "-", "+"):
            all_of_them.append(int(dict(zip(fields[::2], fields[1::2]))[b"ms"]))
        return sorted(all_of_them)

    def forget(self, campaign):
        for key in ("campaign", "recipients", "events", "totals", "status"):
            self.room.redis("UNLINK", f"sluice:{{{campaign}}}:{key}")

    def metric(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(name + " "):
                    return float(line.split()[1])
        fail(f"the engine has no metric {name}")

    def stop(self):
        self.process.stop()


def expectations(sending, count):
    """What the sink must have seen, else the row is not what it says it is."""
    secure = sending.server in ("tls", "full", "near", "far")
    return {"accepted_tls": count if secure else 0, "accepted_chunked": count if "chunking" in sending.limits else 0}


def share_in_lanes(engine, count):
    """Percent of the signatures so far."""
    wait_until(lambda: engine.metric("sluice_signatures_total") >= count, f"{count} signatures", seconds=5)
    return engine.metric("sluice_signatures_in_lanes_total") * 100 / engine.metric("sluice_signatures_total")


class Instructions:
    """What perf counts for a process from now on; nothing where there is no perf, or no counter (most virtual machines)."""

    def __init__(self, pid):
        perf = shutil.which("perf")
        command = [perf, "stat", "-x", ",", "-e", "instructions", "-p", str(pid)]
        self.perf = subprocess.Popen(command, stderr=subprocess.PIPE, text=True) if perf else None

    def per(self, count):
        if not self.perf:
            return None
        self.perf.send_signal(signal.SIGINT)
        counted = self.perf.communicate()[1].split(",")[0]
        return int(counted) / count if counted.isdigit() else None


def run_engine(room, extra, sending, count, warm=2000):
    engine = Engine(room, sending, extra)
    name = f"b{time.monotonic_ns()}"
    try:
        if warm:
            engine.send(name + "w", warm)  # sessions come up, templates are compiled
            engine.forget(name + "w")
        counter = Instructions(engine.process.pid) if sending.counted else None
        watch, cpu = Watch(room, sending.server), cpu_of(engine.process.pid)
        wall = engine.send(name, count)
        cpu = (cpu_of(engine.process.pid) - cpu) * 1e6 / count
        result = {"per_second": count / wall, "cpu": cpu, **watch.per_message(count, **expectations(sending, count))}
        result["instructions"] = counter.per(count) if counter else None
        result["in_lanes"] = share_in_lanes(engine, warm + count) if sending.signer else None
        ms = engine.milliseconds(name)
        engine.forget(name)
        return result | {"p50": ms[len(ms) // 2], "p99": ms[len(ms) * 99 // 100], "longest": ms[-1]}
    finally:
        engine.stop()


def run_peak_memory(room, extra, count):
    """VmHWM in KiB."""
    engine, name = Engine(room, Sending("4 KiB"), extra), f"m{time.monotonic_ns()}"
    try:
        engine.send(name, count)
        engine.forget(name)
        return memory_of(engine.process.pid, "VmHWM")
    finally:
        engine.stop()


def run_idle_memory(room, extra, server, sessions, tidy):
    """VmRSS in KiB when so many sessions have sent a message each, about, and are idle, and their number. `tidy`: the
    allocator gives pages back as soon as they are free, as it does by itself when more work comes."""
    sending = Sending("plain 1 KiB", sessions, server)
    engine = Engine(room, sending, extra, ("env", "MALLOC_CONF=dirty_decay_ms:0,muzzy_decay_ms:0") if tidy else ())
    try:
        engine.send(f"i{time.monotonic_ns()}", sessions * 2)
        wait_until(lambda: engine.metric("sluice_sessions_busy") == 0, "sessions to be idle")
        return memory_of(engine.process.pid, "VmRSS"), engine.metric("sluice_sessions")
    finally:
        engine.stop()


# ---- the others ----


def run_floor(room, trips, content, sessions, count):
    watch = Watch(room, "plain")
    figures = json.loads(run_tool(
        f"{room.build}/sluice-floor", "--to", f"{room.address('plain')}:{room.port}", "--json",
        "--source", "127.0.1.1", "--sessions", str(sessions), "--messages", str(count),
        "--size", str(OCTETS[content]), "--trips", str(trips)))  # fmt: skip
    return {"per_second": figures["per_second"], "cpu": figures["cpu_us"], **watch.per_message(count), "redis": None}


def smtp_source(content, sessions, count, to):
    return [shutil.which("smtp-source") or "/usr/sbin/smtp-source", "-d", "-s", str(sessions), "-m", str(count), "-l",
            str(OCTETS[content]), "-f", "news@shop.example", "-t", "user@plain.example", to]  # fmt: skip


def run_smtp_source(room, content, sessions, count):
    watch = Watch(room, "plain")
    before = time.monotonic()
    command = smtp_source(content, sessions, count, f"{room.address('plain')}:{room.port}")
    child = subprocess.Popen(["taskset", "-c", SENDER, *command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - before
    child.returncode = status
    if status:
        fail("smtp-source failed")
    cpu = (usage.ru_utime + usage.ru_stime) * 1e6 / count
    return {"per_second": count / wall, "cpu": cpu, **watch.per_message(count), "redis": None}


def run_postfix(room, content, sessions, count):
    directory = tempfile.mkdtemp(prefix="postfix-", dir=room.work)
    script, port = os.path.join(ROOT, "bench/peers/postfix.sh"), free_port()

    def postfix(*arguments):
        return run_tool(script, *arguments).strip()

    os.chmod(room.work, 0o755)
    postfix("start", directory, str(port), f"{room.address('plain')}:{room.port}", str(sessions))
    try:
        wait_until(lambda: listens(port), "Postfix to listen")
        subprocess.run(smtp_source(content, 20, count, f"127.0.0.1:{port}"), check=True, stdout=subprocess.DEVNULL)
        wait_until(lambda: int(postfix("waiting", directory)) >= count, "Postfix to have queued all", 120, 0.5)
        watch, master = Watch(room, "plain"), int(postfix("master", directory))
        before, cpu = time.monotonic(), cpu_of_family(master)
        postfix("release", directory)
        wait_until(lambda: int(postfix("waiting", directory)) == 0, "Postfix to drain", 60 + count / 50, 0.2)
        cpu = (cpu_of_family(master) - cpu) * 1e6 / count
        wall = time.monotonic() - before - 2  # it waits for so long before it begins
        return {"per_second": count / max(wall, 0.1), "cpu": cpu, **watch.per_message(count), "redis": None}
    finally:
        postfix("stop", directory)
