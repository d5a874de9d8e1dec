/* lane.c: who waits where, who is next, and what a lane may do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "flow/campaign.h"
#include "flow/lane.h"
#include "flow/ledger.h"
#include "flow/site.h"

enum { ATTEMPTS = 64 };

struct fixture {
    struct arena arena;
    struct config config;
    struct config_source sources[3];
    struct config_pool pools[2];
    struct config_limits limits;
    const struct config_limits *table[6]; /* what holds for each source, at ISPs and at relays */
    struct lanes lanes;
    struct site sites[3];
    struct attempt attempts[ATTEMPTS];
};

/* Sources a and b stand in pool 0, b and c in pool 1. */
static void begin(struct fixture *f, unsigned shard, unsigned shards)
{
    memset(f, 0, sizeof *f);
    strcpy(f->sources[0].name, "a");
    strcpy(f->sources[1].name, "b");
    strcpy(f->sources[2].name, "c");
    for (unsigned i = 0; i < countof(f->sources); i++)
        f->sources[i].warmup = -1;
    f->pools[0] = (struct config_pool){.name = "one", .source_count = 2, .sources = {0, 1}};
    f->pools[1] = (struct config_pool){.name = "two", .source_count = 2, .sources = {1, 2}};
    f->config = (struct config){.sources = f->sources, .source_count = 3, .pools = f->pools, .pool_count = 2};
    f->limits = (struct config_limits){.connections = 5, .burst = 1, .rate_per = NSEC_PER_S, .connection_burst = 1};
    for (unsigned i = 0; i < countof(f->table); i++)
        f->table[i] = &f->limits;
    f->config.lanes = f->table;
    assert_true(arena_open(&f->arena, 64 << 20));
    assert_true(lanes_open(&f->lanes, &f->arena, &f->config, shard, shards, ATTEMPTS));
    for (unsigned i = 0; i < 3; i++)
        f->lanes.held_until[i] = NSEC_NEVER;
    for (unsigned i = 0; i < ATTEMPTS; i++)
        f->attempts[i].seq = i;
}

static void end(struct fixture *f) { arena_drop(&f->arena); }

static struct backlog *backlog_of(struct fixture *f, unsigned pool)
{
    struct backlog *backlog = lanes_backlog(&f->lanes, pool, SLICE("isp"), 77, 0);
    assert_non_null(backlog);
    return backlog;
}

static void add(struct fixture *f, struct backlog *backlog, unsigned attempt, unsigned site)
{
    f->attempts[attempt].site = &f->sites[site];
    assert_true(backlog_add(&f->lanes, backlog, &f->attempts[attempt], false, 0));
}

static void a_source_in_two_pools_is_one_lane(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, 0, 1);
    struct backlog *one = backlog_of(&f, 0), *two = backlog_of(&f, 1);
    assert_ptr_not_equal(one, two);
    struct lane *b = backlog_lane(&f.lanes, one, SLICE("b"));
    assert_ptr_equal(b, backlog_lane(&f.lanes, two, SLICE("b")));
    assert_null(backlog_lane(&f.lanes, one, SLICE("c")));
    assert_int_equal(b->backlog_count, 2);
    /* It takes from both pools in turn. */
    for (unsigned i = 0; i < 4; i++)
        add(&f, one, i, 0);
    for (unsigned i = 4; i < 8; i++)
        add(&f, two, i, 0);
    unsigned from_one = 0;
    for (unsigned i = 0; i < 4; i++)
        from_one += lane_take(&f.lanes, b, &f.sites[0], 0)->seq < 4;
    assert_int_equal(from_one, 2);
    end(&f);
}

static void a_retry_waits_for_its_last_source(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, 0, 1);
    struct backlog *one = backlog_of(&f, 0);
    struct lane *a = backlog_lane(&f.lanes, one, SLICE("a")), *b = backlog_lane(&f.lanes, one, SLICE("b"));
    add(&f, &a->own, 0, 0);
    add(&f, one, 1, 0);
    assert_int_equal(lane_waiting_at(b, &f.sites[0]), 1);
    assert_int_equal(lane_waiting_at(a, &f.sites[0]), 2);
    assert_int_equal(lane_take(&f.lanes, a, &f.sites[0], 0)->seq, 0);
    assert_int_equal(lane_take(&f.lanes, b, &f.sites[0], 0)->seq, 1);
    assert_null(lane_take(&f.lanes, a, &f.sites[0], 0));
    assert_int_equal(f.lanes.waiting, 0);
    end(&f);
}

