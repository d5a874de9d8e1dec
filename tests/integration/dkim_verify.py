"""dkim_verify.py - what verifiers that others wrote say of a signed message: opendkim, and Debian's python3-dkim.

Keys are published in a dict, {"s1._domainkey.shop.example": "v=DKIM1; k=rsa; p=..."}; nobody asks DNS. Both verifiers
check every signature of a message by itself. `corpus` has messages of all shapes to try signers on.
"""
import base64
import os
import random
import re
import shutil
import subprocess
import tempfile

import dkim  # python3-dkim; for Ed25519 it needs python3-nacl

# One name more in h= than there are fields, whether there are any (from, subject ...) or only where there is one.
OVER_ALWAYS = ("from reply-to to cc subject date message-id mime-version content-type "
               "content-transfer-encoding").split()
OVER_THERE = ("sender in-reply-to references list-unsubscribe list-unsubscribe-post list-id feedback-id "
              "cfbl-address cfbl-feedback-id").split()
COVERED = set(OVER_ALWAYS + OVER_THERE + ["x-campaign"])


# ---- messages ----

def split(message):
    header, _, body = message.partition(b"\r\n\r\n")
    return header + b"\r\n", body


def fields(message):
    """(name in lower case, whole field with its CRLF), from the top."""
    found = re.findall(rb"[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*", split(message)[0])
    return [(field.partition(b":")[0].strip().lower().decode(), field) for field in found]


def signatures(message):
    """The tags of each DKIM-Signature, from the top: dicts of text without white space."""
    found = []
    for name, field in fields(message):
        if name == "dkim-signature":
            value = re.sub(r"\s+", "", field.partition(b":")[2].decode())
            found.append(dict(tag.split("=", 1) for tag in value.split(";") if tag))
    return found


# ---- verifiers ----

def python_verdicts(message, records):
    """True or False for each signature, from the top."""
    def lookup(name, timeout=5):
        name = name.decode() if isinstance(name, bytes) else name
        return records.get(name.rstrip("."), "").encode() or None

    verdicts = []
    for index in range(len(signatures(message))):
        try:
            verdicts.append(bool(dkim.DKIM(message, minkey=1024).verify(idx=index, dnsfunc=lookup)))
        except dkim.DKIMException:
            verdicts.append(False)
    return verdicts


