#!/usr/bin/env python3
"""The account of the torture, and the judge of the peers that misbehave, see what they are there to see."""
import collections
import sys
import types
import unittest

sys.dont_write_bytecode = True

from fuzz_peer import check  # noqa: E402
from torture import Account  # noqa: E402


class Told:
    """A campaign and a sink that say what they are told: events as "SEQ TYPE FINAL", copies as seqs."""

    name = "c"

    def __init__(self, events, copies):
        self._events, self._copies = events, copies

    def events(self):
        return [dict(zip(("seq", "type", "final"), text.split())) for text in self._events]

    def accepted(self, campaign):
        assert campaign == self.name
        return [{"seq": str(seq)} for seq in self._copies]


def account(n, events, copies):
    told = Told(events, copies)
    return Account(told, told, n)


class Judged(unittest.TestCase):
    def test_all_is_well(self):
        a = account(4, ["0 delivered 1", "1 deferred 0", "1 delivered 1", "2 bounced 1", "3 in_doubt 0"], [0, 1, 3])
        self.assertTrue(a.good(1))
        self.assertEqual((a.once, a.refused, a.doubts, dict(a.doubtful)), (2, 1, 1, {1: 1}))

    def test_a_doubt_that_was_sent_again(self):
        a = account(1, ["0 in_doubt 0", "0 delivered 1"], [0, 0])
        self.assertTrue(a.good(1))
        self.assertEqual(dict(a.doubtful), {2: 1})

    def test_no_event(self):
        self.assertEqual(account(2, ["0 delivered 1"], [0]).lost, [1])

    def test_no_final_event(self):
        self.assertEqual(account(1, ["0 deferred 0"], []).lost, [0])

    def test_delivered_and_never_seen(self):
        self.assertEqual(account(1, ["0 delivered 1"], []).lost, [0])

    def test_accepted_twice(self):
        self.assertEqual(account(1, ["0 delivered 1"], [0, 0]).doubled, [0])

    def test_accepted_more_often_than_doubted(self):
        self.assertEqual(account(1, ["0 in_doubt 0", "0 delivered 1"], [0, 0, 0]).doubled, [0])

    def test_accepted_and_said_to_have_bounced(self):
        a = account(1, ["0 bounced 1"], [0])
        self.assertEqual([seq for seq, *_ in a.odd], [0])
        self.assertFalse(a.good(1))

    def test_two_ends(self):
        self.assertFalse(account(1, ["0 delivered 1", "0 delivered 1"], [0]).good(1))

    def test_somebody_whom_nobody_pushed(self):
        self.assertFalse(account(1, ["0 delivered 1"], [0, 7]).good(1))

    def test_too_many_doubts(self):
        a = account(2, ["0 in_doubt 0", "1 in_doubt 0"], [0])
        self.assertTrue(a.good(2))
        self.assertFalse(a.good(1))


class Peers(unittest.TestCase):
    """Of one recipient of an honest server, and one of another."""

    def wrong(self, honest, evil, copies=1, taken=0):
        events = [{"to": to, "type": text.split()[0], "final": text.split()[1]}
                  for to, texts in (("a@big.example", honest), ("b@evil0.example", evil)) for text in texts]
        sink = types.SimpleNamespace(accepted=lambda campaign: [{"recipient": "a@big.example"}] * copies)
        villain = types.SimpleNamespace(accepted=collections.Counter({"b@evil0.example": taken}))
        campaign = types.SimpleNamespace(name="c", events=lambda: events)
        return check(campaign, ["a@big.example", "b@evil0.example"], sink, villain)

    def test_all_is_well(self):
        self.assertEqual(self.wrong(["delivered 1"], ["in_doubt 0", "expired 1"], taken=2), [])

    def test_what_is_wrong(self):
        for case in (dict(honest=["delivered 1"], evil=[]), dict(honest=["delivered 1"], evil=["deferred 0"]),
                     dict(honest=["delivered 1"], evil=["delivered 1", "expired 1"]),
                     dict(honest=["delivered 1"], evil=["delivered 1"], copies=2),
                     dict(honest=["bounced 1"], evil=["delivered 1"], copies=0),
                     dict(honest=["delivered 1"], evil=["in_doubt 0", "delivered 1"], taken=3)):
            self.assertEqual(len(self.wrong(**case)), 1, case)


if __name__ == "__main__":
    unittest.main(verbosity=2)
