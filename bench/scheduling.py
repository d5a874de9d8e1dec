"""What waiting and looking ahead cost: lanes that wait for their time, and the forecast of a campaign."""
import json
import os
import resource
import subprocess
import tempfile
import time

from room import WAITING_ISPS, Process, cpu_of, fail, free_port, listens, wait_until
from senders import SENDER, Engine, Sending

WAITING_SOURCES = 63
WAITING = WAITING_ISPS * WAITING_SOURCES
WATCHED_S = 20


class WaitingEngine(Engine):
    """An engine with more sources, whose mail is for ISPs without an entry."""

    def __init__(self, room, settings, source_settings=""):
        self.room, self.sending, self.http = room, Sending("plain 1 KiB"), free_port()
        self.state = tempfile.mkdtemp(prefix="state-", dir=room.work)
        path = os.path.join(self.state, "sluice.conf")
        with open(path, "w") as file:
            sources = "".join(f"source 127.0.3.{i + 1} {{ ehlo = m{i}.shop.example {source_settings} }}\n"
                              for i in range(WAITING_SOURCES))
            file.write(
                f'redis = "unix:{room.redis_path}"\nstate_dir = "{self.state}"\nengine = bench\nshards = 1\n'
                f'resolver = "127.0.0.1:{room.dns_port}"\nsmtp_port = {room.port}\nlog_level = warning\n'
                f'http = "127.0.0.1:{self.http}"\nhostname = bench.shop.example\n{settings}\npool wait {{ {sources} }}\n'
            )
        room.place("0")
        self.process = Process(self.state, "engine", SENDER, f"{room.build}/sluice", "-c", path, "run")

    def queue(self, campaign):
        """One recipient for each ISP; none of them can start soon."""
        redis = self.room.redis
        redis("HSET", f"sluice:{{{campaign}}}:campaign", "from", "news@shop.example", "subject", "s", "text", "t")
        redis("RPUSH", f"sluice:{{{campaign}}}:recipients", *(f"u@w{i}.wait.example" for i in range(WAITING_ISPS)))
        redis("SADD", "sluice:campaigns", campaign)
        redis("PUBLISH", "sluice:wake", campaign)
        wait_until(lambda: self.metric("sluice_lanes") >= WAITING, f"{WAITING} lanes", seconds=60)
        if self.metric("sluice_started_total"):
            fail("a lane that should wait has started something")

    def cpu_per_second(self):
        before = cpu_of(self.process.pid)
        time.sleep(WATCHED_S)
        return (cpu_of(self.process.pid) - before) * 1000 / WATCHED_S


def run_waiting(room, settings, source_settings=""):
    """CPU in ms per second of an engine without lanes, and of one all of whose lanes wait."""
    result = {}
    for key in ("idle", "waiting"):
        engine, campaign = WaitingEngine(room, settings, source_settings), f"w{time.monotonic_ns()}"
        try:
            wait_until(lambda: listens(engine.http), "the engine to be there")
            wait_until(lambda: engine.metric("sluice_redis_connected") == 1, "the engine to have Redis")
            if key == "waiting":
                engine.queue(campaign)
            time.sleep(5)
            result[key] = engine.cpu_per_second()
            result["lanes"] = engine.metric("sluice_lanes")
        finally:
            engine.stop()
            room.redis("SREM", "sluice:campaigns", campaign)
            room.redis("DEL", *(f"sluice:{{{campaign}}}:{key}" for key in ("campaign", "recipients", "leases", "status")))
    return result | {"adds": result["waiting"] - result["idle"]}


def run_forecast(room, count):
    """Of a campaign for six large ISPs and 5,000 small ones, from four sources: seconds, and CPU seconds."""
    path = os.path.join(room.work, "forecast.conf")
    providers = {f"isp{i}": share for i, share in enumerate((40, 15, 12, 10, 6, 2))}
    with open(path, "w") as file:
        file.write("hostname = bench.shop.example\n")
        file.write("pool p { " + "".join(f"source 127.0.1.{i + 1} {{ name = s{i} }}\n" for i in range(4)) + "}\n")
        for name in providers:
            file.write(f"isp {name} {{ mx = .{name}.example  rate = 500/min  connections = 20 }}\n")
    weights = [1 / (i + 1) for i in range(5000)]
    demands = [(name, count * share // 100) for name, share in providers.items()]
    demands += [(f"mx:mx{i}.example", max(1, int(count * 15 / 100 * w / sum(weights)))) for i, w in enumerate(weights)]
    question = json.dumps({"config": path, "start": time.time_ns(), "connect": 500_000_000, "latency": 250_000_000,
                           "speed": 10000, "horizon": 400 * 86400 * 10**9,
                           "demands": [{"campaign": "c", "isp": isp, "pool": "p", "count": n} for isp, n in demands]})
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([f"{room.build}/sluice-forecast"], input=question, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not json.loads(done.stdout)["finished"]:
        fail("the forecast does not end")
    return {"recipients": sum(n for _, n in demands), "seconds": time.monotonic() - began,
            "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}
