/* Warm-ups of the configuration: the shipped curves as they were published, who follows which, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "config_judge.h"
#include "gathered.h"

enum { DAYS = 45, MONDAY = 20000 };

static void refused(const char *text, const char *what) { refused_at(text, "dir/x.conf:", what); }

static struct config *with(const char *warmup)
{
    char text[256];
    snprintf(text, sizeof text, "hostname = m.example\npool a { source 127.0.0.1 { warmup = %s } }\n", warmup);
    return accepted(text);
}

/* What a source in this warm-up may send on each of 45 days when there is mail without end and all of it is accepted.
 */
static void forty_five_days(const struct warmup_plan *plan, uint64_t caps[DAYS])
{
    struct warmup_turned turned;
    struct warmup_record record;
    warmup_turn(plan, NULL, INT64_MIN, MONDAY, &turned);
    for (int day = 0; day < DAYS; day++) {
        record = turned.record;
        caps[day] = warmup_cap(plan, &record);
        record.granted = record.today.accepted = caps[day] == WARMUP_UNLIMITED ? 1000000 : caps[day];
        record.active_day = record.day;
        warmup_turn(plan, &record, INT64_MIN, record.day + 1, &turned);
    }
}

static void expect_all(const char *name, const uint64_t *caps, unsigned count)
{
    struct config *config = with(name);
    const struct warmup_plan *all = config_warmup_all(config, 0);
    uint64_t days[DAYS];
    assert_null(config_warmup_plan(config, 0, SLICE("gmail"))); /* they are published per address, not per ISP */
    assert_non_null(all);
    forty_five_days(all, days);
    for (unsigned i = 0; i < count; i++)
        if (days[i] != caps[i])
            fail_msg("%s, day %u: %llu, published %llu", name, i + 1, (unsigned long long)days[i],
                     (unsigned long long)caps[i]);
    config_free(config);
}

#define K 1000u
#define M 1000000u

static void shipped_curves_are_the_published_ones(void **state)
{
    (void)state;
    /* deliverability.md 2.1. SendGrid's are of an hour, and of day 0 to 41. */
    static const uint64_t hours[] = {20,      28,      39,      55,       77,       108,     151,     211,     295,
                                     413,     579,     810,     1000,     1587,     2222,    3111,    4356,    6098,
                                     8583,    11953,   16734,   23427,    32798,    45917,   64284,   89998,   125997,
                                     176395,  246953,  345735,  484029,   677640,   948696,  1328175, 1859444, 2603222,
                                     3644511, 5102316, 7143242, 10000539, 14000754, 19601056};
    uint64_t sendgrid[DAYS];
    for (unsigned i = 0; i < DAYS; i++)
        sendgrid[i] = i < countof(hours) ? 24 * hours[i] : WARMUP_UNLIMITED;
    expect_all("sendgrid", sendgrid, DAYS);
    static const uint64_t sparkpost[] = {
        200,      500,      1 * K,   2 * K,   5 * K,    10 * K,  20 * K,  40 * K,   50 * K,  75 * K,
        100 * K,  150 * K,  200 * K, 250 * K, 325 * K,  400 * K, 500 * K, 600 * K,  750 * K, 1 * M,
        1250 * K, 1750 * K, 2 * M,   3 * M,   4250 * K, 5 * M,   6 * M,   7500 * K, 10 * M,  WARMUP_UNLIMITED};
    expect_all("sparkpost", sparkpost, countof(sparkpost));
    static const uint64_t conservative[] = {50,     50,     50,     100,    100,    100,    500,    500,
                                            500,    1 * K,  1 * K,  1 * K,  2 * K,  2 * K,  2 * K,  4 * K,
                                            4 * K,  4 * K,  8 * K,  8 * K,  8 * K,  16 * K, 16 * K, 16 * K,
                                            32 * K, 32 * K, 32 * K, 64 * K, 64 * K, 64 * K, 128 * K};
    expect_all("braze-conservative", conservative, countof(conservative));
    static const uint64_t moderate[] = {50,      100,     500,     1 * K,   2 * K,   4 * K,   8 * K,   16 * K,
                                        25 * K,  35 * K,  50 * K,  75 * K,  100 * K, 150 * K, 200 * K, 275 * K,
                                        375 * K, 500 * K, 650 * K, 825 * K, 1 * M,   1 * M,   1 * M};
    expect_all("braze-moderate", moderate, countof(moderate));
    static const uint64_t aggressive[] = {50,     100,    500,     1 * K,   5 * K,   10 * K,  20 * K,
                                          40 * K, 70 * K, 100 * K, 150 * K, 250 * K, 400 * K, 600 * K,
                                          1 * M,  2 * M,  4 * M,   8 * M,   16 * M,  32 * M};
    expect_all("braze-aggressive", aggressive, countof(aggressive));
    uint64_t ses[DAYS];
    for (unsigned i = 0; i < DAYS; i++)
        ses[i] = 50 * K * (i + 1) / 45;
    assert_int_equal(ses[DAYS - 1], 50 * K);
    expect_all("ses", ses, DAYS);
}

