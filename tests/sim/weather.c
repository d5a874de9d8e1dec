/* weather.c - draws storms and tempers, so that no two seeds test the same run. */
#include "weather.h"

#include <string.h>

static uint64_t draw(struct sim_world *world, uint64_t least, uint64_t most)
{
    return least + sim_random(world) % (most - least + 1);
}

/* Between `least` and `most`, each order of magnitude as likely as another. */
static uint64_t draw_scale(struct sim_world *world, uint64_t least, uint64_t most)
{
    uint64_t decades = 0, value = least;
    for (uint64_t v = least; v * 10 <= most; v *= 10)
        decades++;
    for (uint64_t n = draw(world, 0, decades); n; n--)
        value *= 10;
    return draw(world, value, value * 10 < most ? value * 10 : most);
}

/* ---- the network ---- */

void weather_storm(struct sim_world *world)
{
    for (enum sim_fault fault = SIM_FAULT_BROKEN + 1; fault < SIM_FAULT_COUNT; fault++)
        sim_fault_set(world, fault, draw(world, 0, 1) ? (uint32_t)draw_scale(world, 10, 20000) : 0);
    struct sim_link link = {
        .latency = (nsec)draw_scale(world, 10 * (uint64_t)NSEC_PER_US, 100 * (uint64_t)NSEC_PER_MS),
        .bytes_per_s = draw(world, 0, 3) ? 0 : draw_scale(world, 10 * 1000, 100 * 1000 * 1000),
    };
    link.jitter = (nsec)draw(world, 0, (uint64_t)link.latency);
    sim_link(world, NULL, NULL, &link);
}

void weather_calm(struct sim_world *world)
{
    for (enum sim_fault fault = SIM_FAULT_BROKEN + 1; fault < SIM_FAULT_COUNT; fault++)
        sim_fault_set(world, fault, 0);
    sim_heal(world);
}

/* ---- the providers ---- */

static enum mx_stage draw_stage(struct sim_world *world)
{
    return (enum mx_stage)draw(world, MX_STAGE_BROKEN + 1, MX_BODY);
}

static uint32_t draw_chance(struct sim_world *world) { return (uint32_t)draw_scale(world, 1000, MX_CERTAIN / 2); }

static void be_slow(struct sim_world *world, struct mx_personality *p)
{
    for (unsigned i = 0; i < 2; i++) {
        struct mx_latency *latency = &p->latency[draw_stage(world)];
        latency->base = (nsec)draw_scale(world, (uint64_t)NSEC_PER_MS, 30 * (uint64_t)NSEC_PER_S);
        latency->jitter = (nsec)draw(world, 0, (uint64_t)latency->base);
    }
}

static void be_short_of_connections(struct sim_world *world, struct mx_personality *p)
{
    if (draw(world, 0, 1))
        p->connections_max = (uint32_t)draw(world, 1, 20);
    else
        p->connections_per_source_max = (uint32_t)draw(world, 1, 10);
}

static void limit_messages(struct sim_world *world, struct mx_personality *p)
{
    p->messages_max = (uint32_t)draw(world, 1, 50);
    p->messages_silent = draw(world, 0, 1);
}

static void limit_rate(struct sim_world *world, struct mx_personality *p)
{
    static const char *const replies[] = {"451 4.7.1 slow down", "421 4.7.28 unusual rate of mail"};
    const char *reply = replies[draw(world, 0, countof(replies) - 1)];
    p->rate = draw_scale(world, 1, 1000);
    p->rate_per = (nsec)draw_scale(world, (uint64_t)NSEC_PER_S, 60 * (uint64_t)NSEC_PER_S);
    p->rate_by_source = draw(world, 0, 1);
    slice_copy(p->rate_reply, sizeof p->rate_reply, slice_of(reply));
}

static void refuse(struct sim_world *world, struct mx_personality *p)
{
    static const char *const replies[] = {
        "421 4.3.2 service shutting down",
        "450 4.2.1 mailbox busy",
        "451 4.3.0 local error",
        "452 4.2.2 mailbox full",
        "550 5.7.1 message looks like spam",
        "552 5.2.2 over quota",
        "554 5.7.1 policy\n554 5.7.1 see https://post.example/policy",
    };
    for (unsigned i = 0; i < 2; i++)
        mx_personality_rule(p, draw_stage(world), draw_chance(world), replies[draw(world, 0, countof(replies) - 1)]);
}

