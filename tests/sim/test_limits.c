/* Stories of limits: of sources and of lanes, of connections begun, and of configurations that change while mail goes
 * out. The ISP judges by both values: in every interval starts <= the larger burst + what the rates in it earn. */
#include "control/config_align.h"
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { PHASES = 24 };

static const char *const addresses[TOWN_SOURCES] = {"203.0.113.10", "203.0.113.11", "203.0.113.12", "203.0.113.13"};

/* What held from when on. */
struct phase {
    nsec at, interval; /* 0: no limit */
    uint32_t burst;
};

struct story {
    struct town *town;
    struct phase phases[PHASES];
    unsigned count;
};

static void phase(struct story *s, nsec interval, uint32_t burst)
{
    assert_true(s->count < PHASES);
    s->phases[s->count++] = (struct phase){sim_now(s->town->world), interval, burst};
}

static nsec faster(nsec a, nsec b) { return a == 0 || b == 0 ? 0 : a < b ? a : b; }

/* While one shard has taken the change and the other has not, the faster of the two may hold. */
static void change(struct story *s, const char *settings, nsec stagger, nsec interval, uint32_t burst)
{
    const struct phase *before = &s->phases[s->count - 1];
    phase(s, faster(before->interval, interval), before->burst > burst ? before->burst : burst);
    town_reload(s->town, settings, stagger);
    phase(s, interval, burst);
}

/* Starts that phases allow in the closed interval [a, b]; UINT64_MAX: no limit held in some of it. */
static uint64_t allowed_in(const struct story *s, nsec a, nsec b)
{
    unsigned __int128 earned = 0;
    uint32_t burst = 0;
    for (unsigned i = 0; i < s->count; i++) {
        const struct phase *p = &s->phases[i];
        nsec end = i + 1 < s->count ? s->phases[i + 1].at : NSEC_NEVER, from = nsec_max(a, p->at),
             to = nsec_min(b, end);
        if (from > to)
            continue;
        if (!p->interval)
            return UINT64_MAX;
        burst = p->burst > burst ? p->burst : burst;
        unsigned __int128 part = (unsigned __int128)(to - from) << 40;
        earned += part / (unsigned __int128)p->interval + 1;
    }
    return burst + (uint64_t)(earned >> 40);
}

static void judge_starts_of(const struct story *s, const nsec *starts, size_t count, const char *who)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = i; j < count; j++)
            if (j - i + 1 > allowed_in(s, starts[i], starts[j]))
                fail_msg("%s: %zu starts from %lld to %lld, %llu are allowed", who, j - i + 1, (long long)starts[i],
                         (long long)starts[j], (unsigned long long)allowed_in(s, starts[i], starts[j]));
}

static uint64_t judge_lanes(const struct story *s, const struct sim_isp *isp)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < TOWN_SOURCES; i++) {
        size_t count;
        nsec *starts = judge_starts(isp, addresses[i], &count);
        judge_starts_of(s, starts, count, addresses[i]);
        sum += count;
        free(starts);
    }
    return sum;
}

static uint64_t starts_from(const struct sim_isp *isp, unsigned source)
{
    size_t count;
    free(judge_starts(isp, addresses[source], &count));
    return count;
}

/* Of what the last phase allowed the lane, in parts per thousand, but for its first interval. */
static unsigned reached(const struct story *s, const struct sim_isp *isp, unsigned source)
{
    size_t count, n = 0;
    nsec *starts = judge_starts(isp, addresses[source], &count);
    const struct phase *last = &s->phases[s->count - 1];
    nsec from = last->at + nsec_max(2 * last->interval, 2 * NSEC_PER_S), now = sim_now(s->town->world);
    for (size_t i = 0; i < count; i++)
        n += starts[i] > from;
    free(starts);
    return (unsigned)((nsec)n * last->interval * 1000 / (now - from));
}

static struct sim_caller *caller(struct sim_isp *isp, unsigned source)
{
    for (unsigned i = 0; i < isp->caller_count; i++) {
        char text[46];
        struct sim_caller *c = &isp->callers[i];
        mx_ip_text(&c->ip, text);
        if (strcmp(text, addresses[source]) == 0)
            return c;
    }
    return NULL;
}

static struct story begin(uint64_t seed, unsigned shards, const char *settings, nsec interval, uint32_t burst,
                          struct sim_isp **isp)
{
    struct story s = {.town = town_new(seed, shards, settings)};
    *isp = sim_isp_plain(s.town->mail, "big.example", 100 * NSEC_PER_MS, 1);
    town_campaign(s.town, "c", "");
    town_push(s.town, "c", "r%llu@big.example", 0, 3500);
    phase(&s, interval, burst);
    town_start(s.town);
    return s;
}

