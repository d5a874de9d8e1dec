/* test_wording.c - replies from the parser and out of logs come to one form; times and hints are read from it. */
#include "proto/policy/wording.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void copied_replies(void **state)
{
    (void)state;
    static const struct {
        const char *raw;
        uint16_t code;
        const char *status, *text, *last;
    } cases[] = {
        {"550 5.1.1 no such user", 550, "5.1.1", "no such user", "no such user"},
        {"smtp;550 5.1.1 no such user", 550, "5.1.1", "no such user", "no such user"},
        {"SMTP; 552-5.2.3 too  large", 552, "5.2.3", "too large", "too large"},
        {"550-5.1.1 The account 550-5.1.1 does not exist. 550 5.1.1 Sorry", 550, "5.1.1",
         "The account does not exist. Sorry", "Sorry"},
        {"550-Requested action not taken 550 policy restrictions", 550, "",
         "Requested action not taken policy restrictions", "policy restrictions"},
        {"550 5.1.1 one / 550 5.1.1 two", 550, "5.1.1", "one two", "two"},
        {"550-one\\n550 two", 550, "", "one two", "two"},
        {"550 error 550 in the middle", 550, "", "error 550 in the middle", "error 550 in the middle"},
        {"550 5.7.1.100 is no status", 550, "", "5.7.1.100 is no status", "5.7.1.100 is no status"},
        {"550 host 5.7.1.100 is no status either", 550, "", "host 5.7.1.100 is no status either",
         "host 5.7.1.100 is no status either"},
        {"550 Invalid recipient <ann@example.com> (#5.1.1)", 550, "5.1.1", "Invalid recipient <x@x> (#5.1.1)",
         "Invalid recipient <x@x> (#5.1.1)"},
        {"550 cuda_nsu 5.1.1 <ann@example.com>... User unknown", 550, "5.1.1", "cuda_nsu 5.1.1 <x@x>... User unknown",
         "cuda_nsu 5.1.1 <x@x>... User unknown"},
        {"550 version 4.1.2 of the server", 550, "", "version 4.1.2 of the server", "version 4.1.2 of the server"},
        {"421 5.7.32 mail is not aligned", 421, "5.7.32", "mail is not aligned", "mail is not aligned"},
        {"4.7.32 rate limited", 0, "4.7.32", "rate limited", "rate limited"},
        {"host mx.example[192.0.2.1] said: 550 5.1.1 <spam@x.example>: gone (in reply to RCPT TO command)", 550,
         "5.1.1", "<x@x>: gone (in reply to RCPT TO command)", "<x@x>: gone (in reply to RCPT TO command)"},
        {"SMTP error after MAIL FROM:<a@b.example> SIZE=20: 553 5.7.1 [BL21] no", 553, "5.7.1", "[BL21] no",
         "[BL21] no"},
        {"failed,5.1.1 (bad),smtp;553 Relaying disallowed,mx", 553, "", "Relaying disallowed,mx",
         "Relaying disallowed,mx"},
        {"250 2.0.0 OK", 250, "2.0.0", "OK", "OK"},
        {"550", 550, "", "", ""},
        {"550\t5.1.1\tno", 550, "5.1.1", "no", "no"},
        {"mailbox unavailable", 0, "", "mailbox unavailable", "mailbox unavailable"},
        {"", 0, "", "", ""},
        {"   ", 0, "", "", ""},
        {"smtp;", 0, "", "", ""},
        {"550 a@b@c.d ann@ @x.y 5@6", 550, "", "x@x@x ann@ @x.y x@x", "x@x@x ann@ @x.y x@x"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct wording w;
        wording_scan(&w, slice_of(cases[i].raw));
        struct slice last = wording_text(&w, true);
        if (w.code != cases[i].code || strcmp(w.status, cases[i].status) != 0 || strcmp(w.text, cases[i].text) != 0 ||
            !slice_equal(last, slice_of(cases[i].last)))
            fail_msg("%s: %u \"%s\" \"%s\", last \"" SLICE_FORMAT "\"", cases[i].raw, w.code, w.status, w.text,
                     SLICE_ARGS(last));
    }
}

/* What the parser gives and what a log shows of the same reply must not differ. */
static void parsed_replies(void **state)
{
    (void)state;
    struct wording a, b;
    wording_read(&a, 550, "5.1.1", SLICE("The account / that <ann@example.com> named /  is gone"));
    wording_scan(&b, SLICE("550-5.1.1 The account 550-5.1.1 that <ann@example.com> named 550 5.1.1 is gone"));
    assert_string_equal(a.text, "The account that <x@x> named is gone");
    assert_string_equal(a.text, b.text);
    assert_int_equal(a.last, b.last);
    assert_true(slice_equal(wording_text(&a, true), SLICE("is gone")));
    wording_read(&a, 550, "", SLICE("Invalid recipient (#5.1.1)"));
    assert_string_equal(a.status, "5.1.1");
    wording_read(&a, 450, "", SLICE("Invalid recipient (#5.1.1)")); /* of another class than the code */
    assert_string_equal(a.status, "");
}

static void any_length_is_cut(void **state)
{
    (void)state;
    static char raw[3 * LIMIT_REPLY];
    struct wording w;
    memset(raw, 'a', sizeof raw);
    memcpy(raw, "550 ", 4);
    wording_scan(&w, (struct slice){raw, sizeof raw});
    assert_int_equal(w.n, LIMIT_EVENT_REPLY);
    memset(raw, '@', sizeof raw);
    wording_scan(&w, (struct slice){raw, sizeof raw});
    assert_true(w.n <= LIMIT_EVENT_REPLY);
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = "smtp;"[i % 5];
    wording_scan(&w, (struct slice){raw, sizeof raw});
    assert_int_equal(w.code, 0);
}

static void statuses(void **state)
{
    (void)state;
    unsigned c, s, d;
    assert_true(wording_status("5.7.26", &c, &s, &d));
    assert_true(c == 5 && s == 7 && d == 26);
    static const char *const bad[] = {"",      "5",       "5.1",    "5.1.",     "5..1",
                                      "3.1.1", "5.1.1.1", "5.1.1 ", "5.1111.1", "x.1.1"};
    for (size_t i = 0; i < countof(bad); i++)
        assert_false(wording_status(bad[i], &c, &s, &d));
}

static void times_that_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
    } cases[] = {
        {"Please try again in 15 minutes", 900},
        {"retry in 300 seconds", 300},
        {"wait 1 hour", 3600},
        {"Please wait at least 5 minutes before trying again", 300},
        {"Greylisted for 5 minutes", 300},
        {"greylisted for 60 seconds by ZEROSPAM", 60},
        {"Greylisting in action, please come back in 00:05:00", 300},
        {"come back in 01:02:03", 3723},
        {"try again after 10 min.", 600},
        {"try again in one hour", 3600},
        {"please retry in 5m", 300},
        {"Blocked for 24 hours", 86400},
        {"temporarily deferred, retry after 90s", 90},
        {"please retry 10 minutes later", 600},
        {"try again in 5 seconds", WORDING_SECONDS_LEAST},
        {"try again in 900 days", WORDING_SECONDS_MOST},
        {"try again in 99999999999999999999999 hours", WORDING_SECONDS_MOST},
        {"try again in 0 minutes", 0},
        {"100 messages in 60 minutes are the limit", 0},
        {"You have exceeded 100 messages per 30 minutes, try again later", 0},
        {"the mailbox was last used 30 days ago", 0},
        {"try again in version 5.3 min", 0},
        {"try again later", 0},
        {"see 10.0.0.15 minutes", 0},
        {"no such user", 0},
        {"", 0},
    };
    for (size_t i = 0; i < countof(cases); i++)
        if (wording_retry_after(slice_of(cases[i].text)) != cases[i].seconds * NSEC_PER_S)
            fail_msg("%s: %jd s", cases[i].text, (intmax_t)(wording_retry_after(slice_of(cases[i].text)) / NSEC_PER_S));
}

static void hints(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum wording_hint hint;
    } cases[] = {
        {"user unknown", WORDING_UNKNOWN},
        {"User unknown; SPF check failed", WORDING_AUTHENTICATION},
        {"no such user, your host is blacklisted", WORDING_BLOCK},
        {"mail for unknown users is spam", WORDING_SPAM},
        {"sender address rejected: user unknown", WORDING_SENDER},
        {"mailbox temporarily unavailable", WORDING_LATER},
        {"mailbox is full", WORDING_FULL},
        {"mailbox unavailable", WORDING_MAILBOX},
        {"see https://spf.example.net/?p=spam", WORDING_NOTHING}, /* hosts and links say nothing */
        {"go away", WORDING_NOTHING},
        {"", WORDING_NOTHING},
    };
    for (size_t i = 0; i < countof(cases); i++)
        if (wording_hint(slice_of(cases[i].text)) != cases[i].hint)
            fail_msg("%s: %d", cases[i].text, (int)wording_hint(slice_of(cases[i].text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copied_replies), cmocka_unit_test(parsed_replies),       cmocka_unit_test(any_length_is_cut),
        cmocka_unit_test(statuses),       cmocka_unit_test(times_that_are_named), cmocka_unit_test(hints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