static void a_session_is_given_its_own_site(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, 0, 1);
    struct backlog *one = backlog_of(&f, 0);
    struct lane *a = backlog_lane(&f.lanes, one, SLICE("a"));
    add(&f, one, 0, 0);
    add(&f, one, 1, 1);
    add(&f, one, 2, 0);
    assert_int_equal(lane_take(&f.lanes, a, &f.sites[1], 0)->seq, 1);
    assert_null(lane_take(&f.lanes, a, &f.sites[1], 0));
    /* One that comes back goes to the front. */
    struct attempt *first = lane_take(&f.lanes, a, &f.sites[0], 0);
    assert_int_equal(first->seq, 0);
    assert_true(backlog_add(&f.lanes, one, first, true, 0));
    assert_int_equal(lane_take(&f.lanes, a, &f.sites[0], 0)->seq, 0);
    assert_int_equal(lane_take(&f.lanes, a, &f.sites[0], 0)->seq, 2);
    end(&f);
}

static bool any_site(void *context, struct lane *lane, struct site *site, unsigned waiting)
{
    (void)lane;
    (void)waiting;
    return site != context;
}

static void sites_have_their_turns(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, 0, 1);
    struct backlog *one = backlog_of(&f, 0);
    struct lane *a = backlog_lane(&f.lanes, one, SLICE("a"));
    for (unsigned i = 0; i < 3; i++)
        add(&f, one, i, i);
    bool seen[3] = {false};
    for (unsigned i = 0; i < 3; i++) {
        struct site *site = lane_site(a, any_site, NULL);
        assert_non_null(site);
        seen[site - f.sites] = true;
    }
    assert_true(seen[0] && seen[1] && seen[2]);
    assert_ptr_not_equal(lane_site(a, any_site, &f.sites[1]), &f.sites[1]);
    end(&f);
}

static void a_lane_says_why_it_waits(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, 0, 1);
    f.limits.rate = 2; /* in a second */
    struct lane *a = backlog_lane(&f.lanes, backlog_of(&f, 0), SLICE("a"));
    nsec when;
    assert_int_equal(lane_ask(&f.lanes, a, 0, &when), LANE_RATE);
    assert_int_equal(when, NSEC_PER_S / 2); /* it begins empty */
    assert_int_equal(lane_ask(&f.lanes, a, when, &when), LANE_READY);
    lane_start(a, NSEC_PER_S / 2);
    assert_int_equal(lane_ask(&f.lanes, a, NSEC_PER_S - 1, &when), LANE_RATE);
    assert_int_equal(lane_ask(&f.lanes, a, NSEC_PER_S, &when), LANE_READY);
    f.lanes.held_until[0] = NSEC_PER_S;
    assert_int_equal(lane_ask(&f.lanes, a, NSEC_PER_S, &when), LANE_SOURCE);
    f.lanes.held_until[0] = NSEC_NEVER;
    nsec until = lane_turned_away(a, NSEC_PER_S);
    assert_int_equal(until, 2 * NSEC_PER_S);
    assert_int_equal(lane_ask(&f.lanes, a, NSEC_PER_S, &when), LANE_HELD);
    assert_int_equal(when, until);
    assert_int_equal(lane_turned_away(a, until) - until, 2 * NSEC_PER_S); /* longer each time */
    lane_opened(a, 0);
    lane_ready(a);
    lane_worked(a);
    assert_int_equal(lane_ask(&f.lanes, a, until, &when), LANE_READY); /* the one that works goes on */
    assert_int_equal(lane_turned_away(a, 90 * NSEC_PER_S), 91 * NSEC_PER_S);
    assert_int_equal(lane_turned_away(a, 90 * NSEC_PER_S), 91 * NSEC_PER_S); /* those that fail together fail once */
    assert_false(lane_may_open(&f.lanes, a, 90 * NSEC_PER_S, &when));
    lane_closed(a, true, true);
    assert_true(lane_may_open(&f.lanes, a, 90 * NSEC_PER_S, &when)); /* as many as were let in */
    end(&f);
}

static void connections_are_counted(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, 0, 1);
    struct lane *a = backlog_lane(&f.lanes, backlog_of(&f, 0), SLICE("a"));
    nsec when;
    for (unsigned i = 0; i < 5; i++) {
        assert_true(lane_may_open(&f.lanes, a, 0, &when));
        lane_opened(a, 0);
    }
    assert_false(lane_may_open(&f.lanes, a, 0, &when));
    lane_ready(a);
    lane_closed(a, true, false);
    assert_int_equal(a->open, 4);
    assert_int_equal(a->connecting, 4);
    assert_true(lane_may_open(&f.lanes, a, 0, &when));
    end(&f);
}

