/* Does what the promises are about: "none loses or doubles anybody" is only worth something when everything was done.
 */
#include "town_control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t draw(struct town *town, uint64_t below) { return sim_random(town->world) % below; }

const char *town_control_name(enum town_control control)
{
    static const char *const names[TOWN_CONTROL_COUNT] = {
        [TOWN_PAUSED] = "paused",
        [TOWN_CANCELLED] = "cancelled",
        [TOWN_UNCANCELLED] = "cancelled and running again",
        [TOWN_REWRITTEN] = "rewritten",
        [TOWN_BROKEN] = "broken and mended",
        [TOWN_MOVED] = "moved to another pool and back",
        [TOWN_PREFERRED] = "preferred",
        [TOWN_DOUBT] = "another in_doubt",
        [TOWN_ADDED_TWICE] = "added twice",
        [TOWN_BEGUN_AGAIN] = "begun again",
        [TOWN_RELOADED] = "reloaded",
        [TOWN_LEFT] = "ended and started again",
        [TOWN_KILLED] = "killed",
        [TOWN_KILLED_FOR_GOOD] = "killed for good",
        [TOWN_STALLED] = "stalled",
        [TOWN_CUT_OFF] = "cut off",
        [TOWN_REPLACED] = "replaced",
        [TOWN_REPLACED_AND_KILLED] = "replaced and killed",
        [TOWN_TAKEN_OVER] = "taken over",
    };
    return names[control];
}

/* ---- campaigns ---- */

static void add(struct town *town, const char *id)
{
    free(fake_redis_do(town->redis, "SADD sluice:campaigns %s", id));
    if (draw(town, 2))
        free(fake_redis_do(town->redis, "PUBLISH sluice:wake %s", id));
}

void town_controls_campaign(struct town_controls *controls)
{
    static const char *const policies[] = {"hold", "resend", "drop"};
    static const char *const weights[] = {"1", "7", "1000"};
    struct town *town = controls->town;
    const char *id = controls->id = town->campaigns[draw(town, town->campaign_count)].id;
    enum town_control what = controls->undo = (enum town_control)(TOWN_PAUSED + draw(town, TOWN_ADDED_TWICE));
    switch (what) {
    case TOWN_PAUSED:
        town_set(town, id, "state", "paused");
        break;
    case TOWN_CANCELLED:
    case TOWN_UNCANCELLED:
        town_set(town, id, "state", "cancelled");
        break;
    case TOWN_REWRITTEN:
        town_set(town, id, "text", draw(town, 2) ? "Dear {{name}},\r\nall is new.\r\n" : "All is new.\r\n");
        break;
    case TOWN_BROKEN:
        town_set(town, id, "text", "Hello {{#name}},\r\n");
        break;
    case TOWN_MOVED:
        town_set(town, id, "pool", "nowhere");
        break;
    case TOWN_PREFERRED:
        town_set(town, id, "weight", weights[draw(town, countof(weights))]);
        town_set(town, id, "priority", draw(town, 2) ? "high" : "normal");
        break;
    case TOWN_DOUBT:
        town_set(town, id, "in_doubt", policies[draw(town, countof(policies))]);
        break;
    default:
        add(town, id);
        break;
    }
    controls->reach[what]++;
}

static void undo_campaign(struct town_controls *controls)
{
    struct town *town = controls->town;
    if (controls->undo == TOWN_PAUSED || controls->undo == TOWN_UNCANCELLED)
        town_set(town, controls->id, "state", "running");
    else if (controls->undo == TOWN_BROKEN)
        town_set(town, controls->id, "text", "Hello {{name}},\r\nI am mended.\r\n");
    else if (controls->undo == TOWN_MOVED)
        town_set(town, controls->id, "pool", "p");
}

/* Its phase is of its first end until somebody has looked, who may be stopped, or wait for bytes that are minutes late.
 */
static void wait_until_taken(struct town *town, const struct town_campaign *campaign)
{
    char taken[32], length[64];
    int n = snprintf(taken, sizeof taken, "%llu", (unsigned long long)campaign->pushed);
    snprintf(length, sizeof length, "$%d\r\n%s\r\n", n, taken);
    for (unsigned s = 0; s < 1200; s++) {
        char *reply = fake_redis_do(town->redis, "HGET sluice:{%s}:status taken", campaign->id);
        bool all = strcmp(reply, length) == 0;
        free(reply);
        if (all)
            return;
        town_run(town, NSEC_PER_S);
    }
    fail_msg("seed %llu: %s was added again, and nobody takes of it", (unsigned long long)town->seed, campaign->id);
}

void town_controls_begin_again(struct town_controls *controls)
{
    struct town *town = controls->town;
    for (unsigned i = 0; i < town->campaign_count; i++) {
        const char *id = town->campaigns[i].id;
        for (uint64_t n = draw(town, 20); n; n--)
            town_push_entry(town, id, "late@isp1.example");
        add(town, id);
    }
    controls->reach[TOWN_BEGUN_AGAIN]++;
    for (unsigned i = 0; i < town->campaign_count; i++)
        wait_until_taken(town, &town->campaigns[i]);
}

