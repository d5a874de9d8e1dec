/* forecast/: what the production lanes say of a queue, against what arithmetic says of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/zone_file.h"
#include "forecast/forecast.h"

static const nsec minute = 60 * NSEC_PER_S, hour = 3600 * NSEC_PER_S;
/* 2026-11-02 12:00:00 UTC */
static const nsec noon = 1793620800 * NSEC_PER_S;

static const char sources[] = "hostname = m.example\npool p {\n source 203.0.113.1 { name = s1 }\n"
                              " source 203.0.113.2 { name = s2 }\n}\n";

struct fixture {
    struct config *config;
    struct forecast *forecast;
};

static struct fixture begin(const char *settings)
{
    char text[4096], error[512];
    struct fixture f;
    struct forecast_plan plan = {
        .start = noon, .connect = NSEC_PER_S, .latency = NSEC_PER_S / 4, .horizon = 60 * 24 * hour};
    snprintf(text, sizeof text, "%s%s", sources, settings);
    f.config = config_parse("test.conf", slice_of(text), error, sizeof error);
    if (!f.config)
        fail_msg("%s", error);
    f.forecast = forecast_new(f.config, &plan);
    assert_non_null(f.forecast);
    return f;
}

static void end(struct fixture *f)
{
    forecast_free(f->forecast);
    config_free(f->config);
}

static const struct forecast_demand *add(struct fixture *f, const char *campaign, const char *isp, uint64_t count,
                                         nsec not_before)
{
    struct forecast_demand demand = {.count = count, .not_before = not_before};
    strcpy(demand.campaign, campaign);
    strcpy(demand.isp, isp);
    return forecast_add(f->forecast, &demand);
}

static void assert_near(nsec is, nsec should, nsec by)
{
    if (is < should - by || is > should + by)
        fail_msg("%.3f s instead of %.3f s", (double)(is - noon) / 1e9, (double)(should - noon) / 1e9);
}

/* Two sources at 60 a minute each: 120 a minute. */
static void a_rate_decides(void **unused)
{
    (void)unused;
    struct fixture f = begin("isp big { mx = {.big.example}  rate = 60/min  connections = 10 }\n");
    const struct forecast_demand *demand = add(&f, "c", "big", 12000, 0);
    assert_true(forecast_run(f.forecast));
    assert_int_equal(demand->done, 12000);
    assert_near(demand->finish, noon + 100 * minute, 5 * NSEC_PER_S);
    assert_int_equal(demand->bound, LANE_RATE);
    end(&f);
}

/* 2 sources x 3 sessions x 4 messages a second, and a second for a new session after each 40: 40 take 10 s, and 11 with
 * it. */
static void connections_decide(void **unused)
{
    (void)unused;
    struct fixture f = begin("isp big { mx = {.big.example}  connections = 3  per_connection = 40 }\n");
    const struct forecast_demand *demand = add(&f, "c", "big", 6 * 40 * 100, 0);
    assert_true(forecast_run(f.forecast));
    assert_near(demand->finish, noon + 1100 * NSEC_PER_S, 30 * NSEC_PER_S);
    assert_int_equal(demand->bound, LANE_CONNECTIONS);
    end(&f);
}

/* Days are counted as they go: 60 an hour from noon give 720 today from each source. */
static void days_are_told_apart(void **unused)
{
    (void)unused;
    struct fixture f = begin("isp big { mx = {.big.example}  rate = 60/h }\n");
    const struct forecast_demand *demand = add(&f, "c", "big", 6000, 0);
    assert_true(forecast_run(f.forecast));
    assert_in_range(demand->days[0], 1430, 1440);
    assert_in_range(demand->days[1], 2870, 2890);
    assert_int_equal(demand->days[0] + demand->days[1] + demand->days[2], 6000);
    end(&f);
}

