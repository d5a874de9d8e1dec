#!/usr/bin/env python3
"""Kills the engine at random moments of one campaign, and Redis between, and then gives an account of every recipient.

usage: torture.py SLUICE SLUICE-SINK [--minutes M] [--recipients N] [--kills K] [--redis-kills R] [--both B] [--seed S]
                  [--appendfsync everysec|always]... [--in-doubt hold|resend|drop]

A round is one campaign of N recipients (200000) during which the engine gets SIGKILL K times (100), Redis R times (10)
while the engine lives, and both at once B times (0: with everysec Redis may then lose what nobody remembers). Rounds
follow each other until M minutes are over (0: one round), in turn with each of the settings of appendfsync.

The judge is the sink: its ledger says what it accepted. Per round:
  sent once     accepted once, and nothing else was ever said
  in doubt      an in_doubt event names it; at most 3 for each open session and kill
  lost          no final event, and not held either; or delivered, says its event, and the sink never saw it
  doubled       accepted more often than its in_doubt events admit
Exit code 1 when anybody was lost or doubled, or more are in doubt than the bound says.
"""
import argparse
import collections
import os
import random
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration"))

import house  # noqa: E402
from contract import wait_until  # noqa: E402

# Slow enough that a kill finds messages at every stage. What is refused for now comes again within the round.
MANNERS = {"big": "latency { mail = 0ms..2ms  rcpt = 0ms..2ms  body = 1ms..20ms }",
           "plain": "pipelining = false  latency { rcpt = 0ms..1ms  body = 0ms..10ms }",
           "safe": "tls = starttls  latency { body = 1ms..15ms }",
           "moody": "latency { body = 0ms..10ms }\n"
                    "rcpt { reply = \"450 4.2.0 not now\" percent = 2 }\n"
                    "rcpt { reply = \"550 5.1.1 no such user\" percent = 2 sticky = true }"}
CONNECTIONS, SOURCES, SHARDS = 5, 2, 2
SESSIONS = CONNECTIONS * SOURCES * len(MANNERS)
DOUBTS = 3  # for each session and kill: one answered and not recorded, one whose body is out, one that holds a permit
CONFIG = f"defaults {{ connections = {CONNECTIONS}  retry = {{200ms}}  expire = 1h  adapt = no }}"


class Account:
    """What became of each recipient of a campaign, by its events and by the sink's ledger."""

    def __init__(self, campaign, sink, n):
        by_seq = collections.defaultdict(list)
        for event in campaign.events():
            by_seq[int(event["seq"])].append(event)
        copies = collections.Counter(int(row["seq"]) for row in sink.accepted(campaign.name))
        self.n, self.doubts, self.copies = n, 0, sum(copies.values())
        self.once, self.refused, self.doubtful = 0, 0, collections.Counter()
        self.lost, self.doubled, self.odd = [], [], []
        for seq in range(n):
            self._add(seq, by_seq.get(seq, []), copies[seq])
        self.strangers = sorted((set(by_seq) | set(copies)) - set(range(n)))

    def _add(self, seq, events, copies):
        types = collections.Counter(event["type"] for event in events)
        finals = [event for event in events if event["final"] == "1"]
        doubts = types["in_doubt"]
        held = bool(events) and events[-1]["type"] == "in_doubt"
        self.doubts += doubts
        if copies > 1 + doubts:
            self.doubled.append(seq)
        if (not finals and not held) or (types["delivered"] and not copies):
            self.lost.append(seq)
        if len(finals) > 1 or (not doubts and copies != types["delivered"]):
            self.odd.append((seq, copies, dict(types)))
        if doubts:
            self.doubtful[min(copies, 2)] += 1
        elif copies == 1:
            self.once += 1
        elif not copies and finals:
            self.refused += 1

    def good(self, bound):
        return not self.lost and not self.doubled and not self.odd and not self.strangers and self.doubts <= bound

    def print(self, bound):
        print(f"  sent once {self.once}, refused {self.refused}, in doubt {sum(self.doubtful.values())} "
              f"(bound {bound}; of them never arrived {self.doubtful[0]}, once {self.doubtful[1]}, "
              f"more often {self.doubtful[2]}), lost {len(self.lost)}, doubled unknowingly {len(self.doubled)}")
        for what, those in (("lost", self.lost), ("doubled", self.doubled), ("events and ledger differ", self.odd),
                            ("nobody's", self.strangers)):
            if those:
                print(f"  {what}: {those[:20]}{' ...' if len(those) > 20 else ''}")


