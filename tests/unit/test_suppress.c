/* test_suppress.c - the list's keys and values, and that nothing counts against an address but what is said of it. */
#include "proto/policy/suppress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const nsec day = 86400 * NSEC_PER_S;

static struct slice key_of(char key[LIMIT_ADDRESS + 1], const char *address, const char *domain)
{
    return (struct slice){key, suppress_key(key, suppress_local(slice_of(address)), slice_of(domain))};
}

/* By `python3 -c 'import zlib; print("%02x" % (zlib.crc32(b"...") & 255))'`. */
static void a_key_and_its_bucket(void **state)
{
    static const struct {
        const char *address, *domain, *key;
        uint8_t bucket;
    } rows[] = {
        {"Ann@X.Example", "x.example", "ann@x.example", 0x99},
        {"bob@y.example", "y.example", "bob@y.example", 0xbc},
        {"\"a@b\"@Z.example", "z.example", "\"a@b\"@z.example", 0xf3},
        {"J\xc3\x96RG@b\xc3\xbcXX.example", "XN--BCHER-KVA.example", "j\xc3\x96rg@xn--bcher-kva.example", 0x22},
    };
    (void)state;
    for (size_t i = 0; i < countof(rows); i++) {
        char key[LIMIT_ADDRESS + 1];
        struct slice got = key_of(key, rows[i].address, rows[i].domain);
        assert_string_equal(key, rows[i].key);
        assert_int_equal(got.n, strlen(rows[i].key));
        assert_int_equal(suppress_bucket(got), rows[i].bucket);
    }
    assert_int_equal(suppress_bucket(SLICE("123456789")), 0xcbf43926 & 255); /* the check value of CRC-32 */
}

static void buckets_are_even(void **state)
{
    unsigned counts[SUPPRESS_BUCKETS] = {0};
    (void)state;
    for (unsigned i = 0; i < 256 * 100; i++) {
        char address[64];
        int n = snprintf(address, sizeof address, "r%u@big.example", i);
        counts[suppress_bucket((struct slice){address, (size_t)n})]++;
    }
    for (unsigned i = 0; i < SUPPRESS_BUCKETS; i++)
        assert_in_range(counts[i], 50, 150);
}

static void values(void **state)
{
    static const char *const texts[] = {"bad-mailbox spring-2026 4711 1795309200000", "complaint - - 0",
                                        "quota-issues c 0 9223372036854775807"};
    (void)state;
    for (size_t i = 0; i < countof(texts); i++) {
        struct suppress_entry entry;
        char value[SUPPRESS_VALUE + 1];
        suppress_read(slice_of(texts[i]), &entry);
        assert_int_equal(suppress_write(value, &entry), strlen(texts[i]));
        assert_string_equal(value, texts[i]);
    }
    static const char *const others[] = {
        "", "complaint", "they asked on the phone", "a b c d", "x c 1 2 3", "x c 1 -2", "x  1 2", "- c 1 2"};
    for (size_t i = 0; i < countof(others); i++) {
        struct suppress_entry entry;
        suppress_read(slice_of(others[i]), &entry);
        assert_true(slice_equal(entry.reason, slice_of(others[i])));
        assert_true(!entry.campaign.n && !entry.has_seq && !entry.when_ms);
    }
    struct suppress_entry nothing = {.when_ms = 0};
    char value[SUPPRESS_VALUE + 1];
    suppress_write(value, &nothing);
    assert_string_equal(value, "listed - - 0");
}

static struct outcome reply(enum stage stage, uint16_t code, const char *status)
{
    struct outcome outcome = {.stage = stage, .happening = HAPPENING_REPLY, .code = code};
    slice_copy(outcome.status, sizeof outcome.status, slice_of(status));
    return outcome;
}

static unsigned after(const struct suppress_policies *policies, enum event_type type, enum bounce_class class_,
                      enum bounce_kind kind, struct outcome outcome)
{
    struct bounce bounce = {class_, kind, ""};
    return suppress_counts(policies, type, &bounce, &outcome).after;
}

static void defaults(void **state)
{
    struct suppress_policies p = suppress_defaults();
    struct outcome at_rcpt = reply(STAGE_RCPT, 550, "5.1.1"), full = reply(STAGE_RCPT, 552, "5.2.2"),
                   no_domain = {.stage = STAGE_ROUTE, .happening = HAPPENING_NXDOMAIN},
                   null_mx = {.stage = STAGE_ROUTE, .happening = HAPPENING_NULL_MX},
                   no_address = {.stage = STAGE_ROUTE, .happening = HAPPENING_NO_ADDRESS};
    (void)state;
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_BAD_MAILBOX, BOUNCE_KIND_HARD, at_rcpt), 1);
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_BAD_MAILBOX, BOUNCE_KIND_SOFT, at_rcpt), 0);
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_INACTIVE_MAILBOX, BOUNCE_KIND_HARD, at_rcpt), 1);
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_HARD, no_domain), 1);
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_HARD, null_mx), 1);
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_HARD, no_address), 0);
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_QUOTA_ISSUES, BOUNCE_KIND_SOFT, full), 3);
    assert_int_equal(after(&p, EVENT_EXPIRED, BOUNCE_QUOTA_ISSUES, BOUNCE_KIND_SOFT, full), 3);
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_OTHER, BOUNCE_KIND_HARD, at_rcpt), 0);
    struct bounce quota = {BOUNCE_QUOTA_ISSUES, BOUNCE_KIND_SOFT, ""};
    assert_true(suppress_counts(&p, EVENT_BOUNCED, &quota, &full).within == 14 * day);
}

