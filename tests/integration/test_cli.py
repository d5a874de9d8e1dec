#!/usr/bin/env python3
"""The program as people use it: what it understands, what it says, its exit codes, and what programs may read of it.

usage: test_cli.py SLUICE SLUICE-SINK [unittest's options]
"""
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import house
from house import judge, wait_until

COMMANDS = ["run", "send", "campaign", "events", "status", "render", "token", "config"]
POOL = "pool main { source 127.0.0.1 { ehlo = m.shop.example } }\n"
LETTER = ["--from", "Shop <news@shop.example>", "--subject", "Hi {{name}}"]


class Case(house.Case):
    def sluice(self, *words, config=None, input=None, env=None, cwd=None, timeout=house.PATIENCE_S):
        """Runs it; `config` is a file's name."""
        command = [house.programs["sluice"]] + (["-c", config] if config else []) + list(words)
        environment = {k: v for k, v in os.environ.items() if k != "SLUICE_CONFIG"}
        environment.update(env or {})
        return subprocess.run(command, input=input, stdin=None if input is not None else subprocess.DEVNULL,
                              capture_output=True, env=environment, cwd=cwd or self.house.directory, timeout=timeout)

    def ends(self, result, code, *said):
        """Exit code, and what stands on standard error; a sanitizer's report is never what was meant."""
        errors = result.stderr.decode(errors="replace")
        self.assertNotIn("Sanitizer", errors)
        self.assertNotIn("runtime error", errors)
        self.assertEqual(result.returncode, code, errors)
        for text in said:
            self.assertIn(text, errors)
        return result.stdout.decode()

    def letter(self, text="Dear {{name}},\nhello.\n"):
        return LETTER + ["--text", self.house.write("letter.txt", text)]

    def config(self, text=POOL, redis=None):
        redis = self.house.redis_server.url if redis is None else redis
        return self.house.write("sluice.conf", f'redis = "{redis}"\nhttp = "127.0.0.1:{house.free_port()}"\n{text}')