/* What is left goes without limits: nothing was lost. */
static void finish(struct story *s)
{
    town_reload(s->town, "", 30 * NSEC_PER_MS);
    if (!town_drain(s->town, 7200 * NSEC_PER_S))
        fail_msg("not done in time: %s is %s", s->town->campaigns[0].id, town_phase(s->town, s->town->campaigns[0].id));
    for (unsigned i = 0; i < s->town->campaign_count; i++)
        town_judge(s->town, s->town->campaigns[i].id);
    town_judge_empty(s->town);
    if (s->town->mail->ledger.violation_total)
        fail_msg("a breach of the protocol: %s", s->town->mail->ledger.first_violation);
    town_finish(s->town);
    town_free(s->town);
}

#define BIG "isp big.example { mx = .big.example "

/* ---- limits of sources ---- */

static void the_most_specific_wins(void **unused)
{
    (void)unused;
    struct sim_isp *isp;
    struct story s =
        begin(1, 2,
              "pool p {\n"
              "source 203.0.113.10 { name = s0 }\n"
              "source 203.0.113.11 { name = s1 rate = 4/s connections = 3 }\n"
              "source 203.0.113.12 { name = s2 rate = 4/s isp big.example { rate = 2/s connections = 2 } }\n"
              "}\n" BIG "rate = 10/s connections = 5 }\n",
              NSEC_PER_S / 10, 1, &isp);
    town_run(s.town, 30 * NSEC_PER_S);
    judge_lanes(&s, isp);
    static const nsec intervals[] = {NSEC_PER_S / 10, NSEC_PER_S / 4, NSEC_PER_S / 2};
    static const unsigned connections[] = {5, 3, 2};
    for (unsigned i = 0; i < 3; i++) {
        size_t count;
        nsec *starts = judge_starts(isp, addresses[i], &count);
        assert_int_equal(judge_rate(starts, count, 1, intervals[i]).excess, 0);
        assert_true(judge_rate_reached(starts, count, 1, intervals[i]) >= 990);
        assert_true(caller(isp, i)->peak <= connections[i]);
        free(starts);
    }
    finish(&s);
}

/* One message a session: as many sessions as messages, each begun when the throttle of connections says so. */
static void connections_are_begun_at_their_rate(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 2; shards++) {
        struct sim_isp *isp;
        struct story s =
            begin(2, shards, BIG "connection_rate = 3/s  connection_burst = 2  per_connection = 1  connections = 8 }\n",
                  0, 1, &isp);
        town_run(s.town, 40 * NSEC_PER_S);
        for (unsigned i = 0; i < TOWN_SOURCES; i++) {
            struct sim_caller *c = caller(isp, i);
            assert_non_null(c);
            nsec interval = throttle_interval(3, NSEC_PER_S);
            assert_int_equal(judge_rate(c->begun, c->connections, 2, interval).excess, 0);
            assert_true(judge_rate_reached(c->begun, c->connections, 2, interval) >= 980);
        }
        finish(&s);
    }
}

/* ---- reload ---- */

static void rates_change_while_mail_goes_out(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 2; shards++) {
        struct sim_isp *isp;
        struct story s = begin(3, shards, BIG "rate = 10/s }\n", NSEC_PER_S / 10, 1, &isp);
        town_run(s.town, 10 * NSEC_PER_S);
        change(&s, BIG "rate = 40/s }\n", 100 * NSEC_PER_MS, NSEC_PER_S / 40, 1);
        town_run(s.town, 5 * NSEC_PER_S);
        change(&s, BIG "rate = 5/s burst = 4 }\n", 150 * NSEC_PER_MS, NSEC_PER_S / 5, 4);
        town_run(s.town, 10 * NSEC_PER_S);
        change(&s, BIG "rate = 20/min }\n", 0, 3 * NSEC_PER_S, 1);
        town_run(s.town, 20 * NSEC_PER_S);
        for (unsigned i = 0; i < 3; i++) { /* to and fro, and what is owed stays owed */
            change(&s, BIG "rate = 20/s }\n", 0, NSEC_PER_S / 20, 1);
            change(&s, BIG "rate = 20/min }\n", 0, 3 * NSEC_PER_S, 1);
        }
        town_run(s.town, 20 * NSEC_PER_S);
        change(&s, BIG "rate = 8/s }\n", 0, NSEC_PER_S / 8, 1);
        town_run(s.town, 20 * NSEC_PER_S);
        assert_true(judge_lanes(&s, isp) > 1000);
        for (unsigned i = 0; i < TOWN_SOURCES; i++)
            assert_true(reached(&s, isp, i) >= 985);
        finish(&s);
    }
}

