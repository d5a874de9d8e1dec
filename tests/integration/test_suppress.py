#!/usr/bin/env python3
"""The suppression list as people use it: `sluice suppress` on a real Redis, and an engine that obeys it.

usage: test_suppress.py SLUICE SLUICE-SINK [unittest's options]
"""
import json
import random
import subprocess

import zlib

import house

COUNT = 100_000


def bucket(key):
    return f"sluice:suppressed:{zlib.crc32(key.encode()) & 255:02x}"


class Suppress(house.Case):
    def cli(self, *words, code=0, given=""):
        if not hasattr(self, "conf"):
            self.conf = self.house.write("cli.conf", self.house.engine_config())
        ended = subprocess.run([house.programs["sluice"], "suppress", *words, "-c", self.conf], input=given,
                               capture_output=True, text=True, timeout=house.PATIENCE_S)
        self.assertEqual(ended.returncode, code, ended.stdout[:1000] + ended.stderr)
        return ended

    def test_words(self):
        redis = self.house.client()
        self.assertIn("2 addresses, 2 of them new", self.cli("add", "Ann@X.example", "bob@bücher.example").stdout)
        self.assertIn("1 addresses, 0 of them new", self.cli("add", "ann@x.example", "--reason", "complaint").stdout)
        self.assertRegex(redis("HGET", bucket("ann@x.example"), "ann@x.example"), r"^complaint - - 1\d{12}$")
        self.assertRegex(redis("HGET", bucket("bob@xn--bcher-kva.example"), "bob@xn--bcher-kva.example"), "^by-hand ")
        said = self.cli("check", "ANN@x.example", "nobody@x.example").stdout.splitlines()
        self.assertRegex(said[0], "^ann@x.example: suppressed, complaint, since ")
        self.assertEqual(said[1], "nobody@x.example: not suppressed")
        one = json.loads(self.cli("check", "ann@x.example", "--json").stdout)
        self.assertEqual((one["to"], one["suppressed"], one["reason"]), ("ann@x.example", True, "complaint"))
        self.cli("check", "nobody@x.example", code=1)
        redis("HSET", "{" + bucket("ann@x.example") + "}:strikes", "ann@x.example", "1:other:c:1:1")
        self.assertEqual(json.loads(self.cli("remove", "ann@x.example", "nobody@x.example", "--json").stdout),
                         {"addresses": 2, "removed": 1, "left_out": 0})
        self.assertEqual(redis("EXISTS", bucket("ann@x.example"), "{" + bucket("ann@x.example") + "}:strikes"), 0)
        self.assertIn("is no address", self.cli("add", "ann", code=1).stderr)
        for words in ([], ["add"], ["sing"], ["import"], ["export", "x@y.example"], ["check", "a@b.example", "--reason", "x"],
                      ["add", "a@b.example", "--reason", "two words"], ["add", "a@b.example", "--lines"]):
            self.cli(*words, code=2)

    def test_files(self):
        said = self.cli("import", "-", code=1, given="email,when,reason\na@x.example,5,Left us\nnobody,1,\nb@x.example,x,\n")
        self.assertIn("2 lines are no addresses", said.stderr)
        self.assertIn("standard input, line 3: ", said.stderr)
        self.assertIn("standard input, line 4: when is a whole number", said.stderr)
        self.cli("import", "-", given='{"to": "c@x.example", "seq": 7, "campaign": "spring"}\n')
        self.cli("add", "--from", "-", "--lines", given="d@x.example\n\ne@x.example\n")
        got = sorted(self.cli("export").stdout.splitlines()[1:])
        self.assertEqual(got[0], "a@x.example,Left-us,,,5")
        self.assertRegex(got[1], r"^c@x.example,by-hand,spring,7,\d+$")
        self.assertEqual([line.split(",")[0] for line in got[2:]], ["d@x.example", "e@x.example"])

    def test_a_hundred_thousand(self):
        chance = random.Random(4)
        rows = [f"r{i}@d{chance.randrange(1000)}.example,bad-mailbox,c{i % 7},{i},{1795000000000 + i}" for i in range(COUNT)]
        path = self.house.write("list.csv", "to,reason,campaign,seq,when\n" + "\n".join(rows) + "\n")
        self.assertEqual(json.loads(self.cli("import", path, "--json").stdout),
                         {"addresses": COUNT, "new": COUNT, "left_out": 0})
        self.assertEqual(json.loads(self.cli("import", path, "--json").stdout)["new"], 0)
        exported = self.cli("export").stdout.splitlines()
        self.assertEqual(exported[0], "to,reason,campaign,seq,when")
        self.assertEqual(sorted(exported[1:]), sorted(rows))
        self.assertEqual(len(self.cli("export", "--json").stdout.splitlines()), COUNT)
        emptied = json.loads(self.cli("remove", "--from", path, "--json").stdout)
        self.assertEqual(emptied, {"addresses": COUNT, "removed": COUNT, "left_out": 0})
        self.assertEqual(self.cli("export").stdout.splitlines(), exported[:1])

    def test_an_engine_obeys(self):
        self.house.isps(big='rcpt { match = "dead*" reply = "550 5.1.1 no such user" }')
        self.house.engine()
        self.cli("add", "R7@big.example")
        first = self.house.campaign("one").create(sealed=1)
        first.push([f"r{i}@big.example" for i in range(50)] + [f"dead{i}@big.example" for i in range(20)]).announce()
        first.wait_for("done")
        self.assertEqual(first.totals(), {"delivered": 49, "suppressed": 1, "bounced": 20})
        second = self.house.campaign("two").create(sealed=1)
        second.push([f"dead{i}@big.example" for i in range(20)] + ["new@big.example"]).announce().wait_for("done")
        self.assertEqual(second.totals(), {"delivered": 1, "suppressed": 20})
        self.assertIn("bad-mailbox, since ", self.cli("check", "dead3@big.example").stdout)


if __name__ == "__main__":
    house.main()
