#!/usr/bin/env python3
"""sluice classify as people call it: lines in, one JSON object for each out, without Redis and without a configuration."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

SLUICE = os.path.abspath(sys.argv.pop(1))
FIELDS = {"stage", "isp", "code", "status", "class", "kind", "scope", "action", "retry_after", "rule", "suppress", "event"}


def classify(text, *options, code=0, config=None):
    """What it prints for these bytes. It runs in an empty directory, so that no sluice.conf lies about."""
    with tempfile.TemporaryDirectory(prefix="sluice-classify-") as here:
        environment = {"PATH": os.environ["PATH"], **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}}
        arguments = [SLUICE]
        if config is not None:
            with open(os.path.join(here, "my.conf"), "w", encoding="utf-8") as file:
                file.write(config)
            arguments += ["-c", os.path.join(here, "my.conf")]
        elif os.path.exists("/etc/sluice/sluice.conf"):
            environment["SLUICE_CONFIG"] = "/dev/null"
        result = subprocess.run(arguments + ["classify", *options], input=text, capture_output=True, cwd=here,
                                env=environment, check=False)
    if result.returncode != code:
        raise AssertionError(f"exit code {result.returncode}: {result.stderr.decode()}")
    classify.said = result.stderr.decode()
    objects = [json.loads(line) for line in result.stdout.splitlines()]
    for one in objects:
        assert set(one) == FIELDS, one
    return objects


class Classify(unittest.TestCase):
    def test_a_bare_reply(self):
        [one] = classify(b"550 5.1.1 <ann@example.com>: user unknown\n")
        self.assertEqual((one["stage"], one["code"], one["status"]), ("rcpt", 550, "5.1.1"))
        self.assertEqual((one["class"], one["kind"], one["suppress"]), ("bad-mailbox", "hard", True))
        self.assertEqual((one["scope"], one["action"], one["event"]), ("recipient", "suppress", "bounced"))

    def test_stage_and_host(self):
        a, b, c = classify(b"mail\tmx.x.example\t550 5.1.1 user unknown\n"
                           b"RCPT TO\taspmx.l.google.com\t550 5.1.1 user unknown\n"
                           b"\taspmx.l.google.com\t421 4.7.28 unusual rate of unsolicited mail originating from your IP\n")
        self.assertEqual((a["stage"], a["kind"], a["suppress"]), ("mail", "block", False))
        self.assertEqual((b["stage"], b["isp"], b["kind"]), ("rcpt", "gmail", "hard"))
        self.assertEqual((c["isp"], c["kind"], c["event"]), ("gmail", "block", "deferred"))
        self.assertNotEqual(c["action"], "suppress")

    def test_a_named_time(self):
        [one] = classify(b"451 4.7.1 greylisted, try again in 15 minutes\n")
        self.assertEqual((one["retry_after"], one["event"], one["suppress"]), (900, "deferred", False))

    def test_whatever_is_in_a_line(self):
        """One object a line, and never one that suppresses for want of anything to go by."""
        lines = [b"", b"\r", b" \t \t ", b"\x00\xff\xfe\x01", b"550 " + b"a" * 1000000, b"@" * 20000, b"smtp;" * 5000,
                 b"\t\t", b"\t", b"250 OK", b"550", b"550 5.1.1 user unknown\r", "550 5.1.1 Empfänger unbekannt".encode(),
                 b"999 what", b"hello"]
        found = classify(b"\n".join(lines))  # the last one without a line end
        self.assertEqual(len(found), len(lines))
        self.assertEqual([one["suppress"] for one in found[:10]], [False] * 10)
        self.assertEqual(found[0]["kind"], "")
        self.assertEqual(found[9]["event"], "delivered")
        self.assertTrue(found[11]["suppress"])

    def test_an_unknown_stage_is_named(self):
        [one] = classify(b"rctp\tmx.x.example\t550 5.1.1 user unknown\n", code=1)
        self.assertIn("line 1", classify.said)
        self.assertEqual(one["kind"], "hard")

    def test_the_configurations_rules_go_first(self):
        rule = ("isp mine { mx = {.x.example}  rule mine { text = 'user unknown'  class = other  kind = soft "
                " action = retry  wait = 5m  defer = yes } }\n")
        a, b = classify(b"rcpt\tmx.x.example\t550 5.1.1 user unknown\n550 5.1.1 user unknown\n", config=rule)
        self.assertEqual((a["isp"], a["rule"], a["event"], a["suppress"]), ("mine", "mine", "deferred", False))
        self.assertEqual(b["kind"], "hard")
        [c] = classify(b"550 5.1.1 user unknown\n", "--isp", "mine", config=rule)
        self.assertEqual(c["rule"], "mine")
        classify(b"", "--isp", "nobody", code=1)
        self.assertIn("nobody", classify.said)
        classify(b"", config="rule a { text = '('  class = other  kind = soft }", code=1)
        self.assertIn("my.conf:1: rule a", classify.said)
        classify(b"", "more", code=2)


unittest.main()
