/* The production store in a world where connections break, Redis dies and answers come late or not at all: every step
 * is answered once, and however often it had to be sent, it happened once. */
#include "store_story.h"

/* ---- stories ---- */

static struct story *on_one_redis(uint64_t seed)
{
    struct story *story = story_new(seed);
    story->fake = fake_redis_new(0);
    story_push(story, story->fake);
    story_redis_serve(story);
    story_open_store(story, "redis://10.0.0.1", 0);
    return story;
}

static void redis_dies_now_and_then(struct story *story)
{
    if (story_draw(story, 1000000) >= 2000)
        return;
    story_redis_dies(story);
    nsec again = io_now(story->io) + (nsec)story_draw(story, 3 * NSEC_PER_S);
    while (io_now(story->io) < again)
        io_turn(story->io, again);
    story_redis_serve(story);
}

static void test_good_weather(void **state)
{
    (void)state;
    struct story *story = on_one_redis(1);
    story_run(story, NULL);
    story_judge(story);
    assert_true(store_connected(story->store));
    assert_int_equal(fake_redis_counts(story->fake)->connections, 1);
    story_free(story);
}

static void test_every_fault(void **state)
{
    struct fake_redis_counts reached = {0};
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct story *story = on_one_redis(seed);
        struct fake_redis_faults faults = {.delay = (nsec)story_draw(story, 20) * NSEC_PER_MS,
                                           .cut_before_per_million = 20000,
                                           .cut_after_per_million = 20000,
                                           .refuse_per_million = 50000};
        fake_redis_set_faults(story->fake, &faults);
        sim_fault_set(story->world, SIM_REFUSED, 100000);
        sim_fault_set(story->world, SIM_RESET, 2000);
        sim_fault_set(story->world, SIM_CLOSE, 20000);
        sim_fault_set(story->world, SIM_STALL, 200);
        sim_fault_set(story->world, SIM_DELAY, 20000);
        sim_fault_set(story->world, SIM_SPLIT, 20000);
        story_run(story, redis_dies_now_and_then);
        story_judge(story);
        const struct fake_redis_counts *counts = fake_redis_counts(story->fake);
        reached.cut_before += counts->cut_before;
        reached.cut_after += counts->cut_after;
        reached.refused += counts->refused;
        reached.connections += counts->connections;
        reached.gone += counts->gone;
        story_free(story);
    }
    assert_true(reached.cut_before > 0 && reached.cut_after > 0 && reached.refused > 0 && reached.connections > 50);
    assert_true(reached.gone > 0); /* closing steps that were repeated after they had been done */
}

struct plain {
    struct store_request request;
    unsigned answers, items;
    enum store_result result;
};

static void on_plain(struct store_request *request, const struct store_answer *answer)
{
    struct plain *plain = container_of(request, struct plain, request);
    plain->answers++;
    plain->result = answer->result;
    plain->items = answer->item_count;
}

/* Whatever Redis has against it, the step waits, and is answered when Redis is well again. */
static void test_unwilling_redis(void **state)
{
    static const char *const words[FAKE_REDIS_MODE_COUNT] = {
        [FAKE_REDIS_LOADING] = "LOADING", [FAKE_REDIS_READONLY] = "READONLY",
        [FAKE_REDIS_OOM] = "OOM",         [FAKE_REDIS_NOREPLICAS] = "NOREPLICAS",
        [FAKE_REDIS_MISCONF] = "MISCONF", [FAKE_REDIS_NOPERM] = "NOPERM",
        [FAKE_REDIS_BUSY] = "BUSY",       [FAKE_REDIS_MASTERDOWN] = "MASTERDOWN",
    };
    struct story *story = on_one_redis(7);
    struct plain plain = {.request.done = on_plain};
    (void)state;
    for (unsigned round = 0; round < 2; round++) /* in the middle of a connection, and when it begins */
        for (enum fake_redis_mode mode = FAKE_REDIS_LOADING; mode < FAKE_REDIS_MODE_COUNT; mode++) {
            char id[32];
            int n = snprintf(id, sizeof id, "mode%u.%u", mode, round);
            fake_redis_set_mode(story->fake, mode);
            if (round)
                fake_redis_cut(story->fake);
            plain.answers = 0;
            store_lease_list(story->store, &plain.request, CAMPAIGN, (struct slice){id, (size_t)n}, 1);
            story_turn_for(story, 20 * NSEC_PER_S);
            assert_int_equal(plain.answers, 0);
            assert_non_null(strstr(store_trouble(story->store), words[mode]));
            assert_true(store_busy(story->store));
            fake_redis_set_mode(story->fake, FAKE_REDIS_WELL);
            story_turn_for(story, 10 * NSEC_PER_S); /* the longest back-off, and then some */
            assert_int_equal(plain.answers, 1);
            assert_int_equal(plain.result, STORE_OK);
            assert_int_equal(plain.items, 1);
            assert_string_equal(store_trouble(story->store), "");
            assert_false(store_busy(story->store));
        }
    story_assert_count(story, "HLEN " KEY("leases"), 2 * (FAKE_REDIS_MODE_COUNT - FAKE_REDIS_LOADING));
    story_free(story);
}