class Words(Case):
    def test_help_and_version(self):
        text = self.ends(self.sluice("--help"), 0)
        for command in COMMANDS:
            self.assertIn(f"  {command} ", text)
            self.assertIn(f"usage: sluice {command}", self.ends(self.sluice(command, "--help"), 0))
            self.assertIn(f"usage: sluice {command}", self.ends(self.sluice(command, "-h"), 0))
        self.assertRegex(self.ends(self.sluice("--version"), 0), r"^sluice \d+\.\d+\.\d+\n$")

    def test_what_is_not_understood(self):
        self.ends(self.sluice(), 2, "usage: sluice")
        self.ends(self.sluice("nonsense"), 2, 'there is no command "nonsense"')
        self.ends(self.sluice("--nonsense"), 2, "Try `sluice --help`")
        for command in COMMANDS:
            self.ends(self.sluice(command, "--nonsense"), 2, f"Try `sluice {command} --help`")
        for words in (["status", "x"], ["run", "x"], ["config", "--check", "x"], ["config"],
                      ["config", "--check", "--print"], ["events"], ["events", "a", "b"], ["events", "a b"],
                      ["events", "a", "--after", "x"], ["campaign"], ["campaign", "list", "x"], ["campaign", "show"],
                      ["campaign", "show", "a", "b"], ["campaign", "destroy", "a"], ["campaign", "pause", "a", "--json"],
                      ["campaign", "show", "a b"], ["campaign", "show", "x" * 65], ["run", "--shards", "0"],
                      ["run", "--shards", "257"], ["run", "--shards", "two"], ["send"], ["send", "--to"],
                      ["send", "--from", "a", "--from", "b", "--to", "x"], ["send", "--to", "x", "y"],
                      ["send", "--set", "x", "--to", "x"], ["send", "--set", "sealed=0", "--to", "x"],
                      ["send", "--to", "x", "--campaign", "{a}"], ["send", "--test", "a@b.example", "--no-wait"]):
            with self.subTest(words):
                self.assertEqual(self.ends(self.sluice(*words, config=self.config(redis="unix:/none")), 2, "sluice"), "")

    def test_where_the_configuration_is(self):
        bad = self.house.write("bad.conf", "shards = 1\nrate = 1/s\n")
        good = self.house.write("good.conf", POOL)
        os.mkdir(self.house.path("here"))
        here = self.house.path("here")
        self.ends(self.sluice("config", "--check", cwd=here), 1, "there is no configuration", "/etc/sluice/sluice.conf")
        self.house.write("here/sluice.conf", "x = 1\n")
        self.ends(self.sluice("config", "--check", cwd=here), 1, "sluice.conf:1: no such option 'x'")
        named = self.sluice("config", "--check", cwd=here, env={"SLUICE_CONFIG": bad})
        self.ends(named, 1, f"{bad}:2: no such option 'rate'; allowed here: redis")
        for result in (self.sluice("config", "--check", cwd=here, config=good, env={"SLUICE_CONFIG": bad}),
                       self.sluice("config", "--check", "-c", good, cwd=here)):
            self.assertEqual(self.ends(result, 0), f"{good}: good: 1 pools, 1 sources, 0 isps, 0 relays, 0 dkim keys\n")
        self.ends(self.sluice("config", "--check", config="/nonexistent"), 1, "/nonexistent: cannot be read")

    def test_files_that_the_configuration_names_are_read(self):
        ca = self.house.write("ca.pem", "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n")
        relay = 'relay r { host = r.example  auth = plain  user = u  password_file = "/nonexistent/secret" }\n'
        for words in (["run"], ["config", "--check"]):
            self.ends(self.sluice(*words, config=self.config(f'tls_ca = "{ca}"\n' + POOL)), 1,
                      f"tls_ca: {ca} holds no certificate that can be read, in PEM")
            self.ends(self.sluice(*words, config=self.config(POOL + relay)), 1, "sluice.conf:4: relay r: ",
                      "/nonexistent/secret: No such file or directory")

    def test_the_configuration_prints_itself(self):
        first = self.ends(self.sluice("config", "--print", config=self.config(redis="unix:/x")), 0)
        again = self.house.write("again.conf", first)
        self.assertEqual(self.ends(self.sluice("config", "--print", config=again), 0), first)
        self.assertIn("\n.B smtp_port\n", self.ends(self.sluice("config", "--manual"), 0))

    def test_run_needs_a_pool(self):
        self.ends(self.sluice("run", config=self.config("")), 1, "has no pool", "pool main {")

    def test_nobody_answers(self):
        away = self.config(redis="unix:" + self.house.path("none.sock"))
        self.ends(self.sluice("campaign", "list", config=away), 1, "redis does not answer", "none.sock")
        private = self.house.write("private.conf", f'state_dir = "{self.house.path("state")}"\n{POOL}')
        self.ends(self.sluice("campaign", "show", "x", config=private), 1, "does `sluice run` run with this configuration")
        self.ends(self.sluice("status", config=away), 1, "no engine answers on http://127.0.0.1:")
        silent = self.house.write("silent.conf", 'http = ""\n' + POOL)
        self.ends(self.sluice("status", config=silent), 1, "switches the engine's HTTP off")


