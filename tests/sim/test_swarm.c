/* A swarm: random towns, random weather, random deaths, and afterwards calm; then everything must have come to its end
 * with a right account. Each run has its own seed, which it prints when it fails.
 *
 * SIM_SWARM=n runs n of them (default 150); SIM_SEED=s the one with that seed, alone. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ISPS = 4 };

struct run {
    struct town *town;
    uint64_t recipients;
    unsigned shards;
};

static uint64_t draw(struct town *town, uint64_t below) { return sim_random(town->world) % below; }

static void settle_isps(struct run *run, struct town_reach *reach)
{
    struct town *town = run->town;
    for (unsigned i = 0; i < ISPS; i++) {
        char name[32];
        snprintf(name, sizeof name, "isp%u.example", i);
        struct mx_personality personality;
        unsigned traits = weather_personality(town->world, &personality, name);
        struct sim_isp *isp = sim_isp_new(town->mail, name, &personality, 1 + (unsigned)draw(town, 3), false);
        sim_isp_domain(isp, name, 60 + (uint32_t)draw(town, 600), 1 + (unsigned)draw(town, 2));
        if (draw(town, 2))
            traits |= weather_moods(isp, sim_now(town->world), sim_now(town->world) + 600 * NSEC_PER_S, 6);
        for (unsigned t = 0; t < WEATHER_TRAIT_COUNT; t++)
            reach->traits[t] += traits >> t & 1;
    }
}

static void settle_campaigns(struct run *run)
{
    static const char *const policies[] = {"in_doubt hold", "in_doubt resend", "in_doubt drop",
                                           "in_doubt resend unique 1"};
    struct town *town = run->town;
    unsigned campaigns = 1 + (unsigned)draw(town, 3);
    for (unsigned c = 0; c < campaigns; c++) {
        char id[16];
        snprintf(id, sizeof id, "c%u", c);
        town_campaign(town, id, policies[draw(town, 4)]);
        uint64_t count = 50 + draw(town, 400);
        for (uint64_t i = 0; i < count; i++) {
            char entry[64];
            uint64_t kind = draw(town, 100);
            if (kind == 0)
                snprintf(entry, sizeof entry, "rubbish %llu", (unsigned long long)i);
            else if (kind == 1)
                snprintf(entry, sizeof entry, "r%llu@nosuch.example", (unsigned long long)i);
            else
                snprintf(entry, sizeof entry, "r%llu@isp%llu.example", (unsigned long long)i,
                         (unsigned long long)draw(town, ISPS));
            town_push_entry(town, id, entry);
        }
        run->recipients += count;
    }
}

/* One misfortune. */
static void something_happens(struct run *run)
{
    struct town *town = run->town;
    bool up = sim_engine_runs(town->engine);
    switch (draw(town, 8)) {
    case 0:
        if (up)
            town_crash(town);
        break;
    case 1:
        if (up && town->redis_io)
            town_finish(town);
        break;
    case 2:
        if (town->redis_io)
            town_redis_stop(town);
        break;
    case 3:
        sim_partition(town->world, town->engine_host, draw(town, 2) ? town->redis_host : NULL,
                      sim_now(town->world) + (nsec)draw(town, 60) * NSEC_PER_S);
        break;
    case 4:
        sim_cut(town->world, town->engine_host, town->redis_host);
        break;
    case 5: {
        int64_t jump_s = (int64_t)draw(town, 20) - 10;
        sim_wall_jump(town->world, town->engine_host, jump_s * NSEC_PER_S);
        town->wall_slack_ms += (uint64_t)(jump_s < 0 ? -jump_s : jump_s) * 1000;
        break;
    }
    case 6:
        town_set(town, "c0", "state", "paused");
        break;
    default:
        fake_redis_set_mode(town->redis, (enum fake_redis_mode)(1 + draw(town, FAKE_REDIS_MODE_COUNT - 1)));
        break;
    }
    town_run(town, (nsec)draw(town, 20) * NSEC_PER_S);
    fake_redis_set_mode(town->redis, FAKE_REDIS_WELL);
    town_set(town, "c0", "state", "running");
    if (!town->redis_io)
        town_redis_start(town);
    if (!sim_engine_runs(town->engine))
        town_start(town);
}

