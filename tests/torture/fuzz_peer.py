#!/usr/bin/env python3
"""Engine and sink among peers that answer anything: nobody may be lost, and neither may fall.

usage: fuzz_peer.py SLUICE SLUICE-SINK [--seconds S] [--seed N]

In each round one campaign goes to mail servers that misbehave (random and mutated bytes, endless lines and replies, single
bytes, resets, silence, garbage instead of TLS, answers ahead of time) and to honest ones, which the sink plays; and
the sink gets clients at the same time that do the like. At the end of a round:
- each recipient has exactly one final event, whoever it was for;
- those of the honest servers were accepted once, and said to be delivered;
- no misbehaving server accepted a message more often than in_doubt events admit, as long as it told no lies before;
- engine and sink still run, end when they are asked to, and no sanitizer had anything to say.
Rounds follow each other until S seconds are over (0: one round).
"""
import argparse
import asyncio
import collections
import os
import random
import socket
import struct
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration"))

import house  # noqa: E402

SERVERS, HONEST, EACH = 24, ("big", "safe"), 20  # recipients of a domain
TIMEOUTS = " ".join(f"timeout_{name} = 1s" for name in ("connect", "greeting", "ehlo", "mail", "rcpt", "data", "body", "quit"))
CONFIG = f"defaults {{ connections = 4  retry = {{100ms, 300ms}}  expire = 4s  adapt = no  {TIMEOUTS} }}"
ENDLESS = 4 << 20  # bytes, unless the peer ends it
CRLF = b"\r\n"


# ---- bytes ----


def mutated(draw, data):
    """A few bytes of it changed, doubled, left out or put in."""
    out = bytearray(data)
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(out) + 1)
        what = draw.randrange(5)
        if what == 0 and at < len(out):
            out[at] = draw.randrange(256)
        elif what == 1:
            del out[at:at + draw.randrange(1, 4)]
        elif what == 2:
            out[at:at] = draw.randbytes(draw.randrange(1, 8))
        elif what == 3:
            out[at:at] = out[:at][-draw.randrange(1, 40):]
        elif at < len(out):
            out[at] ^= 1 << draw.randrange(8)
    return bytes(out)


def garbage(draw):
    kind = draw.randrange(6)
    if kind == 0:
        return draw.randbytes(draw.randrange(1, 3000))
    if kind == 1:
        return bytes(draw.choice(b"0123456789 -\r\n\0.\xff") for _ in range(draw.randrange(1, 400)))
    if kind == 2:
        return b"%03d%s" % (draw.randrange(1000), draw.choice((b"", b" ", b"-", b"\t", b"x"))) + draw.randbytes(20) + CRLF
    if kind == 3:
        return b"\0" * draw.randrange(1, 600)
    if kind == 4:  # records of TLS, with nothing in them that is
        body = draw.randbytes(draw.randrange(0, 400))
        return struct.pack("!BHH", draw.choice((20, 21, 22, 23)), 0x0303, len(body)) + body
    return draw.choice((CRLF, b"\n", b"\r", b"250", b"250-\r\n" * 300, b"354\r\n", b"421 4.3.2 bye\r\n", b"220 \r\n"))


# ---- servers that misbehave ----


class Gone(Exception):
    """This connection is over."""