class Producer(Case):
    """What `sluice send --no-wait` leaves in Redis."""

    def send(self, *words, code=0, said=(), **options):
        return self.ends(self.sluice("send", *words, "--no-wait", config=self.config(), **options), code, *said)

    def entries(self, name):
        return self.house.client()("LRANGE", f"sluice:{{{name}}}:recipients", 0, -1)

    def test_a_list_becomes_a_campaign(self):
        path = self.house.write("people.csv", 'to,name,city\r\nann@x.example,"Ann ""A"", Dr.","Upper\nDown"\r\n'
                                              'bob@y.example,Bob,Zürich\n')
        words = ["--to", path, "--unique", "--pool", "main", "--reply-to", "r@shop.example", "--set", "weight=5"]
        self.assertEqual(self.send(*self.letter(), *words, "--campaign", "spring.1"), "spring.1\n")
        self.assertEqual([json.loads(e) for e in self.entries("spring.1")],
                         [{"to": "ann@x.example", "name": 'Ann "A", Dr.', "city": "Upper\nDown"},
                          {"to": "bob@y.example", "name": "Bob", "city": "Zürich"}])
        redis = self.house.client()
        self.assertEqual(house.Campaign._hash(redis("HGETALL", "sluice:{spring.1}:campaign")),
                         {"from": "Shop <news@shop.example>", "subject": "Hi {{name}}", "weight": "5", "unique": "1",
                          "text": "Dear {{name}},\nhello.\n", "pool": "main", "reply_to": "r@shop.example",
                          "sealed": "1"})
        self.assertEqual(redis("SMEMBERS", "sluice:campaigns"), ["spring.1"])
        again = self.send(*self.letter(), *words, "--campaign", "spring.1", code=1, said=["exists already"])
        self.assertEqual(again, "")
        self.assertEqual(len(self.entries("spring.1")), 2)

    def test_lines_pass_as_they_are(self):
        lines = b'{"to":"a@x.example"}\n\n{broken\r\n\xff\xfe\nbare@x.example'
        name = self.send(*self.letter(), "--to", "-", input=lines).strip()
        self.assertRegex(name, r"^c-\d{8}-\d{6}-[0-9a-f]{4}$")
        self.assertEqual(self.entries(name), ['{"to":"a@x.example"}', "{broken", "\udcff\udcfe", "bare@x.example"])

    def test_many_keep_their_order(self):
        n = 25000
        csv = "email,n\n" + "".join(f"u{i}@x.example,{i}\n" for i in range(n))
        name = self.send(*self.letter(), "--to", "-", input=csv.encode()).strip()
        entries = self.entries(name)
        self.assertEqual(len(entries), n)
        self.assertTrue(all(json.loads(e)["n"] == str(i) for i, e in enumerate(entries)))

    def test_nothing_is_left_of_what_is_refused(self):
        letter = self.letter()
        cases = [
            (letter, b"name\nAnn\n", 'standard input: line 1: no column is named "to" or "email"'),
            (letter, b"to,name\nann@x.example,Ann\nbob\n", "line 3: there are 1 fields, but 2 columns"),
            (letter, b'to\n"ann@x.example\n', "line 2: a quoted field has no closing quote"),
            (letter, b"to,name\nx@x.example,M\xfcller\n", "line 2: this is not UTF-8"),
            (letter, b"to\n", "standard input holds no recipient"),
            (letter, b"", "line 1: the file is empty"),
            (LETTER, b"to\na@x.example\n", "the message cannot be sent"),
            (letter + ["--html", self.house.write("bad.html", "<p>{{#open}}")], b"to\na@x.example\n", "the message cannot"),
            (letter + ["--html", "/nonexistent"], b"to\na@x.example\n", "/nonexistent cannot be read: No such file"),
            (letter[2:], b"to\na@x.example\n", "the message cannot be sent: from"),
        ]
        for words, text, said in cases:
            with self.subTest(said):
                self.assertEqual(self.send(*words, "--to", "-", input=text, code=1, said=[said]), "")
        self.send(*letter, "--to", "/nonexistent.csv", code=1, said=["/nonexistent.csv cannot be read"])
        self.send(*letter, "--to", "/", code=1, said=["it is no file"])
        self.assertEqual(self.house.client()("KEYS", "*"), [])

    def test_a_whole_message(self):
        mime = "From: Shop <news@shop.example>\nSubject: Hi {{name}}\n\nDear {{name}}\n"
        name = self.send("--from", "news@shop.example", "--message", self.house.write("m.eml", mime), "--to", "-",
                         input=b"to\na@x.example\n").strip()
        self.assertEqual(self.house.client()("HGET", f"sluice:{{{name}}}:campaign", "mime"), mime)


