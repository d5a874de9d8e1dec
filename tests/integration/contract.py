"""contract.py - the public contract in Redis as producers and consumers speak it: a small client, and a campaign."""
import json
import socket
import time

PATIENCE_S = 90  # for anything that must come; machines that run tests are slow at times


def wait_until(condition, what, patience_s=PATIENCE_S):
    """Returns the condition's first true value; what it says last is in the error."""
    until = time.monotonic() + patience_s
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"waited {patience_s} s for {what() if callable(what) else what}")
        time.sleep(0.02)
    return value


class RedisError(Exception):
    pass


class Redis:
    """A client of a few lines: redis("HSET", key, field, value) returns the answer as text, numbers, lists or None."""

    def __init__(self, path, timeout_s=60):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(path)
        except OSError:
            self.socket.close()
            raise
        self.file = self.socket.makefile("rb")

    def __call__(self, *words):
        return self.pipeline([words])[0]

    def pipeline(self, commands):
        self.socket.sendall(b"".join(self._encode(words) for words in commands))
        answers = [self._read() for _ in commands]
        for answer in answers:
            if isinstance(answer, RedisError):
                raise answer
        return answers

    def ready(self):
        try:
            return self("PING") == "PONG"
        except RedisError:  # LOADING
            return False

    @staticmethod
    def _encode(words):
        parts = [w if isinstance(w, bytes) else str(w).encode("utf-8", "surrogateescape") for w in words]
        return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)

    def _read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return RedisError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode("utf-8", "surrogateescape")
        if kind == b"*":
            return None if rest == b"-1" else [self._read() for _ in range(int(rest))]
        raise ConnectionError(f"not RESP: {line!r}")

    def close(self):
        self.file.close()
        self.socket.close()


class Campaign:
    """A producer, a consumer and whoever looks on, with nothing but Redis' commands."""

    def __init__(self, redis, name):
        self.redis, self.name = redis, name

    def key(self, what):
        return f"sluice:{{{self.name}}}:{what}"

    def create(self, **fields):
        words = {"from": "Shop <news@shop.example>", "subject": "Hi {{name}}", "text": "Dear {{name}},\nhello.\n",
                 "pool": "main"}
        words.update(fields)
        self.redis("HSET", self.key("campaign"), *(w for pair in words.items() if pair[1] is not None for w in pair))
        return self

    def push(self, entries):
        entries = [e if isinstance(e, (str, bytes)) else json.dumps(e) for e in entries]
        for at in range(0, len(entries), 1000):
            self.redis("RPUSH", self.key("recipients"), *entries[at:at + 1000])
        return self

    def announce(self):
        self.redis.pipeline([("SADD", "sluice:campaigns", self.name), ("PUBLISH", "sluice:wake", self.name)])
        return self

    def set(self, **fields):
        self.redis("HSET", self.key("campaign"), *(w for pair in fields.items() for w in pair))
        return self

    @staticmethod
    def _hash(flat):
        return dict(zip(flat[::2], flat[1::2]))

    def status(self):
        return self._hash(self.redis("HGETALL", self.key("status")))

    def totals(self):
        return {k: int(v) for k, v in self._hash(self.redis("HGETALL", self.key("totals"))).items()}

    def count(self, *types):
        return sum(n for name, n in self.totals().items() if name in types or not types)

    def events(self, **wanted):
        """All of them, oldest first, with `stream` added: the entry's id."""
        events, after = [], "-"
        while True:
            entries = self.redis("XRANGE", self.key("events"), after, "+", "COUNT", 5000)
            for stream, flat in entries:
                events.append(dict(self._hash(flat), stream=stream))
            if len(entries) < 5000:
                break
            after = "(" + entries[-1][0]
        return [e for e in events if all(e.get(k) == v for k, v in wanted.items())]

    def wait_for(self, *phases, patience_s=PATIENCE_S):
        wait_until(lambda: self.status().get("phase") in phases,
                   lambda: f"{self.name} to be {phases}; it is {self.status()}, {self.totals()}; doubts: "
                           f"{[(e.get('to'), e.get('reply'), e.get('rule')) for e in self.events(type='in_doubt')][:10]}", patience_s)
        return self

    def wait_count(self, n, *types, patience_s=PATIENCE_S):
        wait_until(lambda: self.count(*types) >= n,
                   lambda: f"{n} events {types} of {self.name}; there are {self.totals()}, {self.status()}", patience_s)
        return self

    def keys(self):
        """What exists of it, without the common beginning: {"campaign", "status", ...}."""
        found, cursor = set(), "0"
        while True:
            cursor, keys = self.redis("SCAN", cursor, "MATCH", self.key("*"), "COUNT", 1000)
            found.update(key[len(self.key("")):] for key in keys)
            if cursor == "0":
                return found
