/* test_sts_cache.c - for how long a policy is known, when it is fetched again, and what a restart keeps. */
#include "net/sts_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const nsec MINUTE = 60 * NSEC_PER_S, HOUR = 3600 * NSEC_PER_S, DAY = 24 * 3600 * NSEC_PER_S;
static const nsec start = 1800000000 * NSEC_PER_S; /* a day in 2027 */

static struct sts_policy policy_of(enum sts_mode mode, uint32_t max_age_s)
{
    struct sts_policy policy = {.mode = mode, .max_age_s = max_age_s};
    memcpy(policy.mx, "mx.example\0*.mail.example", sizeof "mx.example\0*.mail.example");
    policy.mx_octets = sizeof "mx.example\0*.mail.example";
    return policy;
}

static struct sts_policy found;

static enum sts_advice look(struct sts_cache *cache, const char *domain, const char *id, nsec wall)
{
    memset(&found, 0xee, sizeof found);
    return sts_cache_look(cache, slice_of(domain), slice_of(id), wall, &found);
}

static void put(struct sts_cache *cache, const char *domain, const char *id, nsec wall, uint32_t max_age_s)
{
    struct sts_policy policy = policy_of(STS_ENFORCE, max_age_s);
    sts_cache_put(cache, slice_of(domain), slice_of(id), wall, &policy);
}

static bool failed(struct sts_cache *cache, const char *domain, const char *id, nsec wall)
{
    return sts_cache_failed(cache, slice_of(domain), slice_of(id), wall);
}

static void without_a_record_and_a_policy_there_is_nothing_to_do(void **state)
{
    (void)state;
    struct sts_cache *cache = sts_cache_open();
    assert_int_equal(look(cache, "a.example", "", start), STS_USE);
    assert_int_equal(found.mode, STS_NONE);
    assert_int_equal(found.mx_octets, 0);
    assert_int_equal(look(cache, "a.example", "1", start), STS_FETCH);
    sts_cache_close(cache);
}

static void a_policy_holds_for_its_age_whatever_becomes_of_the_record(void **state)
{
    (void)state;
    struct sts_cache *cache = sts_cache_open();
    put(cache, "a.example", "1", start, 3600);
    assert_int_equal(look(cache, "A.Example", "1", start), STS_USE);
    assert_int_equal(found.mode, STS_ENFORCE);
    assert_true(sts_policy_allows(&found, SLICE("x.mail.example")));
    assert_int_equal(look(cache, "a.example", "", start + 10 * MINUTE), STS_USE);
    assert_int_equal(found.mode, STS_ENFORCE);
    assert_int_equal(look(cache, "a.example", "", start + HOUR - 1), STS_USE);
    assert_int_equal(found.mode, STS_ENFORCE);
    look(cache, "a.example", "", start + HOUR);
    assert_int_equal(found.mode, STS_NONE);
    assert_int_equal(look(cache, "a.example", "1", start + HOUR), STS_FETCH);
    put(cache, "b.example", "1", start, 0); /* for the mail that waited for it */
    look(cache, "b.example", "1", start + MINUTE - 1);
    assert_int_equal(found.mode, STS_ENFORCE);
    assert_int_equal(look(cache, "b.example", "1", start + MINUTE), STS_FETCH);
    sts_cache_close(cache);
}

static void another_id_is_fetched_and_a_failure_keeps_what_was(void **state)
{
    (void)state;
    struct sts_cache *cache = sts_cache_open();
    put(cache, "a.example", "1", start, 86400);
    assert_int_equal(look(cache, "a.example", "2", start + MINUTE), STS_FETCH);
    assert_int_equal(found.mode, STS_ENFORCE);
    assert_true(failed(cache, "a.example", "2", start + MINUTE));
    assert_int_equal(look(cache, "a.example", "2", start + 2 * MINUTE), STS_USE);
    assert_int_equal(found.mode, STS_ENFORCE);
    assert_int_equal(look(cache, "a.example", "3", start + 2 * MINUTE), STS_FETCH);
    assert_int_equal(look(cache, "a.example", "2", start + 7 * MINUTE), STS_FETCH);
    put(cache, "a.example", "2", start + 7 * MINUTE, 86400);
    assert_int_equal(look(cache, "a.example", "2", start + 8 * MINUTE), STS_USE);
    assert_int_equal(look(cache, "a.example", "1", start + 8 * MINUTE), STS_FETCH);
    sts_cache_close(cache);
}