static void isps_do_not_wait_for_one_another(void **unused)
{
    (void)unused;
    struct fixture f = begin("isp slow { mx = {.slow.example}  rate = 1/h }\nisp quick { mx = {.quick.example} }\n");
    const struct forecast_demand *slow = add(&f, "c", "slow", 48, 0), *quick = add(&f, "c", "quick", 100, 0),
                                 *other = add(&f, "c", "mx:mx.elsewhere.example", 10, 0);
    assert_true(forecast_run(f.forecast));
    assert_near(slow->finish, noon + 24 * hour, hour);
    assert_true(quick->finish < noon + minute && other->finish < noon + minute);
    end(&f);
}

static void a_campaign_waits_for_its_time(void **unused)
{
    (void)unused;
    struct fixture f = begin("isp big { mx = {.big.example}  rate = 60/min }\n");
    const struct forecast_demand *now = add(&f, "a", "big", 1200, 0), *later = add(&f, "b", "big", 1200, noon + hour);
    assert_true(forecast_run(f.forecast));
    assert_near(now->finish, noon + 10 * minute, 5 * NSEC_PER_S);
    assert_true(later->first >= noon + hour);
    assert_near(later->finish, noon + hour + 10 * minute, 5 * NSEC_PER_S);
    end(&f);
}

static const struct forecast_demand *add_hours(struct fixture *f, const char *campaign, uint64_t count,
                                               const struct hours *hours)
{
    struct forecast_demand demand = {.count = count, .hours = *hours};
    strcpy(demand.campaign, campaign);
    strcpy(demand.isp, "big");
    return forecast_add(f->forecast, &demand);
}

/* Monday noon in UTC is one o'clock in Paris: from two to three and on Tuesday from nine to ten 120 a minute go. One
 * that may go at any time has the lanes to itself meanwhile. */
static void windows_are_kept(void **unused)
{
    (void)unused;
    struct fixture f = begin("isp big { mx = {.big.example}  rate = 60/min }\n");
    struct hours hours = {0};
    char *zone_bytes, why[256];
    assert_true(zone_file_windows(SLICE("mon 14:00-15:00; tue 09:00-10:00 Europe/Paris"), &hours, &zone_bytes, why,
                                  sizeof why));
    const struct forecast_demand *demand = add_hours(&f, "a", 7200 + 1200, &hours),
                                 *other = add(&f, "b", "big", 2400, 0);
    assert_true(forecast_run(f.forecast));
    assert_near(other->finish, noon + 20 * minute, 5 * NSEC_PER_S);
    assert_true(demand->first >= noon + hour);
    assert_near(demand->first, noon + hour, 2 * NSEC_PER_S);
    assert_int_equal(demand->done, 8400);
    assert_in_range(demand->days[0], 7150, 7200);
    assert_near(demand->finish, noon + 20 * hour + 10 * minute, 30 * NSEC_PER_S);
    assert_true(demand->bound_by_hours && !other->bound_by_hours);
    end(&f);
    free(zone_bytes);
}

/* From not_before to not_after; what is left is counted, and the other campaign has all that follows. */
static void not_before_and_not_after_are_kept(void **unused)
{
    (void)unused;
    struct fixture f = begin("isp big { mx = {.big.example}  rate = 60/min }\n");
    nsec from = noon + hour, until = from + 10 * minute;
    struct hours hours = {.not_before_ms = from / NSEC_PER_MS, .not_after_ms = until / NSEC_PER_MS};
    const struct forecast_demand *a = add_hours(&f, "a", 2000, &hours),
                                 *b = add(&f, "b", "big", 1200, until);
    assert_true(forecast_run(f.forecast));
    assert_near(a->first, from, 2 * NSEC_PER_S);
    assert_true(a->finish <= until + NSEC_PER_S);
    assert_in_range(a->done, 1190, 1200);
    assert_int_equal(a->done + a->expired, 2000);
    assert_near(b->finish, until + 10 * minute, 5 * NSEC_PER_S);
    end(&f);
}

/* Two that go at once share the lane, and both end when all does. */
static void campaigns_share_a_lane(void **unused)
{
    (void)unused;
    struct fixture f = begin("isp big { mx = {.big.example}  rate = 60/min }\n");
    const struct forecast_demand *a = add(&f, "a", "big", 1200, 0), *b = add(&f, "b", "big", 1200, 0);
    assert_true(forecast_run(f.forecast));
    assert_near(a->finish, noon + 20 * minute, 10 * NSEC_PER_S);
    assert_near(b->finish, noon + 20 * minute, 10 * NSEC_PER_S);
    end(&f);
}

