#!/usr/bin/env python3
"""What `sluice classify` says of each reply of own.tsv is what we say of it; and whatever is said where, nothing but a
hard bounce suppresses its recipient.

usage: own.py SLUICE OWN.TSV

Columns, parted by tabs: stage, MX host (may be empty), kind, class, scope, action, reply. "-" is not compared."""
import json
import subprocess
import sys
import unittest

STAGES = ("greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body")
KEYS = ("kind", "class", "scope", "action")
sluice = path = None


def classify(lines):
    said = subprocess.run([sluice, "classify"], input="".join(f"{line}\n" for line in lines), text=True,
                          encoding="utf-8", capture_output=True, check=False, timeout=100)
    if said.returncode:
        raise RuntimeError(said.stderr)
    return [json.loads(line) for line in said.stdout.splitlines()]


class Own(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        with open(path, encoding="utf-8") as file:
            cls.rows = [line.rstrip("\n").split("\t") for line in file if line.strip() and not line.startswith("#")]
        cls.answers = classify(f"{row[0]}\t{row[1]}\t{row[6]}" for row in cls.rows)

    def test_corpus_is_large_and_well_formed(self):
        self.assertGreaterEqual(len(self.rows), 250)
        for row in self.rows:
            self.assertEqual(len(row), 7, row)
            self.assertIn(row[0], STAGES, row)
            self.assertIn(row[2], ("hard", "soft", "block"), row)
        keys = [(row[0], row[1], row[6]) for row in self.rows]
        self.assertEqual(len(keys), len(set(keys)))
        for kind in ("hard", "soft", "block"):
            self.assertGreaterEqual(sum(row[2] == kind for row in self.rows), 50, kind)

    def test_each_reply_is_understood(self):
        self.assertEqual(len(self.answers), len(self.rows))
        wrong = []
        for row, answer in zip(self.rows, self.answers):
            said = [answer[key] for key in KEYS]
            if any(ours not in ("-", its) for ours, its in zip(row[2:6], said)):
                wrong.append(f"{row[0]} {row[1]} {row[6][:100]}: {' '.join(said)} by {answer['rule']}, "
                             f"not {' '.join(row[2:6])}")
        self.assertEqual(wrong, [])

    def check_suppression(self, rows, answers):
        for row, answer in zip(rows, answers):
            if answer["suppress"]:
                self.assertEqual(answer["kind"], "hard", row)
                self.assertEqual(answer["event"], "bounced", row)
                self.assertGreaterEqual(answer["code"], 500, row)
                self.assertIn(answer["stage"], ("rcpt", "data", "body"), row)
            self.assertEqual(answer["kind"] == "hard" and answer["code"] < 500, False, row)

    def test_only_the_hard_suppress(self):
        self.check_suppression(self.rows, self.answers)
        for row, answer in zip(self.rows, self.answers):
            self.assertEqual(answer["suppress"], row[2] == "hard", (row, answer))

    def test_nothing_suppresses_before_the_recipient_is_named(self):
        """Every reply, said at every other stage."""
        rows = [[stage, *row[1:]] for row in self.rows for stage in ("greeting", "ehlo", "starttls", "auth", "mail")]
        for row, answer in zip(rows, classify(f"{row[0]}\t{row[1]}\t{row[6]}" for row in rows)):
            self.assertFalse(answer["suppress"] or answer["kind"] == "hard", (row, answer))

    def test_nothing_temporary_suppresses(self):
        """Every reply with its 5 turned into a 4, in the basic code and in the enhanced status."""
        rows = []
        for row in self.rows:
            reply = row[6].replace("5", "4", 1) if row[6][0] == "5" else row[6]
            rows += [[*row[:6], reply], [*row[:6], reply.replace(" 5.", " 4.")]]
        answers = classify(f"{row[0]}\t{row[1]}\t{row[6]}" for row in rows)
        for row, answer in zip(rows, answers):
            self.assertFalse(answer["suppress"] or answer["kind"] == "hard", (row, answer))
            self.assertEqual(answer["event"], "deferred", (row, answer))

    def test_no_block_suppresses_without_its_host_either(self):
        """What is said of us, and by whom nobody knows: general phrases alone must not take it for a dead mailbox."""
        rows = [row for row in self.rows if row[2] == "block"]
        for row, answer in zip(rows, classify(f"{row[0]}\t\t{row[6]}" for row in rows)):
            self.assertFalse(answer["suppress"], (row, answer))


if __name__ == "__main__":
    sluice, path = sys.argv.pop(1), sys.argv.pop(1)
    unittest.main(verbosity=2)
