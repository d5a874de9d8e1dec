#!/usr/bin/env python3
"""What a recipient will get (`sluice render`), and whose a bounce is (`sluice token`).

usage: test_letters.py SLUICE SLUICE-SINK [unittest's options]
"""
import base64
import hashlib
import hmac
import json
import os

import house
import test_cli

KEY = "0123456789abcdef0123456789abcdef"


def make_token(campaign, seq, key=KEY):
    """As engine/sign/token.h says it, by other hands."""
    name = campaign.encode()
    mac = hmac.new(key.encode(), name + b"\0" + seq.to_bytes(8, "big"), hashlib.sha256).digest()
    octets = hashlib.sha256(name).digest()[:8] + seq.to_bytes(6, "big") + mac[:10]
    return base64.b32encode(octets).decode().lower().rstrip("=")


class Token(test_cli.Case):
    def setUp(self):
        super().setUp()
        os.chmod(self.house.write("token.key", f"# since November\n{KEY}\n"), 0o600)
        self.conf = self.config(f'token_key = "{self.house.path("token.key")}"\n' + test_cli.POOL)
        self.house.campaign("spring").create().push(["ann@x.example", '{"to":"bob@y.example","id":"7"}'])
        self.house.campaign("summer").create().push(["ann@x.example"])

    def token(self, *words, code=0, said=()):
        return self.ends(self.sluice("token", *words, config=self.conf), code, *said)

    def test_a_bounce_finds_its_recipient(self):
        token = make_token("spring", 1)
        for text in (token, f"bounce+{token}@b.shop.example", f"<bounce+{token.upper()}@b.shop.example>"):
            self.assertEqual(self.token(text), 'campaign spring, recipient 1: {"to":"bob@y.example","id":"7"}\n')
        self.assertEqual(json.loads(self.token(token, "--json")),
                         {"campaign": "spring", "seq": 1, "recipient": '{"to":"bob@y.example","id":"7"}'})
        # One that is in the list no longer, and a campaign that is in Redis no longer.
        self.assertEqual(self.token(make_token("spring", 2**48 - 1)), f"campaign spring, recipient {2**48 - 1}\n")
        self.assertEqual(self.token(make_token("gone", 3), "--campaign", "gone"), "campaign gone, recipient 3\n")
        self.token(make_token("gone", 3), code=1, said=["the token is of no campaign that is in Redis"])

    def test_forgeries_are_refused(self):
        self.token(make_token("spring", 1, "another key that is long enough!"), code=1, said=["it is forged"])
        token = make_token("spring", 1)
        for changed in (token[:15] + ("a" if token[15] != "a" else "b") + token[16:], make_token("spring", 2)[:23] + token[23:]):
            self.token(changed, code=1, said=["it is forged"])
        self.token(make_token("summer", 0), "--campaign", "spring", code=1, said=["was not made for campaign spring"])

    def test_what_is_missing_is_named(self):
        self.token("bounce@b.shop.example", code=1, said=["no token stands there; one is 39 letters and digits"])
        self.token(code=2, said=["one address or token is needed"])
        self.token("x", "y", code=2, said=["one address or token is needed"])
        self.token("x", "--campaign", "a b", code=2, said=["is no campaign id"])
        os.chmod(self.house.path("token.key"), 0o644)
        self.token(make_token("spring", 1), code=1, said=["token.key: has mode 0644, so others can use it"])
        os.unlink(self.house.path("token.key"))
        self.token(make_token("spring", 1), code=1, said=["token.key: No such file or directory"])
        self.conf = self.config()
        self.token(make_token("spring", 1), code=1, said=["names no token_key"])


if __name__ == "__main__":
    house.main()