/* The address is another server's meanwhile, and the one that we are connected to a replica: who stays there waits for
 * ever. */
static void test_demoted_redis(void **state)
{
    struct story *story = on_one_redis(9);
    struct plain plain = {.request.done = on_plain};
    (void)state;
    story_turn_for(story, NSEC_PER_S);
    fake_redis_demote(story->fake);
    uint64_t connections = fake_redis_counts(story->fake)->connections;
    store_lease_list(story->store, &plain.request, CAMPAIGN, SLICE("x"), 1);
    story_turn_for(story, 10 * NSEC_PER_S);
    assert_int_equal(plain.answers, 1);
    assert_int_equal(plain.result, STORE_OK);
    assert_int_equal(fake_redis_counts(story->fake)->connections, connections + 1);
    assert_string_equal(store_trouble(story->store), "");
    /* All of them are replicas: it is asked now and then, and is in trouble all the while. */
    fake_redis_set_mode(story->fake, FAKE_REDIS_READONLY);
    store_lease_list(story->store, &plain.request, CAMPAIGN, SLICE("y"), 1);
    story_turn_for(story, NSEC_PER_S);
    for (unsigned i = 0; i < 600; i++) {
        story_turn_for(story, 100 * NSEC_PER_MS);
        assert_false(store_connected(story->store));
    }
    assert_in_range(fake_redis_counts(story->fake)->connections, connections + 5, connections + 40);
    fake_redis_set_mode(story->fake, FAKE_REDIS_WELL);
    story_turn_for(story, 10 * NSEC_PER_S);
    assert_int_equal(plain.answers, 2);
    story_free(story);
}

/* Nothing comes back, no connection breaks: after a while it is given up, and another one is made. */
static void test_silence(void **state)
{
    struct story *story = on_one_redis(3);
    struct plain plain = {.request.done = on_plain};
    (void)state;
    story_turn_for(story, NSEC_PER_S);
    assert_true(store_connected(story->store));
    sim_partition(story->world, story->redis_host, NULL, io_now(story->io) + 600 * NSEC_PER_S);
    store_lease_list(story->store, &plain.request, CAMPAIGN, SLICE("x"), 1);
    story_turn_for(story, 20 * NSEC_PER_S);
    assert_true(store_connected(story->store)); /* merely slow, as far as one can tell */
    story_turn_for(story, 20 * NSEC_PER_S);
    assert_false(store_connected(story->store));
    sim_heal(story->world);
    story_turn_for(story, 60 * NSEC_PER_S);
    assert_int_equal(plain.answers, 1);
    assert_int_equal(plain.items, 1);
    assert_int_equal(fake_redis_number(story->fake, "HLEN " KEY("leases")), 1);
    story_free(story);
}

/* The last second of writes is lost with the machine, the one before it is not. */
static void test_lost_writes(void **state)
{
    struct fake_redis *fake;
    struct story *story = on_one_redis(5);
    (void)state;
    story_redis_dies(story);
    fake_redis_free(story->fake);
    story->fake = fake = fake_redis_new(10 * NSEC_PER_S);
    story_redis_serve(story);
    for (unsigned i = 0; i < 5; i++) {
        story_turn_for(story, NSEC_PER_S);
        (void)fake_redis_number(fake, "RPUSH " KEY("recipients") " r%u", i);
        (void)fake_redis_number(fake, "ZADD " KEY("retry") " 1 m%u", i);
        char *reply = fake_redis_do(fake, "SET counter %u", i);
        free(reply);
    }
    nsec wall = io_wall(story->io);
    story_redis_dies(story);
    fake_redis_lose(fake, wall - 1500 * NSEC_PER_MS);
    assert_int_equal(fake_redis_counts(fake)->writes_lost, 3 * 2);
    assert_int_equal(fake_redis_number(fake, "LLEN " KEY("recipients")), 3);
    assert_int_equal(fake_redis_number(fake, "ZCARD " KEY("retry")), 3);
    char *reply = fake_redis_do(fake, "GET counter");
    assert_string_equal(reply, "$1\r\n2\r\n");
    free(reply);
    fake_redis_empty(fake);
    assert_int_equal(fake_redis_number(fake, "DBSIZE"), 0);
    story_free(story);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    struct CMUnitTest tests[6 + 2 * STORY_TESTS_MAX] = {
        cmocka_unit_test(test_good_weather), cmocka_unit_test(test_every_fault), cmocka_unit_test(test_unwilling_redis),
        cmocka_unit_test(test_silence),      cmocka_unit_test(test_lost_writes), cmocka_unit_test(test_demoted_redis),
    };
    unsigned count = 6;
    for (const struct CMUnitTest *test = story_cluster_tests; test->name; test++)
        tests[count++] = *test;
    for (const struct CMUnitTest *test = story_hostile_tests; test->name; test++)
        tests[count++] = *test;
    return _cmocka_run_group_tests("store", tests, count, NULL, NULL);
}