class Looking(Case):
    """campaign and events, on keys that a test wrote in the engine's place."""

    def test_campaigns(self):
        config = self.config()
        self.assertEqual(json.loads(self.ends(self.sluice("campaign", "list", "--json", config=config), 0)), [])
        names = ["a", "b-2", "c.3"]
        for name in names:
            self.house.campaign(name).create(subject="x\x1b[2Jy").push(["a@x.example"] * 3).announce()
        over = self.house.campaign("b-2")
        over.redis("HSET", over.key("status"), "phase", "done", "taken", 3)
        over.redis("HSET", over.key("totals"), "delivered", 2, "bounced", 1)
        listed = json.loads(self.ends(self.sluice("campaign", "list", "--json", config=config), 0))
        self.assertEqual([c["campaign"] for c in listed], names)
        self.assertEqual([c["phase"] for c in listed], ["new", "done", "new"])
        self.assertEqual([c["pushed"] for c in listed], [3, 3, 3])
        self.assertEqual(listed[1]["totals"]["delivered"], 2)
        self.assertEqual(listed[1]["ended"], 3)
        table = self.ends(self.sluice("campaign", "list", config=config), 0).splitlines()
        self.assertEqual(table[0].split()[0], "CAMPAIGN")
        self.assertEqual([row.split()[0] for row in table[1:]], names)
        shown = self.ends(self.sluice("campaign", "show", "a", config=config), 0)
        self.assertIn("x?[2Jy", shown)  # nobody's subject commands the terminal
        self.assertEqual(json.loads(self.ends(self.sluice("campaign", "show", "a", "--json", config=config), 0))["subject"],
                         "x\x1b[2Jy")
        for verb in ("show", "pause", "resume", "cancel"):
            self.ends(self.sluice("campaign", verb, "none", config=config), 1, "there is no campaign none")
        self.ends(self.sluice("campaign", "pause", "b-2", config=config), 1, "campaign b-2 is done already")

    def test_the_brake(self):
        config = self.config()
        c = self.house.campaign("a").create()
        for verb, state in (("pause", "paused"), ("resume", "running"), ("pause", "paused"), ("cancel", "cancelled")):
            self.assertEqual(self.ends(self.sluice("campaign", verb, "a", config=config), 0), f"campaign a is {state}\n")
            self.assertEqual(c.redis("HGET", c.key("campaign"), "state"), state)
        self.ends(self.sluice("campaign", "resume", "a", config=config), 1, "there is no way back")
        self.assertEqual(c.redis("HGET", c.key("campaign"), "state"), "cancelled")

    def test_events(self):
        config = self.config()
        c = self.house.campaign("a").create()
        self.ends(self.sluice("events", "none", config=config), 1, "there is no campaign none")
        self.assertEqual(self.ends(self.sluice("events", "a", config=config), 0), "")
        n = 2500
        c.redis.pipeline([("XADD", c.key("events"), "*", "type", "delivered", "seq", i, "to", "ann@x.example", "code", 250,
                           "final", 1) for i in range(n)])
        c.redis("XADD", c.key("events"), "*", "type", "bounced", "seq", n, "reply", b"550 go \x1b[2J \xff away", "final", 1)
        lines = self.ends(self.sluice("events", "a", "--json", config=config), 0).splitlines()
        events = [json.loads(line) for line in lines]
        self.assertEqual([e["seq"] for e in events], list(range(n + 1)))
        self.assertEqual((events[0]["code"], events[0]["final"], events[0]["to"]), (250, 1, "ann@x.example"))
        self.assertEqual(events[n]["reply"], "550 go \x1b[2J ? away")
        after = self.ends(self.sluice("events", "a", "--json", "--after", events[n - 2]["stream_id"], config=config), 0)
        self.assertEqual([json.loads(line)["seq"] for line in after.splitlines()], [n - 1, n])
        people = self.sluice("events", "a", config=config).stdout.decode(errors="replace").splitlines()
        self.assertEqual(len(people), n + 1)
        self.assertRegex(people[0], r"^\d+-\d+ \d{4}-\d\d-\d\d \d\d:\d\d:\d\d delivered seq=0 to=ann@x.example code=250 final=1$")
        self.assertNotIn("\x1b", people[n])

    def test_following_ends_with_the_campaign(self):
        config = self.config()
        c = self.house.campaign("a").create()
        follower = subprocess.Popen([house.programs["sluice"], "-c", config, "events", "a", "--follow", "--json"],
                                    stdout=subprocess.PIPE, preexec_fn=house._die_with_parent)
        for i in range(3):
            c.redis("XADD", c.key("events"), "*", "type", "delivered", "seq", i, "final", 1)
            self.assertEqual(json.loads(follower.stdout.readline())["seq"], i)
        self.assertIsNone(follower.poll())
        c.redis("XADD", c.key("events"), "*", "type", "delivered", "seq", 3, "final", 1)
        c.redis("HSET", c.key("status"), "phase", "done")
        self.assertEqual(json.loads(follower.stdout.read())["seq"], 3)
        self.assertEqual(follower.wait(house.PATIENCE_S), 0)
        follower.stdout.close()


