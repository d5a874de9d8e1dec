/* Campaigns share what there is by weight, and one of priority high waits for nobody: judged by what the providers saw. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct sim_isp *settle(struct town *town, const char *name, nsec takes)
{
    struct mx_personality personality;
    mx_personality_init(&personality, name);
    personality.latency[MX_BODY].base = takes;
    struct sim_isp *isp = sim_isp_new(town->mail, name, &personality, 1, false);
    sim_isp_domain(isp, name, 300, 1);
    return isp;
}

/* What was accepted of a campaign from `since` on. */
static unsigned accepted(const struct town *town, const char *id, nsec since)
{
    const struct mx_ledger *ledger = &town->mail->ledger;
    unsigned count = 0;
    for (size_t i = 0; i < ledger->accepted_count; i++)
        count += ledger->accepted[i].at >= since &&
                 strcmp(mx_ledger_campaign(ledger, &ledger->accepted[i]), id) == 0;
    return count;
}

static void assert_share(struct town *town, nsec since, unsigned a_weighs, unsigned b_weighs, unsigned percent)
{
    uint64_t a = (uint64_t)accepted(town, "a", since) * b_weighs, b = (uint64_t)accepted(town, "b", since) * a_weighs;
    if (!a || !b || a * 100 > b * (100 + percent) || b * 100 > a * (100 + percent))
        fail_msg("weights %u and %u: %u and %u were accepted", a_weighs, b_weighs, accepted(town, "a", since),
                 accepted(town, "b", since));
}

/* Where `a` was first and has filled whatever one may fill. */
static void share_at(const char *settings, nsec takes, unsigned shards, uint64_t seed)
{
    struct town *town = town_new(seed, shards, settings);
    settle(town, "big.example", takes);
    town_campaign(town, "a", "weight 300");
    town_push(town, "a", "a%llu@big.example", 0, 4500);
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    unsigned before = accepted(town, "a", 0);
    assert_in_range(before, 100, 3000);
    town_campaign(town, "b", ""); /* 100 */
    town_push(town, "b", "b%llu@big.example", 0, 2500);
    town_run(town, 5 * NSEC_PER_S); /* it is found, and its first come */
    nsec since = sim_now(town->world);
    town_run(town, 30 * NSEC_PER_S);
    assert_share(town, since, 300, 100, 10);
    town_set(town, "b", "weight", "900"); /* in mid-run */
    town_run(town, 2 * NSEC_PER_S);
    since = sim_now(town->world);
    town_run(town, 20 * NSEC_PER_S);
    assert_share(town, since, 300, 900, 15);
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "a");
    town_judge(town, "b");
    town_judge_limits(town);
    town_judge_empty(town);
    town_finish(town);
    town_free(town);
}

static void campaigns_share_a_rate(void **unused)
{
    (void)unused;
    share_at("isp big { mx = {.big.example}  rate = 8/s  connections = 10 }\n", 50 * NSEC_PER_MS, 1, 1);
}

static void campaigns_share_connections(void **unused)
{
    (void)unused;
    share_at("isp big { mx = {.big.example}  connections = 2 }\n", 200 * NSEC_PER_MS, 2, 2);
}

/* One whose own ISP is slow, or that waits in a thousand lists, takes nothing from the others. */
static void whose_isp_is_slow_keeps_nobody_waiting(void **unused)
{
    (void)unused;
    struct town *town = town_new(3, 1,
                                 "isp slow { mx = {.slow.example}  rate = 2/s  connections = 2 }\n"
                                 "isp big { mx = {.big.example}  rate = 40/s  connections = 20 }\n");
    settle(town, "slow.example", 0);
    settle(town, "big.example", 20 * NSEC_PER_MS);
    town_campaign(town, "a", "weight 1000");
    town_push(town, "a", "a%llu@slow.example", 0, 6000);
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    town_campaign(town, "b", "weight 1");
    town_push(town, "b", "b%llu@big.example", 0, 3000);
    town_run(town, 5 * NSEC_PER_S);
    nsec since = sim_now(town->world);
    town_run(town, 10 * NSEC_PER_S);
    assert_true(accepted(town, "b", since) >= 1550);
    town_set(town, "a", "state", "cancelled");
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "a");
    town_judge(town, "b");
    town_judge_empty(town);
    town_finish(town);
    town_free(town);
}

/* ---- priority high ---- */