/* Shares of a lane that is split add up; one that cannot be split is served by one shard alone. */
static void shards_share_a_lane(void **unused)
{
    (void)unused;
    unsigned connections = 0;
    for (unsigned shard = 0; shard < 3; shard++) {
        struct fixture f;
        begin(&f, shard, 3);
        assert_int_equal(lanes_shard_of(&f.lanes, 0, SLICE("isp"), 5), -1);
        connections += backlog_lane(&f.lanes, backlog_of(&f, 0), SLICE("a"))->connections;
        f.limits.connections = 2;
        assert_int_equal(lanes_shard_of(&f.lanes, 0, SLICE("isp"), 5), 5 % 3);
        f.limits.connections = 5;
        f.limits.rate = 10;
        assert_int_equal(lanes_shard_of(&f.lanes, 0, SLICE("isp"), 7), 7 % 3); /* burst 1 cannot be split */
        f.limits.burst = 3;
        assert_int_equal(lanes_shard_of(&f.lanes, 0, SLICE("isp"), 7), -1);
        f.limits.connection_rate = 1;
        f.limits.connection_rate_per = NSEC_PER_S;
        assert_int_equal(lanes_shard_of(&f.lanes, 0, SLICE("isp"), 7), 7 % 3);
        f.limits.connection_burst = 4;
        assert_int_equal(lanes_shard_of(&f.lanes, 0, SLICE("isp"), 7), -1);
        end(&f);
    }
    assert_int_equal(connections, 5);
}

/* Where one of a pool's lanes can be split all shards serve, and the lane that is whole is on its home shard alone. */
static void lanes_of_a_pool_differ(void **unused)
{
    (void)unused;
    unsigned home = isp_bucket(77) % 3, whole = 0;
    for (unsigned shard = 0; shard < 3; shard++) {
        struct fixture f;
        begin(&f, shard, 3);
        struct config_limits small = f.limits;
        small.connections = 2;
        f.table[0] = &small;
        assert_int_equal(lanes_shard_of(&f.lanes, 0, SLICE("isp"), isp_bucket(77)), -1);
        assert_false(lanes_splits(&f.lanes, 0, SLICE("isp")));
        assert_true(lanes_splits(&f.lanes, 1, SLICE("isp")));
        struct backlog *backlog = backlog_of(&f, 0);
        struct lane *a = backlog_lane(&f.lanes, backlog, SLICE("a"));
        assert_int_equal(backlog->lane_count, shard == home ? 2 : 1);
        assert_int_equal(a != NULL, shard == home);
        whole += a ? a->connections : 0;
        assert_non_null(backlog_lane(&f.lanes, backlog, SLICE("b")));
        end(&f);
    }
    assert_int_equal(whole, 2);
}

/* A throttle of its own, beside that of messages. */
static void connections_are_begun_at_their_rate(void **unused)
{
    (void)unused;
    struct fixture f;
    nsec when;
    begin(&f, 0, 1);
    f.limits.connection_rate = 2; /* in a second */
    f.limits.connection_rate_per = NSEC_PER_S;
    f.limits.connection_burst = 2;
    struct lane *a = backlog_lane(&f.lanes, backlog_of(&f, 0), SLICE("a"));
    assert_false(lane_may_open(&f.lanes, a, 0, &when)); /* it begins empty */
    assert_int_equal(when, NSEC_PER_S / 2);
    assert_true(lane_may_open(&f.lanes, a, NSEC_PER_S, &when));
    lane_opened(a, NSEC_PER_S);
    assert_true(lane_may_open(&f.lanes, a, NSEC_PER_S, &when));
    lane_opened(a, NSEC_PER_S);
    assert_false(lane_may_open(&f.lanes, a, NSEC_PER_S, &when));
    assert_int_equal(when, 3 * NSEC_PER_S / 2);
    assert_int_equal(lane_ask(&f.lanes, a, NSEC_PER_S, &when), LANE_READY); /* messages go on */
    end(&f);
}