static void what_is_configured(void **state)
{
    struct suppress_policies p = suppress_defaults();
    struct outcome at_rcpt = reply(STAGE_RCPT, 550, "");
    (void)state;
    p.hard = (struct suppress_policy){2, 30 * day};
    p.hard_given = true;
    p.classes[BOUNCE_QUOTA_ISSUES] = (struct suppress_policy){1, day};
    p.classes[BOUNCE_BAD_MAILBOX] = (struct suppress_policy){5, day};
    p.given[BOUNCE_QUOTA_ISSUES] = p.given[BOUNCE_BAD_MAILBOX] = true;
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_BAD_MAILBOX, BOUNCE_KIND_HARD, at_rcpt), 5);
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_INACTIVE_MAILBOX, BOUNCE_KIND_HARD, at_rcpt), 2);
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_OTHER, BOUNCE_KIND_HARD, at_rcpt), 2);
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_OTHER, BOUNCE_KIND_SOFT, at_rcpt), 0);
    /* A single soft refusal never does. */
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_QUOTA_ISSUES, BOUNCE_KIND_SOFT, at_rcpt), 0);
    assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_QUOTA_ISSUES, BOUNCE_KIND_HARD, at_rcpt), 1);
}

/* Whatever is configured and whatever a classifier says: every stage, event, kind, class and code. */
static void what_never_counts(void **state)
{
    static const uint16_t codes[] = {0,   200, 250, 354, 421, 450, 451, 452, 454, 499, 500,
                                     503, 530, 534, 535, 538, 550, 552, 554, 599, 600};
    static const char *const statuses[] = {"",      "5.1.1",  "5.2.2",  "5.7.1",  "5.7.8",
                                           "5.7.9", "5.7.26", "5.7.25", "5.7.28", "5.7."};
    struct suppress_policies p = {.hard = {1, day}, .hard_given = true};
    unsigned counted = 0;
    (void)state;
    for (unsigned i = 0; i < BOUNCE_CLASS_COUNT; i++)
        p.classes[i] = (struct suppress_policy){2, day};
    for (enum stage stage = STAGE_RECIPIENT; stage < STAGE_COUNT; stage++)
        for (enum event_type type = EVENT_DELIVERED; type < EVENT_TYPE_COUNT; type++)
            for (enum bounce_kind kind = BOUNCE_KIND_NONE; kind < BOUNCE_KIND_COUNT; kind++)
                for (enum bounce_class class_ = BOUNCE_NONE; class_ < BOUNCE_CLASS_COUNT; class_++)
                    for (size_t c = 0; c < countof(codes); c++)
                        for (size_t s = 0; s < countof(statuses); s++) {
                            if (!after(&p, type, class_, kind, reply(stage, codes[c], statuses[s])))
                                continue;
                            counted++;
                            assert_true(stage >= STAGE_RCPT && codes[c] >= 500 && codes[c] <= 599);
                            assert_true(codes[c] < 530 || codes[c] > 538);
                            assert_true(s < 4);
                            assert_true(kind == BOUNCE_KIND_HARD || kind == BOUNCE_KIND_SOFT);
                            assert_true(type == EVENT_BOUNCED || (type == EVENT_EXPIRED && kind == BOUNCE_KIND_SOFT));
                            assert_true(class_ != BOUNCE_POLICY_RELATED && class_ != BOUNCE_SPAM_RELATED &&
                                        class_ != BOUNCE_CONTENT_RELATED && class_ != BOUNCE_BAD_CONFIGURATION &&
                                        class_ != BOUNCE_INVALID_SENDER && class_ != BOUNCE_RELAYING_ISSUES);
                        }
    assert_true(counted > 0);
    for (enum happening happening = HAPPENING_REPLY + 1; happening < HAPPENING_COUNT; happening++) {
        struct outcome seen = {.stage = STAGE_ROUTE, .happening = happening};
        bool dns = happening == HAPPENING_NXDOMAIN || happening == HAPPENING_NULL_MX;
        assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_HARD, seen) > 0, dns);
        assert_int_equal(after(&p, EVENT_DEFERRED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_HARD, seen), 0);
        assert_int_equal(after(&p, EVENT_BOUNCED, BOUNCE_BAD_DOMAIN, BOUNCE_KIND_SOFT, seen), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_and_its_bucket),
        cmocka_unit_test(buckets_are_even),
        cmocka_unit_test(values),
        cmocka_unit_test(defaults),
        cmocka_unit_test(what_is_configured),
        cmocka_unit_test(what_never_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
