/* A swarm: random towns, random weather, random deaths, and afterwards calm; then everything must have come to its end
 * with a right account. Each run has its own seed, which it prints when it fails.
 *
 * SIM_SWARM=n runs n of them (default 64); SIM_SEED=s the one with that seed, alone. */
#include "town_control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { ISPS = 4 };

struct run {
    struct town *town;
    uint64_t recipients;
    unsigned shards;
    bool secure; /* some of its providers have TLS, one must have it, and there is a relay */
    bool chunks; /* BDAT is allowed */
    unsigned in_flight;
    bool loses;           /* its Redis loses what it acknowledged last whenever it dies while the engine lives */
    bool signs, replaces; /* one engine takes another's place now and then */
    unsigned engines;     /* with sources of their own */
    char settings[4096], tighter[4096];
    char secret[32]; /* the file of the relay's */
    struct town_controls controls;
};

static uint64_t draw(struct town *town, uint64_t below) { return sim_random(town->world) % below; }

static void settle_at(struct run *run, struct town_reach *reach, const struct mx_personality *personality,
                      unsigned traits)
{
    struct town *town = run->town;
    struct sim_isp *isp = sim_isp_new(town->mail, personality->name, personality, 1 + (unsigned)draw(town, 3), false);
    sim_isp_domain(isp, isp->name, 60 + (uint32_t)draw(town, 600), 1 + (unsigned)draw(town, 2));
    if (draw(town, 2))
        traits |= weather_moods(isp, sim_now(town->world), sim_now(town->world) + 600 * NSEC_PER_S, 6);
    for (unsigned t = 0; t < WEATHER_TRAIT_COUNT; t++)
        reach->traits[t] += traits >> t & 1;
}

/* It forwards for those who sign in, under TLS. */
static void settle_relay(struct run *run, struct town_reach *reach)
{
    struct mx_personality personality;
    unsigned traits = weather_personality(run->town->world, &personality, "relay.example");
    personality.starttls = personality.auth_required = true;
    personality.demand = MX_DEMAND_COUNTED;
    personality.auth = MX_AUTH_PLAIN | MX_AUTH_LOGIN | MX_AUTH_XOAUTH2;
    personality.account_count = 1;
    personality.accounts[0] = (struct mx_account){"ann", "secret"};
    mx_personality_rule(&personality, MX_AUTH, MX_CERTAIN / 8, "454 4.7.0 not now");
    settle_at(run, reach, &personality, traits);
}

static void settle_isps(struct run *run, struct town_reach *reach)
{
    struct town *town = run->town;
    for (unsigned i = 0; i < ISPS; i++) {
        char name[32];
        snprintf(name, sizeof name, "isp%u.example", i);
        struct mx_personality personality;
        unsigned traits = weather_personality(town->world, &personality, name);
        if (run->secure)
            personality.starttls = i == 0 || draw(town, 2);
        if (run->secure && i == 0)
            personality.demand = MX_DEMAND_COUNTED;
        if (run->chunks && draw(town, 4))
            reach->abilities[weather_chunking(town->world, &personality)]++;
        settle_at(run, reach, &personality, traits);
    }
    if (run->secure)
        settle_relay(run, reach);
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
            else if (kind < 20 && run->secure)
                snprintf(entry, sizeof entry, "r%llu@far.example", (unsigned long long)i);
            else
                snprintf(entry, sizeof entry, "r%llu@isp%llu.example", (unsigned long long)i,
                         (unsigned long long)draw(town, ISPS));
            town_push_entry(town, id, entry);
        }
        run->recipients += count;
    }
}

/* The engine has lived long enough that what it knows is all that may be lost, and lives until it is done again. */
static void redis_loses(struct run *run)
{
    struct town *town = run->town;
    town_run(town, 4 * NSEC_PER_S);
    nsec wall = io_wall(town->redis_io);
    town_redis_stop(town);
    fake_redis_lose(town->redis, wall - (nsec)draw(town, 1000) * NSEC_PER_MS);
    town_run(town, (nsec)draw(town, 20) * NSEC_PER_S);
    town_redis_start(town);
    town_run(town, 100 * NSEC_PER_S); /* a minute of it may be an earlier partition's */
}