static void calm_down(struct run *run)
{
    struct town *town = run->town;
    weather_calm(town->world);
    fake_redis_set_faults(town->redis, &(struct fake_redis_faults){0});
    for (struct sim_isp *isp = town->mail->isps; isp; isp = isp->next) {
        struct mx_personality personality;
        mx_personality_init(&personality, isp->name);
        sim_isp_mood(isp, sim_now(town->world), &personality);
    }
}

static void one_run(uint64_t seed, struct town_reach *reach)
{
    struct run run = {.shards = 1 + (unsigned)(seed % 3)};
    bool signs = seed % 4 == 0;
    struct town *town = run.town = (signs ? town_new_signing : town_new)(
        seed, run.shards,
        "defaults { retry = {20s, 60s, 120s}  expire = 1h  connections = 5 }\n"
        "isp isp0.example { mx = {.isp0.example}  connections = 2  rate = 5/s }\n"
        "isp isp1.example { mx = {.isp1.example}  connections = 8  rate = 900/min  burst = 4 }\n"
        "isp isp2.example { mx = {.isp2.example}  connections = 3  per_connection = 7 }\n");
    settle_isps(&run, reach);
    settle_campaigns(&run);
    weather_storm(town->world);
    struct fake_redis_faults faults = {.delay = (nsec)draw(town, 20) * NSEC_PER_MS,
                                       .cut_before_per_million = (uint32_t)draw(town, 500),
                                       .cut_after_per_million = (uint32_t)draw(town, 500),
                                       .refuse_per_million = (uint32_t)draw(town, 2000)};
    fake_redis_set_faults(town->redis, &faults);
    town_start(town);
    town_run(town, (nsec)draw(town, 10) * NSEC_PER_S);
    for (uint64_t n = draw(town, 12); n; n--)
        something_happens(&run);
    calm_down(&run);
    if (!town_drain(town, 24 * 3600 * NSEC_PER_S))
        fail_msg("seed %llu: not over within a day of calm: %s", (unsigned long long)seed, town_phase(town, "c0"));
    for (unsigned i = 0; i < town->campaign_count; i++) {
        struct town_account account = town_judge(town, town->campaigns[i].id);
        for (enum event_type type = EVENT_BROKEN; type < EVENT_TYPE_COUNT; type++)
            reach->events[type] += account.events[type];
    }
    town_judge_limits(town);
    town_judge_letters(town);
    town_judge_empty(town);
    town_finish(town);
    town_reach_add(reach, town);
    town_free(town);
}

static void assert_reached(const struct town_reach *reach)
{
    static const enum event_type events[] = {EVENT_DELIVERED, EVENT_DEFERRED, EVENT_BOUNCED, EVENT_INVALID,
                                             EVENT_IN_DOUBT};
    for (unsigned i = 0; i < countof(events); i++)
        if (!reach->events[events[i]])
            fail_msg("no event of type %d was reached", events[i]);
    for (enum sim_fault fault = SIM_REFUSED; fault < SIM_FAULT_COUNT; fault++)
        if (!reach->faults[fault])
            fail_msg("the fault %s never struck", sim_fault_name(fault));
    for (unsigned trait = 1; trait < WEATHER_TRAIT_COUNT; trait++)
        if (!reach->traits[trait])
            fail_msg("no provider had trait %u", trait);
    assert_true(reach->crashes > 0 && reach->adopted > 0 && reach->withdrawn > 0 && reach->parked > 0);
    assert_true(reach->fenced + reach->gone > 0);
}

static void all_comes_to_its_end(void **unused)
{
    (void)unused;
    struct town_reach reach = {{0}, {0}, {0}, 0, 0, 0, 0, 0, 0};
    if (getenv("SIM_SEED")) {
        one_run(strtoull(getenv("SIM_SEED"), NULL, 10), &reach);
        return;
    }
    uint64_t runs = getenv("SIM_SWARM") ? strtoull(getenv("SIM_SWARM"), NULL, 10) : 150;
    print_message("seeds 1 .. %llu\n", (unsigned long long)runs);
    for (uint64_t seed = 1; seed <= runs; seed++)
        one_run(seed, &reach);
    print_message("crashes %llu, fenced %llu, gone %llu, adopted %llu, parked %llu, in doubt %llu\n",
                  (unsigned long long)reach.crashes, (unsigned long long)reach.fenced, (unsigned long long)reach.gone,
                  (unsigned long long)reach.adopted, (unsigned long long)reach.parked,
                  (unsigned long long)reach.events[EVENT_IN_DOUBT]);
    if (runs >= 150)
        assert_reached(&reach);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_comes_to_its_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