static void what_does_not_end_is_said(void **unused)
{
    (void)unused;
    struct fixture f = begin("isp big { mx = {.big.example}  rate = 1/h }\n");
    const struct forecast_demand *demand = add(&f, "c", "big", 1000000, 0);
    assert_false(forecast_run(f.forecast));
    assert_in_range(demand->done, 2 * 60 * 24 - 10, 2 * 60 * 24 + 10);
    end(&f);
}

static const char curve[] =
    "warmup w { kind = table  caps = {100, 300, 900}  then = hold  advance = calendar  gate = none }\n"
    "isp big { mx = {.big.example} }\n"
    "pool q { source 203.0.113.3 { name = s3  warmup = w } }\n";

static const struct forecast_demand *add_warm(struct fixture *f, uint64_t count)
{
    struct forecast_demand demand = {.count = count, .pool = 1};
    strcpy(demand.campaign, "c");
    strcpy(demand.isp, "big");
    return forecast_add(f->forecast, &demand);
}

/* What begins at noon has the whole cap of its day still, and from then on a step a day. */
static void a_warm_up_decides(void **unused)
{
    (void)unused;
    struct fixture f = begin(curve);
    const struct forecast_demand *demand = add_warm(&f, 100 + 300 + 900 + 900 + 50);
    assert_true(forecast_run(f.forecast));
    static const unsigned caps[] = {100, 300, 900, 900, 50};
    for (unsigned i = 0; i < countof(caps); i++)
        assert_int_equal(demand->days[i], caps[i]);
    assert_int_equal(demand->bound, LANE_WARMUP);
    end(&f);
}

/* It goes on from where Redis says that it is. */
static void a_warm_up_goes_on(void **unused)
{
    (void)unused;
    struct fixture f = begin(curve);
    const struct forecast_demand *demand = add_warm(&f, 1000);
    struct warmup_record record = {.state = WARMUP_RUNNING,
                                   .stage = 2,
                                   .day = zone_day(&f.config->days, noon).number,
                                   .granted = 250,
                                   .since = zone_day(&f.config->days, noon).number - 1,
                                   .active_day = zone_day(&f.config->days, noon).number};
    forecast_record(f.forecast, SLICE("s3"), SLICE("big"), &record, 0);
    assert_true(forecast_run(f.forecast));
    assert_int_equal(demand->days[0], 50);
    assert_int_equal(demand->days[1], 900);
    assert_int_equal(demand->days[2], 50);
    end(&f);
}

/* Both sources together, not each. */
static void a_total_decides(void **unused)
{
    (void)unused;
    struct fixture f = begin("isp big { mx = {.big.example}  total.rate = 60/min }\n"
                             "isp few { mx = {.few.example}  total.connections = 2  per_connection = 10 }\n");
    const struct forecast_demand *rate = add(&f, "c", "big", 1200, 0), *few = add(&f, "c", "few", 2 * 10 * 100, 0);
    assert_true(forecast_run(f.forecast));
    assert_near(rate->finish, noon + 20 * minute, 5 * NSEC_PER_S);
    assert_int_equal(rate->bound, LANE_TOTAL);
    /* A second to connect and ten quarters of one for ten messages, a hundred times. */
    assert_near(few->finish, noon + 350 * NSEC_PER_S, 20 * NSEC_PER_S);
    end(&f);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_decides),
        cmocka_unit_test(connections_decide),
        cmocka_unit_test(days_are_told_apart),
        cmocka_unit_test(isps_do_not_wait_for_one_another),
        cmocka_unit_test(a_campaign_waits_for_its_time),
        cmocka_unit_test(windows_are_kept),
        cmocka_unit_test(not_before_and_not_after_are_kept),
        cmocka_unit_test(campaigns_share_a_lane),
        cmocka_unit_test(what_does_not_end_is_said),
        cmocka_unit_test(a_warm_up_decides),
        cmocka_unit_test(a_warm_up_goes_on),
        cmocka_unit_test(a_total_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
