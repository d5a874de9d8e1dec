#!/usr/bin/env python3
"""What a recipient will get (`sluice render`), and whose a bounce is (`sluice token`).

usage: test_letters.py SLUICE SLUICE-SINK [unittest's options]
"""
import base64
import email
import email.policy
import hashlib
import hmac
import json
import os
import subprocess

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


class Template(test_cli.Case):
    """A template alone. Every rule of Mustache's is in tests/unit/test_template.c; here is what the command adds."""

    def render(self, template, *words, code=0, said=(), input=None):
        path = self.house.write("template", template) if template is not None else "-"
        return self.ends(self.sluice("render", "--template", path, *words, input=input), code, *said)

    def test_data_comes_as_json_from_a_file_or_from_standard_input(self):
        path = self.house.write("data.json", '{"name": "Ann"}\n')
        self.assertEqual(self.render("Hi {{name}}!\n", "--data", '{"name": "Ann"}'), "Hi Ann!\n")
        self.assertEqual(self.render("Hi {{name}}!\n", "--data", path), "Hi Ann!\n")
        self.assertEqual(self.render("Hi {{name}}!\n", "--data", "-", input=b'{"name": "Ann"}'), "Hi Ann!\n")
        self.assertEqual(self.render(None, "--data", path, input=b"Hi {{name}}!"), "Hi Ann!")
        self.assertEqual(self.render("Hi {{name}}!"), "Hi !")
        for value, text in (('"Ann"', "Ann"), ("-1.50", "-1.50"), ("true", "true"), ("null", ""), (" [1, 2]", "")):
            self.assertEqual(self.render("{{.}}", "--data", value), text)

    def test_escapes(self):
        data = ("--data", json.dumps({"x": "a&b <c>"}))
        self.assertEqual(self.render("{{x}} {{{x}}}", *data), "a&amp;b &lt;c&gt; a&b <c>")
        self.assertEqual(self.render("{{x}} {{{x}}}", *data, "--as", "html"), "a&amp;b &lt;c&gt; a&b <c>")
        self.assertEqual(self.render("{{x}} {{{x}}}", *data, "--as", "text"), "a&b <c> a&b <c>")
        self.assertEqual(self.render("{{x}}", *data, "--as", "url"), "a%26b%20%3Cc%3E")

    def test_what_is_wrong_is_said(self):
        self.render("{{#a}}", code=1, said=['the template: the section is not closed "a", at byte 0'])
        self.render("x{{> a}}", code=1, said=['the template: partials are not supported "a", at byte 1'])
        self.render("{{a}}", "--strict", code=1, said=['the template: no such field "a", at byte'])
        self.render("{{a}}", "--data", '{"a":', code=1, said=["the data: ", ", at byte 5"])
        self.render("{{a}}", "--data", "/nonexistent", code=1, said=["/nonexistent cannot be read: No such file"])
        self.render("{{a}}", "--as", "pdf", code=2, said=["--as takes html, text or url"])
        self.render("{{a}}", "--seq", "1", code=2, said=["--seq goes with a campaign"])
        self.render("{{a}}", "spring", code=2, said=["not both"])
        self.render(None, "--data", "-", code=2, said=["standard input can be the template or the data"])
        self.ends(self.sluice("render"), 2, "a campaign's id is needed, or --template")


class Letter(test_cli.Case):
    def setUp(self):
        super().setUp()
        key = self.house.path("s1.pem")
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        os.chmod(key, 0o600)
        dkim = f'dkim shop {{ domain = shop.example  selector = s1  key = "{key}" }}\n'
        self.conf = self.config(dkim + test_cli.POOL)
        self.house.campaign("spring").create(subject="Hi {{name}}", text=".{{name}}\n..\n").push(
            ['{"to":"ann@x.example","name":"Ann"}', '{"to":"jörg@müller.example","name":"Jörg"}', "no address"])

    def render(self, *words, code=0, said=()):
        return self.ends(self.sluice("render", *words, config=self.conf), code, *said)

    def test_a_recipient_of_the_list(self):
        text = self.render("spring")
        mail = email.message_from_string(text, policy=email.policy.strict)
        self.assertEqual((mail["To"], mail["Subject"]), ("ann@x.example", "Hi Ann"))
        self.assertEqual(mail.get_content().replace("\r\n", "\n"), ".Ann\n..\n")
        self.assertIn("d=shop.example; s=s1;", " ".join(mail["DKIM-Signature"].split()))
        self.assertIn("\r\nX-Campaign: spring/0\r\n", text)
        mail = email.message_from_string(self.render("spring", "--seq", "1"), policy=email.policy.SMTPUTF8)
        self.assertEqual((mail["To"], mail["Subject"]), ("jörg@xn--mller-kva.example", "Hi Jörg"))

    def test_a_recipient_of_ones_own(self):
        text = self.render("spring", "--data", '{"to":"eve@z.example","name":"\\r\\nBcc: x@y.example"}')
        mail = email.message_from_string(text, policy=email.policy.strict)
        self.assertEqual((mail["To"], mail["Bcc"]), ("eve@z.example", None))
        self.assertEqual(mail["Subject"].split(), ["Hi", "Bcc:", "x@y.example"])

    def test_what_is_wrong_is_said(self):
        self.render("spring", "--seq", "2", code=1, said=["the recipient: "])
        self.render("spring", "--seq", "3", code=1, said=["campaign spring has no recipient 3 in its list"])
        self.render("winter", code=1, said=["there is no campaign winter"])
        self.render("spring", "--data", "{}", code=1, said=["the recipient: no \"to\""])
        self.render("spring", "--seq", "x", code=2, said=["--seq takes a whole number"])
        self.render("spring", "--seq", "0", "--data", "{}", code=2, said=["which of them is it?"])
        self.render("spring", "--strict", code=2, said=["a campaign says them itself"])
        self.render("spring", "winter", code=2, said=["more than one campaign"])
        self.house.campaign("empty").create(text="{{#a}}")
        self.render("empty", "--data", '{"to":"ann@x.example"}', code=1, said=["is incomplete: text: the section is not closed"])
        os.chmod(self.house.path("s1.pem"), 0o644)
        self.render("spring", code=1, said=["s1.pem"])


if __name__ == "__main__":
    house.main()
