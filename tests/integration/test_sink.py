#!/usr/bin/env python3
"""sluice-sink as a whole: real sockets, Python's own SMTP client, and bytes that no client should send.

usage: test_sink.py BUILD_DIRECTORY
"""
import json
import os
import random
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SINK = ""


def free_port():
    """A port that is free on every loopback address."""
    with socket.socket() as s:
        s.bind(("0.0.0.0", 0))
        return s.getsockname()[1]


class Sink:
    def __init__(self, *arguments, config=None):
        self.directory = tempfile.TemporaryDirectory(prefix="sluice-sink-")
        self.ledger = os.path.join(self.directory.name, "ledger.tsv")
        self.starts = os.path.join(self.directory.name, "starts.tsv")
        self.ca, self.store = (os.path.join(self.directory.name, name) for name in ("ca.pem", "mail"))
        self.chains = os.path.join(self.directory.name, "chains")
        os.mkdir(self.store)
        os.mkdir(self.chains)
        command = [SINK, "--json", "--ledger", self.ledger, "--starts", self.starts, "--store", self.store,
                   "--tls-ca", self.ca, "--tls-chains", self.chains, *arguments]
        if config:
            path = os.path.join(self.directory.name, "sink.conf")
            with open(path, "w") as file:
                file.write(config)
            command += ["-c", path]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        ready = self.process.stdout.readline()
        assert "ready" in ready, ready

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.directory.cleanup()

    def report(self):
        """Asks for one while it runs."""
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        line = self.process.stdout.readline()
        assert self.process.wait(timeout=20) == 0
        return json.loads(line)

    def stored(self):
        """The messages as they came, by the beginning of their names: CAMPAIGN.SEQ."""
        messages = {}
        for name in os.listdir(self.store):
            with open(os.path.join(self.store, name), "rb") as file:
                messages[name.rsplit(".", 2)[0]] = file.read()
        return messages

    def tls(self):
        """A client's context that trusts the sink's CA alone."""
        return ssl.create_default_context(cafile=self.ca)

    def lines(self):
        with open(self.ledger) as file:
            heading, *lines = [line.rstrip("\n").split("\t") for line in file]
        return [dict(zip(heading, line)) for line in lines]


def talk(port, data, host="127.0.0.1", finish=True, wait=5):
    """Sends raw bytes and returns everything that comes back until the server closes."""
    with socket.create_connection((host, port), timeout=wait) as s:
        heard = b""
        try:
            s.sendall(data)
            if finish:
                s.shutdown(socket.SHUT_WR)
            while chunk := s.recv(65536):
                heard += chunk
        except (TimeoutError, ConnectionError):
            pass
        return heard


def message(token, body="hello\n.dot\n"):
    return f"From: shop@s.example\nTo: ann@x.example\nX-Campaign: {token}\nSubject: x\n\n{body}"