static void who_has_no_policy_is_asked_seldom(void **state)
{
    (void)state;
    struct sts_cache *cache = sts_cache_open();
    static const nsec pauses[] = {5, 10, 20, 40, 60, 60, 60}; /* minutes */
    nsec now = start;
    for (size_t i = 0; i < countof(pauses); i++) {
        assert_int_equal(failed(cache, "a.example", "1", now), i == 0);
        assert_int_equal(look(cache, "a.example", "1", now), STS_USE);
        assert_int_equal(found.mode, STS_NONE);
        now += pauses[i] * MINUTE;
        assert_int_equal(look(cache, "a.example", "1", now - 1), STS_USE);
        assert_int_equal(look(cache, "a.example", "1", now), STS_FETCH);
    }
    assert_int_equal(look(cache, "a.example", "1", start - DAY), STS_FETCH); /* the clock was put back */
    put(cache, "a.example", "1", now, 86400);
    assert_true(failed(cache, "a.example", "2", now));
    sts_cache_close(cache);
}

static void half_way_it_is_fetched_again_once_an_hour(void **state)
{
    (void)state;
    struct sts_cache *cache = sts_cache_open();
    put(cache, "a.example", "1", start, 2 * 86400);
    assert_int_equal(look(cache, "a.example", "1", start + DAY - 1), STS_USE);
    assert_int_equal(look(cache, "a.example", "1", start + DAY), STS_REFRESH);
    assert_int_equal(found.mode, STS_ENFORCE);
    assert_int_equal(look(cache, "a.example", "1", start + DAY), STS_USE);
    failed(cache, "a.example", "1", start + DAY + MINUTE);
    assert_int_equal(look(cache, "a.example", "", start + DAY + HOUR), STS_USE);
    assert_int_equal(look(cache, "a.example", "", start + DAY + HOUR + MINUTE), STS_REFRESH);
    sts_cache_put(cache, SLICE("a.example"), SLICE(""), start + DAY + 2 * HOUR, &found);
    assert_int_equal(look(cache, "a.example", "1", start + DAY + 3 * HOUR), STS_USE); /* it has kept its id */
    assert_int_equal(look(cache, "a.example", "1", start + 2 * DAY + 2 * HOUR), STS_REFRESH);
    assert_int_equal(found.mode, STS_ENFORCE);
    sts_cache_close(cache);
}

static void full_means_that_the_longest_unused_goes_failures_first(void **state)
{
    (void)state;
    struct sts_cache *cache = sts_cache_open();
    char domain[64];
    for (unsigned i = 0; i < STS_CACHE_DOMAINS; i++) {
        snprintf(domain, sizeof domain, "d%u.example", i);
        if (i == 5)
            failed(cache, domain, "1", start);
        else
            put(cache, domain, "1", start, 86400);
    }
    look(cache, "d0.example", "1", start);
    put(cache, "new1.example", "1", start, 86400); /* takes the place of the failure */
    put(cache, "new2.example", "1", start, 86400);
    put(cache, "new3.example", "1", start, 86400);
    static const struct {
        const char *domain;
        enum sts_advice advice;
    } cases[] = {{"d0.example", STS_USE},   {"d1.example", STS_FETCH}, {"d2.example", STS_FETCH},
                 {"d3.example", STS_USE},   {"d5.example", STS_FETCH}, {"new1.example", STS_USE},
                 {"new3.example", STS_USE}, {"d8191.example", STS_USE}};
    for (size_t i = 0; i < countof(cases); i++)
        if (look(cache, cases[i].domain, "1", start) != cases[i].advice)
            fail_msg("%s", cases[i].domain);
    sts_cache_close(cache);
}

/* ---- the file ---- */

struct lines {
    unsigned count;
    char text[8][STS_CACHE_LINE];
};

static void keep_line(void *context, const char *text)
{
    struct lines *lines = context;
    assert_true(lines->count < countof(lines->text));
    assert_true(strlen(text) < STS_CACHE_LINE);
    assert_null(strchr(text, '\n'));
    strcpy(lines->text[lines->count++], text);
}

