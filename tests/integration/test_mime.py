#!/usr/bin/env python3
"""Rendered messages, read by a parser that we did not write: Python's email package, with defects as errors.

test_mime.py RENDER   RENDER is the program made from render.c. SLUICE_SEED=N repeats a random run."""
import email
import email.message
import email.policy
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

RENDER = None
STRICT = email.policy.SMTP.clone(raise_on_defect=True)
ENV = dict(os.environ, ASAN_OPTIONS=os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")


def run(recipient="ann@x.example", **fields):
    """(message or None, reason)"""
    directory = tempfile.mkdtemp(prefix="sluice-mime-")
    try:
        for name, value in dict(fields, recipient=recipient).items():
            if isinstance(value, dict):
                value = json.dumps(value)
            with open(os.path.join(directory, name), "wb") as file:
                file.write(value if isinstance(value, bytes) else value.encode())
        done = subprocess.run([RENDER, directory], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV, check=False)
        if done.returncode == 0:
            return done.stdout, ""
        assert done.returncode == 1, done.stderr.decode(errors="replace")
        return None, done.stderr.decode().strip()
    finally:
        shutil.rmtree(directory)


def lines_of(text):
    """The text as a reader will see it: every line end is one, and the last line has its own."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") or not text else text + "\n"


class Mime(unittest.TestCase):
    def render(self, recipient="ann@x.example", **fields):
        message, reason = run(recipient, **fields)
        self.assertIsNotNone(message, reason)
        self.assertTrue(message.endswith(b"\r\n"))
        self.assertEqual(message.count(b"\r\n"), message.count(b"\n"))
        self.assertEqual(message.count(b"\r\n"), message.count(b"\r"))
        self.assertNotIn(b"\0", message)
        self.assertTrue(all(len(line) <= 998 for line in message.split(b"\r\n")))
        self.assertTrue(all(byte < 0x80 for byte in message))
        return email.message_from_bytes(message, policy=STRICT)

    def text(self, part):
        self.assertFalse(part.defects)
        return lines_of(part.get_content())

    FROM = "Café, Inc. <news@shop.example>"

    def test_headers(self):
        message = self.render({"to": "ann@x.example", "name": "Zoë שלום 🎉", "x": "1 & 2"}, **{
            "from": self.FROM, "subject": "Hi {{name}}, " + "a long subject " * 8 + "ünd {{x}}", "text": "Hi",
            "reply_to": "{{name}} <help@shop.example>, other@shop.example",
            "list_unsubscribe": "https://shop.example/u?e={{to}}&n={{name}}, mailto:stop@shop.example",
            "headers": {"Feedback-ID": "a:b:c:shop", "X-Tag": "{{name}}", "Sender": "Robot <robot@shop.example>"}})
        self.assertEqual(message["subject"], "Hi Zoë שלום 🎉, " + "a long subject " * 8 + "ünd 1 & 2")
        self.assertEqual(message["from"].addresses[0].display_name, "Café, Inc.")
        self.assertEqual(message["from"].addresses[0].addr_spec, "news@shop.example")
        self.assertEqual([a.addr_spec for a in message["reply-to"].addresses],
                         ["help@shop.example", "other@shop.example"])
        self.assertEqual(message["reply-to"].addresses[0].display_name, "Zoë שלום 🎉")
        self.assertEqual(message["sender"].address.display_name, "Robot")
        self.assertEqual(message["to"], "ann@x.example")
        self.assertEqual(message["date"].datetime.isoformat(), "2026-11-21T18:00:00+00:00")
        self.assertEqual(message["message-id"], "<spring.7.k3x9@shop.example>")
        self.assertEqual(message["x-campaign"], "spring/7")
        self.assertEqual(message["x-tag"], "Zoë שלום 🎉")
        self.assertEqual(message["list-unsubscribe-post"], "List-Unsubscribe=One-Click")
        self.assertIn("<mailto:stop@shop.example>", message["list-unsubscribe"])
        self.assertEqual(len(message.keys()), len({key.lower() for key in message.keys()}))

    def test_bodies(self):
        message = self.render({"to": "ann@x.example", "name": "<Zoë>"}, **{
            "from": self.FROM, "text": "Hi {{name}}\n.\nFrom here\n--\n", "html": "<p>Hi {{name}}</p>" + "x" * 5000})
        self.assertEqual(message.get_content_type(), "multipart/alternative")
        text, html = message.iter_parts()
        self.assertEqual(self.text(text), "Hi <Zoë>\n.\nFrom here\n--\n")
        self.assertEqual(self.text(html), "<p>Hi &lt;Zoë&gt;</p>" + "x" * 5000 + "\n")

    def test_empty_bodies(self):
        self.assertEqual(self.text(self.render(**{"from": self.FROM, "text": ""})), "")
        self.assertEqual(self.text(self.render(**{"from": self.FROM, "text": "\n\n\n"})), "\n\n\n")
        self.assertEqual(self.text(self.render(**{"from": self.FROM, "html": "{{x}}"})), "")

    def whole(self, *attachments):
        """A message as a platform may build it, with this package."""
        message = email.message.EmailMessage(policy=email.policy.default)
        message["From"] = '"Café, Inc." <news@shop.example>'
        message["Subject"] = "Grüße, {{name}}"
        message.set_content("Hallo {{name}}, schöne Grüße\n")
        message.add_alternative("<p>Hallo {{name}}, schöne Grüße</p>\n", subtype="html")
        for name, data in attachments:
            message.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
        return message

    def test_whole_message(self):
        inner = email.message.EmailMessage()
        inner["Subject"] = "inner"
        inner.set_content("{{name}}\n")
        message = self.whole(("bericht.bin", bytes(range(256)) * 40), ("größe.bin", b"x"))
        message.add_attachment(inner)
        for policy in (email.policy.default, email.policy.SMTP, email.policy.default.clone(cte_type="7bit")):
            got = self.render({"to": "ann@x.example", "name": "Zoë & Ann"}, mime=message.as_bytes(policy=policy))
            self.assertEqual(got["subject"], "Grüße, Zoë & Ann")
            self.assertEqual(got["from"].addresses[0].display_name, "Café, Inc.")
            body, first, second, third = got.iter_parts()
            text, html = body.iter_parts()
            self.assertEqual(self.text(text), "Hallo Zoë & Ann, schöne Grüße\n")
            self.assertEqual(self.text(html), "<p>Hallo Zoë &amp; Ann, schöne Grüße</p>\n")
            self.assertEqual(first.get_content(), bytes(range(256)) * 40)
            self.assertEqual(first.get_filename(), "bericht.bin")
            self.assertEqual(second.get_filename(), "größe.bin")
            self.assertEqual(third.get_content()["subject"], "inner")
            self.assertEqual(self.text(third.get_content()), "{{name}}\n")

    def test_big_attachment(self):
        data = random.Random(5).randbytes(5 * 1000 * 1000)
        got = self.render({"to": "ann@x.example", "name": "Ann"}, mime=self.whole(("big.bin", data)).as_bytes())
        self.assertEqual(list(got.iter_attachments())[0].get_content(), data)

    def test_nothing_is_injected(self):
        for value in ("\r\nBcc: eve@z.example", "\n\n<script>", "a\r\n.\r\nQUIT\r\n", "\r\n--=_sluice_alternative--\r\n",
                      "Eve <eve@z.example>, ", "\", eve@z.example, \"", "\0\x01\x7f", "=?utf-8?q?=0D=0ABcc:_x?=", "\u2028\x85"):
            message = self.render({"to": "ann@x.example", "x": value}, **{
                "from": "{{x}} <news@shop.example>", "subject": "{{{x}}}", "text": "{{x}}", "html": "{{{x}}}",
                "reply_to": "{{x}} <a@shop.example>", "headers": {"X-Tag": "{{x}}"},
                "list_unsubscribe": "https://shop.example/{{x}}?{{{x}}}"})
            self.assertEqual(sorted(key.lower() for key in message.keys()), sorted([
                "from", "to", "subject", "date", "message-id", "reply-to", "list-unsubscribe", "list-unsubscribe-post",
                "x-tag", "x-campaign", "mime-version", "content-type"]))
            self.assertEqual([a.addr_spec for a in message["from"].addresses], ["news@shop.example"])
            self.assertEqual([a.addr_spec for a in message["reply-to"].addresses], ["a@shop.example"])
            text, html = message.iter_parts()
            self.assertEqual(self.text(text), lines_of(value))
            self.assertEqual(self.text(html), lines_of(value))

    def test_random(self):
        seed = int(os.environ.get("SLUICE_SEED", "20261121"))
        print("seed", seed)
        chance = random.Random(seed)
        words = ["Hello", "Zoë", "שלום", "🎉", "&", "<b>", "\n", "\r\n", ".", "..", "From ", "-- ", "=", "{{{x}}}", "{{y}}",
                 "こんにちは", "x" * 90, " ", "  ", "\t", "{{#l}}{{.}},{{/l}}"]
        for _ in range(60):
            template = [chance.choice(words) + chance.choice(["", " "]) for _ in range(chance.randrange(60))]
            values = {"x": "".join(chance.choice(words[:14]) for _ in range(chance.randrange(8))),
                      "y": chance.choice(["é", "\r", "\n.", "plain", "--"]), "l": ["a", "ü"]}
            expected = "".join(template).replace("{{{x}}}", values["x"]).replace("{{y}}", values["y"])
            expected = expected.replace("{{#l}}{{.}},{{/l}}", "a,ü,")
            line = " ".join(word for word in ("".join(template)).split())
            message = self.render(dict(values, to="ann@x.example"), **{"from": self.FROM, "subject": line,
                                                                       "text": "".join(template)})
            self.assertEqual(self.text(message), lines_of(expected))
            if "{{" not in line:
                self.assertEqual(message["subject"] or "", line)

    def test_refusals_have_reasons(self):
        for fields, reason in (
                ({"text": "x"}, "from: missing"),
                ({"from": self.FROM}, "html: missing"),
                ({"from": self.FROM, "html": "a {{#b}}"}, 'html: the section is not closed "b", at byte 2'),
                ({"from": self.FROM, "text": "{{b}}", "strict": "1"}, 'text: no such field "b", at byte 2'),
                ({"mime": "From: a@b.example\nBcc: c@d.example\n\nHi"}, "mime: this header would appear twice")):
            message, got = run(**fields)
            self.assertIsNone(message)
            self.assertTrue(got.startswith(reason), got)


if __name__ == "__main__":
    RENDER = os.path.abspath(sys.argv.pop(1))
    unittest.main()