class Polite(unittest.TestCase):
    def test_messages_stand_in_the_ledger(self):
        port = free_port()
        with Sink("--listen", f"127.0.0.1:{port}") as sink:
            for source in ("127.0.0.1", "127.0.1.9"):
                with smtplib.SMTP("127.0.0.1", port, local_hostname="me.example", source_address=(source, 0)) as client:
                    client.ehlo()
                    self.assertTrue(client.has_extn("pipelining"))
                    for seq in range(3):
                        refused = client.sendmail("a@b.example", [f"r{seq}@x.example"], message(f"spring/{seq}"))
                        self.assertEqual(refused, {})
            report = sink.end()
            self.assertEqual(report["violation_total"], 0, report)
            isp = report["isps"][0]
            self.assertEqual((isp["accepted"], isp["mails"], isp["connections"]), (6, 6, 2))
            lines = sink.lines()
            self.assertEqual(len(lines), 6)
            self.assertEqual([l["seq"] for l in lines], ["0", "1", "2"] * 2)
            self.assertEqual({l["source"] for l in lines}, {"127.0.0.1", "127.0.1.9"})
            self.assertEqual({l["campaign"] for l in lines}, {"spring"})
            self.assertEqual(lines[1]["recipient"], "r1@x.example")
            self.assertLess(abs(int(lines[0]["time_ms"]) / 1000 - time.time()), 60)
            with open(sink.starts) as file:
                self.assertEqual(len(file.readlines()), 1 + 6)

    def test_ipv6_and_threads(self):
        port = free_port()
        with Sink("--listen", f"127.0.0.1:{port}", "--listen", f"[::1]:{port}", "--threads", "2") as sink:
            for i in range(20):
                with smtplib.SMTP("::1" if i % 2 else "127.0.0.1", port) as client:
                    client.sendmail("a@b.example", ["r@x.example"], message(f"c/{i}"))
            self.assertEqual(sink.end()["isps"][0]["accepted"], 20)
            self.assertEqual({int(l["seq"]) for l in sink.lines()}, set(range(20)))
            self.assertEqual({l["source"] for l in sink.lines()}, {"127.0.0.1", "0:0:0:0:0:0:0:1"})

    def test_manners_of_isps(self):
        port = free_port()
        config = f"""
            isp big {{ listen = {{127.20.0.1:{port}}}
                       messages = 2
                       rcpt {{ match = "gone*" reply = "550 5.1.1 no such user" }}
                       body {{ match = "late*" reply = "451 4.3.0 try later" }} }}
            isp old {{ listen = {{127.20.0.2:{port}}} helo_only = true latency {{ rcpt = 30ms }} }}
            isp rude {{ listen = {{127.20.0.3:{port}}} data {{ action = reset }} }}
            isp full {{ listen = {{127.20.0.4:{port}}} connections = 1 }}
        """
        with Sink(config=config) as sink:
            with smtplib.SMTP("127.20.0.1", port) as client:
                with self.assertRaises(smtplib.SMTPRecipientsRefused) as refused:
                    client.sendmail("a@b.example", ["gone1@x.example"], message("c/1"))
                self.assertEqual(refused.exception.recipients["gone1@x.example"][0], 550)
                with self.assertRaises(smtplib.SMTPDataError) as later:
                    client.sendmail("a@b.example", ["late@x.example"], message("c/2"))
                self.assertEqual(later.exception.smtp_code, 451)
                with self.assertRaises(smtplib.SMTPException) as full:
                    client.sendmail("a@b.example", ["ann@x.example"], message("c/3"))
                self.assertEqual(full.exception.args[0], 421)
            with smtplib.SMTP("127.20.0.2", port) as client:
                before = time.monotonic()
                client.sendmail("a@b.example", ["ann@x.example"], message("c/4"))
                self.assertGreaterEqual(time.monotonic() - before, 0.03)
                self.assertFalse(client.does_esmtp)
            with self.assertRaises((smtplib.SMTPServerDisconnected, ConnectionResetError)):
                client = smtplib.SMTP("127.20.0.3", port)
                client.sendmail("a@b.example", ["ann@x.example"], message("c/5"))
            client.close()
            with smtplib.SMTP("127.20.0.4", port):
                with self.assertRaises(smtplib.SMTPConnectError) as busy:
                    smtplib.SMTP("127.20.0.4", port)
                self.assertEqual(busy.exception.smtp_code, 421)
            report = sink.end()
            self.assertEqual(report["violation_total"], 0, report)
            self.assertEqual([i["accepted"] for i in report["isps"]], [0, 1, 0, 0])
            self.assertEqual([l["seq"] for l in sink.lines()], ["4"])