static void a_campaign_can_be_found(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, 0, 1);
    struct backlog *one = backlog_of(&f, 0), *two = backlog_of(&f, 1);
    static struct campaign campaign = {.number = 1, .weight = 100};
    struct campaign *mine = &campaign;
    add(&f, one, 0, 0);
    f.attempts[1].campaign = f.attempts[2].campaign = mine;
    add(&f, two, 1, 1);
    add(&f, &backlog_lane(&f.lanes, two, SLICE("c"))->own, 2, 1);
    struct attempt *first = lanes_take_of(&f.lanes, mine), *second = first->next;
    assert_int_equal(first->seq + second->seq, 3);
    assert_null(second->next);
    assert_null(lanes_take_of(&f.lanes, mine));
    assert_int_equal(f.lanes.waiting, 1);
    end(&f);
}

static void campaigns_share_by_weight(void **unused)
{
    (void)unused;
    struct fixture f;
    struct campaign heavy = {.number = 1, .weight = 300}, light = {.number = 2, .weight = 100};
    begin(&f, 0, 1);
    struct backlog *one = backlog_of(&f, 0), *two = backlog_of(&f, 1);
    struct lane *b = backlog_lane(&f.lanes, one, SLICE("b"));
    for (unsigned i = 0; i < 60; i++)
        f.attempts[i].campaign = i < 30 ? &heavy : &light;
    /* In whatever pool they wait, and as retries of the lane: the heavy one came first, and all of it. */
    for (unsigned i = 0; i < 60; i++)
        add(&f, i % 3 == 0 ? &b->own : i % 3 == 1 ? one : two, i, 0);
    unsigned taken[3] = {0};
    for (unsigned i = 0; i < 40; i++) {
        struct attempt *attempt = lane_take(&f.lanes, b, &f.sites[0], 0);
        lane_charge(b, attempt->campaign);
        taken[attempt->campaign->number]++;
        assert_in_range(taken[1] + 3, 3 * taken[2], 3 * taken[2] + 6);
    }
    assert_int_equal(taken[1], 30);
    assert_int_equal(taken[2], 10);
    end(&f);
}

static void one_that_must_not_wait_is_first(void **unused)
{
    (void)unused;
    struct fixture f;
    struct campaign bulk = {.number = 1, .weight = 1000}, high = {.number = 2, .weight = 1, .high = true};
    begin(&f, 0, 1);
    struct backlog *one = backlog_of(&f, 0), *two = backlog_of(&f, 1);
    struct lane *b = backlog_lane(&f.lanes, one, SLICE("b"));
    for (unsigned i = 0; i < 20; i++) {
        f.attempts[i].campaign = i < 15 ? &bulk : &high;
        add(&f, i < 5 ? &b->own : i < 15 ? one : two, i, i % 2);
    }
    assert_true(lane_waits_high(b) && lane_waits_high_at(b, &f.sites[0]) && lane_waits_high_at(b, &f.sites[1]));
    for (unsigned i = 0; i < 5; i++) {
        struct site *site = lane_site(b, any_site, NULL);
        struct attempt *attempt = lane_take(&f.lanes, b, site, 0);
        lane_charge(b, attempt->campaign);
        assert_ptr_equal(attempt->campaign, &high);
    }
    assert_false(lane_waits_high(b) || lane_waits_high_at(b, &f.sites[0]));
    assert_ptr_equal(lane_take(&f.lanes, b, &f.sites[1], 0)->campaign, &bulk);
    end(&f);
}

/* Whoever fills a backlog alone makes room for others, up to their share, and never for less than that. */
static void who_has_more_than_its_share_yields(void **unused)
{
    (void)unused;
    struct fixture f;
    struct lease fresh = {.list = -1}, parked = {.list = 0};
    struct campaign heavy = {.number = 1, .weight = 300}, light = {.number = 2, .weight = 100};
    begin(&f, 0, 1);
    struct backlog *one = backlog_of(&f, 0);
    for (unsigned i = 0; i < 40; i++) {
        f.attempts[i].campaign = i < 20 ? &light : &heavy;
        f.attempts[i].lease = i < 2 ? &parked : &fresh;
    }
    for (unsigned i = 0; i < 20; i++)
        add(&f, one, i, i % 2);
    assert_null(backlog_yield(&f.lanes, one, &light));
    unsigned yielded = 0;
    for (unsigned i = 20; i < 40; i++) {
        struct attempt *attempt = backlog_yield(&f.lanes, one, &heavy);
        if (!attempt)
            break;
        assert_true(attempt->campaign == &light && attempt->seq == 19 - yielded);
        add(&f, one, i, 0);
        yielded++;
    }
    assert_int_equal(one->waiting, 20);
    assert_in_range(yielded, 13, 15); /* of the light one's two rows each counts for itself */
    assert_null(backlog_yield(&f.lanes, one, &light));
    while (backlog_shed(&f.lanes, one))
        ;
    assert_int_equal(one->waiting, 2); /* what was parked once is not parked again */
    end(&f);
}