/* From a lane on one shard to one on all and back; the shards hear of it at different times. */
static void a_lane_is_split_and_whole_again(void **unused)
{
    (void)unused;
    struct sim_isp *isp;
    struct story s = begin(4, 2, BIG "rate = 10/s connections = 8 }\n", NSEC_PER_S / 10, 1, &isp);
    town_run(s.town, 10 * NSEC_PER_S);
    for (unsigned i = 0; i < 3; i++) {
        change(&s, BIG "rate = 20/s burst = 4 connections = 6 }\n", 1100 * NSEC_PER_MS, NSEC_PER_S / 20, 4);
        town_run(s.town, 6 * NSEC_PER_S);
        assert_false(shard_settles(s.town->engine->shards[0].shard));
        change(&s, BIG "rate = 10/s connections = 8 }\n", 1100 * NSEC_PER_MS, NSEC_PER_S / 10, 1);
        town_run(s.town, 6 * NSEC_PER_S);
    }
    town_run(s.town, 10 * NSEC_PER_S);
    judge_lanes(&s, isp);
    for (unsigned i = 0; i < TOWN_SOURCES; i++) {
        assert_true(caller(isp, i)->peak <= 8);
        assert_true(reached(&s, isp, i) >= 985);
    }
    finish(&s);
}

static void connections_beyond_a_lower_limit_end(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 2; shards++) {
        struct sim_isp *isp;
        struct story s = begin(5, shards, BIG "connections = 12 }\n", 0, 1, &isp);
        town_run(s.town, 5 * NSEC_PER_S);
        change(&s, BIG "connections = 3 }\n", 50 * NSEC_PER_MS, 0, 1);
        town_run(s.town, 3 * NSEC_PER_S);
        for (unsigned i = 0; i < TOWN_SOURCES; i++) {
            assert_true(caller(isp, i)->peak <= 12 && caller(isp, i)->peak > 6);
            assert_true(caller(isp, i)->open <= 3);
            caller(isp, i)->peak = caller(isp, i)->open;
        }
        town_run(s.town, 5 * NSEC_PER_S);
        for (unsigned i = 0; i < TOWN_SOURCES; i++)
            assert_int_equal(caller(isp, i)->peak, 3);
        finish(&s);
    }
}

static void sources_come_and_go(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 2; shards++) {
        static const char both[] =
            "pool p { source 203.0.113.10 { name = s0 }\n source 203.0.113.11 { name = s1 } }\n" BIG "rate = 10/s }\n";
        static const char one[] = "pool p { source 203.0.113.10 { name = s0 } }\n" BIG "rate = 10/s }\n";
        static const char other[] =
            "pool p { source 203.0.113.12 { name = s2 }\n source 203.0.113.11 { name = s1 } }\n" BIG "rate = 10/s }\n";
        struct sim_isp *isp;
        struct story s = begin(6, shards, both, NSEC_PER_S / 10, 1, &isp);
        town_run(s.town, 10 * NSEC_PER_S);
        change(&s, one, 0, NSEC_PER_S / 10, 1);
        uint64_t gone = starts_from(isp, 1), stays = starts_from(isp, 0);
        assert_true(gone > 50);
        town_run(s.town, 10 * NSEC_PER_S);
        assert_int_equal(starts_from(isp, 1), gone);
        assert_true(starts_from(isp, 0) > stays + 95);
        assert_int_equal(caller(isp, 1)->open, 0);
        assert_int_equal(fake_redis_number(s.town->redis, "EXISTS sluice:source:s1"), 0);
        change(&s, other, 0, NSEC_PER_S / 10, 1);
        stays = starts_from(isp, 0);
        town_run(s.town, 10 * NSEC_PER_S);
        assert_int_equal(starts_from(isp, 0), stays);
        assert_true(starts_from(isp, 1) > gone + 80);
        assert_true(starts_from(isp, 2) > 80);
        judge_lanes(&s, isp);
        finish(&s);
    }
}