class Sending(Case):
    """With the engine, and the sink as ISPs."""

    def setUp(self):
        self.sink = self.house.isps(big="", small='rcpt { match = gone reply = "550 5.1.1 no such user" }')
        self.http = house.free_port()
        self.engine = self.house.engine(http=f"127.0.0.1:{self.http}")
        self.conf = self.house.path("engine.conf")

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def test_send_waits_until_it_is_done(self):
        csv = "to,name,id\n" + "".join(f"u{i}@big.example,N{i},{i}\n" for i in range(300)) + "gone@small.example,G,g\nx,y,z\n"
        result = self.sluice("send", *self.letter(), "--campaign", "c", "--to", "-", config=self.conf, input=csv.encode())
        text = self.ends(result, 0, "302 recipients pushed", "100.0 % of 302")
        self.assertEqual(text, "campaign c: done, 302 recipients, delivered 300, bounced 1, invalid 1\n")
        judge(self, self.house.campaign("c"), 302, self.sink)
        shown = json.loads(self.ends(self.sluice("campaign", "show", "c", "--json", config=self.conf), 0))
        self.assertEqual((shown["phase"], shown["ended"], shown["totals"]["delivered"]), ("done", 302, 300))

    def test_a_test_counts_in_no_campaign(self):
        csv = b"to,name\nann@big.example,Ann\nbob@big.example,Bob\n"
        words = ["send", *self.letter(), "--to", "-", "--test"]
        text = self.ends(self.sluice(*words, "me@small.example", config=self.conf, input=csv), 0)
        self.assertRegex(text, r"^\d+-\d+ .* delivered seq=0 .*to=me@small\.example ")
        text = self.ends(self.sluice("send", *self.letter(), "--test", "gone@small.example", config=self.conf), 1,
                         "the test was not delivered")
        self.assertIn(" bounced ", text)
        self.assertIn("550", text)
        accepted = self.sink.accepted()
        self.assertEqual(len(accepted), 1)
        self.assertRegex(accepted[0]["campaign"], r"^test-")
        listed = json.loads(self.ends(self.sluice("campaign", "list", "--json", config=self.conf), 0))
        self.assertTrue(all(c["campaign"].startswith("test-") for c in listed), listed)

    def test_status_metrics_and_health(self):
        wait_until(lambda: self.get("/health")[0] == 200, "the engine's health")
        self.assertEqual(self.get("/health"), (200, "ok\n"))
        self.assertEqual(self.get("/nonsense")[0], 404)
        csv = "to\n" + "".join(f"u{i}@big.example\n" for i in range(100))
        self.ends(self.sluice("send", *self.letter(), "--to", "-", config=self.conf, input=csv.encode()), 0)
        wait_until(lambda: 'sluice_messages_total{event="delivered"} 100\n' in self.get("/metrics")[1], "the count")
        for line in self.get("/metrics")[1].splitlines():
            self.assertRegex(line, r"^(# (HELP|TYPE) sluice_\w+ .+|sluice_\w+(\{\w+=\"[^\"]*\"\})? [0-9.]+)$")

        def rows():
            status = json.loads(self.ends(self.sluice("status", "--json", config=self.conf), 0))
            return status if any(r["delivered"] for r in status["rows"]) else None
        status = wait_until(rows, "a row of what was delivered")
        self.assertTrue(status["healthy"])
        self.assertEqual(status["totals"]["delivered"], 100)
        self.assertEqual({r["pool"] for r in status["rows"]}, {"main"})
        text = self.ends(self.sluice("status", config=self.conf), 0)
        self.assertRegex(text, r"^engine engine, sluice \S+, pid \d+, up \S+, 2 shards: ok\n")
        self.assertIn("WHY IT WAITS", text)

    def test_a_pause_holds_within_a_second(self):
        slow = self.house.campaign("p").create()
        slow.push([f"u{i}@big.example" for i in range(20000)]).announce()
        slow.wait_count(100, "delivered")
        self.ends(self.sluice("campaign", "pause", "p", config=self.conf), 0)
        paused_us = time.time() * 1e6
        time.sleep(2.5)
        last_us = max(int(row["time_us"]) for row in self.sink.started())
        self.assertLess(last_us, paused_us + 1e6)
        before = slow.count()
        self.ends(self.sluice("campaign", "resume", "p", config=self.conf), 0)
        slow.wait_count(before + 100)
        self.ends(self.sluice("campaign", "cancel", "p", config=self.conf), 0)
        slow.wait_for("cancelled")
        judge(self, slow, 20000, self.sink)

    def test_watching_may_stop_and_the_campaign_goes_on(self):
        self.house.campaign("w")
        path = self.house.write("w.csv", "to\n" + "".join(f"u{i}@big.example\n" for i in range(5000)))
        watcher = subprocess.Popen([house.programs["sluice"], "-c", self.conf, "send", *self.letter(), "--campaign", "w",
                                    "--to", path], stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                                   preexec_fn=house._die_with_parent)
        self.house.campaign("w").wait_count(1)
        watcher.send_signal(signal.SIGINT)
        _, errors = watcher.communicate(timeout=house.PATIENCE_S)
        self.assertEqual(watcher.returncode, 0, errors)
        self.house.campaign("w").wait_for("done")
        judge(self, self.house.campaign("w"), 5000, self.sink)


