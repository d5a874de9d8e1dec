#!/usr/bin/env python3
"""Mail finds its host by the book (RFC 5321 section 5.1, RFC 7505), asked of a real name server.

usage: test_routing.py SLUICE SLUICE-SINK [unittest's options]
"""
import socket
import unittest

import house
from house import count_by, judge

# Host number n is at 127.20.0.n and is the sink's ISP hostN.
HOSTS = "\n".join(f"h{n} IN A 127.20.0.{n}" for n in range(1, 30))


def sink_config(*numbers, six=False):
    isps = [f"isp host{n} {{ listen = {{127.20.0.{n}:PORT}} }}" for n in numbers]
    return "\n".join(isps + (['isp six { listen = {"[::1]:PORT"} }'] if six else []))


def have_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


class Routing(house.Case):
    def send(self, zone, sink, addresses, config="", final=True, **options):
        """Sends one campaign; returns sink, campaign and engine. `final`: waits until it is done."""
        self.house.dns(HOSTS + "\n" + zone)
        sink = self.house.sink(sink)
        engine = self.house.engine(config, **options)
        c = self.house.campaign("c").create(sealed="1", events="full").push(addresses).announce()
        if final:
            judge(self, c.wait_for("done"), len(addresses), sink)
        return sink, c, engine

    def test_preference(self):
        zone = ("three IN MX 30 h3\nthree IN MX 10 h1\nthree IN MX 20 h2\n"
                "equal IN MX 5 h4\nequal IN MX 5 h5\nequal IN MX 50 h6\n")
        addresses = ["a@three.example"] * 300 + ["a@equal.example"] * 300
        sink, c, _ = self.send(zone, sink_config(1, 2, 3, 4, 5, 6), addresses,
                               "defaults { connections = 4  per_connection = 5 }")
        by = count_by(sink.accepted(), "isp")
        self.assertEqual(set(by), {"host1", "host4", "host5"})
        self.assertEqual((by["host1"], by["host4"] + by["host5"]), (300, 300))
        # 60 sessions, each at one of two hosts by lot: fewer than 10 at either has a chance of one in a billion.
        for host in ("host4", "host5"):
            self.assertGreaterEqual(sink.isp(host)["connections"], 10)
        self.assertEqual({e["mx"] for e in c.events()}, {"h1.example", "h4.example", "h5.example"})

    def test_what_dns_says_of_a_domain(self):
        zone = ("null IN MX 0 .\n"
                "implicit IN A 127.20.0.7\n"
                "own IN MX 10 h9\nown IN A 127.20.0.8\n"          # never its own address when it has an MX
                "noaddress IN MX 10 nowhere\nnoaddress IN A 127.20.0.8\n"
                "txt IN TXT \"neither MX nor address\"\n"
                "alias IN CNAME own\n")
        domains = ["null.example", "implicit.example", "own.example", "noaddress.example", "txt.example",
                   "alias.example", "missing.example", "OWN.Example", "own.example"]
        sink, c, _ = self.send(zone, sink_config(7, 8, 9), [f"ann@{d}" for d in domains])
        events = {int(e["seq"]): e for e in c.events()}
        self.assertEqual([events[i]["type"] for i in range(len(domains))],
                         ["bounced", "delivered", "delivered", "bounced", "bounced", "delivered", "bounced",
                          "delivered", "delivered"])
        self.assertEqual([(events[i]["status"], events[i]["class"], events[i]["kind"], events[i]["stage"])
                          for i in (0, 3, 4, 6)],
                         [("5.1.10", "bad-domain", "hard", "route"), ("5.4.4", "bad-domain", "hard", "route"),
                          ("5.4.4", "bad-domain", "hard", "route"), ("5.1.2", "bad-domain", "hard", "route")])
        self.assertEqual(count_by(sink.accepted(), "isp"), {"host7": 1, "host9": 4})
        self.assertEqual(sink.isp("host8")["connections"], 0)

    def test_trouble_of_dns_is_tried_again(self):
        self.house.dns(HOSTS)
        sink = self.house.sink(sink_config(1))
        self.house.engine("defaults { retry = {500ms}  expire = 3s }")
        c = self.house.campaign("c").create(sealed="1").push(["ann@somebody.broken", "ann@elsewhere.test"]).announce()
        judge(self, c.wait_for("done"), 2, sink)
        for seq in ("0", "1"):
            events = c.events(seq=seq)
            self.assertEqual(count_by(events, "type"), {"deferred": len(events) - 1, "expired": 1})
            self.assertGreater(len(events), 2)
            self.assertEqual({(e["stage"], e["status"]) for e in events}, {("route", "4.4.3")})
            self.assertEqual([e["attempt"] for e in events], [str(i + 1) for i in range(len(events))])
            self.assertEqual(events[0]["class"], "routing-errors")
            self.assertEqual(events[-1]["class"], "message-expired")

    def test_a_name_server_that_comes_back(self):
        dns = self.house.dns(HOSTS + "\nthree IN MX 10 h1\n")
        sink = self.house.sink(sink_config(1))
        dns.kill()
        self.house.engine("defaults { retry = {500ms} }", resolver_timeout="200ms", resolver_tries=1)
        c = self.house.campaign("c").create(sealed="1").push(["ann@three.example"] * 50).announce()
        c.wait_count(50, "deferred")
        dns.start()
        judge(self, c.wait_for("done"), 50, sink)
        self.assertEqual(c.count("delivered"), 50)

    def test_a_dead_host_is_passed_over_and_remembered(self):
        """h1 refuses connections: the second host has the mail, and h1 is asked again only after a minute."""
        zone = "two IN MX 10 h1\ntwo IN MX 20 h2\n"
        sink, c, _ = self.send(zone, sink_config(2), ["a@two.example"] * 200,
                               "defaults { connections = 4  per_connection = 5 }")
        self.assertEqual(count_by(c.events(), "type"), {"delivered": 200})
        self.assertEqual({e["mx"] for e in c.events()}, {"h2.example"})

    def test_dead_hosts_are_not_asked_for_each_recipient(self):
        """A listener that is not the sink's counts who comes: each closes at once, before any greeting."""
        zone = "dead IN MX 10 h20\n"
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.20.0.20", self.house.smtp_port))  # bound, and not listening: refused
            sink, c, engine = self.send(zone, sink_config(1), ["a@dead.example"] * 3000,
                                        "defaults { connections = 3  retry = {1h} }", final=False)
            c.wait_count(3000, "deferred")
            events = c.events()
            self.assertEqual({(e["stage"], e["rule"]) for e in events}, {("connect", "refused")})
            # Now it would listen; but it is held dead for a minute, so nobody comes, and all are deferred together.
            listener.listen()
            listener.settimeout(1.5)
            c.push(["b@dead.example"] * 3000).announce().wait_count(6000, "deferred")
            self.assertRaises(TimeoutError, listener.accept)

    def test_all_addresses_of_a_host_are_tried(self):
        zone = "many IN MX 10 m\n" + "\n".join(f"m IN A 127.20.0.{n}" for n in (21, 22, 23))
        sink, c, _ = self.send(zone, sink_config(23), ["a@many.example"] * 60, "defaults { connections = 2 }")
        self.assertEqual(c.totals(), {"delivered": 60})
        self.assertEqual({e["ip"] for e in c.events()}, {"127.20.0.23"})

    @unittest.skipUnless(have_ipv6(), "this machine has no ::1")
    def test_ipv6(self):
        zone = "six IN MX 10 m6\nm6 IN AAAA ::1\nboth IN MX 10 mb\nmb IN AAAA ::1\nmb IN A 127.20.0.2\n"
        pool = "pool six { source ::1 { ehlo = six.shop.example } }"
        self.house.dns(HOSTS + "\n" + zone)
        sink = self.house.sink(sink_config(2, six=True))
        self.house.engine(pool)
        six = self.house.campaign("six").create(sealed="1", pool="six")
        six.push(["a@six.example", "a@both.example"] * 10).announce()
        four = self.house.campaign("four").create(sealed="1", pool="main").push(["a@both.example"] * 10).announce()
        none = self.house.campaign("none").create(pool="main").push(["a@six.example"]).announce()
        judge(self, six.wait_for("done"), 20, sink)
        judge(self, four.wait_for("done"), 10, sink)
        self.assertEqual(count_by(sink.accepted("six"), "isp"), {"six": 20})
        self.assertEqual(count_by(sink.accepted("four"), "isp"), {"host2": 10})
        none.wait_count(1)  # no source of the pool speaks IPv6
        self.assertEqual([(e["type"], e["stage"]) for e in none.events()], [("deferred", "connect")])

    def test_domains_with_the_same_mx_set_share_an_isp(self):
        """So they share its sessions; and an ISP is known by its hosts' suffix too."""
        zone = "\n".join(f"d{i} IN MX 10 h1\nd{i} IN MX 20 h2" for i in range(40))
        zone += "\n" + "\n".join(f"g{i} IN MX 10 in{i}.google\nin{i}.google IN A 127.20.0.3" for i in range(10))
        addresses = [f"a@d{i}.example" for i in range(40)] * 5 + [f"a@g{i}.example" for i in range(10)] * 10
        sink, c, _ = self.send(zone, sink_config(1, 2, 3), addresses,
                               "isp goo { mx = {.google.example}  connections = 1 }\n defaults { connections = 1 }",
                               shards=1, sources=1)
        self.assertEqual(count_by(c.events(), "isp"), {"mx:h1.example": 200, "goo": 100})
        self.assertEqual(count_by(sink.accepted(), "isp"), {"host1": 200, "host3": 100})
        self.assertEqual([sink.isp(f"host{n}")["open_peak"] for n in (1, 2, 3)], [1, 0, 1])


if __name__ == "__main__":
    house.main()