/* One misfortune, or one thing that people do. */
static void something_happens(struct run *run)
{
    struct town *town = run->town;
    switch (draw(town, 10)) {
    case 0:
    case 1:
    case 2:
        town_controls_engine(&run->controls);
        break;
    case 3:
    case 4:
        town_controls_campaign(&run->controls);
        break;
    case 5:
        if (town->redis_io && run->loses && town_controls_pick(&run->controls) >= 0)
            redis_loses(run);
        else if (town->redis_io)
            town_redis_stop(town);
        break;
    case 6:
        sim_partition(town->world, town->engine_host, NULL, sim_now(town->world) + (nsec)draw(town, 60) * NSEC_PER_S);
        break;
    case 7:
        sim_cut(town->world, town->engine_host, town->redis_host);
        break;
    case 8: {
        int64_t jump_s = (int64_t)draw(town, 20) - 10;
        sim_wall_jump(town->world, town->engine_host, jump_s * NSEC_PER_S);
        town->wall_slack_ms += (uint64_t)(jump_s < 0 ? -jump_s : jump_s) * 1000;
        break;
    }
    default:
        fake_redis_set_mode(town->redis, (enum fake_redis_mode)(1 + draw(town, FAKE_REDIS_MODE_COUNT - 1)));
        break;
    }
    town_run(town, (nsec)draw(town, 20) * NSEC_PER_S);
    fake_redis_set_mode(town->redis, FAKE_REDIS_WELL);
    if (!town->redis_io)
        town_redis_start(town);
    for (unsigned i = 0; i < town->campaign_count; i++)
        town_judge_places(town, town->campaigns[i].id);
    town_controls_undo(&run->controls);
}

static void calm_down(struct run *run)
{
    struct town *town = run->town;
    weather_calm(town->world);
    fake_redis_set_faults(town->redis, &(struct fake_redis_faults){0});
    for (struct sim_isp *isp = town->mail->isps; isp; isp = isp->next) {
        struct mx_personality personality;
        weather_oblige(isp, &personality);
        sim_isp_mood(isp, sim_now(town->world), &personality);
    }
}

/* Messages that were in flight when their session ended, by a loss or a crash, and no others may be in doubt. */
static void judge_doubt(struct run *run, uint64_t in_doubt)
{
    struct town *town = run->town;
    uint64_t ended = town->open_sessions + town_metric(town, METRIC_SESSIONS_LOST);
    if (in_doubt > (run->in_flight + 2) * ended)
        fail_msg("seed %llu: %llu in doubt, %llu sessions were lost with at most %u in flight",
                 (unsigned long long)town->seed, (unsigned long long)in_doubt, (unsigned long long)ended,
                 run->in_flight);
}

/* Of all limits here none is above its like in the loose ones. */
static void write_settings(struct run *run, uint64_t seed, bool tighter, char *text, size_t cap)
{
    static const char *const ways[] = {"plain  password_file", "login  password_file", "xoauth2  token_file"};
    bool adapts =
        seed / 2 % 2; /* half of them: lanes that have fallen silent see less of what can happen to sessions */
    char chunking[256] = "", relay[512] = "";
    if (run->chunks)
        snprintf(chunking, sizeof chunking, "chunking = {.example}  in_flight = %u", tighter ? 1 : run->in_flight);
    if (run->secure)
        snprintf(relay, sizeof relay,
                 "tls_broken_for = 2m\n"
                 "relay relay.example { host = mx1.relay.example  port = 25  tls = required  connections = %u\n"
                 "  user = ann  auth = %s = %s }\nroute { domain = far.example  relay = relay.example }\n",
                 tighter ? 1 : 3, ways[seed / 7 % 3], run->secret);
    snprintf(text, cap,
             "defaults { retry = {20s, 60s, 120s}  expire = 20m  shut_out = 10m  connections = %u  adapt = %s  %s }\n"
             "isp isp0.example { mx = {.isp0.example}  connections = %u  rate = %u/s %s }\n"
             "isp isp1.example { mx = {.isp1.example}  connections = %u  rate = %u/min  burst = %u }\n"
             "isp isp2.example { mx = {.isp2.example}  connections = %u  per_connection = %u }\n%s",
             tighter ? 4 : 5, adapts ? "yes" : "no", chunking, tighter ? 1 : 2, tighter ? 2 : 5,
             run->secure ? "tls = required" : "", tighter ? 2 : 8, tighter ? 300 : 900, tighter ? 1 : 4,
             tighter ? 2 : 3, tighter ? 5 : 7, relay);
}