/* Of one message a second, pushed to "high", the longest time from its push to its dot. */
static nsec longest_wait(struct town *town, const char *format, unsigned count)
{
    nsec longest = 0;
    for (unsigned i = 0; i < count; i++) {
        unsigned before = accepted(town, "high", 0);
        nsec pushed = sim_now(town->world);
        town_push(town, "high", format, i, 1);
        free(fake_redis_do(town->redis, "PUBLISH sluice:wake high"));
        while (accepted(town, "high", 0) == before && sim_now(town->world) < pushed + 600 * NSEC_PER_S)
            town_run(town, 20 * NSEC_PER_MS);
        nsec took = sim_now(town->world) - pushed;
        longest = took > longest ? took : longest;
        town_run(town, NSEC_PER_S);
    }
    return longest;
}

static struct town *bulk_and_high(uint64_t seed, const char *settings)
{
    struct town *town = town_new(seed, 1, settings);
    settle(town, "big.example", 100 * NSEC_PER_MS);
    settle(town, "two.big.example", 100 * NSEC_PER_MS); /* another site of the same ISP */
    town_campaign(town, "bulk", "weight 1000");
    town_campaign(town, "high", "priority high weight 1");
    town_set(town, "high", "sealed", "0");
    return town;
}

static void finish(struct town *town)
{
    town_set(town, "high", "sealed", "1");
    town_set(town, "bulk", "state", "cancelled");
    assert_true(town_drain(town, 3600 * NSEC_PER_S));
    town_judge(town, "bulk");
    town_judge(town, "high");
    town_judge_limits(town);
    town_judge_empty(town);
    town_finish(town);
    town_free(town);
}

/* It has the next start of the lane, wherever it stands; the bulk has all the others. */
static void high_goes_first_at_a_rate(void **unused)
{
    (void)unused;
    struct town *town = bulk_and_high(4, "isp big { mx = {.big.example}  rate = 4/s  connections = 2 }\n"
                                         "pool p { source 203.0.113.10 { name = s0  ehlo = s0.town.example } }\n");
    town_push(town, "bulk", "b%llu@big.example", 0, 4000);
    town_start(town);
    town_run(town, 10 * NSEC_PER_S);
    nsec here = longest_wait(town, "h%llu@big.example", 10), there = longest_wait(town, "h%llu@two.big.example", 10);
    if (here > NSEC_PER_S || there > 2 * NSEC_PER_S)
        fail_msg("%lld ms at the bulk's site, %lld ms at the other", (long long)(here / NSEC_PER_MS),
                 (long long)(there / NSEC_PER_MS));
    finish(town);
}

/* All sessions that the lane may have, and all that the shard may have, are the bulk's. */
static void high_finds_a_session(void **unused)
{
    (void)unused;
    struct town *town = bulk_and_high(5, "sessions_max = 8\nisp big { mx = {.big.example}  connections = 2 }\n"
                                         "isp other { mx = {.other.example}  connections = 10 }\n"
                                         "isp third { mx = {.third.example}  connections = 10 }\n");
    settle(town, "other.example", 300 * NSEC_PER_MS);
    settle(town, "third.example", 10 * NSEC_PER_MS);
    town_push(town, "bulk", "b%llu@big.example", 0, 2000);
    town_push(town, "bulk", "b%llu@other.example", 0, 4000);
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    nsec third = longest_wait(town, "h%llu@third.example", 10), there = longest_wait(town, "h%llu@two.big.example", 10);
    if (third > NSEC_PER_S || there > NSEC_PER_S)
        fail_msg("%lld ms at an ISP without a session, %lld ms at another site", (long long)(third / NSEC_PER_MS),
                 (long long)(there / NSEC_PER_MS));
    finish(town);
}

/* A bulk of which all that may wait in memory waits, and the rest is parked: the room that is kept is enough. */
static void high_has_room(void **unused)
{
    (void)unused;
    struct town *town = bulk_and_high(6, "isp big { mx = {.big.example}  rate = 1/s  connections = 2 }\n"
                                         "isp third { mx = {.third.example}  connections = 10  rate = 100/s }\n"
                                         "defaults { rate = 1/s }\n");
    settle(town, "third.example", 10 * NSEC_PER_MS);
    for (unsigned i = 0; i < 150; i++) {
        char name[32], format[64];
        snprintf(name, sizeof name, "i%u.example", i);
        settle(town, name, 0);
        snprintf(format, sizeof format, "b%%llu@%s", name);
        town_push(town, "bulk", format, 0, 60);
    }
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    nsec third = longest_wait(town, "h%llu@third.example", 10);
    if (third > NSEC_PER_S)
        fail_msg("%lld ms", (long long)(third / NSEC_PER_MS));
    finish(town);
}