class Dialog:
    """One connection with the engine: a correct one up to some reply, and from there on anything."""

    def __init__(self, villain, reader, writer):
        self.villain, self.draw, self.reader, self.writer = villain, villain.draw, reader, writer
        self.honest = True  # it has told no lies yet
        self.evil_at = self.draw.choice((0, 1, 2, 3, 4, 5, 6, 8, 12, 30))
        self.evil_again = self.draw.random() * 0.95
        self.said = 0

    async def say(self, data):
        """True: the peer was sent just this, by a server that never sent anything else."""
        evil = self.said == self.evil_at or (self.said > self.evil_at and self.draw.random() < self.evil_again)
        self.said += 1
        if evil:
            await self.draw.choice(self.EVILS)(self, data)
        else:
            self.writer.write(data)
            await self.writer.drain()
        return self.honest

    async def lie(self, data):
        self.honest = False
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data):
        for byte in data:
            self.writer.write(bytes([byte]))
            await self.writer.drain()
            await asyncio.sleep(self.draw.choice((0, 0.01, 0.05)))

    async def reset(self, data):
        self.writer.write(data[:self.draw.randrange(len(data) + 1)])
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.honest = False  # who knows what arrived
        raise Gone

    async def close(self, data):
        self.honest = False
        self.writer.write(data[:self.draw.randrange(len(data) + 1)])
        raise Gone

    async def silence(self, data):
        self.honest = False
        await asyncio.sleep(3)
        raise Gone

    async def endless(self, data):
        piece = self.draw.choice((b"A" * 65536, b"250-" + b"x" * 65536, b"250-more\r\n" * 6000, b"\0" * 65536, b"2" * 65536))
        for _ in range(ENDLESS // len(piece)):
            await self.lie(piece)

    async def mutate(self, data):
        await self.lie(mutated(self.draw, data))

    async def rubbish(self, data):
        await self.lie(garbage(self.draw))

    async def surround(self, data):
        await self.lie(self.draw.choice((data + data, garbage(self.draw) + data, data + garbage(self.draw),
                                         data + b"250 2.0.0 and this\r\n", data * 20)))

    async def another(self, data):
        await self.lie(b"%d %s what\r\n" % (self.draw.randrange(100, 700), self.draw.choice((b"4.0.0", b"5.1.1", b"2.0.0", b""))))

    EVILS = (drip, drip, reset, reset, close, silence, endless, mutate, mutate, mutate, rubbish, rubbish, surround, another)

    async def line(self):
        try:
            line = await asyncio.wait_for(self.reader.readuntil(b"\n"), 5)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError):
            raise Gone from None
        return line.strip()

    async def body(self):
        while await self.line() != b".":
            pass

    async def run(self):
        features = [b"PIPELINING", b"8BITMIME", b"SIZE 1000000", b"CHUNKING", b"STARTTLS", b"ENHANCEDSTATUSCODES"]
        features = [f for f in features if self.draw.random() < (0.2 if f == b"STARTTLS" else 0.6)]
        to = None
        await self.say(b"220 evil.example ESMTP\r\n")
        while True:
            line = await self.line()
            verb = line[:4].upper()
            if verb == b"EHLO":
                lines = [b"evil.example", *features]
                await self.say(b"".join(b"250-" + text + CRLF for text in lines[:-1]) + b"250 " + lines[-1] + CRLF)
            elif verb == b"RCPT":
                to = line[line.find(b"<") + 1:line.find(b">")].decode("latin1")
                await self.say(b"250 2.1.5 ok\r\n")
            elif verb == b"DATA":
                await self.say(b"354 go\r\n")
                await self.body()
                await self.accept(to)
            elif verb == b"BDAT":
                await self.reader.readexactly(int(line.split()[1]))
                await self.accept(to)
            elif verb == b"STAR":
                await self.say(b"220 2.0.0 go\r\n")
                await self.lie(b"".join(garbage(self.draw) for _ in range(self.draw.randrange(1, 5))))
            elif verb == b"QUIT":
                await self.say(b"221 2.0.0 bye\r\n")
                raise Gone
            else:
                await self.say(b"250 2.0.0 ok\r\n")

    async def accept(self, to):
        if await self.say(b"250 2.0.0 taken\r\n"):
            self.villain.accepted[to] += 1


