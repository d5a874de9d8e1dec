/* Stories of people who say "stop" to a part of the sending: it is obeyed within a second by every shard, until the end
 * that was named, whatever dies meanwhile. An argument chooses among them by name. */
#include "store/control.h"
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FEW 4 /* messages that may have been on their way when a word was said */

static struct sim_isp *isp_new(struct town *town, const char *name)
{
    struct mx_personality personality;
    mx_personality_init(&personality, name);
    struct sim_isp *isp = sim_isp_new(town->mail, name, &personality, 1, false);
    sim_isp_domain(isp, name, 300, 1);
    return isp;
}

static void redis_do(struct town *town, const struct slice *args, unsigned count)
{
    size_t n;
    char *reply = fake_redis_argv(town->redis, args, count, &n);
    assert_true(n && reply[0] != '-');
    free(reply);
}

static void wake(struct town *town)
{
    const struct slice args[] = {SLICE("PUBLISH"), SLICE("sluice:wake"), SLICE(":control")};
    redis_do(town, args, countof(args));
}

static void set(struct town *town, const char *scope, const char *value)
{
    const struct slice args[] = {SLICE("HSET"), SLICE("sluice:control"), slice_of(scope), slice_of(value)};
    redis_do(town, args, countof(args));
}

static int64_t wall_ms(struct town *town) { return io_wall(town->redis_io) / NSEC_PER_MS; }

/* As `sluice pause` and `sluice slow` write it; `length` 0: without an end. */
static void say(struct town *town, const char *scope, unsigned percent, nsec length)
{
    char value[CONTROL_VALUE_MAX];
    struct control_entry entry = {.kind = percent ? CONTROL_SLOW : CONTROL_PAUSE,
                                  .percent = percent,
                                  .until_ms = length ? wall_ms(town) + length / NSEC_PER_MS : 0,
                                  .at_ms = wall_ms(town),
                                  .by = SLICE("ann@desk"),
                                  .reason = SLICE("they asked for it")};
    control_write(&entry, value);
    set(town, scope, value);
}

static void resume(struct town *town, const char *scope)
{
    const struct slice args[] = {SLICE("HDEL"), SLICE("sluice:control"), slice_of(scope)};
    redis_do(town, args, countof(args));
    wake(town);
}

static bool stands_in(struct town *town, const char *command, const char *text)
{
    char *reply = fake_redis_do(town->redis, "%s", command);
    bool found = strstr(reply, text);
    free(reply);
    return found;
}

static void all_delivered(const struct town_account *account, uint64_t count)
{
    assert_int_equal(account->events[EVENT_DELIVERED], count);
    assert_int_equal(account->finals, count);
}

static const char paced[] = "isp big { mx = mx1.big.example  rate = 20/s  connections = 4 }\n";

static struct town *two_providers(uint64_t seed, unsigned shards, struct sim_isp **big, struct sim_isp **small)
{
    struct town *town = town_new(seed, shards, paced);
    *big = isp_new(town, "big.example");
    *small = isp_new(town, "small.example");
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 4000);
    return town;
}

/* ---- pauses ---- */

static void a_pause_with_an_end(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 3; shards += 2) {
        struct sim_isp *big, *small;
        struct town *town = two_providers(shards, shards, &big, &small);
        town_push(town, "c", "r%llu@small.example", 4000, 500);
        town_start(town);
        town_run(town, 5 * NSEC_PER_S);
        assert_in_range(big->server.mails, 100, 420);
        say(town, "isp:big", 0, 60 * NSEC_PER_S); /* the word on sluice:wake is lost */
        town_run(town, 1 * NSEC_PER_S);
        uint64_t mails = big->server.mails, connections = big->server.connections;
        town_push(town, "c", "r%llu@small.example", 4500, 500);
        town_run(town, 58 * NSEC_PER_S);
        assert_int_equal(big->server.mails, mails);
        assert_int_equal(big->server.connections, connections);
        assert_int_equal(judge_accepted(small), 1000); /* nobody else is held up */
        town_run(town, 3 * NSEC_PER_S);
        assert_true(big->server.mails > mails + 20); /* it has ended by itself */
        assert_false(stands_in(town, "HGETALL sluice:control", "isp:big"));
        assert_true(stands_in(town, "XRANGE sluice:ops - +", "its time is over"));
        struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
        all_delivered(&account, 5000);
        town_free(town);
    }
}