/* Two high ones share by weight; and one that is made high in mid-run is so with what waits of it. */
static void high_ones_share(void **unused)
{
    (void)unused;
    struct town *town = town_new(7, 1, "isp big { mx = {.big.example}  rate = 10/s  connections = 10 }\n");
    settle(town, "big.example", 50 * NSEC_PER_MS);
    town_campaign(town, "bulk", "weight 1000");
    town_campaign(town, "a", "weight 200");
    town_campaign(town, "b", "weight 100 priority high");
    town_push(town, "bulk", "x%llu@big.example", 0, 3000);
    town_push(town, "a", "a%llu@big.example", 0, 3500);
    town_push(town, "b", "b%llu@big.example", 0, 3500);
    town_start(town);
    town_run(town, 5 * NSEC_PER_S);
    nsec since = sim_now(town->world);
    town_run(town, 5 * NSEC_PER_S);
    assert_int_equal(accepted(town, "bulk", since) + accepted(town, "a", since), 0);
    assert_true(accepted(town, "b", since) > 180);
    town_set(town, "a", "priority", "high");
    town_run(town, 3 * NSEC_PER_S);
    since = sim_now(town->world);
    town_run(town, 10 * NSEC_PER_S);
    assert_int_equal(accepted(town, "bulk", since), 0);
    assert_share(town, since, 200, 100, 10);
    town_free(town);
}

/* ---- the hours of a campaign ---- */

/* UTC, in seconds; what starts does so within, the end excepted. */
struct opening {
    int64_t from, to;
};

/* The world's wall clock is put to this instant, UTC in seconds. */
static void begin_at(struct town *town, int64_t at_s)
{
    sim_wall_jump(town->world, NULL, at_s * NSEC_PER_S - io_wall(town->redis_io));
}

static nsec wall_of(struct town *town, nsec at) { return at + io_wall(town->redis_io) - sim_now(town->world); }

static void run_until(struct town *town, int64_t at_s)
{
    town_run(town, at_s * NSEC_PER_S - io_wall(town->redis_io));
}

/* A provider that needs 30 s for each message and at first defers some; all sources together start 20 a minute. */
static struct sim_isp *slow_and_moody(struct town *town, unsigned defers)
{
    struct mx_personality personality;
    mx_personality_init(&personality, "big.example");
    personality.latency[MX_DATA].base = 30 * NSEC_PER_S;
    mx_personality_rule(&personality, MX_RCPT, 400000, "451 4.7.1 greylisted")->first = defers;
    struct sim_isp *isp = sim_isp_new(town->mail, "big.example", &personality, 1, false);
    sim_isp_domain(isp, "big.example", 300, 1);
    return isp;
}

static const char slowly[] = "isp big { mx = {.big.example}  rate = 5/min  connections = 10  retry = {40m} }\n";

/* Nothing starts but in these openings, and in each of them it starts as soon as its lanes, which begin empty, may:
 * after 12 s; and goes at its rate, 20 a minute, or until all is done. */
static void judge_openings(struct town *town, const struct opening *openings, unsigned count)
{
    const struct mx_ledger *ledger = &town->mail->ledger;
    unsigned starts[4] = {0}, late = 0;
    nsec first[4] = {0};
    for (size_t i = 0; i < ledger->start_count; i++) {
        nsec at = wall_of(town, ledger->starts[i].at);
        unsigned n = 0;
        while (n < count && (at < openings[n].from * NSEC_PER_S || at >= openings[n].to * NSEC_PER_S))
            n++;
        if (n == count)
            fail_msg("a message started at %lld, in no window", (long long)(at / NSEC_PER_S));
        if (!starts[n]++ || at < first[n])
            first[n] = at;
    }
    for (size_t i = 0; i < ledger->accepted_count; i++)
        for (unsigned n = 0; n < count; n++) {
            nsec behind = wall_of(town, ledger->accepted[i].at) - openings[n].to * NSEC_PER_S;
            late += behind > 0 && behind < 60 * NSEC_PER_S;
        }
    for (unsigned n = 0; n < count; n++) {
        if (!starts[n] || first[n] > (openings[n].from + 15) * NSEC_PER_S)
            fail_msg("opening %u: %u starts, the first %lld ms late", n, starts[n],
                     (long long)(first[n] / NSEC_PER_MS - openings[n].from * 1000));
        if (n + 1 < count || count == 1)
            assert_true(starts[n] >= (openings[n].to - openings[n].from) / 3 * 98 / 100);
    }
    assert_true(late >= 2); /* what was under way when a window shut had its end */
}

