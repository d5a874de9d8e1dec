#!/usr/bin/env python3
"""A varied corpus, signed by our functions, must verify in opendkim and in python3-dkim, and no longer once changed.

usage: test_dkim_verify.py DKIM-SIGN [unittest's options]
"""
import os
import random
import subprocess
import sys
import tempfile
import unittest

import dkim_keys
import dkim_verify

program = ""
SEED = int(os.environ.get("SLUICE_SEED", "20261121"))


class Verify(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"seed {SEED}", file=sys.stderr)
        cls.directory = tempfile.TemporaryDirectory()
        cls.keys, cls.records = {}, {}
        for domain, selector, kind in (("shop.example", "s1", "rsa:2048"), ("shop.example", "e1", "ed25519"),
                                       ("esp.example", "big.one", "rsa:4096"), ("shop.example", "old", "rsa:1024")):
            path, record = dkim_keys.make_key(cls.directory.name, selector, kind)
            cls.keys[selector] = (domain, selector, path)
            cls.records[f"{selector}._domainkey.{domain}"] = record

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def sign(self, message, *selectors, expire_s=0, seed=SEED):
        words = [word for selector in selectors for word in self.keys[selector]]
        result = subprocess.run([program, str(seed), str(expire_s), *words], input=message, capture_output=True,
                                timeout=60)
        self.assertEqual(result.returncode, 0, result.stderr.decode())
        self.assertTrue(result.stdout.endswith(message))
        return result.stdout

    def test_every_message_verifies(self):
        for i, (what, message) in enumerate(dkim_verify.corpus(SEED)):
            with self.subTest(what):
                dkim_verify.check(self, self.sign(message, "s1", seed=SEED + i), self.records, ["shop.example"])

    def test_all_keys_and_several_signatures(self):
        message = dkim_verify.message(dkim_verify.BODIES["white space everywhere"], more=dkim_verify.BULK)
        for selectors in (["s1"], ["e1"], ["big.one"], ["old"], ["s1", "big.one"], ["e1", "s1", "old", "big.one"]):
            with self.subTest(selectors):
                signed = self.sign(message, *selectors, expire_s=7 * 86400)
                dkim_verify.check(self, signed, self.records, [self.keys[s][0] for s in selectors])

    def test_one_signature_goes_without_the_others(self):
        signed = self.sign(dkim_verify.message(), "s1", "e1", "big.one")
        own = [field for name, field in dkim_verify.fields(signed) if name == "dkim-signature"]
        for field in own:
            rest = signed.replace(field, b"", 1)
            self.assertEqual(dkim_verify.python_verdicts(rest, self.records), [True, True])

    def test_what_is_changed_verifies_no_longer(self):
        rng = random.Random(SEED)
        messages = [dkim_verify.message(more=dkim_verify.BULK + b"Cc: c@x.example\r\nReply-To: r@shop.example\r\n"),
                    dkim_verify.message(), dkim_verify.message(b""), dkim_verify.random_message(rng)]
        for message in messages:
            signed = self.sign(message, "s1")
            changed = list(dkim_verify.broken(signed, SEED))
            self.assertGreater(len(changed), 30)
            for what, other in changed:
                with self.subTest(what):
                    self.assertEqual(dkim_verify.python_verdicts(other, self.records), [False])
        for what, other in changed[:4]:  # the other verifier agrees; one process for each is dear
            self.assertEqual(dkim_verify.opendkim_verdicts(other, self.records), [False], what)

    def test_another_key_does_not_verify(self):
        signed = self.sign(dkim_verify.message(), "s1")
        other = {"s1._domainkey.shop.example": self.records["old._domainkey.shop.example"]}
        self.assertEqual(dkim_verify.python_verdicts(signed, other), [False])
        self.assertEqual(dkim_verify.opendkim_verdicts(signed, other), [False])


if __name__ == "__main__":
    program = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