class Secure(unittest.TestCase):
    def test_starttls_by_python(self):
        """Verified by name, resumed, over two threads; and kept byte for byte."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for key in ("rsa", "ecdsa"):
                port = free_port()
                config = f"""isp big {{ listen = {{"127.0.0.1:{port}"}} tls = starttls tls_demand = refused
                                        banner = mx.big.example key = {key} }}"""
                with Sink("--threads", "2", config=config) as sink:
                    context = sink.tls()
                    context.minimum_version = context.maximum_version = version
                    for seq in range(6):
                        with smtplib.SMTP("127.0.0.1", port, local_hostname="me.example") as client:
                            client._host = "mx1.big.example"  # by which the certificate is checked
                            self.assertTrue(client.ehlo()[1] and client.has_extn("starttls"))
                            client.starttls(context=context)
                            client.ehlo()
                            self.assertFalse(client.has_extn("starttls"))
                            self.assertEqual(client.sock.version(), version.name.replace("_", "."))
                            client.sendmail("a@b.example", ["r@x.example"], message(f"c/{seq}"))
                    report = sink.end()
                    self.assertEqual(report["violation_total"], 0, report)
                    isp = report["isps"][0]
                    self.assertEqual((isp["accepted"], isp["accepted_tls"], isp["tls_full"]), (6, 6, 6))
                    self.assertEqual({line["how"] for line in sink.lines()}, {"tls"})
                    stored = sink.stored()
                    self.assertEqual(set(stored), {f"c.{seq}" for seq in range(6)})
                    self.assertEqual(stored["c.4"], message("c/4").replace("\n", "\r\n").encode())

    def test_resumption_by_openssl(self):
        """s_client asks for one new session and two resumed ones; tickets hold over threads."""
        port = free_port()
        config = f'isp big {{ listen = {{"127.0.0.1:{port}"}} tls = starttls banner = mx.big.example }}'
        with Sink("--threads", "2", config=config) as sink:
            for version in ("-tls1_2", "-tls1_3"):
                session = os.path.join(sink.directory.name, "session" + version)
                for use in ("-sess_out", "-sess_in", "-sess_in"):
                    said = subprocess.run(
                        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-starttls", "smtp", version,
                         "-CAfile", sink.ca, "-verify_return_error", "-verify_hostname", "mx.big.example",
                         "-servername", "mx.big.example", "-crlf", "-ign_eof", use, session],
                        input="EHLO me.example\nQUIT\n", capture_output=True, text=True, timeout=30)
                    self.assertEqual(said.returncode, 0, said.stderr)
                    self.assertIn("Verify return code: 0 (ok)", said.stdout)
                    self.assertIn("Reused," if use == "-sess_in" else "New,", said.stdout)
            report = sink.end()
            isp = report["isps"][0]
            self.assertEqual((isp["tls_full"], isp["tls_resumed"], isp["tls_nameless"]), (2, 4, 0))

    def test_implicit_and_login(self):
        port = free_port()
        config = f"""isp relay {{ listen = {{"127.0.0.1:{port}"}} tls = implicit names = {{relay.example}}
                     mechanisms = {{plain, login}} auth_required = true account ann {{ secret = geheim }} }}"""
        with Sink(config=config) as sink:
            for mechanism in ("auth_plain", "auth_login"):
                client = smtplib.SMTP_SSL("127.0.0.1", port, context=self.unchecked(sink))
                client.ehlo()
                with self.assertRaises(smtplib.SMTPSenderRefused) as refused:
                    client.sendmail("a@b.example", ["r@x.example"], message("c/1"))
                self.assertEqual(refused.exception.smtp_code, 530)
                client.user, client.password = "ann", "wrong"
                with self.assertRaises(smtplib.SMTPAuthenticationError) as wrong:
                    client.auth(mechanism[5:], getattr(client, mechanism))
                self.assertEqual(wrong.exception.smtp_code, 535)
                client.password = "geheim"
                client.auth(mechanism[5:], getattr(client, mechanism))
                client.sendmail("a@b.example", ["r@x.example"], message("c/1"))
                client.quit()
            report = sink.end()
            self.assertEqual(report["violation_total"], 0, report)
            isp = report["isps"][0]
            self.assertEqual((isp["accepted_authenticated"], isp["logins"], isp["logins_refused"]), (2, 2, 2))
            self.assertEqual({line["how"] for line in sink.lines()}, {"tls,auth"})

    @staticmethod
    def unchecked(sink):
        context = sink.tls()
        context.check_hostname = False  # the client knows it by its address
        return context

    def test_certificates_are_wrong_in_their_ways(self):
        complaints = {"self": "self-signed", "stranger": "self-signed certificate in certificate chain",
                      "expired": "expired", "wrong_name": "mismatch", "broken": "unable to get local issuer"}
        port = free_port()
        config = "".join(f"""isp {issue} {{ listen = {{"127.20.1.{i + 1}:{port}"}} tls = implicit
                             banner = mx.example.org certificate = {issue} }}\n"""
                         for i, issue in enumerate(complaints))
        with Sink(config=config) as sink:
            for i, issue in enumerate(complaints):
                with socket.create_connection((f"127.20.1.{i + 1}", port)) as s:
                    with self.assertRaisesRegex(ssl.SSLCertVerificationError, complaints[issue]):
                        sink.tls().wrap_socket(s, server_hostname="mx.example.org")
                with open(os.path.join(sink.chains, issue + ".pem")) as file:
                    self.assertIn("BEGIN CERTIFICATE", file.read())
            self.assertEqual([isp["tls_full"] for isp in sink.end()["isps"]], [0] * len(complaints))

    def test_chunks_arrive_as_data_does(self):
        text = b"X-Campaign: c/%d\r\nSubject: x\r\n\r\n.\r\n..two\r\nlast\r\n"
        port = free_port()
        with Sink(config=f'isp big {{ listen = {{"127.0.0.1:{port}"}} chunking = true }}') as sink:
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.ehlo()
                self.assertTrue(client.has_extn("chunking"))
                for seq, cut in ((1, 0), (2, 9), (3, 40)):
                    own = text % seq
                    client.mail("a@b.example")
                    client.rcpt("r@x.example")
                    if cut:
                        client.send(b"BDAT %d\r\n%s" % (cut, own[:cut]))
                        self.assertEqual(client.getreply()[0], 250)
                    client.send(b"BDAT %d LAST\r\n%s" % (len(own) - cut, own[cut:]))
                    self.assertEqual(client.getreply()[0], 250)
                client.sendmail("a@b.example", ["r@x.example"], text % 4)
                client.mail("a@b.example")
                client.rcpt("r@x.example")
                self.assertEqual(client.docmd("BDAT 0 LAST")[0], 250)  # a message of nothing
            report = sink.end()
            self.assertEqual(report["violation_total"], 0, report)
            self.assertEqual(sink.stored(), {f"c.{seq}": text % seq for seq in (1, 2, 3, 4)} | {"-.-": b""})
            self.assertEqual([line["how"] for line in sink.lines()], ["bdat", "bdat", "bdat", "-", "bdat"])

    def test_names_of_campaigns_lead_nowhere(self):
        port = free_port()
        with Sink("--listen", f"127.0.0.1:{port}") as sink:
            with smtplib.SMTP("127.0.0.1", port) as client:
                client.sendmail("a@b.example", ["r@x.example"], message("../../evil/1"))
                client.sendmail("a@b.example", ["r@x.example"], "Subject: no token\n\n")
            sink.end()
            self.assertEqual(set(sink.stored()), {"_._.._evil.1", "-.-"})


class Hostile(unittest.TestCase):
    def setUp(self):
        self.port = free_port()
        config = f"""isp all {{ listen = {{"127.0.0.1:{self.port}"}} tls = starttls chunking = true mechanisms = {{plain}}
                                auth_plain_text = true }}"""
        self.sink = Sink(config=config).__enter__()
        self.addCleanup(self.sink.__exit__)

    def check_alive(self):
        with smtplib.SMTP("127.0.0.1", self.port) as client:
            client.sendmail("a@b.example", ["ann@x.example"], message("alive/1"))

    def test_breaches_are_counted(self):
        heard = talk(self.port, b"EHLO x\nMAIL FROM:<a@b>\n" + b"x" * 100000 + b"\r\nQUIT\r\n")
        self.assertIn(b"500 5.5.6 line too long", heard)
        violations = self.sink.report()["violations"]
        self.assertGreaterEqual(violations["bare-lf"], 2)
        self.assertEqual(violations["line-too-long"], 1)
        self.check_alive()

    def test_rubbish(self):
        seed = 4711
        print("seed", seed)
        draw = random.Random(seed)
        words = [b"EHLO x\r\n", b"MAIL FROM:<a@b>\r\n", b"RCPT TO:<c@d>\r\n", b"DATA\r\n", b".\r\n", b"\r", b"\n", b"\0",
                 b"BDAT 99999999999999999999 LAST\r\n", b"AUTH PLAIN\r\n", b"BDAT 9\r\n", b"BDAT 0 LAST\r\n",
                 b"STARTTLS\r\n", b"\x16\x03\x01\x00\xff\x01", b"*\r\n", b"\xff\xfe", b"X-Campaign: /\r\n", b"A" * 3000]
        for i in range(100):
            data = b"".join(draw.choice(words) for _ in range(draw.randrange(1, 60)))
            if i % 3 == 0:
                data += bytes(draw.randrange(256) for _ in range(5000))
            talk(self.port, data)
        self.check_alive()

    def test_who_never_reads_is_dropped(self):
        with socket.create_connection(("127.0.0.1", self.port)) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.settimeout(20)
            with self.assertRaises((ConnectionError, TimeoutError)) as broken:
                for _ in range(100000):
                    s.sendall(b"RSET\r\n" * 1000)
            self.assertNotIsInstance(broken.exception, TimeoutError)
        self.check_alive()

    def test_resets_at_any_moment(self):
        dialogue = b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: x\r\n\r\n.\r\nQUIT\r\n"
        for cut in range(len(dialogue)):
            s = socket.create_connection(("127.0.0.1", self.port))
            self.assertTrue(s.recv(100).startswith(b"220 "))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.sendall(dialogue[:cut])
            s.close()
        self.check_alive()
        report = self.sink.end()
        self.assertEqual(report["isps"][0]["connections"], len(dialogue) + 1)

    def test_many_connections(self):
        import resource
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        wanted = min(10000, hard - 200)
        held = []
        try:
            for i in range(wanted):
                s = socket.socket()
                s.bind((f"127.0.{i % 200}.{1 + i % 50}", 0))
                s.connect(("127.0.0.1", self.port))
                held.append(s)
            for s in held[::97]:
                s.settimeout(20)
                self.assertTrue(s.recv(100).startswith(b"220 "))
            self.check_alive()
            self.assertGreaterEqual(self.sink.report()["isps"][0]["open_peak"], wanted)
        finally:
            for s in held:
                s.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.check_alive()


class CommandLine(unittest.TestCase):
    def wrong_key(self):
        file = tempfile.NamedTemporaryFile("w", suffix=".conf")
        self.addCleanup(file.close)
        file.write('isp a { listen = {"127.0.0.1:1"} tls = starttls certificate_file = "/nonexistent.pem" }')
        file.flush()
        return file.name

    def test_mistakes_are_named(self):
        for arguments, complaint in (
            ([], "nowhere to listen"),
            (["--listen", "nonsense"], "no address to listen on"),
            (["--threads", "0", "--listen", "127.0.0.1:1"], "--threads"),
            (["-c", "/nonexistent"], "cannot be read"),
            (["-c", self.wrong_key()], "/nonexistent.pem"),
            (["--what"], "--help"),
        ):
            result = subprocess.run([SINK, *arguments], capture_output=True, text=True, timeout=20)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(complaint, result.stderr)

    def test_a_taken_port_is_named(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            port = s.getsockname()[1]
            result = subprocess.run([SINK, "--listen", f"127.0.0.1:{port}"], capture_output=True, text=True, timeout=20)
            self.assertEqual(result.returncode, 1)
            self.assertIn(f"cannot listen on 127.0.0.1:{port}", result.stderr)


if __name__ == "__main__":
    SINK = os.path.join(sys.argv.pop(1), "sluice-sink")
    unittest.main(verbosity=2)
