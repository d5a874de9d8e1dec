#!/usr/bin/env python3
"""What each answer of a server, at each stage, comes to.

usage: test_outcomes.py SLUICE SLUICE-SINK [unittest's options]
"""
import house
from house import count_by, judge, wait_until

FAST = "connections = 2  retry = {500ms}  expire = 1h"


class Outcomes(house.Case):
    def send(self, manners, n=4, config=f"defaults {{ {FAST}  adapt = no }}", wait="done", open_doubt=False, **fields):
        """Sends n recipients to each ISP in `manners` and returns campaign and sink when nothing is owed any more. What one
        reply makes of one recipient is asked here, so lanes do not adapt: they would fall silent meanwhile."""
        self.sink = self.house.isps(**manners)
        self.engine = self.house.engine(config)
        c = self.house.campaign("c").create(sealed="1", events="full", **fields)
        c.push([f"u{i}@{name}.example" for name in manners for i in range(n)]).announce()
        if wait:
            c.wait_for(wait)
            judge(self, c, n * len(manners), self.sink, open_doubt)
        return c

    def of(self, campaign, isp):
        return [e for e in campaign.events() if e["to"].endswith(f"@{isp}.example")]

    def test_refusals_of_the_recipient(self):
        c = self.send({"hard": 'rcpt { reply = "550 5.1.1 no such user" }',
                       "blocked": 'rcpt { reply = "554 5.7.1 you are listed" }',
                       "later": 'rcpt { reply = "450 4.2.0 not now" first = 4 }',
                       "many": 'rcpt { reply = "552 too many recipients" first = 4 }',
                       "bare": 'enhanced = false  rcpt { reply = "550 go away" }',
                       "long": 'rcpt { reply = "550 5.1.1 first line\\nsecond line\\nthird" }'})
        for isp, status in (("hard", "5.1.1"), ("blocked", "5.7.1"), ("long", "5.1.1")):
            self.assertEqual({(e["type"], e["stage"], e["status"], e["attempt"]) for e in self.of(c, isp)},
                             {("bounced", "rcpt", status, "1")})
        self.assertEqual({(e["type"], e["code"]) for e in self.of(c, "bare")}, {("bounced", "550")})
        self.assertIn("first line / second line / third", self.of(c, "long")[0]["reply"])
        for isp in ("later", "many"):  # 552 at RCPT is soft: RFC 5321 section 4.5.3.1.10
            self.assertEqual(count_by(self.of(c, isp), "type"), {"deferred": 4, "delivered": 4})
            self.assertEqual({e["attempt"] for e in self.of(c, isp) if e["type"] == "delivered"}, {"2"})

    def test_refusals_of_the_body(self):
        c = self.send({"spam": 'body { reply = "550 5.7.1 spam" }',
                       "full": 'body { reply = "452 4.3.1 disk full" first = 4 }',
                       "nodata": 'data { reply = "554 5.5.1 no valid recipients" }',
                       "nodata4": 'data { reply = "451 4.3.0 not now" first = 4 }'})
        self.assertEqual({(e["type"], e["stage"], e["status"]) for e in self.of(c, "spam")},
                         {("bounced", "body", "5.7.1")})
        self.assertEqual({(e["type"], e["stage"]) for e in self.of(c, "nodata")}, {("bounced", "data")})
        for isp in ("full", "nodata4"):
            self.assertEqual(count_by(self.of(c, isp), "type"), {"deferred": 4, "delivered": 4})

    def test_refusals_of_the_sender(self):
        c = self.send({"mail5": 'mail { reply = "550 5.7.1 sender refused" }',
                       "mail4": 'mail { reply = "451 4.7.1 later" first = 4 }'})
        self.assertEqual({(e["type"], e["stage"], e["kind"]) for e in self.of(c, "mail5")},
                         {("bounced", "mail", "block")})  # not the recipient's fault, and so it is called
        self.assertEqual(count_by(self.of(c, "mail4"), "type"), {"deferred": 4, "delivered": 4})

    def test_refused_sessions_are_never_the_recipients_fault(self):
        """A greeting of 554 or 421, or EHLO refused for good: the lane waits, then recipients are deferred together,
        and their attempts are not counted."""
        c = self.send({"no": 'greeting { reply = "554 5.7.1 no" first = 6 }',
                       "busy": 'greeting { reply = "421 4.7.0 busy" first = 6 }',
                       "ehlo": 'ehlo { reply = "421 4.7.0 go away" first = 6 }',
                       "slam": 'greeting { action = close first = 6 }'}, n=40)
        self.assertEqual(c.count("delivered"), 160)
        for isp in ("no", "busy", "ehlo", "slam"):
            types = count_by(self.of(c, isp), "type")
            self.assertEqual(set(types) - {"delivered", "deferred"}, set())
            self.assertEqual({e["attempt"] for e in self.of(c, isp)}, {"1"}, isp)
            self.assertTrue({e["stage"] for e in self.of(c, isp) if e["type"] == "deferred"} <= {"greeting", "ehlo"})

    def test_helo_pipelining_and_sizes(self):
        c = self.send({"helo": "helo_only = true", "plain": "pipelining = false",
                       "old": "eight_bit = false enhanced = false pipelining = false",
                       "tiny": "size = 100", "unsized": "size = 0",
                       "drip": "tarpit = 1ms"}, n=30, text="Grüße, {{name}} und Ω.\n.\n..dots\n")
        for isp in ("helo", "plain", "old", "unsized", "drip"):
            self.assertEqual(count_by(self.of(c, isp), "type"), {"delivered": 30}, isp)
        self.assertEqual({(e["type"], e["class"], e["status"]) for e in self.of(c, "tiny")},
                         {("bounced", "content-related", "5.3.4")})
        self.assertEqual(self.sink.isp("tiny")["mails"], 0)

    def test_servers_that_end_sessions_in_their_own_ways(self):
        """421 after some messages, a silent close between messages, and one that minds bytes behind the dot: nobody
        is deferred, and nothing is sent twice."""
        slowly = (f"defaults {{ {FAST}  adapt = no }}\n"  # that one's sessions are idle for longer than it likes
                  "isp idle { mx = mx.idle.example  connections = 1  rate = 5/s }")
        c = self.send({"three": "messages = 3", "silent": "messages = 3  messages_silent = true",
                       "behind": "behind_dot = refuse", "closes": "behind_dot = close",
                       "idle": "idle = 150ms  idle_silent = true"}, n=60, config=slowly)
        types = {isp: dict(count_by(self.of(c, isp), "type")) for isp in ("three", "silent", "closes", "idle")}
        self.assertEqual(types, {isp: {"delivered": 60} for isp in types})
        self.assertGreater(self.sink.isp("idle")["connections"], 10)
        # A message that was answered 503 for what stood behind it was refused once; it is sent again by itself.
        self.assertEqual(count_by(self.of(c, "behind"), "type")["delivered"], 60)
        # The objection is remembered: each of the few sessions that were open then may have met it once.
        self.assertLessEqual(self.sink.isp("behind")["connections"], 20)

    def test_reset_after_the_dot_held(self):
        c = self.send({"rude": "body { action = reset accept = true }", "lost": "body { action = reset }"}, n=10,
                      wait="waiting", open_doubt=True)
        self.assertEqual(c.totals(), {"in_doubt": 20})
        self.assertEqual(c.status()["reason"], "recipients in doubt are held")
        self.assertEqual({(e["stage"], e["final"], e["rule"]) for e in c.events()}, {("body", "0", "reset")})
        self.assertEqual(len(self.sink.accepted()), 10)

    def test_reset_after_the_dot_sent_again(self):
        c = self.send({"rude": "body { action = reset accept = true first = 5 }",
                       "lost": "body { action = close first = 5 }"}, n=10, in_doubt="resend")
        self.assertEqual(c.totals(), {"in_doubt": 10, "delivered": 20})
        self.assertEqual(len(self.sink.accepted()), 25)

    def test_reset_after_the_dot_dropped(self):
        c = self.send({"rude": "body { action = reset accept = true first = 5 }", "lost": "body { action = reset }"},
                      n=10, in_doubt="drop")
        self.assertEqual(c.totals(), {"in_doubt": 15, "delivered": 5})
        self.assertEqual({e["final"] for e in c.events()}, {"1"})

    def test_lost_before_the_body(self):
        """Closed or reset at RCPT or DATA, or silent: no doubt, the recipient is tried again."""
        c = self.send({"rcpt": "rcpt { action = reset first = 4 }", "data": "data { action = close first = 4 }",
                       "mute": "rcpt { action = silence first = 2 }",
                       "deaf": "greeting { action = silence first = 2 }"},
                      n=20, config=f"defaults {{ {FAST}  timeout_rcpt = 1s  timeout_greeting = 1s  adapt = no }}")
        self.assertEqual(c.count("delivered"), 80)
        self.assertEqual(c.count("in_doubt", "bounced", "expired"), 0)

    def test_retries_until_expired(self):
        c = self.send({"never": 'rcpt { reply = "450 4.2.0 later" }'}, n=5,
                      config="defaults { connections = 2  retry = {1s, 2s}  expire = 8s  adapt = no }")
        self.assertEqual(c.count("expired"), 5)
        for seq in range(5):
            own = c.events(seq=str(seq))
            self.assertEqual([e["type"] for e in own], ["deferred"] * (len(own) - 1) + ["expired"])
            self.assertEqual([e["attempt"] for e in own], [str(i + 1) for i in range(len(own))])
            delays = [int(e["next_at"]) - int(e["started"]) / 1000 - int(e["ms"]) for e in own[:-1]]
            for i, delay in enumerate(delays):  # +-20 % of 1 s, then of 2 s, reckoned from a little after the reply
                self.assertLessEqual(delay, (1200 if i == 0 else 2400) + 500)
                self.assertGreaterEqual(delay, (800 if i == 0 else 1600) - 5)
            for before, after in zip(own, own[1:]):
                self.assertGreaterEqual(int(after["started"]), int(before["next_at"]) * 1000)
            # Given up when the next attempt would have been later than 8 s after the first.
            self.assertLess(int(own[-2]["next_at"]) * 1000 - int(own[0]["started"]), 8.05e6)
            self.assertEqual((own[-1]["class"], own[-1]["code"]), ("message-expired", "450"))

    def test_a_moody_server_under_load(self):
        """Everything at once, 3,000 recipients. adapt = no: a lane that listened to 421 would pause for minutes each time."""
        c = self.send({"moody": "messages = 37  latency { body = 0ms..3ms }\n"
                                'greeting { reply = "421 4.7.0 busy" percent = 2 }\n'
                                'mail { reply = "451 4.7.1 later" percent = 1 }\n'
                                'rcpt { reply = "450 4.2.0 not now" percent = 5 }\n'
                                'rcpt { reply = "550 5.1.1 nobody" percent = 3 sticky = true }\n'
                                "rcpt { action = close percent = 0.3 }\n"
                                'data { reply = "451 4.3.0 later" percent = 1 }\n'
                                "body { action = reset percent = 0.3 accept = true }\n"
                                'body { reply = "421 4.3.2 shutting down" percent = 0.5 }'},
                      n=3000, in_doubt="resend", config="defaults { connections = 5  retry = {200ms}  expire = 1h  adapt = no }")
        self.assertEqual(c.count("delivered", "bounced"), 3000)
        for kind in ("deferred", "bounced", "in_doubt"):
            self.assertGreater(c.count(kind), 0)


if __name__ == "__main__":
    house.main()
