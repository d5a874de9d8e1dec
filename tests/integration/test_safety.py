#!/usr/bin/env python3
"""MTA-STS (RFC 8461) and DANE (RFC 7672) with a real validating resolver, signed zones, and a real HTTPS server.

usage: test_safety.py SLUICE SLUICE-SINK [unittest's options]
"""
import hashlib
import os
import ssl

import house
from contract import wait_until
from house import count_by, judge
from signed import Authority, Names, PolicyHost

RETRY = "defaults { retry = {1s}  expire = 1h }"


def policy(mode, *hosts, max_age=86400):
    lines = ["version: STSv1", f"mode: {mode}", *(f"mx: {host}" for host in hosts), f"max_age: {max_age}"]
    return "\r\n".join(lines) + "\r\n"


class Safety(house.Case):
    def start(self, sink, config="", names=(), **zones):
        """The sink as `sink` says, names, a policy host with a certificate for `names`, and the engine."""
        self.chains = self.house.path("chains")
        os.mkdir(self.chains)
        ca = self.house.path("sink-ca.pem")
        self.sink = self.house.sink(sink, "--tls-ca", ca, "--tls-chains", self.chains)
        self.authority = Authority(self.house)
        self.host = PolicyHost(self.authority.certificate("mta-sts.any.plain", *names))
        self.addCleanup(self.host.close)
        zones = {zone: text() if callable(text) else text for zone, text in zones.items()}
        forge = zones.pop("forge", ())
        self.names = Names(self.house, forge=forge, **zones)
        trusted = self.house.path("trusted.pem")
        with open(trusted, "w") as out:
            for path in (ca, self.authority.file):
                with open(path) as file:
                    out.write(file.read())
        self.settings = {"tls_ca": trusted, "sts_port": self.host.port}
        self.config = RETRY + "\n" + config
        return self.engine()

    def engine(self):
        return self.house.engine(self.config, **self.settings)

    def chain(self, isp):
        """The certificates that the ISP sends, as DER, the leaf first."""
        with open(os.path.join(self.chains, isp + ".pem")) as file:
            parts = file.read().split("-----END CERTIFICATE-----")[:-1]
        return [ssl.PEM_cert_to_DER_cert(part.strip() + "\n-----END CERTIFICATE-----\n") for part in parts]

    def tlsa(self, isp):
        """"3 0 1 ..." of its leaf."""
        return "3 0 1 " + hashlib.sha256(self.chain(isp)[0]).hexdigest()

    def campaign(self, name, *domains, **fields):
        c = self.house.campaign(name).create(sealed="1", events="full", **fields)
        return c.push([f"r{i}@{domain}" for domain in domains for i in range(5)]).announce()

    def replies(self, c, event="deferred"):
        return {e["to"].split("@")[1]: e for e in c.events() if e["type"] == event}

    # ---- MTA-STS ----

    STS_NAMES = ["good", "wrong", "bare", "untrusted", "mismatch", "testing", "none", "redirect", "html", "long", "error"]

    def sts_zone(self):
        lines = []
        for name in self.STS_NAMES:
            lines += [f"mta-sts.{name} IN A {PolicyHost.address}", f'_mta-sts.{name} IN TXT "v=STSv1; " "id=1;"']
        hosts = {"good": "mx.good", "wrong": "mx.wrong", "bare": "mx.bare", "untrusted": "mx.untrusted"}
        for i, (name, mx) in enumerate(hosts.items()):
            lines += [f"{name} IN MX 10 {mx}", f"{mx} IN A 127.20.1.{i + 1}"]
        return "\n".join(lines + [f"{name} IN MX 10 mx.bare" for name in self.STS_NAMES[4:]])

    STS_SINK = """
isp good { listen = {127.20.1.1:PORT} tls = starttls names = {mx.good.plain} }
isp wrong { listen = {127.20.1.2:PORT} tls = starttls names = {mx.other.plain} }
isp bare { listen = {127.20.1.3:PORT} }
isp untrusted { listen = {127.20.1.4:PORT} tls = starttls names = {mx.untrusted.plain} certificate = self }
"""

    def start_sts(self):
        names = [f"mta-sts.{name}.plain" for name in self.STS_NAMES]
        engine = self.start(self.STS_SINK, names=names, plain=self.sts_zone)
        for name in self.STS_NAMES[:4]:
            self.host.serve(f"{name}.plain", policy("enforce", f"mx.{name}.plain"))
        return engine

    def test_policies_are_obeyed(self):
        self.start_sts()
        self.host.serve("mismatch.plain", policy("enforce", "mx.elsewhere.plain", "bare.plain"))
        self.host.serve("testing.plain", policy("testing", "mx.elsewhere.plain"))
        self.host.serve("none.plain", policy("none"))
        forbids = policy("enforce", "mx.elsewhere.plain")
        self.host.serve("redirect.plain", "", status=302, Location=f"https://mta-sts.good.plain:{self.host.port}/x")
        self.host.serve("html.plain", forbids, content_type="text/html")
        self.host.serve("long.plain", forbids + "x: y\r\n" * 11000)
        self.host.serve("error.plain", forbids, status=500)
        c = self.campaign("c", *(f"{name}.plain" for name in self.STS_NAMES))
        delivered = {"good", "testing", "none", "redirect", "html", "long", "error"}
        c.wait_count(5 * len(delivered), "delivered")
        refused = ["wrong.plain", "bare.plain", "untrusted.plain", "mismatch.plain"]
        wait_until(lambda: set(refused) <= set(self.replies(c)), "deferrals of all that is not safe")
        self.assertEqual({row["recipient"].split("@")[1] for row in self.sink.accepted()},
                         {name + ".plain" for name in delivered})
        said = self.replies(c)
        self.assertEqual((said["mismatch.plain"]["stage"], said["mismatch.plain"]["rule"]), ("route", "mta-sts"))
        self.assertIn("MTA-STS", said["mismatch.plain"]["reply"])
        for domain in refused[:3]:
            self.assertEqual(said[domain]["stage"], "starttls", said[domain])
        good = self.replies(c, "delivered")["good.plain"]
        self.assertIn("verified", good["tls"])
        self.assertEqual({path for _, path in self.host.asked}, {"/.well-known/mta-sts.txt"})
        self.assertEqual(self.sink.isp("bare")["accepted"], 5 * 6)

    def test_a_policy_host_that_is_not_to_be_trusted(self):
        """Its certificate is for other names: that is no policy, and it is told once."""
        engine = self.start(self.STS_SINK, names=["mta-sts.other.plain"], plain=self.sts_zone)
        self.host.serve("mismatch.plain", policy("enforce", "mx.elsewhere.plain"))
        c = self.campaign("c", "mismatch.plain")
        judge(self, c.wait_for("done"), 5, self.sink)
        self.assertEqual(c.totals(), {"delivered": 5})
        self.assertEqual(engine.read_log().count("could not be fetched\" domain=mismatch.plain"), 1)
        self.assertEqual(self.host.asked, [])

    def test_a_policy_outlives_its_host_its_record_and_the_engine(self):
        engine = self.start_sts()
        self.host.serve("mismatch.plain", policy("enforce", "mx.elsewhere.plain"))
        c = self.campaign("c", "mismatch.plain")
        c.wait_count(5, "deferred")
        self.host.serve("mismatch.plain", "", status=503)
        kept = os.path.join(self.house.path("state"), "mta-sts")
        wait_until(lambda: os.path.exists(kept), "the policies to be saved")
        self.assertEqual(engine.end(), 0)
        asked = self.host.count("mismatch.plain")
        engine.start()
        d = self.campaign("d", "mismatch.plain")
        d.wait_count(5, "deferred")
        self.assertEqual(self.sink.accepted(), [])
        self.assertEqual(self.host.count("mismatch.plain"), asked)
        self.assertEqual({e["rule"] for e in d.events()}, {"mta-sts"})

    # ---- DANE ----

    DANE_SINK = """
isp right { listen = {127.20.2.1:PORT} tls = starttls names = {nobody.invalid} certificate = self }
isp other { listen = {127.20.2.2:PORT} tls = starttls names = {mx.other.safe} }
isp bare { listen = {127.20.2.3:PORT} }
isp forged { listen = {127.20.2.4:PORT} }
isp unusable { listen = {127.20.2.5:PORT} tls = starttls certificate = expired }
isp none { listen = {127.20.2.6:PORT} }
isp torn { listen = {127.20.2.7:PORT} }
"""
    DANE_HOSTS = ["right", "other", "bare", "forged", "unusable", "none"]

    def dane_zone(self):
        port, lines = self.house.smtp_port, []
        for i, name in enumerate(self.DANE_HOSTS):
            lines += [f"{name} IN MX 10 mx.{name}", f"mx.{name} IN A 127.20.2.{i + 1}"]
        wrong = "3 1 1 " + "ab" * 32
        for name, data in {"right": self.tlsa("right"), "other": wrong, "bare": wrong, "forged": wrong,
                           "unusable": "0 0 1 " + "cd" * 32}.items():
            lines.append(f"_{port}._tcp.mx.{name} IN TLSA {data}")
        lines += ["alias IN MX 10 cname", "cname IN CNAME mx.right",
                  "two IN MX 10 mx.forged", "two IN MX 20 mx.none", "implicit IN A 127.20.2.6"]
        return "\n".join(lines)

    def start_dane(self, **settings):
        port = self.house.smtp_port
        plain = "bare IN MX 10 mx.bare.safe.\nforged IN MX 10 mx.forged.safe.\n"
        torn = "torn IN MX 10 mx\nmx IN A 127.20.2.7\n"
        return self.start(self.DANE_SINK, safe=self.dane_zone, plain=plain, torn=torn,
                          forge=[f"_{port}._tcp.mx.forged.safe"], **settings)

    def test_tlsa_records_are_obeyed(self):
        self.start_dane()
        domains = [f"{name}.safe" for name in self.DANE_HOSTS + ["alias", "two", "implicit"]]
        domains += ["bare.plain", "forged.plain", "torn.torn"]
        c = self.campaign("c", *domains)
        delivered = {"right.safe", "unusable.safe", "none.safe", "alias.safe", "two.safe", "implicit.safe", "bare.plain",
                     "forged.plain"}
        c.wait_count(5 * len(delivered), "delivered")
        refused = set(domains) - delivered
        wait_until(lambda: refused <= set(self.replies(c)), "deferrals of all that is not safe")
        self.assertEqual({row["recipient"].split("@")[1] for row in self.sink.accepted()}, delivered)
        said, sent = self.replies(c), self.replies(c, "delivered")
        self.assertEqual((said["forged.safe"]["stage"], said["forged.safe"]["status"]), ("route", "4.4.3"))
        self.assertIn("TLSA", said["forged.safe"]["reply"])
        self.assertEqual((said["torn.torn"]["stage"], said["torn.torn"]["status"]), ("route", "4.4.3"))
        self.assertEqual({said[d]["stage"] for d in ("other.safe", "bare.safe")}, {"starttls"})
        for domain in ("right.safe", "alias.safe"):
            self.assertIn("dane", sent[domain]["tls"])
        self.assertEqual(sent["two.safe"]["mx"], "mx.none.safe")
        self.assertTrue(sent["unusable.safe"]["tls"])
        self.assertEqual(count_by(sent.values(), "type"), {"delivered": len(delivered)})

    def test_switched_off(self):
        self.start_dane(config="dane = no\n")
        c = self.campaign("c", "bare.safe", "forged.safe", "other.safe")
        judge(self, c.wait_for("done"), 15, self.sink)
        self.assertEqual(c.totals(), {"delivered": 15})


if __name__ == "__main__":
    house.main()