class Round:
    def __init__(self, options, appendfsync, seed, home):
        self.options, self.draw, self.home = options, random.Random(seed), home
        home.redis_server = house.RedisServer(home, "redis", "--appendfsync", appendfsync)
        self.sink = home.isps(**MANNERS)
        self.engine = home.engine(CONFIG, shards=SHARDS)
        names = list(MANNERS)
        self.campaign = home.campaign("torture").create(sealed="1", in_doubt=options.in_doubt)
        self.campaign.push([{"to": f"u{i}@{names[i % len(names)]}.example", "name": f"N{i}"}
                            for i in range(options.recipients)]).announce()

    def kill_redis(self):
        self.home.redis_server.kill()
        self.home.redis_server.start()
        self.campaign.redis = self.home.client()

    def kill(self, what):
        if what == "engine":
            self.engine.kill()
            self.engine.start()
        elif what == "redis":
            self.kill_redis()
        else:
            self.engine.kill()
            self.kill_redis()
            self.engine.start()

    def is_over(self):
        status = self.campaign.status()
        return status.get("phase") == "done" or status.get("reason") == "recipients in doubt are held"

    def answered(self):
        return self.campaign.count("delivered", "bounced", "in_doubt")

    def wait_part(self, i, parts):
        wait_until(lambda: self.answered() >= self.options.recipients * i // parts or self.is_over(),
                   lambda: f"part {i} of {parts}: {self.campaign.totals()}, {self.campaign.status()}", 600)

    def run(self):
        o = self.options
        plan = ["engine"] * o.kills + ["redis"] * o.redis_kills + ["both"] * o.both
        self.draw.shuffle(plan)
        early = 0
        for i, what in enumerate(plan):
            self.wait_part(i + 1, len(plan) + 2)
            time.sleep(self.draw.random() * min(0.3, o.recipients / 40000))  # before the next part has begun
            early += not self.is_over()
            self.kill(what)
        wait_until(self.is_over, lambda: f"the end: {self.campaign.status()}, {self.campaign.totals()}", 600)
        assert early == len(plan), f"{len(plan) - early} kills came when all was over: more recipients are needed"
        return Account(self.campaign, self.sink, o.recipients)


def run_round(options, appendfsync, seed):
    """False: somebody was lost, or doubled, or more are in doubt than may be."""
    home, began = house.House(), time.monotonic()
    try:
        print(f"seed {seed}, appendfsync {appendfsync}, {options.recipients} recipients, {SESSIONS} sessions; SIGKILL: "
              f"{options.kills} to the engine, {options.redis_kills} to Redis, {options.both} to both", flush=True)
        account = Round(options, appendfsync, seed, home).run()
        kills = options.kills + options.redis_kills + options.both
        bound = kills * SESSIONS * DOUBTS
        account.print(bound)
        good = account.good(bound)
        print(f"  {'good' if good else 'BROKEN'}, {time.monotonic() - began:.0f} s", flush=True)
        if not good:
            home.print_logs()
        return good
    except BaseException:
        home.print_logs()
        raise
    finally:
        home.close()


def main():
    words = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0], description="see above")
    words.add_argument("sluice")
    words.add_argument("sink")
    words.add_argument("--minutes", type=float, default=0)
    words.add_argument("--recipients", type=int, default=200000)
    words.add_argument("--kills", type=int, default=100)
    words.add_argument("--redis-kills", type=int, default=10)
    words.add_argument("--both", type=int, default=0)
    words.add_argument("--seed", type=int)
    words.add_argument("--appendfsync", action="append", choices=("everysec", "always"))
    words.add_argument("--in-doubt", default="hold", choices=("hold", "resend", "drop"))
    options = words.parse_args()
    house.programs["sluice"], house.programs["sink"] = os.path.abspath(options.sluice), os.path.abspath(options.sink)
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    until, number, good = time.monotonic() + options.minutes * 60, 0, True
    settings = options.appendfsync or ["everysec", "always"]
    while number == 0 or time.monotonic() < until:
        good = run_round(options, settings[number % len(settings)], seed + number) and good
        number += 1
    print(f"{number} rounds, {'all good' if good else 'NOT all good'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
