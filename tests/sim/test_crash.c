/* A short story, and the engine's death at every single event of it: whatever instant it is, the account is right.
 *
 * SIM_LONG=1 lets it die at each of 10,000 events instead of 1,000. SIM_FROM=n starts there, for who debugs. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { IN_FLIGHT = 4 };

/* `tls`: by BDAT to the one, under TLS to both. NULL: by DATA, in plain text. */
static struct town *make(uint64_t seed, const char *policy, struct mx_tls *tls)
{
    uint64_t size = getenv("SIM_LONG") ? 10 : 1;
    char settings[256];
    snprintf(settings, sizeof settings,
             "defaults { retry = {5s, 10s}  connections = %s }\n"
             "isp slow { mx = {.slow.example}  connections = 1  rate = 2/s }\n",
             tls ? "1  tls = required  chunking = {.big.example}  in_flight = 4" : "3");
    struct town *town = town_new(seed, 2, settings);
    if (tls)
        sim_mail_lend_tls(town->mail, tls);
    sim_batch(town->world, 1); /* every callback is an instant at which it may die */
    struct mx_personality personality;
    mx_personality_init(&personality, "big.example");
    personality.starttls = personality.chunking = tls;
    personality.latency[MX_BODY] = (struct mx_latency){5 * NSEC_PER_MS, 10 * NSEC_PER_MS};
    mx_personality_rule(&personality, MX_RCPT, MX_CERTAIN / 8, "450 4.2.0 not now");
    mx_personality_rule(&personality, MX_RCPT, MX_CERTAIN / 8, "550 5.1.1 nobody")->sticky = true;
    sim_isp_domain(sim_isp_new(town->mail, "big.example", &personality, 2, false), "big.example", 300, 1);
    mx_personality_init(&personality, "slow.example");
    personality.starttls = tls;
    sim_isp_domain(sim_isp_new(town->mail, "slow.example", &personality, 1, false), "slow.example", 300, 1);
    char fields[64];
    snprintf(fields, sizeof fields, "in_doubt %s", policy);
    town_campaign(town, "c", fields);
    town_push(town, "c", "r%llu@big.example", 0, 40 * size);
    town_push(town, "c", "r%llu@slow.example", 0, 6 * size);
    town_push_entry(town, "c", "nobody");
    town_push_entry(town, "c", "x@nosuch.example");
    return town;
}

/* The town lives until `at` events have passed. False: the campaign was over before. */
static bool live(struct town *town, uint64_t at)
{
    while (sim_events(town->world) < at) {
        sim_step(town->world);
        if (sim_events(town->world) % 64 == 0 && strcmp(town_phase(town, "c"), "done") == 0)
            return false;
    }
    return true;
}

static bool die_at(uint64_t event, const char *policy, struct mx_tls *tls, struct town_reach *reach)
{
    struct town *town = make(1, policy, tls);
    town_start(town);
    bool died = live(town, event);
    if (died) {
        town_crash(town);
        town_run(town, 500 * NSEC_PER_MS);
        town_start(town);
    }
    if (!town_drain(town, 3600 * NSEC_PER_S))
        fail_msg("killed at event %llu (%s): not over within an hour: %s", (unsigned long long)event, policy,
                 town_phase(town, "c"));
    struct town_account account = town_judge(town, "c");
    /* In each session those whose bodies are out, one that has its permit, and one whose event was not written yet. */
    unsigned most = (tls ? IN_FLIGHT : 1) + 2;
    if (account.events[EVENT_IN_DOUBT] > most * town->open_sessions)
        fail_msg("killed at event %llu (%s): %llu in doubt, %llu sessions were open", (unsigned long long)event, policy,
                 (unsigned long long)account.events[EVENT_IN_DOUBT], (unsigned long long)town->open_sessions);
    town_judge_limits(town);
    for (enum event_type type = EVENT_BROKEN; type < EVENT_TYPE_COUNT; type++)
        reach->events[type] += account.events[type];
    town_reach_add(reach, town);
    town_free(town);
    return died;
}

/* How many died, of events `first` to `last`. */
static uint64_t die_at_each(uint64_t first, uint64_t last, struct mx_tls *tls, struct town_reach *reach)
{
    static const char *const policies[] = {"hold", "resend", "drop"};
    uint64_t died = 0;
    memset(reach, 0, sizeof *reach);
    print_message("seed 1, events %llu .. %llu\n", (unsigned long long)first, (unsigned long long)last);
    for (uint64_t event = first; event <= last && die_at(event, policies[event % 3], tls, reach); event++)
        died++;
    print_message("died at %llu events; in doubt %llu, adopted %llu recipients\n", (unsigned long long)died,
                  (unsigned long long)reach->events[EVENT_IN_DOUBT], (unsigned long long)reach->adopted);
    return died;
}

static void assert_reached(const struct town_reach *reach)
{
    assert_true(reach->events[EVENT_IN_DOUBT] > 0 && reach->adopted > 0 && reach->events[EVENT_DEFERRED] > 0 &&
                reach->events[EVENT_BOUNCED] > 0 && reach->events[EVENT_INVALID] > 0);
}

static void it_may_die_at_any_event(void **unused)
{
    (void)unused;
    uint64_t most = getenv("SIM_LONG") ? 10000 : 1000;
    uint64_t first = getenv("SIM_FROM") ? strtoull(getenv("SIM_FROM"), NULL, 10) : 1;
    struct town_reach reach;
    uint64_t died = die_at_each(first, most, NULL, &reach);
    if (first > 1)
        return;
    assert_int_equal(died, most); /* the story is long enough */
    assert_reached(&reach);
}

/* The same within handshakes and with chunks in flight: the first handshake is under way at FIRST, the first session has
 * proved BDAT about half-way. */
static void it_may_die_in_flight(void **unused)
{
    (void)unused;
    enum { FIRST = 170, LAST = 370 };
    struct mx_tls *tls = mx_tls_new();
    struct town_reach reach;
    assert_int_equal(die_at_each(FIRST, LAST, tls, &reach), LAST - FIRST + 1);
    mx_tls_free(tls);
    assert_reached(&reach);
    assert_true(reach.accepted_chunked > 0 && reach.tls_failed > 0 && reach.tls_resumed > 0);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_may_die_at_any_event),
                                       cmocka_unit_test(it_may_die_in_flight)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
