/* Stories: what a person would try first, on the virtual clock, each with every oracle. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct sim_isp *isp_of(struct town *town, const char *name, unsigned exchangers)
{
    struct mx_personality personality;
    mx_personality_init(&personality, name);
    struct sim_isp *isp = sim_isp_new(town->mail, name, &personality, exchangers, false);
    sim_isp_domain(isp, name, 300, exchangers);
    return isp;
}

static void close_in_order(struct town *town)
{
    town_judge_empty(town);
    town_judge_limits(town);
    town_finish(town);
}

static void a_campaign_is_delivered(void **unused)
{
    (void)unused;
    for (unsigned shards = 1; shards <= 3; shards += 2) {
        struct town *town = town_new(1, shards, "");
        isp_of(town, "big.example", 2);
        isp_of(town, "small.example", 1);
        town_campaign(town, "c", "");
        town_push(town, "c", "{\"to\":\"r%llu@big.example\",\"name\":\"Ann\"}", 0, 1500);
        town_push(town, "c", "r%llu@small.example", 0, 700);
        town_start(town);
        assert_true(town_drain(town, 600 * NSEC_PER_S));
        assert_string_equal(town_phase(town, "c"), "done");
        struct town_account account = town_judge(town, "c");
        assert_int_equal(account.events[EVENT_DELIVERED], 2200);
        assert_int_equal(account.copies, 2200);
        close_in_order(town);
        town_free(town);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_campaign_is_delivered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