static void idle_lanes_are_forgotten(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, 0, 1);
    f.limits.rate = 1;
    f.limits.rate_per = 1000 * NSEC_PER_S;
    struct backlog *one = backlog_of(&f, 0);
    struct lane *a = backlog_lane(&f.lanes, one, SLICE("a"));
    assert_int_equal(lanes_forget(&f.lanes, 100 * NSEC_PER_S), 0); /* its first start is still owed a wait */
    lane_start(a, 1000 * NSEC_PER_S);
    assert_int_equal(lanes_forget(&f.lanes, 1500 * NSEC_PER_S), 0); /* a new lane must not forget that start */
    assert_int_equal(lanes_forget(&f.lanes, 2001 * NSEC_PER_S), 1);
    assert_int_equal(pool_in_use(&f.lanes.lane_pool), 0);
    assert_int_equal(pool_in_use(&f.lanes.backlog_pool), 0);
    end(&f);
}

static enum lane_why asked(const struct fixture *f, const struct lane *lane, nsec now, nsec *when)
{
    return lane_ask(&f->lanes, lane, now, when);
}

/* A relay's lane: told to be slower it waits, twice as long when it is told again soon, and never beyond the most. */
static void a_relay_slows_its_lane_down(void **unused)
{
    (void)unused;
    struct fixture f;
    begin(&f, 0, 1);
    struct config_relay relay = {.name = "r", .limits = f.limits};
    f.config.relays = &relay;
    f.config.relay_count = 1;
    assert_true(lanes_open(&f.lanes, &f.arena, &f.config, 0, 1, ATTEMPTS));
    f.lanes.held_until[0] = f.lanes.held_until[1] = NSEC_NEVER;
    struct backlog *backlog = lanes_backlog(&f.lanes, 0, SLICE("r"), 5, 0);
    struct lane *lane = backlog_lane(&f.lanes, backlog, SLICE("a"));
    assert_int_equal(lane->relay, 0);
    assert_int_equal(backlog_of(&f, 0)->lanes[0]->relay, -1);

    nsec now = 0, when, most = 0;
    assert_int_equal(asked(&f, lane, now, &when), LANE_READY);
    for (unsigned i = 0; i < 15; i++) {
        nsec until = lane_slow_down(lane, LANE_SLOW, now);
        assert_int_equal(lane_slow_down(lane, LANE_SLOW, now), until); /* several are told together */
        assert_int_equal(until - now, nsec_min(NSEC_PER_S << i, 600 * NSEC_PER_S));
        assert_int_equal(asked(&f, lane, until - 1, &when), LANE_SLOW);
        assert_int_equal(when, until);
        assert_false(lane_may_open(&f.lanes, lane, until - 1, &when));
        assert_int_equal(asked(&f, lane, until, &when), LANE_READY);
        most = until - now;
        now = until + 1;
    }
    assert_int_equal(most, 600 * NSEC_PER_S);
    now += 600 * NSEC_PER_S; /* all was well for as long: it begins anew */
    assert_int_equal(lane_slow_down(lane, LANE_SLOW, now), now + NSEC_PER_S);

    /* A quota waits longer, and is not cut short by a rate. */
    nsec quota = lane_slow_down(lane, LANE_QUOTA, now);
    assert_int_equal(quota, now + 600 * NSEC_PER_S);
    assert_int_equal(lane_slow_down(lane, LANE_SLOW, now + 1), quota);
    assert_int_equal(asked(&f, lane, now + 1, &when), LANE_QUOTA);
    for (unsigned i = 1; i < 5; i++)
        quota = lane_slow_down(lane, LANE_QUOTA, quota);
    assert_int_equal(lane_slow_down(lane, LANE_QUOTA, quota), quota + 3600 * NSEC_PER_S);

    /* A stopped relay stops it, whatever else there is; but a probe would find out only when it may start. */
    f.lanes.stopped[0] = true;
    assert_int_equal(asked(&f, lane, now, &when), LANE_STOPPED);
    assert_int_equal(when, NSEC_NEVER);
    assert_false(lane_may_probe(&f.lanes, lane, now));
    assert_true(lane_may_probe(&f.lanes, lane, NSEC_NEVER - 1));
    assert_int_equal(asked(&f, backlog_of(&f, 0)->lanes[0], now, &when), LANE_READY);
    end(&f);
}

