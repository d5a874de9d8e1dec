/* A campaign whose events are not read: at events_max it waits, whoever reads sets it going, and nothing is lost. */
#include "town.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What may come after the limit: what a shard has leased by then, and what it sends until it looks again. */
enum { EVENTS_MAX = 1000, RECIPIENTS = 12000, AFTER = 3000 + 1000 + 500 };

static const char settings[] = "events_max = 1000\nisp big { mx = {.big.example}  rate = 200/s  connections = 10 }\n";

struct scene {
    struct town *town;
    redisReader *reader;
    unsigned seen[RECIPIENTS], read;
};

static void scene_open(struct scene *s, uint64_t seed)
{
    struct mx_personality personality;
    *s = (struct scene){.town = town_new(seed, 1, settings), .reader = redisReaderCreate()};
    mx_personality_init(&personality, "big.example");
    sim_isp_domain(sim_isp_new(s->town->mail, "big.example", &personality, 2, false), "big.example", 300, 2);
    town_campaign(s->town, "c", "");
    town_push(s->town, "c", "r%llu@big.example", 0, RECIPIENTS);
    town_start(s->town);
}

static void scene_close(struct scene *s)
{
    town_judge_empty(s->town);
    town_judge_limits(s->town);
    town_finish(s->town);
    town_free(s->town);
    redisReaderFree(s->reader);
}

static redisReply *ask(struct scene *s, const char *command)
{
    void *reply = NULL;
    char *resp = fake_redis_do(s->town->redis, "%s", command);
    redisReaderFeed(s->reader, resp, strlen(resp));
    assert_int_equal(redisReaderGetReply(s->reader, &reply), REDIS_OK);
    assert_non_null(reply);
    free(resp);
    return reply;
}

static uint64_t count_events(struct scene *s)
{
    return (uint64_t)fake_redis_number(s->town->redis, "XLEN sluice:{c}:events");
}

static void make_group(struct scene *s, const char *name)
{
    char command[128];
    snprintf(command, sizeof command, "XGROUP CREATE sluice:{c}:events %s 0", name);
    freeReplyObject(ask(s, command));
}

/* All that is new to a group; group "a" keeps account. */
static void read_events(struct scene *s, const char *group, bool acknowledge)
{
    char command[256];
    snprintf(command, sizeof command, "XREADGROUP GROUP %s me COUNT 100000 STREAMS sluice:{c}:events >", group);
    redisReply *reply = ask(s, command);
    const redisReply *entries = reply->type == REDIS_REPLY_ARRAY ? reply->element[0]->element[1] : NULL;
    for (size_t i = 0; entries && i < entries->elements; i++) {
        const redisReply *fields = entries->element[i]->element[1];
        for (size_t f = 0; f < fields->elements && strcmp(group, "a") == 0; f += 2)
            if (strcmp(fields->element[f]->str, "seq") == 0) {
                unsigned long seq = strtoul(fields->element[f + 1]->str, NULL, 10);
                assert_true(seq < RECIPIENTS);
                s->seen[seq]++;
                s->read++;
            }
        snprintf(command, sizeof command, "XACK sluice:{c}:events %s %s", group, entries->element[i]->element[0]->str);
        if (acknowledge)
            freeReplyObject(ask(s, command));
    }
    freeReplyObject(reply);
}

static void expect_waiting(struct scene *s)
{
    uint64_t before, most = EVENTS_MAX + AFTER;
    town_run(s->town, 60 * NSEC_PER_S);
    before = count_events(s);
    assert_in_range(before, EVENTS_MAX, most);
    assert_string_equal(town_phase(s->town, "c"), "waiting");
    redisReply *reason = ask(s, "HGET sluice:{c}:status reason");
    assert_string_equal(reason->str, "events not read");
    freeReplyObject(reason);
    town_run(s->town, 3600 * NSEC_PER_S);
    assert_int_equal(count_events(s), before);
}

static void without_a_reader_it_waits_and_a_reader_sets_it_going(void **state)
{
    static struct scene s;
    (void)state;
    scene_open(&s, 1);
    expect_waiting(&s); /* nobody acknowledges: there is no group */
    make_group(&s, "a");
    expect_waiting(&s); /* a group that has read nothing */
    uint64_t most = 0;
    for (unsigned i = 0; i < 600 && strcmp(town_phase(s.town, "c"), "done") != 0; i++) {
        read_events(&s, "a", true);
        town_run(s.town, NSEC_PER_S);
        uint64_t count = count_events(&s);
        most = count > most ? count : most;
    }
    read_events(&s, "a", true);
    assert_string_equal(town_phase(s.town, "c"), "done");
    assert_true(most <= EVENTS_MAX + AFTER);
    assert_true(count_events(&s) <= EVENTS_MAX + AFTER); /* of so many more */
    assert_int_equal(s.read, RECIPIENTS);
    for (unsigned i = 0; i < RECIPIENTS; i++)
        assert_int_equal(s.seen[i], 1);
    assert_int_equal(fake_redis_number(s.town->redis, "HLEN sluice:{c}:totals"), 1);
    scene_close(&s);
}

static void the_slowest_group_counts(void **state)
{
    static struct scene s;
    (void)state;
    scene_open(&s, 2);
    town_run(s.town, NSEC_PER_S);
    make_group(&s, "a");
    make_group(&s, "b");
    for (unsigned i = 0; i < 60; i++) { /* one acknowledges all, the other has only taken it */
        read_events(&s, "a", true);
        read_events(&s, "b", false);
        town_run(s.town, NSEC_PER_S);
    }
    expect_waiting(&s);
    town_set(s.town, "c", "state", "cancelled"); /* what is left would be as many events again */
    expect_waiting(&s);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_reader_it_waits_and_a_reader_sets_it_going),
        cmocka_unit_test(the_slowest_group_counts),
    };
    return cmocka_run_group_tests_name("unread", tests, NULL, NULL);
}