def opendkim_verdicts(message, records):
    """The same of the milter, in its test mode."""
    program = shutil.which("opendkim", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    assert program, "opendkim is not installed; tests/packages names the package"
    with tempfile.TemporaryDirectory() as directory:
        paths = {name: os.path.join(directory, name) for name in ("keys", "conf", "message")}
        with open(paths["keys"], "w") as file:
            file.writelines(f"{name} {record}\n" for name, record in records.items())
        with open(paths["conf"], "w") as file:
            file.write(f"TestPublicKeys {paths['keys']}\nMode v\nMaximumSignaturesToVerify 8\n")
        with open(paths["message"], "wb") as file:
            file.write(message)
        result = subprocess.run([program, "-x", paths["conf"], "-t", paths["message"], "-vv"], capture_output=True,
                                timeout=120)
    said = result.stdout.decode("utf-8", "replace")
    return [word == "pass" for word in re.findall(r"\bdkim=(\w+)", said)]


def check(case, message, records, domains):
    """Asserts that a message has one signature of each of these d= and no others, that both verifiers take every one of
    them, and that h= covers what it must, as often as it must."""
    found = signatures(message)
    case.assertEqual(sorted(s["d"] for s in found), sorted(domains))
    case.assertEqual(python_verdicts(message, records), [True] * len(domains), "python3-dkim")
    case.assertEqual(opendkim_verdicts(message, records), [True] * len(domains), "opendkim")
    there = [name for name, _ in fields(message)]
    for signature in found:
        names = signature["h"].lower().split(":")
        case.assertEqual((signature["v"], signature["c"]), ("1", "relaxed/relaxed"))
        case.assertFalse({"l", "z", "i"} & set(signature), signature)
        for name in COVERED:
            over = name in OVER_ALWAYS or (name in OVER_THERE and name in there)
            case.assertEqual(names.count(name), there.count(name) + over, name)
    for line in b"".join(f for name, f in fields(message) if name == "dkim-signature").split(b"\r\n"):
        case.assertLessEqual(len(line), 78, line)


def broken(message, seed):
    """The message as somebody on the way may have changed it: (what was done, the message). No signature may pass."""
    rng = random.Random(seed)
    header, body = split(message)
    own = fields(message)
    there = {name for name, _ in own}
    for name in OVER_ALWAYS + [name for name in OVER_THERE if name in there]:
        added = f"{name.title()}: x\r\n".encode()
        yield f"{name} added on top", added + message
        yield f"{name} added at the end", header + added + b"\r\n" + body
    for i, (name, field) in enumerate(own):
        if name not in COVERED:
            continue
        changed = field[:-2] + b" x\r\n"
        yield f"{name} changed", b"".join(f for _, f in own[:i]) + changed + b"".join(
            f for _, f in own[i + 1:]) + b"\r\n" + body
        yield f"{name} taken out", b"".join(f for j, (_, f) in enumerate(own) if j != i) + b"\r\n" + body
    yield "text added", message + b"x\r\n"
    octets = [i for i, c in enumerate(body) if chr(c).isalnum()]
    if octets:
        at = rng.choice(octets)
        other = b"x" if body[at:at + 1] != b"x" else b"y"
        yield "an octet changed", header + b"\r\n" + body[:at] + other + body[at + 1:]


# ---- messages of all shapes ----

BODIES = {
    "empty": b"",
    "an empty line": b"\r\n",
    "empty lines": b"\r\n" * 5,
    "white space alone": b" \t \r\n\t\r\n",
    "text": b"Hello, Ann!\r\n",
    "empty lines at the end": b"Hello\r\n\r\n\r\n\r\n",
    "empty lines at the beginning": b"\r\n\r\nHello\r\n",
    "empty lines of white space at the end": b"Hello\r\n  \r\n\t\r\n",
    "white space everywhere": b" a \t b\t\r\n\tc  d \r\n \r\ne\r\n",
    "dots": b".\r\n..\r\n.x\r\n\r\n.\r\n",
    "long lines": b"x" * 998 + b"\r\n" + b"y " * 499 + b"\r\n",
    "quoted-printable": b"Caf=C3=A9 =F0=9F=8E=89 for you, and =\r\nmore of it=20\r\n=2E\r\n" * 40,
    "base64": base64.encodebytes(bytes(range(256)) * 40).replace(b"\n", b"\r\n"),
    "a large attachment": base64.encodebytes(random.Random(5).randbytes(5 << 20)).replace(b"\n", b"\r\n"),
}

SUBJECTS = {
    "plain": b"Hello",
    "emoji": b"=?utf-8?Q?=F0=9F=8E=89_party?=\r\n =?utf-8?Q?_time?=",
    "folded often": b"one\r\n two\r\n\tthree\r\n  four",
    "white space": b"  two  spaces\tand a tab  ",
    "empty": b"",
    "folded before its text": b"\r\n text",
    "UTF-8 as it is": "Grüße 🎉".encode(),
    "long": b" ".join([b"word%d" % i for i in range(12)]) + b"\r\n " + b"\r\n ".join([b"w" * 70] * 40),
}

NAMES = {
    "nobody's": b"news@shop.example",
    "right to left": b"=?utf-8?B?" + base64.b64encode("متجر".encode()) + b"?= <news@shop.example>",
    "quoted": b"\"Shop, Inc. \\\"x\\\"\" <news@shop.example>",
}

BULK = (b"List-Unsubscribe: <https://shop.example/u?x=1>,\r\n <mailto:u@shop.example>\r\n"
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\nList-Id: News <news.shop.example>\r\n"
        b"Feedback-ID: c1:shop:news\r\nPrecedence: bulk\r\n")


def message(body=b"Hello\r\n", subject=b"Hello", sender=NAMES["nobody's"], more=b"", to=b"ann@x.example"):
    return (b"From: " + sender + b"\r\nTo: " + to + b"\r\nSubject: " + subject + b"\r\n" + more +
            b"Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <c1.7.abc@shop.example>\r\n"
            b"MIME-Version: 1.0\r\nX-Campaign: c1/7\r\nContent-Type: text/plain;\r\n\tcharset=utf-8\r\n"
            b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + body)


def random_message(rng):
    words = [b"a", b" ", b"  ", b"\t", b"\r\n", b"\r\n\r\n", b".", b"=20\r\n", b"x" * 70, b" \r\n", "é".encode()]
    body = b"".join(rng.choice(words) for _ in range(rng.randrange(60)))
    folds = [b" ", b"  ", b"\t", b"\r\n ", b" \r\n\t", b"\r\n  "]
    subject = b"".join(rng.choice([b"word", b"=?x", b"a:b", b";"]) + rng.choice(folds) for _ in range(rng.randrange(12)))
    more = b"".join(rng.choice([b"X-Other: 1\r\n", b"Reply-to:r@shop.example\r\n", b"CC:\tc@x.example\r\n", BULK,
                                b"Received: from a\r\n by b\r\n", b"sEnder: s@shop.example\r\n"])
                    for _ in range(rng.randrange(3)))
    if not body.endswith(b"\r\n"):  # as every message on the wire does
        body += b"\r\n"
    return message(body, subject + b"end", rng.choice(list(NAMES.values())), more)


def corpus(seed, random_ones=25):
    """(what it is, the message), without signatures; its lines end in CRLF, the last one too. Left out is what the
    verifiers have trouble with and nobody writes: white space before a field's colon (python3-dkim)."""
    for what, body in BODIES.items():
        yield f"body: {what}", message(body)
    for what, subject in SUBJECTS.items():
        yield f"subject: {what}", message(subject=subject)
    for what, sender in NAMES.items():
        yield f"sender: {what}", message(sender=sender)
    yield "bulk", message(more=BULK)
    yield "repeated", message(more=b"To: b@x.example\r\nComments: 1\r\nComments: 2\r\nTo: c@x.example\r\n")
    yield "few fields", b"From: a@shop.example\r\n\r\nHello\r\n"
    yield "many fields", message(more=b"".join(b"X-%d: %s\r\n" % (i, b"v" * 60) for i in range(200)))
    rng = random.Random(seed)
    for i in range(random_ones):
        yield f"random {i} of seed {seed}", random_message(rng)