static struct town *build(struct run *run, uint64_t seed)
{
    snprintf(run->secret, sizeof run->secret, "/tmp/sluice-swarm-XXXXXX");
    int fd = mkstemp(run->secret);
    assert_true(fd >= 0 && write(fd, "secret\n", 7) == 7);
    close(fd);
    write_settings(run, seed, false, run->settings, sizeof run->settings);
    write_settings(run, seed, true, run->tighter, sizeof run->tighter);
    struct town *town = run->signs ? town_new_signing(seed, run->shards, run->settings)
                                   : town_new_shared(seed, run->engines, run->shards, run->settings);
    run->controls = (struct town_controls){.town = town, .settings = run->settings};
    run->controls.tighter = run->signs ? NULL : run->tighter; /* the keys' files are gone */
    run->controls.replaced = run->replaces;
    if (run->replaces)
        town_add_beside(town, 1 + (unsigned)(seed / 3 % 3), run->settings);
    return town;
}

static void drain(struct run *run)
{
    struct town *town = run->town;
    if (!town_drain(town, 24 * 3600 * NSEC_PER_S))
        fail_msg("seed %llu: not over within a day of calm: %s, %s, %s", (unsigned long long)town->seed,
                 town_phase(town, town->campaigns[0].id), town_phase(town, "c1"), town_phase(town, "c2"));
}

/* Returns the trace. */
static uint64_t one_run(uint64_t seed, struct mx_tls *tls, struct town_reach *reach, uint64_t *controls)
{
    struct run run = {.shards = 1 + (unsigned)(seed % 3), .secure = seed % 7 == 3, .chunks = seed / 4 % 2};
    run.signs = seed % 4 == 0;
    run.engines = run.signs || seed % 5 < 3 ? 1 : (unsigned)(seed % 5 - 1);
    run.replaces = !run.signs && run.engines == 1 && seed % 3 == 0;
    run.loses = seed / 16 % 2 == seed % 2 && run.engines == 1;
    run.in_flight = run.chunks ? 1 + (unsigned)(seed / 8 % CLIENT_IN_FLIGHT_MAX) : 1;
    struct town *town = run.town = build(&run, seed);
    sim_mail_lend_tls(town->mail, tls);
    settle_isps(&run, reach);
    settle_campaigns(&run);
    if (run.loses)
        fake_redis_keep(town->redis, 2 * NSEC_PER_S);
    weather_storm(town->world);
    struct fake_redis_faults faults = {.delay = (nsec)draw(town, 20) * NSEC_PER_MS,
                                       .cut_before_per_million = (uint32_t)draw(town, 500),
                                       .cut_after_per_million = (uint32_t)draw(town, 500),
                                       .refuse_per_million = (uint32_t)draw(town, 2000)};
    fake_redis_set_faults(town->redis, &faults);
    for (unsigned i = 0; i < run.engines; i++)
        town_start_one(town, i);
    town_run(town, (nsec)draw(town, 10) * NSEC_PER_S);
    for (uint64_t n = draw(town, 12); n; n--)
        something_happens(&run);
    calm_down(&run);
    drain(&run);
    if (draw(town, 2)) {
        town_controls_begin_again(&run.controls);
        drain(&run);
    }
    uint64_t in_doubt = 0;
    for (unsigned i = 0; i < town->campaign_count; i++) {
        struct town_account account = town_judge(town, town->campaigns[i].id);
        for (enum event_type type = EVENT_BROKEN; type < EVENT_TYPE_COUNT; type++)
            reach->events[type] += account.events[type];
        in_doubt += account.events[EVENT_IN_DOUBT];
    }
    judge_doubt(&run, in_doubt);
    town_judge_limits(town);
    town_judge_letters(town);
    town_run(town, 60 * NSEC_PER_S); /* who was stopped until now learns that nothing is left for it */
    town_judge_empty(town);
    town_controls_count(&run.controls);
    for (unsigned control = 1; control < TOWN_CONTROL_COUNT; control++)
        controls[control] += run.controls.reach[control];
    town_finish(town);
    town_reach_add(reach, town);
    unlink(run.secret);
    uint64_t trace = sim_trace(town->world);
    town_free(town);
    return trace;
}