/* ---- engines ---- */

int town_controls_pick(struct town_controls *controls)
{
    const struct town *town = controls->town;
    unsigned first = (unsigned)draw(controls->town, town->engine_count);
    for (unsigned i = 0; i < town->engine_count; i++)
        if (town_runs(town, (first + i) % town->engine_count))
            return (int)((first + i) % town->engine_count);
    return -1;
}

/* Who is stopped has no turn, whatever it is asked. */
static void wait_for(struct town_controls *controls, unsigned engine)
{
    nsec now = sim_now(controls->town->world);
    if (controls->stopped_until[engine] > now)
        town_run(controls->town, controls->stopped_until[engine] - now);
}

static void leave(struct town_controls *controls, unsigned engine)
{
    if (!controls->town->redis_io)
        return;
    wait_for(controls, engine);
    town_finish_one(controls->town, engine);
    controls->reach[TOWN_LEFT]++;
}

static void kill(struct town_controls *controls, unsigned engine)
{
    struct town *town = controls->town;
    unsigned alive = 0;
    for (unsigned i = 0; i < town->engine_count; i++)
        alive += !controls->dead[i];
    town_crash_one(town, engine);
    if (controls->replaced || alive < 2 || draw(town, 2)) {
        controls->reach[TOWN_KILLED]++;
        return;
    }
    for (unsigned i = 0; !controls->reach[TOWN_KILLED_FOR_GOOD] && i < town->engine_count; i++)
        controls->adopted[i] = sim_engine_metric(town->engines[i].engine, METRIC_LEASED_ADOPTED);
    controls->dead[engine] = true;
    controls->reach[TOWN_KILLED_FOR_GOOD]++;
}

static void stall(struct town_controls *controls, unsigned engine)
{
    nsec duration = (nsec)draw(controls->town, 40) * NSEC_PER_S;
    wait_for(controls, engine);
    town_freeze(controls->town, engine, duration);
    controls->stopped_until[engine] = sim_now(controls->town->world) + duration;
    controls->reach[TOWN_STALLED]++;
}

static void reload(struct town_controls *controls, unsigned engine)
{
    struct town *town = controls->town;
    for (unsigned twice = 0; twice < 2; twice++) {
        wait_for(controls, engine);
        town_reload_one(town, engine, twice ? controls->settings : controls->tighter,
                        (nsec)draw(town, 300) * NSEC_PER_MS);
        town_run(town, (nsec)draw(town, 8000) * NSEC_PER_MS);
    }
    controls->reach[TOWN_RELOADED]++;
}

static void replace(struct town_controls *controls)
{
    struct town *town = controls->town;
    unsigned old = controls->now, new = 1 - old;
    if (!town->redis_io)
        return;
    wait_for(controls, old);
    town_start_one(town, new);
    town_run(town, (nsec)draw(town, 8) * NSEC_PER_S);
    if (draw(town, 3)) {
        town_finish_one(town, old);
        controls->reach[TOWN_REPLACED]++;
    } else {
        sim_engine_finish(town->engines[old].engine, 30 * NSEC_PER_S);
        town_run(town, (nsec)draw(town, 10000) * NSEC_PER_MS);
        town_crash_one(town, old);
        controls->reach[TOWN_REPLACED_AND_KILLED]++;
    }
    controls->now = new;
}

void town_controls_engine(struct town_controls *controls)
{
    int picked = town_controls_pick(controls);
    if (picked < 0)
        return;
    unsigned engine = (unsigned)picked;
    switch (draw(controls->town, 7)) {
    case 0:
        leave(controls, engine);
        break;
    case 1:
        kill(controls, engine);
        break;
    case 2:
        stall(controls, engine);
        break;
    case 3:
        town_cut_off(controls->town, engine, (nsec)draw(controls->town, 60) * NSEC_PER_S);
        controls->reach[TOWN_CUT_OFF]++;
        break;
    case 4:
        if (controls->tighter)
            reload(controls, engine);
        break;
    default:
        if (controls->replaced)
            replace(controls);
        else
            kill(controls, engine);
    }
}

void town_controls_undo(struct town_controls *controls)
{
    const struct town *town = controls->town;
    undo_campaign(controls);
    controls->undo = 0;
    for (unsigned i = 0; i < town->engine_count; i++)
        if (!town_runs(town, i) && !controls->dead[i] && (!controls->replaced || i == controls->now))
            town_start_one(controls->town, i);
}

void town_controls_count(struct town_controls *controls)
{
    const struct town *town = controls->town;
    if (!controls->reach[TOWN_KILLED_FOR_GOOD])
        return;
    for (unsigned i = 0; i < town->engine_count; i++)
        controls->reach[TOWN_TAKEN_OVER] +=
            !controls->dead[i] &&
            sim_engine_metric(town->engines[i].engine, METRIC_LEASED_ADOPTED) > controls->adopted[i];
}