/* Two ISPs become one, and two again: what is sent to both together obeys the one's limits then. */
static void exchangers_are_grouped_anew(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 2; shards++) {
        struct sim_isp *isp;
        struct story s = begin(7, shards, "defaults { rate = 10/s connections = 4 }\n", NSEC_PER_S / 10, 1, &isp);
        struct sim_isp *second = sim_isp_plain(s.town->mail, "tall.example", 100 * NSEC_PER_MS, 1);
        town_campaign(s.town, "d", "");
        town_push(s.town, "d", "r%llu@tall.example", 0, 3000);
        town_run(s.town, 10 * NSEC_PER_S);
        judge_lanes(&s, isp);
        judge_lanes(&s, second);
        uint64_t before = judge_lanes(&s, isp) + judge_lanes(&s, second);
        town_reload(s.town,
                    "defaults { rate = 10/s connections = 4 }\n"
                    "isp group { mx = {.big.example, .tall.example} rate = 6/s connections = 4 }\n",
                    60 * NSEC_PER_MS);
        nsec from = sim_now(s.town->world);
        town_run(s.town, 30 * NSEC_PER_S);
        uint64_t after = judge_lanes(&s, isp) + judge_lanes(&s, second) - before;
        assert_in_range(after, TOWN_SOURCES * 6 * 27, TOWN_SOURCES * 6 * 30 + TOWN_SOURCES);
        for (unsigned i = 0; i < TOWN_SOURCES; i++) {
            size_t a, b, n = 0;
            nsec *starts = judge_starts(isp, addresses[i], &a), *more = judge_starts(second, addresses[i], &b);
            nsec *both = calloc(a + b + 1, sizeof *both);
            for (size_t j = 0, k = 0; j < a || k < b;) {
                nsec at = k == b || (j < a && starts[j] < more[k]) ? starts[j++] : more[k++];
                if (at > from)
                    both[n++] = at;
            }
            assert_int_equal(judge_rate(both, n, 1, throttle_interval(6, NSEC_PER_S)).excess, 0);
            assert_true(caller(isp, i)->open + caller(second, i)->open <= 4);
            free(starts);
            free(more);
            free(both);
        }
        town_reload(s.town, "defaults { rate = 10/s connections = 4 }\n", 0);
        town_run(s.town, 10 * NSEC_PER_S);
        judge_lanes(&s, isp);
        judge_lanes(&s, second);
        finish(&s);
    }
}

/* What is wrong is refused in one piece, and what takes a restart stays. */
static void a_bad_file_changes_nothing(void **unused)
{
    (void)unused;
    struct sim_isp *isp;
    struct story s = begin(8, 1, BIG "rate = 10/s }\n", NSEC_PER_S / 10, 1, &isp);
    char error[1024];
    town_run(s.town, 5 * NSEC_PER_S);
    assert_false(sim_engine_reload(s.town->engine, "hostname = x\nrate = 5/s\n", error, sizeof error));
    assert_non_null(strstr(error, ":2: no such option 'rate'"));
    uint64_t generation = s.town->config->generation;
    town_run(s.town, 5 * NSEC_PER_S);
    assert_int_equal(generation, 0);
    judge_lanes(&s, isp);
    change(&s, "smtp_port = 26\n" BIG "rate = 20/s }\n", 0, NSEC_PER_S / 20, 1);
    assert_int_equal(s.town->config->smtp_port, 25);
    assert_int_equal(s.town->config->generation, 1);
    town_run(s.town, NSEC_PER_S);
    char *ops = fake_redis_do(s.town->redis, "XRANGE sluice:ops - +");
    assert_non_null(strstr(ops, "reload\r\n$1\r\n1\r\n"));
    free(ops);
    assert_true(config_is_fixed("smtp_port") && !config_is_fixed("log_level"));
    town_run(s.town, 10 * NSEC_PER_S);
    judge_lanes(&s, isp);
    for (unsigned i = 0; i < TOWN_SOURCES; i++)
        assert_true(reached(&s, isp, i) >= 985);
    finish(&s);
}

/* ---- totals ---- */

/* All starts that the ISP saw, in order; the caller frees them. */
static nsec *all_starts(const struct sim_isp *isp, size_t *count)
{
    nsec *all = calloc(isp->mail->ledger.start_count + 1, sizeof *all);
    assert_non_null(all);
    *count = 0;
    for (size_t i = 0; i < isp->mail->ledger.start_count; i++)
        if (isp->mail->ledger.starts[i].server == isp->server.number)
            all[(*count)++] = isp->mail->ledger.starts[i].at;
    for (size_t i = 1; i < *count; i++) /* the ledger is nearly in order */
        for (size_t j = i; j > 0 && all[j - 1] > all[j]; j--) {
            nsec at = all[j];
            all[j] = all[j - 1];
            all[j - 1] = at;
        }
    return all;
}