static void assert_reached(const struct town_reach *reach, const uint64_t *controls)
{
    for (enum town_control control = 1; control < TOWN_CONTROL_COUNT; control++)
        if (!controls[control])
            fail_msg("nobody was ever %s", town_control_name(control));
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
    for (unsigned ability = 1; ability < WEATHER_ABILITY_COUNT; ability++)
        if (!reach->abilities[ability])
            fail_msg("no provider had ability %u", ability);
    static const enum client_state states[] = {CLIENT_HANDSHAKE, CLIENT_STARTTLS,   CLIENT_AUTH,      CLIENT_AUTH_MORE,
                                               CLIENT_AUTH_LAST, CLIENT_TRIAL,      CLIENT_TRIAL_END, CLIENT_SKIP_CHUNK,
                                               CLIENT_VOID_RCPT, CLIENT_VOID_CHUNK, CLIENT_RSET};
    unsigned missing = 0;
    for (unsigned i = 0; i < countof(states); i++)
        if (!(reach->states_seen >> states[i] & 1) && ++missing)
            print_message("no session was seen in state %u\n", states[i]);
    assert_int_equal(missing, 0);
    assert_true(reach->tls_full > 0 && reach->tls_resumed > 0 && reach->tls_failed > 0 && reach->accepted_tls > 0);
    assert_true(reach->accepted_chunked > 0 && reach->probes > 0);
    assert_true(reach->logins > 0 && reach->logins_refused > 0);
    assert_true(reach->crashes > 0 && reach->adopted > 0 && reach->withdrawn > 0 && reach->parked > 0);
    assert_true(reach->fenced + reach->gone > 0);
}

static uint64_t traces[65]; /* by seed, of runs that were made; 0: none */

static void all_comes_to_its_end(void **unused)
{
    (void)unused;
    struct town_reach reach;
    struct mx_tls *tls = mx_tls_new();
    uint64_t controls[TOWN_CONTROL_COUNT] = {0};
    memset(&reach, 0, sizeof reach);
    if (getenv("SIM_SEED")) {
        one_run(strtoull(getenv("SIM_SEED"), NULL, 10), tls, &reach, controls);
        mx_tls_free(tls);
        return;
    }
    uint64_t runs = getenv("SIM_SWARM") ? strtoull(getenv("SIM_SWARM"), NULL, 10) : 64;
    print_message("seeds 1 .. %llu\n", (unsigned long long)runs);
    for (uint64_t seed = 1; seed <= runs; seed++) {
        uint64_t trace = one_run(seed, tls, &reach, controls);
        if (seed < countof(traces))
            traces[seed] = trace;
    }
    print_message("crashes %llu, fenced %llu, gone %llu, adopted %llu, parked %llu, in doubt %llu\n",
                  (unsigned long long)reach.crashes, (unsigned long long)reach.fenced, (unsigned long long)reach.gone,
                  (unsigned long long)reach.adopted, (unsigned long long)reach.parked,
                  (unsigned long long)reach.events[EVENT_IN_DOUBT]);
    print_message("handshakes %llu, resumed %llu, failed %llu; accepted by TLS %llu, by BDAT %llu; logins %llu\n",
                  (unsigned long long)reach.tls_full, (unsigned long long)reach.tls_resumed,
                  (unsigned long long)reach.tls_failed, (unsigned long long)reach.accepted_tls,
                  (unsigned long long)reach.accepted_chunked, (unsigned long long)reach.logins);
    for (enum town_control control = 1; control < TOWN_CONTROL_COUNT; control++)
        print_message("%s %llu%s", town_control_name(control), (unsigned long long)controls[control],
                      control + 1 < TOWN_CONTROL_COUNT ? ", " : "\n");
    mx_tls_free(tls);
    if (runs >= 64)
        assert_reached(&reach, controls);
}

/* With keys that are drawn anew: what must not depend on them does not. */
static void the_same_seed_gives_the_same_trace(void **unused)
{
    (void)unused;
    static const uint64_t seeds[] = {5, 6, 10};
    struct town_reach reach;
    uint64_t controls[TOWN_CONTROL_COUNT] = {0};
    memset(&reach, 0, sizeof reach);
    for (unsigned i = 0; i < countof(seeds); i++)
        for (unsigned again = 0; again < 2; again++) {
            struct mx_tls *tls = mx_tls_new();
            uint64_t *known = &traces[seeds[i]];
            uint64_t trace = *known && !again ? *known : one_run(seeds[i], tls, &reach, controls);
            if (*known && trace != *known)
                fail_msg("seed %llu was not the same again", (unsigned long long)seeds[i]);
            *known = trace;
            mx_tls_free(tls);
        }
    assert_true(reach.tls_full > 0 && reach.accepted_chunked > 0 && reach.logins > 0);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_comes_to_its_end),
                                       cmocka_unit_test(the_same_seed_gives_the_same_trace)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