class Private(Case):
    """The engine's own Redis."""

    def server_pid(self):
        redis = self.house.client(self.house.path("state/redis.sock"))
        return int(re.search(r"process_id:(\d+)", redis("INFO", "server")).group(1))

    def test_it_is_there_while_the_engine_is(self):
        sink = self.house.isps(big="")
        engine = self.house.engine(redis="")
        conf = self.house.path("engine.conf")
        csv = "to\n" + "".join(f"u{i}@big.example\n" for i in range(50))
        self.ends(self.sluice("send", *self.letter(), "--campaign", "a", "--to", "-", config=conf, input=csv.encode()), 0)
        self.assertEqual(os.stat(self.house.path("state")).st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(self.house.path("state/redis.sock")).st_mode & 0o077, 0)
        # A second engine keeps its hands off.
        second = self.sluice("run", config=conf)
        self.ends(second, 1, "is locked")
        # Killed, it comes back with all that was recorded.
        pid = self.server_pid()
        engine.kill()
        engine.start()
        engine.wait_log("engine runs")
        wait_until(lambda: os.path.exists(self.house.path("state/redis.sock")), "the socket")
        self.assertNotEqual(self.server_pid(), pid)
        judge(self, self.house.campaign("a", self.house.client(self.house.path("state/redis.sock"))), 50, sink)
        self.ends(self.sluice("send", *self.letter(), "--campaign", "b", "--to", "-", config=conf, input=csv.encode()), 0)
        pid = self.server_pid()
        self.assertEqual(engine.end(), 0)
        self.assertFalse(os.path.exists(f"/proc/{pid}"))


if __name__ == "__main__":
    house.main()
