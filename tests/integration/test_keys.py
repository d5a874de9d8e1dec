#!/usr/bin/env python3
"""Keys that sign: refused at start when they are not good, compared with what is published, and read again on SIGHUP.

usage: test_keys.py SLUICE SLUICE-SINK [unittest's options]
"""
import os
import signal
import subprocess
import urllib.request

import dkim_keys
import house
from house import judge, wait_until

WRONG = 'msg="the published DKIM record does not fit its key"'
RIGHT = 'msg="the published DKIM record fits its key"'


class Keys(house.Case):
    def make_key(self, name, kind="rsa:2048"):
        return dkim_keys.make_key(self.house.directory, name, kind)

    @staticmethod
    def block(name, path, selector="s1", more=""):
        return f"dkim {name} {{\n selector = {selector}\n key = \"{path}\"\n {more}\n}}\n"

    def world(self, *records):
        """Two ISPs, and these TXT records in DNS."""
        zone = "big IN MX 10 mx.big\nmx.big IN A 127.20.1.1\n"
        self.house.dns(zone + "".join(dkim_keys.zone_line(*record) + "\n" for record in records))
        return self.house.sink("isp big {\n listen = {127.20.1.1:PORT}\n}")

    def refused(self, blocks, *said):
        """`sluice run` and `sluice config --check` both say it, with the line of the key."""
        text = self.house.engine_config(blocks, redis="unix:/nonexistent/redis.sock")
        path = self.house.write("refused.conf", text)
        line = text.splitlines().index(next(l for l in text.splitlines() if l.startswith(" key = "))) + 1
        for words in (["run"], ["config", "--check"]):
            ended = subprocess.run([house.programs["sluice"], *words, "-c", path], capture_output=True, text=True,
                                   timeout=house.PATIENCE_S, stdin=subprocess.DEVNULL)
            self.assertEqual((ended.returncode, ended.stdout), (1, ""), ended.stderr)
            for word in (f"refused.conf:{line}: dkim ", *said):
                self.assertIn(word, ended.stderr)
            self.assertEqual(len([line for line in ended.stderr.splitlines() if " dkim " in line]), 1, ended.stderr)

    def test_bad_keys_are_refused(self):
        good, _ = self.make_key("good")
        self.refused(self.block("shop.example", self.house.path("none.pem")), "none.pem", "No such file")
        os.chmod(good, 0o644)
        self.refused(self.block("shop.example", good), "mode 0644", "0600")
        os.chmod(good, 0o600)
        public = self.house.path("public.pem")
        subprocess.run(["openssl", "pkey", "-in", good, "-pubout", "-out", public], check=True)
        os.chmod(public, 0o600)
        self.refused(self.block("shop.example", public), "public key")
        ed25519, _ = self.make_key("ed", "ed25519")
        self.refused(self.block("shop.example", ed25519), "Ed25519", "ed25519 = yes")

    def test_good_keys_are_counted(self):
        config = self.house.write("good.conf", self.house.engine_config(
            self.block("shop.example", self.make_key("good")[0]) +
            self.block("weak.example", self.make_key("weak", "rsa:1024")[0]) +
            self.block("ed.example", self.make_key("ed", "ed25519")[0], more="ed25519 = yes") +
            self.block("off.example", "/nonexistent", more="enabled = no"), redis="unix:/x"))
        ended = subprocess.run([house.programs["sluice"], "config", "--check", "-c", config], capture_output=True, text=True)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertIn("3 dkim keys", ended.stdout)
        self.assertIn("dkim weak.example: the key has 1024 bits; 2048 are advised", ended.stderr)
        self.assertEqual(len([line for line in ended.stderr.splitlines() if " dkim " in line]), 1, ended.stderr)

    def metric(self, port, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return next(int(line.split()[1]) for line in answer.read().decode().splitlines()
                        if line.startswith(name + " "))

    def test_published_records_are_compared(self):
        first, record = self.make_key("first")
        second, _ = self.make_key("second")
        third, _ = self.make_key("third")
        port = house.free_port()
        self.world(("s1._domainkey.shop.example", record), ("s1._domainkey.other.example", record),
                   ("s1._domainkey.gone.example", "v=DKIM1; p="))
        engine = self.house.engine(self.block("shop.example", first) + self.block("other.example", second) +
                                   self.block("gone.example", third) + self.block("bare.example", third, "x.y"),
                                   http=f"127.0.0.1:{port}")
        wait_until(lambda: engine.read_log().count("DKIM record") == 4, "all records to be compared")
        lines = [line for line in engine.read_log().splitlines() if "DKIM record" in line]
        said = {line.split(" dkim=")[1].split()[0]: line for line in lines}
        self.assertIn(RIGHT, said["shop.example"])
        self.assertIn('found="other key" publish="v=DKIM1; k=rsa; p=', said["other.example"])
        self.assertIn("found=revoked", said["gone.example"])
        self.assertIn("record=x.y._domainkey.bare.example found=missing", said["bare.example"])
        wait_until(lambda: self.metric(port, "sluice_dkim_records_wrong") == 3, "the metric")
        self.assertEqual(engine.end(), 0)

    def test_sighup_reads_keys_again(self):
        path, record = self.make_key("s1")
        sink = self.world(("s1._domainkey.shop.example", record))
        engine = self.house.engine(self.block("shop.example", path))
        engine.wait_log(RIGHT)
        with open(path) as file:
            before = file.read()

        self.make_key("s1")  # in place of the first
        engine.send(signal.SIGHUP)
        engine.wait_log('msg="keys were read again" keys=1')
        engine.wait_log(WRONG)  # what is published is the first one's

        for what in ("", before.replace("A", "B", 9)):
            self.house.write("s1.pem", what)
            count = engine.read_log().count("all stay as they were")
            engine.send(signal.SIGHUP)
            wait_until(lambda: engine.read_log().count("all stay as they were") == count + 1, "a refusal")
        self.assertIn("engine.conf:", engine.read_log())

        os.chmod(path, 0o644)  # the very key that is in use, where others can read it
        self.house.write("s1.pem", before)
        engine.send(signal.SIGHUP)
        engine.wait_log("mode 0644")
        wait_until(lambda: engine.read_log().count("all stay as they were") == 3, "a refusal")
        self.assertTrue(engine.running())
        os.chmod(path, 0o600)

        self.house.write("s1.pem", before)
        engine.send(signal.SIGHUP)
        wait_until(lambda: engine.read_log().count(RIGHT) == 2, "the first key to be back")
        c = self.house.campaign("c1")
        c.create(sealed=1).push([f"user{i}@big.example" for i in range(50)]).announce().wait_for("done")
        self.assertEqual(c.totals(), {"delivered": 50})
        judge(self, c, 50, sink)
        self.assertEqual(engine.end(), 0)
        for line in before.splitlines()[8:-1]:  # the lines before these hold the modulus, which all may know
            self.assertNotIn(line, engine.read_log())

    def test_sighup_while_mail_goes_out(self):
        path, record = self.make_key("s1")
        sink = self.world(("s1._domainkey.shop.example", record))
        engine = self.house.engine(self.block("shop.example", path))
        c = self.house.campaign("c1")
        c.create(sealed=1).push([f"user{i}@big.example" for i in range(2000)]).announce().wait_count(1)
        for i in range(1, 6):
            engine.send(signal.SIGHUP)
            wait_until(lambda: engine.read_log().count('msg="keys were read again"') == i, f"reload {i}")
        c.wait_for("done")
        self.assertEqual(c.totals(), {"delivered": 2000})
        judge(self, c, 2000, sink)
        self.assertEqual(engine.end(), 0)


if __name__ == "__main__":
    house.main()