static void a_restart_keeps_what_has_not_expired(void **state)
{
    (void)state;
    struct lines lines = {.count = 0}, again = {.count = 0};
    struct sts_cache *cache = sts_cache_open();
    put(cache, "long.example", "20190429T010101", start, 86400);
    put(cache, "short.example", "1", start, 600);
    put(cache, "noid.example", "", start, 86400);
    struct sts_policy none = {.mode = STS_NONE, .max_age_s = 86400};
    sts_cache_put(cache, SLICE("none.example"), SLICE("1"), start, &none);
    failed(cache, "failed.example", "1", start);
    sts_cache_save(cache, start + 700 * NSEC_PER_S, keep_line, &lines);
    sts_cache_close(cache);
    assert_int_equal(lines.count, 3);
    assert_string_equal(lines.text[0],
                        "long.example 20190429T010101 1800000000 enforce 86400 mx.example *.mail.example");

    cache = sts_cache_open();
    for (unsigned i = 0; i < lines.count; i++)
        assert_true(sts_cache_load(cache, slice_of(lines.text[i]), start + HOUR));
    assert_int_equal(look(cache, "long.example", "20190429T010101", start + HOUR), STS_USE);
    assert_int_equal(found.mode, STS_ENFORCE);
    assert_true(sts_policy_allows(&found, SLICE("mx.example")));
    assert_false(sts_policy_allows(&found, SLICE("mail.example")));
    assert_int_equal(look(cache, "noid.example", "7", start + HOUR), STS_FETCH);
    sts_cache_save(cache, start + HOUR, keep_line, &again);
    assert_int_equal(again.count, lines.count);
    assert_false(sts_cache_load(cache, slice_of(lines.text[0]), start + DAY));
    look(cache, "long.example", "", start + DAY);
    assert_int_equal(found.mode, STS_NONE);
    sts_cache_close(cache);
}

static void the_longest_policy_fits_a_line(void **state)
{
    (void)state;
    struct lines lines = {.count = 0};
    struct sts_cache *cache = sts_cache_open();
    struct sts_policy policy = {.mode = STS_TESTING, .max_age_s = STS_MAX_AGE_S, .mx_octets = STS_MX};
    for (size_t at = 0; at < STS_MX; at += 4)
        memcpy(policy.mx + at, "a.b", 4);
    char domain[LIMIT_DOMAIN + 1];
    memset(domain, 'd', LIMIT_DOMAIN);
    domain[LIMIT_DOMAIN] = 0;
    sts_cache_put(cache, slice_of(domain), SLICE("12345678901234567890123456789012"), start, &policy);
    sts_cache_save(cache, start, keep_line, &lines);
    assert_int_equal(lines.count, 1);
    sts_cache_close(cache);
    cache = sts_cache_open();
    assert_true(sts_cache_load(cache, slice_of(lines.text[0]), start));
    look(cache, domain, "", start);
    assert_int_equal(found.mx_octets, STS_MX);
    assert_memory_equal(found.mx, policy.mx, STS_MX);
    sts_cache_close(cache);
}

static void rubbish_in_the_file_is_passed_over(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        " ",
        "a.example",
        "a.example 1 x enforce 86400 mx.example",
        "a.example 1 1800000000 enforce 86400",
        "a.example 1 1800000000 enforced 86400 mx.example",
        "a.example 1 1800000000 enforce -1 mx.example",
        "a.example 1 99999999999999999999 enforce 86400 mx.example",
        "a.example 1 9000000000 enforce 86400 mx.example", /* in centuries */
        "a.example 123456789012345678901234567890123 1800000000 enforce 86400 mx.example",
        "a.example 1 1800000000 enforce 86400 mx..example",
        " 1 1800000000 enforce 86400 mx.example",
    };
    struct sts_cache *cache = sts_cache_open();
    for (size_t i = 0; i < countof(cases); i++) {
        if (sts_cache_load(cache, slice_of(cases[i]), start))
            fail_msg("taken: %s", cases[i]);
        look(cache, "a.example", "", start);
        assert_int_equal(found.mode, STS_NONE);
    }
    sts_cache_close(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_record_and_a_policy_there_is_nothing_to_do),
        cmocka_unit_test(a_policy_holds_for_its_age_whatever_becomes_of_the_record),
        cmocka_unit_test(another_id_is_fetched_and_a_failure_keeps_what_was),
        cmocka_unit_test(who_has_no_policy_is_asked_seldom),
        cmocka_unit_test(half_way_it_is_fetched_again_once_an_hour),
        cmocka_unit_test(full_means_that_the_longest_unused_goes_failures_first),
        cmocka_unit_test(a_restart_keeps_what_has_not_expired),
        cmocka_unit_test(the_longest_policy_fits_a_line),
        cmocka_unit_test(rubbish_in_the_file_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