static void gates_shut_for_their_own_reasons(void **unused)
{
    (void)unused;
    struct fixture f;
    nsec when;
    begin(&f, 0, 1);
    struct lane *lane = backlog_of(&f, 0)->lanes[0];
    lane_gate(lane, LANE_PAUSED, 50);
    lane_gate(lane, LANE_WARMUP, NSEC_NEVER);
    assert_int_equal(lane_ask(&f.lanes, lane, 10, &when), LANE_WARMUP); /* the one that opens last is the reason */
    assert_int_equal(when, NSEC_NEVER);
    assert_false(lane_may_open(&f.lanes, lane, 10, &when));
    lane_gate(lane, LANE_WARMUP, 0); /* opens its own gate alone */
    assert_int_equal(lane_ask(&f.lanes, lane, 10, &when), LANE_PAUSED);
    assert_int_equal(when, 50);
    assert_int_equal(lane_ask(&f.lanes, lane, 50, &when), LANE_READY);
    lane_allow(lane, 2);
    lane_opened(lane, 60);
    assert_true(lane_may_open(&f.lanes, lane, 60, &when));
    lane_opened(lane, 60);
    assert_false(lane_may_open(&f.lanes, lane, 60, &when));
    lane_allow(lane, 1000); /* never more than was configured */
    assert_int_equal(lane->allowed, 5);
    end(&f);
}

/* All lanes to an ISP count together, and only while this engine has its share. */
static void a_total_is_of_all_lanes(void **unused)
{
    (void)unused;
    struct fixture f;
    nsec when;
    begin(&f, 0, 1);
    struct backlog *backlog = backlog_of(&f, 0);
    struct lane *a = backlog_lane(&f.lanes, backlog, SLICE("a")), *b = backlog_lane(&f.lanes, backlog, SLICE("b"));
    struct lane_total total = {.until = 10 * NSEC_PER_S, .connections = 1};
    throttle_init(&total.starts, NSEC_PER_S, 1, 0);
    throttle_init(&total.connects, 0, 1, 0);
    a->total = b->total = &total;
    assert_int_equal(lane_ask(&f.lanes, a, NSEC_PER_S, &when), LANE_READY);
    lane_start(a, NSEC_PER_S);
    assert_int_equal(lane_ask(&f.lanes, b, NSEC_PER_S, &when), LANE_TOTAL);
    assert_int_equal(when, 2 * NSEC_PER_S);
    lane_opened(a, NSEC_PER_S);
    assert_false(lane_may_begin(b, 2 * NSEC_PER_S, &when)); /* the one connection is a's */
    lane_closed(a, false, false);
    assert_true(lane_may_begin(b, 2 * NSEC_PER_S, &when));
    assert_int_equal(lane_ask(&f.lanes, b, total.until - 1, &when), LANE_READY);
    assert_int_equal(lane_ask(&f.lanes, b, total.until, &when), LANE_TOTAL); /* another engine may have it now */
    assert_int_equal(when, NSEC_NEVER);
    assert_false(lane_may_begin(b, total.until, &when));
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gates_shut_for_their_own_reasons),
        cmocka_unit_test(a_source_in_two_pools_is_one_lane),
        cmocka_unit_test(a_retry_waits_for_its_last_source),
        cmocka_unit_test(a_session_is_given_its_own_site),
        cmocka_unit_test(sites_have_their_turns),
        cmocka_unit_test(a_lane_says_why_it_waits),
        cmocka_unit_test(connections_are_counted),
        cmocka_unit_test(shards_share_a_lane),
        cmocka_unit_test(lanes_of_a_pool_differ),
        cmocka_unit_test(connections_are_begun_at_their_rate),
        cmocka_unit_test(a_campaign_can_be_found),
        cmocka_unit_test(campaigns_share_by_weight),
        cmocka_unit_test(one_that_must_not_wait_is_first),
        cmocka_unit_test(who_has_more_than_its_share_yields),
        cmocka_unit_test(idle_lanes_are_forgotten),
        cmocka_unit_test(a_total_is_of_all_lanes),
        cmocka_unit_test(a_relay_slows_its_lane_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