static void be_blocked(struct sim_world *world, struct mx_personality *p)
{
    mx_personality_rule(p, MX_GREETING, draw(world, 0, 1) ? MX_CERTAIN : draw_chance(world),
                        draw(world, 0, 1) ? "421 4.7.0 try again later" : "554 5.7.1 your address is on our list");
}

static void know_few(struct sim_world *world, struct mx_personality *p)
{
    mx_personality_rule(p, MX_RCPT, draw_chance(world), "550 5.1.1 no such user")->sticky = true;
}

static void greylist(struct sim_world *world, struct mx_personality *p)
{
    mx_personality_rule(p, MX_RCPT, MX_CERTAIN, "450 4.7.1 greylisted, come back later")->first =
        (uint32_t)draw(world, 1, 200);
}

static void break_off(struct sim_world *world, struct mx_personality *p)
{
    static const enum mx_action actions[] = {MX_HANG_UP, MX_ABORT, MX_SILENCE};
    for (unsigned i = 0; i < 2; i++)
        mx_personality_rule(p, draw_stage(world), (uint32_t)draw_scale(world, 100, 100000), NULL)->action =
            actions[draw(world, 0, countof(actions) - 1)];
}

static void lose_replies(struct sim_world *world, struct mx_personality *p)
{
    struct mx_rule *rule = mx_personality_rule(p, MX_BODY, (uint32_t)draw_scale(world, 1000, 100000), NULL);
    rule->action = draw(world, 0, 1) ? MX_HANG_UP : MX_ABORT;
    rule->accept = true;
}

static void spoil_tls(struct sim_world *world, struct mx_personality *p)
{
    static const struct {
        enum mx_stage stage;
        enum mx_action action;
        const char *reply;
    } ways[] = {
        {MX_STARTTLS, MX_REPLY, "454 4.7.0 TLS not available"},
        {MX_STARTTLS, MX_REPLY, "421 4.3.2 closing"},
        {MX_STARTTLS, MX_GARBAGE, "\1\2 what?"},
        {MX_STARTTLS, MX_INJECT, "250-x\r\n250 PIPELINING\r\n250 ok\r\n"},
        {MX_STARTTLS, MX_TWICE, NULL},
        {MX_STARTTLS, MX_HANG_UP, NULL},
        {MX_STARTTLS, MX_SILENCE, NULL},
        {MX_HANDSHAKE, MX_GARBAGE, "220 go on in plain text\r\n"},
        {MX_HANDSHAKE, MX_INJECT, "250 ok\r\n"},
        {MX_HANDSHAKE, MX_TWICE, NULL},
        {MX_HANDSHAKE, MX_HANG_UP, NULL},
        {MX_HANDSHAKE, MX_ABORT, NULL},
        {MX_HANDSHAKE, MX_SILENCE, NULL},
        {MX_HANDSHAKE, MX_TRUNCATE, NULL},
    };
    for (unsigned i = 0; i < 2; i++) {
        uint64_t way = draw(world, 0, countof(ways) - 1);
        mx_personality_rule(p, ways[way].stage, MX_CERTAIN / 2, ways[way].reply)->action = ways[way].action;
    }
}

static void doubt_credentials(struct sim_world *world, struct mx_personality *p)
{
    mx_personality_rule(p, MX_AUTH, draw_chance(world),
                        draw(world, 0, 1) ? "454 4.7.0 not now" : "535 5.7.8 who are you?");
}

/* MAIL that is refused with the chunk behind it, and RCPT: what follows is swallowed. */
static void refuse_chunks(struct sim_world *world, struct mx_personality *p)
{
    mx_personality_rule(p, MX_MAIL, draw_chance(world), "451 4.7.1 later");
    mx_personality_rule(p, MX_RCPT, draw_chance(world), "450 4.2.1 later");
    p->latency[MX_RCPT] = p->latency[MX_BODY] = (struct mx_latency){20 * NSEC_PER_MS, 20 * NSEC_PER_MS};
}