static void standard_is_careful(void **state)
{
    (void)state;
    static const char *const isps[] = {"gmail", "outlook", "yahoo", "icloud", "other"};
    struct config *config = with("standard");
    for (size_t i = 0; i < countof(isps); i++) {
        const struct warmup_plan *plan = config_warmup_of(config, 0, slice_of(isps[i]));
        uint64_t days[DAYS];
        assert_true(plan && plan->gate == WARMUP_GATE_HEALTH && plan->advance == WARMUP_VOLUME);
        forty_five_days(plan, days);
        assert_true(days[0] <= 100 && days[DAYS - 1] == WARMUP_UNLIMITED);
        for (unsigned day = 1; day < DAYS && days[day] != WARMUP_UNLIMITED; day++)
            assert_true(days[day] > days[day - 1] && days[day] * 10 <= days[day - 1] * 14 + 14);
    }
    assert_null(config_warmup_all(config, 0));
    config_free(config);
}

static const char whole[] = "hostname = m.example\n"
                            "zone = Europe/Paris  day_starts = 4  warmup_settle = 5s\n"
                            "pool a {\n"
                            "  source 127.0.0.1 { warmup = mine  since = 2026-11-01  overflow = wait }\n"
                            "  source 127.0.0.2 { warmup = standard }\n"
                            "  source 127.0.0.3 { }\n"
                            "}\n"
                            "isp gmail { mx = .google.com }\n"
                            "isp yahoo { mx = .yahoodns.net }\n"
                            "isp web { mx = .web.example }\n"
                            "relay ses { host = r.example }\n"
                            "warmup mine { caps = {1, 2, 3}  gate = none  hold_deferral = 0.125%\n"
                            "  isp gmail { caps = {5, 6}  back_deferral = 20.5% }\n"
                            "  isp other { kind = geometric  start = 10  factor = 1.25  max = 100  per = hour }\n"
                            "  isp yahoo { kind = none }\n"
                            "  all { start = 10  step = 10  max = 100 } }\n";

