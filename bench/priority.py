"""How long the messages of a campaign of `priority high` take from RPUSH to MAIL: beside a bulk campaign that has all
that the engine and its lanes can do, and on an engine that has nothing to do."""
import random
import threading
import time

from room import Redis, fail, listens, wait_until
from senders import Engine, Sending, campaign_fields, entries

AHEAD = 40000  # of the bulk, as many wait in Redis


class Bulk:
    """A campaign that never runs out."""

    def __init__(self, room, server):
        self.redis, self.name, self.pushed, self.least = Redis(room.redis_path), f"bulk{time.monotonic_ns()}", 0, AHEAD
        self.piece = Redis.encode(["RPUSH", self.key("recipients"), *entries(server, range(1000))])
        self.ended, self.thread = threading.Event(), threading.Thread(target=self.feed)
        self.redis("HSET", self.key("campaign"), *[x for item in fields("").items() for x in item])
        self.fill()
        self.redis("SADD", "sluice:campaigns", self.name)
        self.redis("PUBLISH", "sluice:wake", self.name)
        self.thread.start()

    def key(self, what):
        return f"sluice:{{{self.name}}}:{what}"

    def fill(self):
        """Returns how many had not had their message; in the list, or parked."""
        left = self.pushed - int(self.redis("HGET", self.key("totals"), "delivered") or 0)
        for _ in range(0, AHEAD - left, 1000):
            self.redis.socket.sendall(self.piece)
            self.redis.read()
            self.pushed += 1000
        self.redis("XTRIM", self.key("events"), "MAXLEN", "~", 1000)
        return left

    def feed(self):
        self.fill()
        while not self.ended.wait(0.1):
            self.least = min(self.least, self.fill())

    def end(self):
        self.ended.set()
        self.thread.join()
        if self.least < AHEAD / 10:
            fail(f"of the bulk campaign only {self.least} were left to be sent")


def fields(priority):
    result = campaign_fields("4 KiB")
    del result["sealed"]
    return result | ({"priority": priority} if priority else {})


def announce(redis, name):
    redis("HSET", f"sluice:{{{name}}}:campaign", *[x for item in fields("high").items() for x in item])
    redis("SADD", "sluice:campaigns", name)
    redis("PUBLISH", "sluice:wake", name)


def push_singly(room, names, server, mean_s, wake, known):
    """A recipient to each campaign of `names`, one after the other, at random moments, and those that are not `known`
    with them. Returns when, in us UTC."""
    draw, stamps, redis, next_at = random.Random(len(names)), [], Redis(room.redis_path), time.monotonic()
    for name, entry in zip(names, entries(server, range(len(names)))):
        commands = [["RPUSH", f"sluice:{{{name}}}:recipients", entry]]
        if name != known:
            commands.append(["SADD", "sluice:campaigns", name])
            redis("HSET", f"sluice:{{{name}}}:campaign", *[x for item in fields("high").items() for x in item])
        if wake:
            commands.append(["PUBLISH", "sluice:wake", name])
        bytes_ = b"".join(map(Redis.encode, commands))
        next_at += draw.expovariate(1 / mean_s)
        time.sleep(max(0.0, next_at - time.monotonic()))
        stamps.append(time.time_ns() // 1000)
        redis.socket.sendall(bytes_)
        for _ in commands:
            redis.read()
    return stamps


def started(room, names):
    """The same of MAIL, by the events, in the order of pushing."""
    got = {}
    for name in dict.fromkeys(names):
        key, count = f"sluice:{{{name}}}:events", names.count(name)
        wait_until(lambda: int(room.redis("XLEN", key)) >= count, f"{count} events of campaign {name}")
        for _, event in room.redis("XRANGE", key, "-", "+"):
            event = dict(zip(event[::2], event[1::2]))
            if event[b"type"] != b"delivered":
                fail(f"a message of campaign {name} ended as {event}")
            got[name, int(event[b"seq"])] = int(event[b"started"])
    return [got[name, names[:i].count(name)] for i, name in enumerate(names)]


def ready(room, engine, sending, names):
    """The campaign is known, its template compiled, a session open."""
    wait_until(lambda: listens(engine.http), "the engine to be there")
    wait_until(lambda: engine.metric("sluice_redis_connected") >= sending.shards, "the engine to have Redis")
    announce(room.redis, names[0])
    push_singly(room, names[:1], sending.server, 0.001, True, names[0])
    started(room, names[:1])


def saturate(room, engine, sending, server):
    """The bulk has been at it for a while."""
    bulk, began = Bulk(room, server), engine.metric("sluice_started_total")
    wait_until(lambda: engine.metric("sluice_started_total") >= began + 2000, "the bulk to be under way")
    time.sleep(1)
    return bulk


def forget(room, names):
    for name in names:
        room.redis("SREM", "sluice:campaigns", name)
        for key in room.redis("KEYS", f"sluice:{{{name}}}:*"):
            room.redis("UNLINK", key)


def run_priority(room, options, sending, server, count, wake, apart=False):
    """p50, p99 and the longest in ms, and how many messages a second the bulk had, which is for `server`; None: there is
    none. `apart`: each message is a campaign of its own."""
    engine, bulk, first = Engine(room, sending, options.extra), None, f"high{time.monotonic_ns()}"
    names = [first] + [f"{first}-{i}" if apart else first for i in range(count)]
    try:
        ready(room, engine, sending, names)
        if server:
            bulk = saturate(room, engine, sending, server)
        began, before = time.monotonic(), engine.metric("sluice_started_total")
        pushed = push_singly(room, names[1:], sending.server, 20 / options.scale / count, wake, first)
        seconds, others = time.monotonic() - began, engine.metric("sluice_started_total") - before - count
        waits = sorted((a - b) / 1000 for a, b in zip(started(room, names)[1:], pushed))
        if waits[0] < 0:
            fail("a message was started before it was pushed")
        return {"p50": waits[count // 2], "p99": waits[count * 99 // 100], "longest": waits[-1],
                "bulk": others / seconds if bulk else None}  # fmt: skip
    finally:
        engine.stop()
        if bulk:
            bulk.end()
        forget(room, [*dict.fromkeys(names), *([bulk.name] if bulk else [])])