/* The hour that Paris has twice is open twice; what was deferred in the first waits for the second, though it is due
 * before. */
static void windows_hold_when_clocks_go_back(void **unused)
{
    (void)unused;
    static const int64_t midnight = 1792886400; /* 2026-10-25 00:00 UTC; clocks go back at 01:00 */
    static const struct opening openings[] = {{midnight + 1200, midnight + 1800}, {midnight + 4800, midnight + 5400}};
    struct town *town = town_new(8, 1, slowly);
    struct sim_isp *isp = slow_and_moody(town, 40);
    begin_at(town, midnight + 1140);
    town_campaign(town, "c", "");
    town_set(town, "c", "windows", "sun 02:20-02:30 Europe/Paris");
    town_push(town, "c", "r%llu@big.example", 0, 260);
    town_start(town);
    run_until(town, midnight + 1900);
    assert_string_equal(town_phase(town, "c"), "waiting");
    struct town_account account = town_end(town, "c", 3 * 3600 * NSEC_PER_S);
    assert_int_equal(account.events[EVENT_DELIVERED], 260);
    assert_int_equal(account.events[EVENT_DEFERRED], 40);
    assert_int_equal(isp->server.limited, 0);
    judge_openings(town, openings, countof(openings));
    town_free(town);
}

/* Of an hour and twenty minutes on the clock the hour is skipped. */
static void windows_hold_when_clocks_go_forward(void **unused)
{
    (void)unused;
    static const int64_t begin = 1774745400; /* 2026-03-29 00:50 UTC; clocks go forward at 01:00 */
    static const struct opening opening = {begin, begin + 1200};
    struct town *town = town_new(9, 1, slowly);
    slow_and_moody(town, 50);
    begin_at(town, begin - 60);
    town_campaign(town, "c", "");
    town_set(town, "c", "windows", "01:50-03:10 Europe/Paris");
    town_push(town, "c", "r%llu@big.example", 0, 450);
    town_start(town);
    run_until(town, opening.to + 300);
    town_set(town, "c", "state", "cancelled");
    struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
    assert_int_equal(account.events[EVENT_DELIVERED] + account.events[EVENT_CANCELLED], 450);
    judge_openings(town, &opening, 1);
    town_free(town);
}

/* It begins with not_before, and at not_after the rest ends, once each: in memory, parked, or not even pushed yet. Who
 * was deferred to a time behind it has ended before. */
static void a_campaign_has_a_beginning_and_an_end(void **unused)
{
    (void)unused;
    static const int64_t begin = 1795334400; /* 2026-11-22 08:00 UTC */
    static const struct opening opening = {begin + 600, begin + 1200};
    struct town *town = town_new(10, 2, slowly);
    slow_and_moody(town, 50);
    begin_at(town, begin + 480);
    town_campaign(town, "c", "sealed 0 not_before 1795335000 not_after 1795335600");
    town_push(town, "c", "r%llu@big.example", 0, 600);
    town_start(town);
    run_until(town, opening.from - 60);
    assert_string_equal(town_phase(town, "c"), "waiting");
    run_until(town, opening.to + 300);
    town_push(town, "c", "r%llu@big.example", 600, 50);
    town_run(town, 60 * NSEC_PER_S);
    town_set(town, "c", "sealed", "1");
    struct town_account account = town_end(town, "c", 60 * NSEC_PER_S);
    assert_int_equal(account.events[EVENT_DELIVERED] + account.events[EVENT_EXPIRED], 650);
    assert_int_equal(account.events[EVENT_DEFERRED], 0);
    assert_true(account.events[EVENT_DELIVERED] >= 120 && account.events[EVENT_EXPIRED] >= 450);
    judge_openings(town, &opening, 1);
    town_free(town);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(campaigns_share_a_rate),
        cmocka_unit_test(campaigns_share_connections),
        cmocka_unit_test(whose_isp_is_slow_keeps_nobody_waiting),
        cmocka_unit_test(high_goes_first_at_a_rate),
        cmocka_unit_test(high_finds_a_session),
        cmocka_unit_test(high_has_room),
        cmocka_unit_test(high_ones_share),
        cmocka_unit_test(windows_hold_when_clocks_go_back),
        cmocka_unit_test(windows_hold_when_clocks_go_forward),
        cmocka_unit_test(a_campaign_has_a_beginning_and_an_end),
    };
    return cmocka_run_group_tests_name("fair", tests, NULL, NULL);
}