static void a_pause_that_is_taken_back(void **unused)
{
    (void)unused;
    struct sim_isp *big, *small;
    struct town *town = two_providers(11, 2, &big, &small);
    town_start(town);
    town_run(town, 5 * NSEC_PER_S);
    say(town, "isp:big", 0, 0);
    wake(town);
    town_run(town, 100 * NSEC_PER_MS); /* at once */
    uint64_t mails = big->server.mails;
    town_run(town, 600 * NSEC_PER_S);
    assert_in_range(big->server.mails, mails, mails + FEW);
    mails = big->server.mails;
    resume(town, "isp:big");
    town_run(town, 1 * NSEC_PER_S);
    assert_true(big->server.mails > mails);
    struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
    all_delivered(&account, 4000);
    town_free(town);
}

/* What is known of it is in Redis: neither a crash, a restart nor a Redis that is away for a while lifts it. */
static void a_pause_survives(void **unused)
{
    (void)unused;
    struct sim_isp *big, *small;
    struct town *town = two_providers(21, 2, &big, &small);
    town_start(town);
    town_run(town, 5 * NSEC_PER_S);
    say(town, "isp:big", 0, 0);
    wake(town);
    town_run(town, 1 * NSEC_PER_S);
    uint64_t mails = big->server.mails;
    town_crash(town);
    town_run(town, 5 * NSEC_PER_S);
    town_start(town);
    town_run(town, 30 * NSEC_PER_S);
    assert_int_equal(big->server.mails, mails);
    town_redis_stop(town);
    town_run(town, 20 * NSEC_PER_S);
    town_redis_start(town);
    town_run(town, 30 * NSEC_PER_S);
    assert_int_equal(big->server.mails, mails);
    town_finish(town);
    town_start(town);
    town_run(town, 30 * NSEC_PER_S);
    assert_int_equal(big->server.mails, mails);
    resume(town, "isp:big");
    struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
    assert_int_equal(account.finals + account.in_doubt_open, 4000);
    town_free(town);
}

/* As long as it cannot be known what people said, nothing starts. */
static void nothing_starts_before_it_is_known(void **unused)
{
    (void)unused;
    struct sim_isp *big, *small;
    struct town *town = two_providers(31, 2, &big, &small);
    free(fake_redis_do(town->redis, "SET sluice:control nonsense"));
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    assert_int_equal(big->server.mails, 0);
    free(fake_redis_do(town->redis, "DEL sluice:control"));
    struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
    all_delivered(&account, 4000);
    town_free(town);
}

/* A word that nobody understands stops its scope rather than nothing. */
static void a_word_that_is_not_understood(void **unused)
{
    (void)unused;
    struct sim_isp *big, *small;
    struct town *town = two_providers(41, 1, &big, &small);
    town_push(town, "c", "r%llu@small.example", 4000, 100);
    set(town, "isp:big", "go faster");
    set(town, "everything", "pause 0 0 0 x ");
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    assert_int_equal(big->server.mails, 0);
    assert_int_equal(judge_accepted(small), 100);
    resume(town, "isp:big");
    struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
    all_delivered(&account, 4100);
    town_free(town);
}

static uint64_t starts_of(const struct sim_isp *isp, const char *source)
{
    size_t count;
    free(judge_starts(isp, source, &count));
    return count;
}

/* A source, or one lane of it, that rests leaves its part to the others of its pool. */
static void a_source_that_rests(void **unused)
{
    static const char *const scopes[] = {"source:s0", "lane:s0/big"};
    (void)unused;
    for (size_t i = 0; i < countof(scopes); i++) {
        struct sim_isp *big, *small;
        struct town *town = two_providers(51 + i, 2, &big, &small);
        town_push(town, "c", "r%llu@small.example", 4000, 2000);
        town_start(town);
        town_run(town, 5 * NSEC_PER_S);
        assert_true(starts_of(big, "203.0.113.10") > 20);
        say(town, scopes[i], 0, 0);
        wake(town);
        town_run(town, 1 * NSEC_PER_S);
        uint64_t at_big = starts_of(big, "203.0.113.10"), at_small = starts_of(small, "203.0.113.10");
        town_push(town, "c", "r%llu@small.example", 6000, 2000);
        struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
        all_delivered(&account, 8000);
        assert_int_equal(starts_of(big, "203.0.113.10"), at_big);
        assert_int_equal(starts_of(small, "203.0.113.10") > at_small, i == 1); /* one lane is not the source */
        town_free(town);
    }
}