static void each_counter_has_its_own_plan(void **state)
{
    (void)state;
    struct config *config = accepted(whole);
    const struct warmup_plan *gmail = config_warmup_plan(config, 0, SLICE("gmail"));
    const struct warmup_plan *web = config_warmup_plan(config, 0, SLICE("web"));
    const struct warmup_plan *other = config_warmup_plan(config, 0, SLICE("mx:nobody.example"));
    const struct warmup_plan *all = config_warmup_all(config, 0);
    assert_true(gmail->cap_count == 2 && gmail->caps[1] == 6 && gmail->gate == WARMUP_GATE_NONE);
    assert_true(gmail->health.back_deferred == 20500 && gmail->health.hold_deferred == 125 && gmail->catch_up == 4);
    assert_true(web->cap_count == 3 && web->health.back_deferred == 15000);
    assert_true(other->kind == WARMUP_GEOMETRIC && other->cap_count == 0 && other->factor == 1250);
    assert_true(other->per == WARMUP_PER_HOUR && other->catch_up == 1 && warmup_curve(other, 1) == 240);
    assert_null(config_warmup_plan(config, 0, SLICE("yahoo")));
    assert_null(config_warmup_plan(config, 0, SLICE("ses"))); /* a relay sends from addresses of its own */
    assert_true(all->kind == WARMUP_LINEAR && all->stages == 10 && all->health.hold_deferred == 125);
    assert_null(config_warmup_plan(config, 2, SLICE("gmail")));
    assert_null(config_warmup_all(config, 2));
    assert_true(slice_equal(config_warmup_counter(config, SLICE("web")), SLICE("web")));
    assert_true(slice_equal(config_warmup_counter(config, SLICE("mx:nobody.example")), SLICE("other")));
    assert_ptr_equal(config_warmup_of(config, 0, SLICE("all")), all);
    assert_int_equal(config_warmup_since(config, 0), zone_date(2026, 11, 1));
    assert_int_equal(config_warmup_since(config, 1), INT64_MIN);
    assert_int_equal(config->sources[0].overflow, CONFIG_OVERFLOW_WAIT);
    assert_int_equal(config->sources[1].overflow, CONFIG_OVERFLOW_SPILL);
    assert_int_equal(config->warmup_settle, 5 * NSEC_PER_S);
    /* Days are those of the zone, from four o'clock on. */
    struct zone_day day = zone_day_number(&config->days, zone_date(2026, 3, 28));
    assert_int_equal(day.ends - day.begins, 23 * 3600 * NSEC_PER_S);
    config_free(config);
}

/* What a part gives makes another curve of it, or the same one with other numbers. */
static void parts_change_what_they_name(void **state)
{
    (void)state;
    struct config *config =
        accepted("hostname = m.example\n"
                 "pool a { source 127.0.0.1 { warmup = geometric }\n"
                 "         source 127.0.0.2 { warmup = table }\n"
                 "         source 127.0.0.3 { warmup = none } }\n"
                 "warmup geometric { start = 10  factor = 2  max = 100\n"
                 "  isp other { caps = {7, 8} } isp a { max = 50 } isp b { step = 5 start = 1 max = 9 } }\n"
                 "warmup table { caps = {1, 2}  then = continue  factor = 2\n"
                 "  isp other { factor = 3 } isp a { start = 3 step = 1 max = 5 then = hold } }\n"
                 "warmup none { kind = none  isp other { caps = 5 } }\n"
                 "isp a { mx = .a.example } isp b { mx = .b.example }\n");
    static const struct {
        unsigned source;
        const char *isp;
        enum warmup_kind kind;
        uint64_t third; /* day's cap */
    } parts[] = {{0, "other", WARMUP_TABLE, 8}, {0, "a", WARMUP_GEOMETRIC, 40}, {0, "b", WARMUP_LINEAR, 9},
                 {1, "other", WARMUP_TABLE, 6}, {1, "b", WARMUP_TABLE, 4},      {1, "a", WARMUP_LINEAR, 5},
                 {2, "other", WARMUP_TABLE, 5}};
    for (size_t i = 0; i < countof(parts); i++) {
        const struct warmup_plan *plan = config_warmup_of(config, parts[i].source, slice_of(parts[i].isp));
        if (!plan || plan->kind != parts[i].kind || warmup_curve(plan, 3) != parts[i].third)
            fail_msg("part %zu", i);
    }
    assert_null(config_warmup_plan(config, 2, SLICE("a")));
    config_free(config);
}

static void days_of_tests_have_dates_too(void **state)
{
    (void)state;
    struct config *config = accepted("hostname = m.example\nday_length = 10s\n"
                                     "pool a { source 127.0.0.1 { warmup = standard  since = 2026-11-01 } }\n");
    int64_t since = config_warmup_since(config, 0);
    assert_int_equal(zone_day_number(&config->days, since).begins, zone_date(2026, 11, 1) * 86400 * NSEC_PER_S);
    config_free(config);
}