static void give(struct sim_world *world, struct mx_personality *p, enum weather_trait trait)
{
    switch (trait) {
    case WEATHER_NO_PIPELINING:
        p->pipelining = false;
        break;
    case WEATHER_NO_EHLO:
        p->ehlo = false;
        break;
    case WEATHER_BEHIND_DOT:
        p->behind_dot = draw(world, 0, 1) ? MX_BEHIND_REFUSED : MX_BEHIND_CLOSED;
        break;
    case WEATHER_LATENCY:
        be_slow(world, p);
        break;
    case WEATHER_TARPIT:
        p->tarpit = (nsec)draw_scale(world, 10 * (uint64_t)NSEC_PER_US, 100 * (uint64_t)NSEC_PER_MS);
        break;
    case WEATHER_CONNECTIONS:
        be_short_of_connections(world, p);
        break;
    case WEATHER_MESSAGES:
        limit_messages(world, p);
        break;
    case WEATHER_RATE:
        limit_rate(world, p);
        break;
    case WEATHER_IDLE:
        p->idle = (nsec)draw_scale(world, 100 * (uint64_t)NSEC_PER_MS, 60 * (uint64_t)NSEC_PER_S);
        p->idle_silent = draw(world, 0, 1);
        break;
    case WEATHER_REFUSES:
        refuse(world, p);
        break;
    case WEATHER_BLOCKS:
        be_blocked(world, p);
        break;
    case WEATHER_UNKNOWN:
        know_few(world, p);
        break;
    case WEATHER_GREYLISTS:
        greylist(world, p);
        break;
    case WEATHER_BREAKS:
        break_off(world, p);
        break;
    case WEATHER_LOSES:
        lose_replies(world, p);
        break;
    case WEATHER_SMALL:
        p->size_max = draw_scale(world, 1000, 100 * 1000);
        break;
    case WEATHER_TLS:
        spoil_tls(world, p);
        break;
    case WEATHER_AUTH:
        doubt_credentials(world, p);
        break;
    case WEATHER_CHUNKS:
        refuse_chunks(world, p);
        break;
    case WEATHER_TRAIT_COUNT:
        sluice_assert(!"a trait");
    }
}

unsigned weather_personality(struct sim_world *world, struct mx_personality *personality, const char *name)
{
    unsigned traits = 0;
    mx_personality_init(personality, name);
    for (uint64_t n = draw(world, 0, 5); n; n--)
        traits |= 1u << draw(world, 1, WEATHER_TRAIT_COUNT - 1);
    for (enum weather_trait trait = WEATHER_NO_PIPELINING; trait < WEATHER_TRAIT_COUNT; trait++)
        if (traits & 1u << trait)
            give(world, personality, trait);
    return traits;
}

enum weather_ability weather_chunking(struct sim_world *world, struct mx_personality *personality)
{
    personality->chunking = true;
    personality->chunks_spill = draw(world, 0, 3) == 0;
    return personality->chunks_spill ? WEATHER_SPILLING : WEATHER_CHUNKING;
}

/* What of `from` no mood changes. */
static void keep_abilities(const struct mx_personality *from, struct mx_personality *to)
{
    to->starttls = from->starttls;
    to->demand = from->demand;
    to->tls = from->tls;
    to->auth = from->auth;
    to->auth_required = from->auth_required;
    to->account_count = from->account_count;
    memcpy(to->accounts, from->accounts, sizeof to->accounts);
    to->chunking = from->chunking;
    to->chunks_spill = from->chunks_spill;
}

void weather_oblige(const struct sim_isp *isp, struct mx_personality *personality)
{
    mx_personality_init(personality, isp->name);
    keep_abilities(&isp->personality, personality);
}

unsigned weather_moods(struct sim_isp *isp, nsec from, nsec until, unsigned count)
{
    struct sim_world *world = isp->mail->world;
    struct mx_personality personality;
    unsigned traits = 0;
    sluice_assert(from < until);
    for (unsigned i = 0; i < count; i++) {
        nsec at = from + (nsec)draw(world, 0, (uint64_t)(until - from - 1));
        traits |= weather_personality(world, &personality, isp->name);
        keep_abilities(&isp->personality, &personality);
        sim_isp_mood(isp, at, &personality);
    }
    weather_oblige(isp, &personality);
    sim_isp_mood(isp, until, &personality);
    return traits;
}
