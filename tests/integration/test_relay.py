#!/usr/bin/env python3
"""Mail that goes by a relay: routed by pool and domain, signed in with secrets that are read again, and never bounced
because the relay does not know us.

usage: test_relay.py SLUICE SLUICE-SINK [unittest's options]
"""
import os
import subprocess
import unittest
import urllib.error
import urllib.request

import house
from house import count_by, judge, wait_until

SECRET, OTHER = "tr0ub4dor-and-3", "correct-horse-battery"
SIGN_IN = f'mechanisms = {{MECHANISM}} auth_required = yes account ann {{ secret = "{OTHER}" }}'


class Signing(house.Case):
    def put_secret(self, text, mode=0o600):
        path = self.house.path("secret")
        with open(path + ".new", "w") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
        os.rename(path + ".new", path)
        return path

    def relay(self, auth="", more="tls = off", name="hub", host="mx.hub.example"):
        return f"relay {name} {{ host = {host}  port = {self.house.smtp_port}  {more}\n{auth} }}\n"

    def ask(self, engine_port, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{engine_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def assert_secret_nowhere(self, *texts):
        for text in texts:
            for secret in (SECRET, OTHER):
                self.assertNotIn(secret, text)


class Relay(Signing):
    def test_routes(self):
        sink = self.house.isps(hub="", big="", small="")
        self.house.engine(self.relay() + "route { domain = {big.example} relay = none }\n"
                          "route { pool = main domain = {.example} relay = hub }\n")
        c = self.house.campaign("c").create(sealed="1", events="full")
        c.push([f"u{i}@{('big', 'small', 'nowhere')[i % 3]}.example" for i in range(90)]).announce().wait_for("done")
        judge(self, c, 90, sink)
        self.assertEqual(count_by(c.events(), "isp"), {"mx:mx.big.example": 30, "hub": 60})
        self.assertEqual(count_by(c.events(), "mx"), {"mx.big.example": 30, "mx.hub.example": 60})
        self.assertEqual(count_by(sink.accepted(), "isp"), {"big": 30, "hub": 60})

    def wrong_then_right(self, auth, mechanism, key):
        sink = self.house.isps(hub=SIGN_IN.replace("MECHANISM", mechanism) + " auth_plain_text = yes", big="")
        path, port = self.put_secret(SECRET + "\n"), house.free_port()
        config = (self.relay(f"auth = {auth} user = ann {key} = {path}", "tls = off auth_plain_text = yes") +
                  "route { domain = {small.example} relay = hub }\n")
        engine = self.house.engine(config, http=f"127.0.0.1:{port}")
        c = self.house.campaign("c").create(sealed="1", events="full")
        c.push([f"u{i}@{('big', 'small')[i % 2]}.example" for i in range(200)]).announce()
        c.wait_count(100, "delivered")  # who does not go by the relay is not held up
        engine.wait_log("a relay refuses our credentials")
        wait_until(lambda: "relay hub is stopped" in self.ask(port, "/health")[1], "/health to say so")
        self.assertEqual(self.ask(port, "/health")[0], 200)  # which a restart would not mend
        self.assertIn('\nsluice_relay_stopped{relay="hub"} 1\n', self.ask(port, "/metrics")[1])
        config_file = self.house.path("engine.conf")
        status = subprocess.run([house.programs["sluice"], "status", "-c", config_file], capture_output=True, text=True)
        self.assertEqual(status.returncode, 0, status.stderr)
        self.assertIn("relay hub is stopped", status.stdout)
        self.assertIn("the relay refuses our credentials", status.stdout)
        tried = sink.isp("hub")["connections"]
        self.put_secret(OTHER + "\n")
        c.wait_for("done")
        judge(self, c, 200, sink)
        self.assertEqual(c.totals(), {"delivered": 200})
        self.assertEqual(sink.isp("hub")["accepted"], 100)
        self.assertLessEqual(tried, 2 * 2 * 10)  # those that were begun together: lanes of two shards
        log, printed = engine.read_log(), subprocess.run(
            [house.programs["sluice"], "config", "-c", config_file, "--print"], capture_output=True, text=True).stdout
        self.assertEqual(log.count("a relay refuses our credentials"), 1)
        self.assertIn("a relay takes us again", log)
        self.assertIn(path, printed)
        self.assertIn('\nsluice_relay_stopped{relay="hub"} 0\n', self.ask(port, "/metrics")[1])
        self.assert_secret_nowhere(log, printed, self.ask(port, "/status")[1], self.ask(port, "/metrics")[1],
                                   str(c.events()), status.stdout)

    def test_password_plain(self):
        self.wrong_then_right("plain", "plain", "password_file")

    def test_password_login(self):
        self.wrong_then_right("login", "login", "password_file")

    def test_token(self):
        self.wrong_then_right("xoauth2", "xoauth2", "token_file")

    def test_never_in_plain_text(self):
        """tls is verified unless the file says otherwise: at a relay without TLS nobody signs in, and nobody bounces."""
        sink = self.house.isps(hub=SIGN_IN.replace("MECHANISM", "plain") + " auth_plain_text = yes")
        path = self.put_secret(OTHER)
        self.house.engine(self.relay(f"auth = plain user = ann password_file = {path}", "retry = {1h}") +
                          "route { relay = hub }\n")
        c = self.house.campaign("c").create(sealed="1", events="full").push([f"u{i}@x.example" for i in range(20)])
        c.announce()
        wait_until(lambda: sink.isp("hub")["connections"] >= 3, "it to be tried")
        wait_until(lambda: c.count("deferred") == 20, lambda: f"deferrals: {c.totals()}")
        report = sink.isp("hub")
        self.assertEqual((report["accepted"], report["mails"]), (0, 0))
        self.assertEqual(c.totals(), {"deferred": 20})
        self.assertEqual(sink.report()["violation_total"], 0)

    def test_refused_files(self):
        self.house.dns("")
        for text, mode, what in ((SECRET, 0o644, "so others can use it"), ("", 0o600, "is empty"),
                                 (None, 0, "No such file")):
            path = self.house.path("secret") if text is None else self.put_secret(text, mode)
            if text is None:
                os.unlink(path)
            config = self.house.engine_config(self.relay(f"auth = plain user = ann password_file = {path}", ""))
            file = self.house.write("refused.conf", config)
            line = config[:config.index("password_file")].count("\n") + 1
            ran = subprocess.run([house.programs["sluice"], "run", "-c", file], capture_output=True, text=True, timeout=60)
            self.assertEqual(ran.returncode, 1)
            self.assertIn(f"refused.conf:{line}: relay hub: password_file {path}: ", ran.stderr)
            self.assertIn(what, ran.stderr)
            self.assert_secret_nowhere(ran.stderr)


class RelayWithTls(Signing):
    """The same over TLS, with the certificate verified."""

    def tls_relay(self, manners, more="", count=100, host="mx.hub.example"):
        ca = self.house.path("ca.pem")
        self.house.dns("hub IN MX 10 mx.hub\nmx.hub IN A 127.20.1.1\nother.hub IN A 127.20.1.1")
        sink = self.house.sink(f"isp hub {{ listen = {{127.20.1.1:PORT}} names = {{mx.hub.example}} {manners}\n" +
                               SIGN_IN.replace("MECHANISM", "plain") + " }", "--tls-ca", ca)
        path = self.put_secret(OTHER)
        self.house.engine(self.relay(f"auth = plain user = ann password_file = {path}", f"retry = {{1h}} {more}",
                                     host=host) + "route { relay = hub }\n", tls_ca=ca)
        c = self.house.campaign("c").create(sealed="1", events="full").push([f"u{i}@x.example" for i in range(count)])
        return sink, c.announce()

    def arrives(self, manners, more=""):
        sink, c = self.tls_relay(manners, more)
        c.wait_for("done")
        judge(self, c, 100, sink)
        self.assertEqual(c.totals(), {"delivered": 100})
        how = [set(row["how"].split(",")) for row in sink.accepted()]
        self.assertEqual([h for h in how if "auth" not in h or not h & {"tls", "resumed"}], [])

    def test_starttls(self):
        self.arrives("tls = starttls")

    def test_implicit(self):
        self.arrives("tls = implicit", "implicit_tls = yes")

    def stays(self, manners, more="", host="mx.hub.example"):
        """Nothing is sent, nobody is bounced, and no credentials were shown."""
        sink, c = self.tls_relay(manners, more, 20, host)
        wait_until(lambda: c.count("deferred") == 20, lambda: f"deferrals: {c.totals()}")
        self.assertEqual(c.totals(), {"deferred": 20})
        report = sink.isp("hub")
        self.assertEqual((report["mails"], report["accepted"]), (0, 0))
        self.assertEqual(sink.report()["violation_total"], 0)  # of which credentials in plain text would be one

    def test_starttls_is_hidden(self):
        self.stays("tls = hidden auth_plain_text = yes")

    def test_another_name(self):
        self.stays("tls = starttls", host="other.hub.example")

    def test_unknown_authority(self):
        self.stays("tls = starttls certificate = self")


if __name__ == "__main__":
    house.main()