static void what_is_printed_is_read_again(void **state)
{
    (void)state;
    struct gathered first = {0}, second = {0};
    struct config *config = accepted(whole);
    config_print(config, gather, &first);
    struct config *again = accepted(first.text);
    config_print(again, gather, &second);
    assert_string_equal(first.text, second.text);
    assert_non_null(strstr(first.text, "warmup \"standard\" {")); /* what travels inside is shown where it is used */
    assert_non_null(strstr(first.text, "        factor = 1.25\n"));
    assert_non_null(strstr(first.text, "    hold_deferral = 0.125%\n"));
    assert_non_null(strstr(first.text, "        since = 2026-11-01\n"));
    config_free(config);
    config_free(again);
    free(first.text);
    free(second.text);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *block, *what;
    } wrong[] = {
        {"warmup x { caps = {5, 10, 9} }", "the curve falls"},
        {"warmup x { caps = {0, 10} }", "is not allowed; it is a whole number from 1"},
        {"warmup x { }", "it has no curve"},
        {"warmup x { kind = none }", "it limits nothing"},
        {"warmup x { start = 5 factor = 1 max = 10 }", "a number from 1.010 to 100"},
        {"warmup x { start = 5 factor = 1.4567 max = 10 }", "a number from 1.010 to 100"},
        {"warmup x { start = 5 factor = 2 }", "it needs a max"},
        {"warmup x { caps = 5 nonsense = 3 }", "allowed here: kind, caps"},
        {"warmup x { caps = 5 isp all { caps = 3 } }", "a cap over all ISPs is written all"},
        {"warmup x { caps = 5 all { } }", "all: it has no curve"},
        {"warmup x { caps = 5 all { caps = 3 } all { caps = 4 } }", "all is given twice"},
        {"warmup x { caps = 5 hold_deferral = 20% }", "back_deferral is below hold_deferral"},
        {"warmup x { caps = 5 hold_deferral = 20 }", "a share from 0% to 100%"},
        {"warmup x { caps = 5 } isp other { mx = .x.example }", "it stands for all ISPs without a block"},
        {"warmup x { caps = 5 } isp all { mx = .x.example }", "it stands for all together"},
        {"warmup x { caps = 5 } zone = Mars/Phobos", "cannot be read"},
        {"warmup x { caps = 5 } zone = ../etc/passwd", "is no name of a time zone"},
        {"warmup x { caps = 5 } zone = zone.tab", "is no name of a time zone"},
        {"warmup x { caps = 5 } zone = tzdata_zi", "cannot be read"},
        {"warmup x { caps = 5 } zone = Europe", "is no file of a time zone"},
        {"warmup x { caps = 5 } day_length = 10ms", "day_length is at least 1s"},
        {"warmup y { caps = 5 }", "there is no warmup x; there are y, standard, sendgrid"},
    };
    char text[512];
    for (size_t i = 0; i < countof(wrong); i++) {
        snprintf(text, sizeof text, "hostname = m.example\npool a { source 127.0.0.1 { warmup = x } }\n%s\n",
                 wrong[i].block);
        refused(text, wrong[i].what);
    }
    refused("hostname = m.example\npool a { source 127.0.0.1 { since = 2026-11-01 } }", "since is of no use");
    refused("hostname = m.example\npool a { source 127.0.0.1 { overflow = wait } }", "overflow = wait is of no use");
    refused("hostname = m.example\npool a { source 127.0.0.1 { warmup = ses since = 2026-02-30 } }", "it is a date");
    refused("hostname = m.example\npool a { source 127.0.0.1 { warmup = ses } }\n"
            "pool b { source 127.0.0.1 { warmup = standard } }",
            "has another warmup");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_curves_are_the_published_ones),
        cmocka_unit_test(standard_is_careful),
        cmocka_unit_test(each_counter_has_its_own_plan),
        cmocka_unit_test(parts_change_what_they_name),
        cmocka_unit_test(days_of_tests_have_dates_too),
        cmocka_unit_test(what_is_printed_is_read_again),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