static void a_campaign_that_is_held(void **unused)
{
    static const char *const scopes[] = {"campaign:c", "pool:p"};
    (void)unused;
    for (size_t i = 0; i < countof(scopes); i++) {
        struct sim_isp *big, *small;
        struct town *town = two_providers(61 + i, 2, &big, &small);
        town_start(town);
        town_run(town, 5 * NSEC_PER_S);
        say(town, scopes[i], 0, 40 * NSEC_PER_S);
        wake(town);
        town_run(town, 1 * NSEC_PER_S);
        uint64_t mails = big->server.mails;
        town_run(town, 20 * NSEC_PER_S);
        assert_string_equal(town_phase(town, "c"), "waiting");
        assert_true(stands_in(town, "HGETALL sluice:{c}:status", "paused by hand: they asked for it"));
        assert_false(stands_in(town, "HGETALL sluice:{c}:campaign", "state")); /* which is people's */
        town_run(town, 18 * NSEC_PER_S);
        assert_int_equal(big->server.mails, mails);
        town_run(town, 4 * NSEC_PER_S);
        assert_true(big->server.mails > mails);
        struct town_account account = town_end(town, "c", 600 * NSEC_PER_S);
        all_delivered(&account, 4000);
        town_free(town);
    }
}

/* ---- slowing down ---- */

/* Half of a rate is kept as exactly as the whole, and the whole comes back. */
static void half_a_rate(void **unused)
{
    (void)unused;
    struct town *town = town_new(71, 2, "isp big { mx = mx1.big.example  rate = 10/s }\n");
    struct sim_isp *big = isp_new(town, "big.example");
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 8000);
    town_start(town);
    town_run(town, 10 * NSEC_PER_S);
    say(town, "isp:big", 80, 0);
    say(town, "lane:s0/big", 50, 60 * NSEC_PER_S); /* the smaller one holds */
    wake(town);
    town_run(town, 1 * NSEC_PER_S);
    size_t before, during, after;
    free(judge_starts(big, "203.0.113.10", &before));
    town_run(town, 57 * NSEC_PER_S);
    nsec *starts = judge_starts(big, "203.0.113.10", &during);
    struct judge_window worst = judge_rate(starts + before, during - before, 1, NSEC_PER_S / 5);
    assert_int_equal(worst.excess, 0);
    assert_in_range(judge_rate_reached(starts + before, during - before, 1, NSEC_PER_S / 5), 990, 1000);
    free(starts);
    resume(town, "isp:big");
    town_run(town, 3 * NSEC_PER_S);
    free(judge_starts(big, "203.0.113.10", &before));
    town_run(town, 60 * NSEC_PER_S);
    starts = judge_starts(big, "203.0.113.10", &after);
    assert_in_range(judge_rate_reached(starts + before, after - before, 1, NSEC_PER_S / 10), 990, 1000);
    free(starts);
    struct town_account account = town_end(town, "c", 1200 * NSEC_PER_S);
    all_delivered(&account, 8000);
    town_free(town);
}

/* Without a rate it is the connections of which a part is left. */
static void half_the_connections(void **unused)
{
    (void)unused;
    struct town *town = town_new(81, 1, "isp big { mx = mx1.big.example  connections = 10 }\n");
    struct mx_personality personality;
    mx_personality_init(&personality, "big.example");
    personality.latency[MX_BODY] = (struct mx_latency){1 * NSEC_PER_S, 0};
    struct sim_isp *big = sim_isp_new(town->mail, "big.example", &personality, 1, false);
    sim_isp_domain(big, "big.example", 300, 1);
    town_campaign(town, "c", "");
    town_push(town, "c", "r%llu@big.example", 0, 2000);
    set(town, "isp:big", "slow 30 0 0 ann@desk ");
    town_start(town);
    town_run(town, 20 * NSEC_PER_S);
    assert_int_equal(judge_connections_peak(big, "203.0.113.10"), 3);
    resume(town, "isp:big");
    town_run(town, 20 * NSEC_PER_S);
    assert_int_equal(judge_connections_peak(big, "203.0.113.10"), 10);
    struct town_account account = town_end(town, "c", 1200 * NSEC_PER_S);
    all_delivered(&account, 2000);
    town_free(town);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pause_with_an_end),
        cmocka_unit_test(a_pause_that_is_taken_back),
        cmocka_unit_test(a_pause_survives),
        cmocka_unit_test(nothing_starts_before_it_is_known),
        cmocka_unit_test(a_word_that_is_not_understood),
        cmocka_unit_test(a_source_that_rests),
        cmocka_unit_test(a_campaign_that_is_held),
        cmocka_unit_test(half_a_rate),
        cmocka_unit_test(half_the_connections),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("by hand", tests, NULL, NULL);
}