class Villain:
    """SERVERS addresses that misbehave, in a thread of their own."""

    def __init__(self, seed, port):
        self.draw, self.port = random.Random(seed), port
        self.accepted, self.connections = collections.Counter(), 0
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda loop, context: None)  # connections that ended under us
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        assert self.ready.wait(30), "the misbehaving servers do not listen"

    def _run(self):
        asyncio.set_event_loop(self.loop)
        for i in range(SERVERS):
            self.loop.run_until_complete(asyncio.start_server(self._serve, f"127.21.{i + 1}.1", self.port, limit=1 << 20))
        self.ready.set()
        self.loop.run_forever()
        open_ones = asyncio.all_tasks(self.loop)
        for task in open_ones:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*open_ones, return_exceptions=True))
        self.loop.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            await asyncio.wait_for(Dialog(self, reader, writer).run(), 20)
        except (Gone, OSError, ValueError, IndexError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()


# ---- clients that misbehave ----

CLIENT = [b"EHLO c.example\r\n", b"STARTTLS\r\n", b"MAIL FROM:<a@c.example>\r\n", b"RCPT TO:<b@big.example>\r\n", b"DATA\r\n",
          b"Subject: x\r\n\r\nbody\r\n.\r\n", b"BDAT 5\r\nhello", b"BDAT 99999999999999999999 LAST\r\n", b"RSET\r\n",
          b"AUTH PLAIN AGEAYg==\r\n", b"NOOP\r\n", b"QUIT\r\n"]  # fmt: skip


def pester(draw, address, until):
    """Connects to the sink again and again, and says what no client should."""
    count = 0
    while time.monotonic() < until:
        count += 1
        with socket.socket() as s:
            s.settimeout(0.2)
            try:
                s.connect(address)
                for _ in range(draw.randrange(1, 30)):
                    words = draw.choice((draw.choice(CLIENT), mutated(draw, draw.choice(CLIENT)), garbage(draw),
                                         b"".join(draw.choices(CLIENT, k=5)), b"X" * draw.choice((1000, 100000))))
                    s.sendall(words)
                    if draw.random() < 0.3:
                        s.recv(4096)
                if draw.random() < 0.5:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
    return count


class Pests:
    def __init__(self, seed, address, count=3):
        self.until, self.connections = time.monotonic() + 3600, 0
        self.threads = [threading.Thread(target=self._run, args=(random.Random(seed + i), address), daemon=True)
                        for i in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, draw, address):
        while time.monotonic() < self.until:
            self.connections += pester(draw, address, time.monotonic() + 0.5)

    def close(self):
        self.until = 0
        for thread in self.threads:
            thread.join()


# ---- a round ----


def zone():
    lines = [f"{name} IN MX 10 mx.{name}\nmx.{name} IN A 127.20.{i + 1}.1" for i, name in enumerate(HONEST)]
    lines += [f"evil{i} IN MX 10 mx.evil{i}\nmx.evil{i} IN A 127.21.{i + 1}.1" for i in range(SERVERS)]
    return "\n".join(lines)


def check(campaign, everybody, sink, villain):
    """What is wrong, as sentences."""
    wrong, by_to = [], collections.defaultdict(list)
    for event in campaign.events():
        by_to[event["to"]].append(event)
    copies = collections.Counter(row["recipient"] for row in sink.accepted(campaign.name))
    for to in everybody:
        types = [event["type"] for event in by_to[to]]
        finals = [event for event in by_to[to] if event["final"] == "1"]
        if len(finals) != 1:
            wrong.append(f"{to} has {len(finals)} final events: {types}")
        if villain.accepted[to] > 1 + types.count("in_doubt"):
            wrong.append(f"{to} was accepted {villain.accepted[to]} times, and its events are {types}")
        if "evil" not in to and (copies[to] != 1 or types.count("delivered") != 1):
            wrong.append(f"{to} of an honest server: {copies[to]} copies, {types}")
    if set(by_to) - set(everybody):
        wrong.append(f"events of strangers: {set(by_to) - set(everybody)}")
    return wrong


def run_round(seed):
    home, villain, pests = house.House(), None, None
    try:
        home.dns(zone())
        villain = Villain(seed, home.smtp_port)
        sink = home.sink("isp big { listen = {127.20.1.1:PORT, 127.20.1.2:PORT} latency { body = 1ms..20ms } }\n"
                         "isp safe { listen = {127.20.2.1:PORT} tls = starttls }")
        engine = home.engine(CONFIG)
        pests = Pests(seed, ("127.20.1.2", home.smtp_port))
        everybody = [f"u{i}@{name}.example" for i in range(EACH) for name in (*HONEST, *(f"evil{k}" for k in range(SERVERS)))]
        c = home.campaign("c").create(sealed="1", in_doubt="resend")
        c.push(everybody).announce()
        c.wait_for("done", patience_s=180)
        pests.close()
        wrong = check(c, everybody, sink, villain)
        if engine.end() != 0:
            wrong.append(f"the engine ended with {engine.process.returncode}")
        if sink.end() != 0:
            wrong.append(f"the sink ended with {sink.process.returncode}")
        for server in (engine, sink):
            if "Sanitizer" in server.read_log() or "runtime error" in server.read_log():
                wrong.append(f"a sanitizer speaks of the {server.name}")
        # Otherwise the round was none.
        if villain.connections < 2 * SERVERS or not sum(villain.accepted.values()) or pests.connections < 10:
            wrong.append(f"too little came about: {villain.connections} connections to misbehaving servers, "
                         f"{sum(villain.accepted.values())} accepted there, {pests.connections} clients of the sink")
        print(f"seed {seed}: {villain.connections} connections to misbehaving servers, {pests.connections} misbehaving "
              f"clients of the sink; {dict(c.totals())}: {'BROKEN' if wrong else 'good'}", flush=True)
        for sentence in wrong[:20]:
            print("  " + sentence)
        if wrong:
            home.print_logs()
        return not wrong
    except BaseException:
        print(f"seed {seed}")
        home.print_logs()
        raise
    finally:
        for one in (pests, villain):
            if one:
                one.close()
        home.close()


def main():
    words = argparse.ArgumentParser(description="engine and sink among peers that answer anything")
    words.add_argument("sluice")
    words.add_argument("sink")
    words.add_argument("--seconds", type=float, default=0)
    words.add_argument("--seed", type=int)
    options = words.parse_args()
    house.programs["sluice"], house.programs["sink"] = os.path.abspath(options.sluice), os.path.abspath(options.sink)
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    until, rounds, good = time.monotonic() + options.seconds, 0, 0
    while rounds == 0 or time.monotonic() < until:
        good += run_round(seed + rounds)
        rounds += 1
    print(f"{good} of {rounds} rounds good")
    return 0 if good == rounds else 1


if __name__ == "__main__":
    sys.exit(main())