static void all_sources_share_a_total(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 2; shards++) {
        struct sim_isp *isp;
        struct story s = begin(
            9, shards, BIG "rate = 10/s connections = 4 total.rate = 12/s total.burst = 3 total.connections = 7 }\n",
            NSEC_PER_S / 10, 1, &isp);
        town_run(s.town, 40 * NSEC_PER_S);
        judge_lanes(&s, isp);
        size_t count;
        nsec *starts = all_starts(isp, &count);
        nsec interval = throttle_interval(12, NSEC_PER_S);
        assert_int_equal(judge_rate(starts, count, 3, interval).excess, 0);
        assert_true(judge_rate_reached(starts, count, 3, interval) >= 990);
        assert_true(isp->peak <= 7);
        free(starts);
        change(&s, BIG "rate = 10/s connections = 4 total.rate = 4/s total.connections = 2 }\n", 100 * NSEC_PER_MS,
               NSEC_PER_S / 10, 1);
        nsec from = sim_now(s.town->world);
        town_run(s.town, 5 * NSEC_PER_S);
        isp->peak = isp->open;
        assert_true(isp->open <= 2);
        town_run(s.town, 30 * NSEC_PER_S);
        assert_true(isp->peak <= 2);
        starts = all_starts(isp, &count);
        size_t first = 0;
        while (first < count && starts[first] <= from)
            first++;
        interval = throttle_interval(4, NSEC_PER_S);
        assert_int_equal(judge_rate(starts + first, count - first, 3, interval).excess, 0);
        assert_true(judge_rate_reached(starts + first, count - first, 1, interval) >= 980);
        free(starts);
        finish(&s);
    }
}

/* Two engines, each with sources of its own, and one of them dies: whatever happens, the whole is not exceeded; and
 * when the dead one's share has run out the other has it all. */
static void engines_share_a_total(void **unused)
{
    (void)unused;
    static const char total[] = BIG "connections = 6 total.rate = 20/s total.burst = 4 total.connections = 8 }\n";
    char first[2048], second[2048];
    snprintf(first, sizeof first, "pool p { source 203.0.113.10 { name = s0 }\nsource 203.0.113.11 { name = s1 } }\n%s",
             total);
    struct sim_isp *isp;
    struct story s = begin(10, 1, first, 0, 1, &isp);
    town_push(s.town, "c", "r%llu@big.example", 3500, 1500);
    struct sim_host *host = sim_host_new(s.town->world, "second");
    sim_host_address(host, "203.0.113.20");
    snprintf(second, sizeof second,
             "shards = 1\nengine = second\nstate_dir = \"/nowhere\"\nredis = \"redis://192.0.2.1:6379\"\nhttp = \"\"\n"
             "hostname = second.example\nsessions_max = 256\npress_bytes = 4MiB\n"
             "pool p { source 203.0.113.20 { name = t0 } }\n%s",
             total);
    struct sim_engine *other = sim_engine_new(host, second, -1);
    town_run(s.town, 10 * NSEC_PER_S);
    sim_engine_start(other);
    for (unsigned i = 0; i < 3; i++) {
        town_run(s.town, 15 * NSEC_PER_S);
        assert_true(judge_lanes(&s, isp) > 0);
        sim_engine_crash(other);
        town_run(s.town, 20 * NSEC_PER_S);
        sim_engine_start(other);
    }
    sim_engine_crash(other);
    town_run(s.town, 12 * NSEC_PER_S);
    nsec alone = sim_now(s.town->world);
    town_run(s.town, 20 * NSEC_PER_S);
    size_t count, t0;
    nsec *starts = all_starts(isp, &count), interval = throttle_interval(20, NSEC_PER_S);
    free(judge_starts(isp, "203.0.113.20", &t0));
    assert_true(t0 > 100); /* it had its share */
    assert_int_equal(judge_rate(starts, count, 4, interval).excess, 0);
    assert_true(isp->peak <= 8);
    size_t from = 0;
    while (starts[from] < alone)
        from++;
    assert_true(judge_rate_reached(starts + from, count - from, 4, interval) >= 990);
    free(starts);
    sim_engine_start(other); /* it takes its leases again, and gives them back */
    town_run(s.town, 5 * NSEC_PER_S);
    assert_true(sim_engine_stop(other, 30 * NSEC_PER_S, 60 * NSEC_PER_S));
    sim_engine_free(other);
    finish(&s);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_most_specific_wins),
        cmocka_unit_test(connections_are_begun_at_their_rate),
        cmocka_unit_test(rates_change_while_mail_goes_out),
        cmocka_unit_test(a_lane_is_split_and_whole_again),
        cmocka_unit_test(connections_beyond_a_lower_limit_end),
        cmocka_unit_test(sources_come_and_go),
        cmocka_unit_test(exchangers_are_grouped_anew),
        cmocka_unit_test(a_bad_file_changes_nothing),
        cmocka_unit_test(all_sources_share_a_total),
        cmocka_unit_test(engines_share_a_total),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
