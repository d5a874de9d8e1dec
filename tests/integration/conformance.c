/* The fake Redis of the simulation against a real one: the same random steps through the production store, the same
 * answers, and after each step the same keys. Without this the simulation would prove things about a Redis that does
 * not exist.
 *
 * usage: conformance [SEED [STEPS]] */
#include "conformance.h"

#include "store/lanes.h"
#include "store/resolve.h"
#include "store/suppress.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- random steps ---- */

enum { STEPS = 1800, PEOPLE_EVERY = 6 };

static struct slice pick(struct conformance *c, const char *const *words, unsigned count)
{
    return slice_of(words[draw(c, count)]);
}

static const char *const addresses[] = {"a@x", "b@x", "c@x", "d@x"};

static struct event random_event(struct conformance *c, enum event_type type)
{
    struct event event = {
        .type = type, .seq = draw(c, 50), .attempt = 1 + (uint32_t)draw(c, 3), .final = chance(c, 50)};
    if (chance(c, 70))
        event.to = SLICE("ann@x.example");
    if (chance(c, 30))
        event.reply = SLICE("550 \x00\xff\r\n \"no\"");
    if (chance(c, 50))
        event.code = 250;
    if (chance(c, 50))
        event.started_us = 1795285488057000 + draw(c, 1000);
    return event;
}

enum { ENDS = 12 };
struct ends {
    struct store_end ends[ENDS];
    struct event events[ENDS];
    unsigned count;
    bool close;
};

/* `whole`: what ends all of a lease of so many; 0: anything. */
static struct ends random_ends(struct conformance *c, unsigned whole)
{
    struct ends r = {.count = whole ? whole : (unsigned)draw(c, ENDS + 1), .close = whole || chance(c, 50)};
    bool all = whole || chance(c, 60);
    for (unsigned i = 0; i < r.count; i++) {
        struct store_end *end = &r.ends[i];
        r.events[i] = random_event(c, 1 + (enum event_type)draw(c, EVENT_TYPE_COUNT - 1));
        *end = (struct store_end){.kind = 1 + (enum store_end_kind)draw(c, STORE_END_RESEND),
                                  .index = all ? i : (uint32_t)draw(c, ENDS),
                                  .full = chance(c, 50),
                                  .isp = pick(c, isps, ISPS_MAX),
                                  .due_ms = (int64_t)draw(c, 5)};
        end->record = (struct store_record){.seq = draw(c, 40),
                                            .attempt = (uint32_t)draw(c, 4),
                                            .first_ms = (int64_t)draw(c, 1795285488057),
                                            .source = chance(c, 50) ? SLICE("s1") : SLICE(""),
                                            .raw = chance(c, 50) ? SLICE("r@x") : SLICE("{\"to\": \"\x01\xfe\"}")};
    }
    return r;
}

enum kind {
    LEASE_LIST,
    LEASE_PARKED,
    LEASE_RETRY,
    ADOPT,
    RELEASE,
    PERMIT,
    END,
    UNIQUE,
    LOOK,
    PHASE,
    FINISH,
    CAMPAIGNS,
    HEARTBEAT,
    HEARTBEAT_END,
    HOLD,
    LET_GO,
    OPS,
    CREATE,
    PUSH,
    START,
    EVENTS,
    ALL,
    TRIM,
    ENTRIES,
    SUPPRESSED,
    STRIKE,
    SUPPRESS,
    UNSUPPRESS,
    SUPPRESSED_SCAN,
    LOOK_AFTER,
    ENGINE,
    LANE,
    RESOLVE,
    KINDS
};
/* How often each, out of their sum. */
static const unsigned weights[KINDS] = {12, 8, 8, 8, 4, 10, 25, 3, 6, 5, 8, 2, 1, 1, 3,
                                        2,  1, 2, 6, 2, 2,  1,  6, 4, 3, 8, 3, 3, 3, 6, 2, 4, 6};

struct random_step {
    enum kind kind;
    unsigned hand;
    struct open_lease *open; /* of campaign and lease */
    struct slice campaign, lease, word, other;
    uint64_t number;
    unsigned most;
    uint32_t permits[4], withdrawn[2];
    struct ends ends;
    char held[2][HELD_MAX]; /* records, as they are held; or what is none */
};

static struct random_step random_step(struct conformance *c)
{
    static const char *const phases[] = {"sending", "idle", "waiting", "done", "cancelled"};
    static const char *const owners[] = {"engine", "rival", "-"};
    unsigned campaign = (unsigned)draw(c, CAMPAIGNS_MAX), lease = (unsigned)draw(c, LEASES_MAX);
    struct random_step s = {.hand = (unsigned)draw(c, HANDS),
                            .open = &c->open[campaign][lease],
                            .campaign = slice_of(campaigns[campaign]),
                            .lease = slice_of(leases[lease]),
                            .number = draw(c, 4),
                            .most = 1 + (unsigned)draw(c, ENDS)};
    unsigned sum = 0, at = 0;
    for (unsigned i = 0; i < KINDS; i++)
        sum += weights[i];
    for (uint64_t n = draw(c, sum); n >= weights[at]; at++)
        n -= weights[at];
    s.kind = (enum kind)at;
    /* Mostly a lease that is free to be taken, or one that is there to be worked on. */
    bool taking = s.kind <= LEASE_RETRY;
    for (unsigned i = 0; i < LEASES_MAX && (s.open->count > 0) == taking && chance(c, 80); i++) {
        s.open = &c->open[campaign][i];
        s.lease = slice_of(leases[i]);
    }
    s.word = s.kind == ADOPT                      ? pick(c, owners, 3)
             : s.kind == PHASE                    ? pick(c, phases, 3)
             : s.kind == FINISH                   ? pick(c, phases + 3, 2)
             : s.kind == LEASE_PARKED             ? pick(c, isps, ISPS_MAX)
             : s.kind == HOLD || s.kind == LET_GO ? pick(c, isps, 2)
                                                  : pick(c, addresses, countof(addresses));
    s.other = pick(c, addresses, countof(addresses));
    for (unsigned i = 0; i < 4; i++)
        s.permits[i] = (uint32_t)draw(c, ENDS);
    for (unsigned i = 0; i < 2; i++)
        s.withdrawn[i] = (uint32_t)draw(c, ENDS);
    /* Mostly by the hand that has the lease, and mostly all of it: else hardly one would ever be closed. */
    bool by_owner = s.open->count && chance(c, 80);
    if (by_owner)
        s.hand = s.open->hand;
    if (s.kind == END)
        s.ends = random_ends(c, by_owner && chance(c, 60) ? s.open->count : 0);
    return s;
}

static void do_step(struct random_step *s, struct asker *asker)
{
    for (unsigned i = 0; i < s->ends.count; i++)
        s->ends.ends[i].event = &s->ends.events[i];
    struct store *store = asker->store;
    struct store_request *r = asker_next(asker);
    const struct slice two[] = {s->word, s->other}, pairs[] = {SLICE("from"), s->word, SLICE("keep"), s->other};
    const uint64_t seqs[] = {s->number, s->number + 1};
    char phase[16];
    slice_copy(phase, sizeof phase, s->word);
    switch (s->kind) {
    case LEASE_LIST:
        store_lease_list(store, r, s->campaign, s->lease, s->most);
        break;
    case LEASE_PARKED:
        store_lease_parked(store, r, s->campaign, s->lease, s->word, s->most);
        break;
    case LEASE_RETRY:
        store_lease_retry(store, r, s->campaign, s->lease, (int64_t)s->number, s->most);
        break;
    case ADOPT:
        store_adopt(store, r, s->campaign, s->lease, s->word, s->word.p[0] == '-' ? 0 : 1 + s->number % 2);
        break;
    case RELEASE:
        store_release(store, r, s->campaign, s->lease);
        break;
    case PERMIT:
        store_permit(store, r, s->campaign, s->lease, s->permits, (unsigned)s->number, s->withdrawn, 2);
        break;
    case END:
        store_end(store, r, s->campaign, s->lease, s->ends.ends, s->ends.count, s->ends.close);
        break;
    case UNIQUE:
        store_unique(store, r, s->campaign, two, seqs, 2);
        break;
    case LOOK:
        store_look(store, r, s->campaign, &asker->view);
        break;
    case PHASE:
        store_phase(store, r, s->campaign, phase, s->other);
        break;
    case FINISH:
        store_finish(store, r, s->campaign, phase, 100);
        break;
    case CAMPAIGNS:
        store_campaigns(store, r);
        break;
    case HEARTBEAT:
        store_heartbeat(store, r, s->number % 3, 100 * NSEC_PER_S);
        break;
    case HEARTBEAT_END:
        store_heartbeat_end(store, r);
        break;
    case HOLD:
        store_source_hold(store, r, s->word, 50 * NSEC_PER_S);
        break;
    case LET_GO:
        store_source_release(store, r, s->word);
        break;
    case OPS:
        store_ops(store, r, pairs, 4);
        break;
    case CREATE:
        store_create(store, r, s->campaign, pairs, 4);
        break;
    case PUSH:
        store_push(store, r, s->campaign, two, 2);
        break;
    case START:
        store_start(store, r, s->campaign);
        break;
    case EVENTS:
        store_events(store, r, s->campaign, SLICE("0"), s->most, 0);
        break;
    case ALL:
        store_all_campaigns(store, r);
        break;
    case TRIM: /* a bite that is no limit: the two streams' instants differ a little */
        store_trim_events(store, r, s->campaign, s->most, 86400 * NSEC_PER_S);
        break;
    case ENTRIES:
        store_entries(store, r, s->campaign, s->number * 8, s->most);
        break;
    case SUPPRESSED:
        store_suppressed(store, r, suppress_bucket(s->word), two, 2);
        break;
    case STRIKE: { /* nothing is so old that it goes: which are looked at is for chance to say */
        struct store_strike strike = {.key = s->word,
                                      .class_ = s->most % 2 ? SLICE("quota-issues") : SLICE("other"),
                                      .campaign = s->campaign,
                                      .seq = s->number,
                                      .attempt = s->most % 3,
                                      .now_ms = 1795285488057 + (int64_t)s->most * 1000,
                                      .after = 1 + (unsigned)(s->number + s->most) % 4,
                                      .within = (nsec)s->permits[0] * NSEC_PER_S,
                                      .keep = 3600 * NSEC_PER_S};
        store_strike(store, r, &strike);
        break;
    }
    case SUPPRESS:
        store_suppress(store, r, suppress_bucket(s->word), two, 2);
        break;
    case UNSUPPRESS:
        store_unsuppress(store, r, suppress_bucket(s->word), &s->word, 1);
        break;
    case SUPPRESSED_SCAN:
        store_suppressed_scan(store, r, suppress_bucket(s->word), SLICE("0"));
        break;
    case LOOK_AFTER: {
        const struct store_owner dead[] = {{"engine", 1 + s->number % 2}, {"rival", 1}, {"rival", 2}};
        store_look_after(store, r, s->campaign, &asker->view, dead, s->most % (countof(dead) + 1));
        break;
    }
    case ENGINE:
        store_engine(store, r, s->most % 2 ? SLICE("engine") : SLICE("nobody"));
        break;
    case LANE:
        store_lane(store, r, s->word, s->other, s->number, s->most % 3 ? s->other : SLICE(""));
        break;
    case RESOLVE: {
        const struct event event = {
            .type = EVENT_BOUNCED, .seq = s->number, .attempt = 1, .final = true, .to = SLICE("ann@x.example")};
        const struct store_resolution both[] = {{slice_of(s->held[0]), s->most % 2 ? &event : NULL},
                                                {slice_of(s->held[1]), s->most % 3 ? &event : NULL}};
        store_resolve(store, r, s->campaign, both, 1 + s->most / 2 % 2, (int64_t)s->number);
        break;
    }
    case KINDS:
        break;
    }
    asker_wait(asker);
}

static long long count_events(struct conformance *c, struct slice campaign)
{
    char key[64];
    snprintf(key, sizeof key, "sluice:{" SLICE_FORMAT "}:events", SLICE_ARGS(campaign));
    redisReply *reply = ASK_SIDE(c, REAL, "XLEN", key);
    long long count = reply->integer;
    freeReplyObject(reply);
    return count;
}

static void step_both(struct conformance *c)
{
    static const char *const names[KINDS] = {
        "lease list", "lease parked", "lease retry", "adopt",      "release",        "permit",        "end",  "unique",
        "look",       "phase",        "finish",      "campaigns",  "heartbeat",      "heartbeat end", "hold", "let go",
        "ops",        "create",       "push",        "start",      "events",         "all",           "trim", "entries",
        "suppressed", "strike",       "suppress",    "unsuppress", "suppressed scan", "look after", "engine", "lane",
        "resolve"};
    struct random_step s = random_step(c);
    unsigned hand = s.hand;
    /* A step that is repeated must do what is done already, on both alike. */
    unsigned times = chance(c, 15) ? 2 : 1;
    snprintf(c->what, sizeof c->what, "%s of " SLICE_FORMAT " " SLICE_FORMAT " by %u", names[s.kind],
             SLICE_ARGS(s.campaign), SLICE_ARGS(s.lease), hand);
    if (s.kind == RESOLVE)
        conformance_held(c, s.campaign, s.held);
    long long before = s.kind == TRIM ? count_events(c, s.campaign) : 0;
    for (; times; times--) {
        for (int side = REAL; side <= FAKE; side++) {
            do_step(&s, c->hands[hand][side]);
            conformance_answer(&c->answers[side], c->hands[hand][side], s.kind == LOOK || s.kind == LOOK_AFTER,
                               s.kind == CAMPAIGNS || s.kind == ALL || s.kind == SUPPRESSED_SCAN,
                               s.kind == EVENTS || s.kind == OPS);
        }
        conformance_equal(c, "answers", c->answers);
        c->results[c->hands[hand][REAL]->answer.result]++;
    }
    const struct store_answer *answer = &c->hands[hand][REAL]->answer;
    if (s.kind <= ADOPT && answer->result == STORE_OK)
        *s.open = (struct open_lease){hand, answer->item_count};
    if (s.kind == END && answer->number == 1) {
        *s.open = (struct open_lease){0};
        c->closed++;
    }
    if (s.kind == RESOLVE && answer->result == STORE_OK)
        c->resolved += answer->number > 0;
    if (s.kind == TRIM && answer->result == STORE_OK && before >= s.most)
        c->trims[answer->number < before]++;
    c->kinds[s.kind]++;
}

/* Consumers of events: a group is made, or reads, and acknowledges mostly all of it. */
static void readers_both(struct conformance *c)
{
    static const char *const groups[] = {"g1", "g2"};
    const char *group = groups[draw(c, countof(groups))];
    char key[64];
    uint64_t passed_over = chance(c, 80) ? UINT64_MAX : draw(c, 40);
    snprintf(key, sizeof key, "sluice:{%s}:events", campaigns[draw(c, CAMPAIGNS_MAX)]);
    snprintf(c->what, sizeof c->what, "%s reads %s", group, key);
    freeReplyObject(ASK_SIDE(c, REAL, "XGROUP", "CREATE", key, group, "0"));
    freeReplyObject(ASK_SIDE(c, FAKE, "XGROUP", "CREATE", key, group, "0"));
    for (int side = REAL; side <= FAKE; side++) {
        redisReply *reply = ASK_SIDE(c, side, "XREADGROUP", "GROUP", group, "x", "COUNT", "40", "STREAMS", key, ">");
        const redisReply *entries =
            reply->type == REDIS_REPLY_ARRAY && reply->elements ? reply->element[0]->element[1] : NULL;
        for (size_t i = 0; entries && i < entries->elements; i++)
            if (i != passed_over)
                freeReplyObject(ASK_SIDE(c, side, "XACK", key, group, entries->element[i]->element[0]->str));
        freeReplyObject(reply);
    }
}

/* What people do, and what they should not. */
static void people_both(struct conformance *c)
{
    static const char *const states[] = {"running", "running", "running",   "running",
                                         "running", "paused",  "cancelled", "pasued"};
    static const char *const spoilt[] = {"leases", "recipients", "events", "ledger:a:1", "status"};
    char campaign[64], recipients[64], held[64], spoilt_key[64], entry[64];
    const char *id = campaigns[draw(c, countof(campaigns))], *state = states[draw(c, countof(states))];
    unsigned what = (unsigned)draw(c, 100);
    snprintf(campaign, sizeof campaign, "sluice:{%s}:campaign", id);
    snprintf(recipients, sizeof recipients, "sluice:{%s}:recipients", id);
    snprintf(held, sizeof held, "sluice:{%s}:held", id);
    snprintf(spoilt_key, sizeof spoilt_key, "sluice:{%s}:%s", id, spoilt[draw(c, countof(spoilt))]);
    snprintf(entry, sizeof entry, "{\"to\":\"r%u@x\"}", (unsigned)draw(c, 1000));
    snprintf(c->what, sizeof c->what, "people %u on %s", what, id);
    for (int side = REAL; side <= FAKE; side++) {
        redisReply *reply;
        if (what < 25)
            reply = ASK_SIDE(c, side, "HSET", campaign, "state", state);
        else if (what < 80)
            reply = ASK_SIDE(c, side, "RPUSH", recipients, entry, "b@y", "");
        else if (what < 90)
            reply = ASK_SIDE(c, side, "DEL", held);
        else if (what < 92)
            reply = ASK_SIDE(c, side, "SET", spoilt_key, "a string where none belongs");
        else if (what < 99)
            reply = ASK_SIDE(c, side, "SADD", "sluice:campaigns", id, "else");
        else
            reply = ASK_SIDE(c, side, "FLUSHALL");
        freeReplyObject(reply);
    }
    /* Spoilt keys are put right soon: otherwise little else would be seen. */
    if (chance(c, 50))
        for (int side = REAL; side <= FAKE; side++) {
            redisReply *type = ASK_SIDE(c, side, "TYPE", spoilt_key);
            if (strcmp(type->str, "string") == 0)
                freeReplyObject(ASK_SIDE(c, side, "DEL", spoilt_key));
            freeReplyObject(type);
        }
}

/* ---- the run ---- */

static void open_all(struct conformance *c, const char *fake_path)
{
    static const char *const engines[HANDS] = {"engine", "engine", "engine", "rival"};
    static const uint64_t incarnations[HANDS] = {1, 1, 2, 1}; /* two shards, a later life, another engine */
    char url[128];
    struct io_address at;
    snprintf(url, sizeof url, "unix:%s", fake_path);
    struct asker *first = asker_open(real_redis_url(c->real), engines[0], incarnations[0], NULL);
    c->fake = fake_redis_new(0);
    sluice_assert(io_address_parse(&at, fake_path, 0));
    fake_redis_serve(c->fake, first->io, &at);
    for (unsigned i = 0; i < HANDS; i++) {
        c->hands[i][REAL] = i ? asker_open(real_redis_url(c->real), engines[i], incarnations[i], first) : first;
        c->hands[i][FAKE] = asker_open(url, engines[i], incarnations[i], first);
    }
}

static void close_all(struct conformance *c)
{
    for (unsigned i = 0; i < HANDS; i++)
        for (int side = REAL; side <= FAKE; side++)
            asker_close(c->hands[i][side]); /* the first of them closes the io */
    fake_redis_free(c->fake);
    real_redis_stop(c->real);
    redisReaderFree(c->reader);
    for (int side = REAL; side <= FAKE; side++) {
        free(c->answers[side].p);
        free(c->dumps[side].p);
    }
}

/* What has not been reached yet, or NULL: some seeds take their time, and go on for it. */
static const char *missing(const struct conformance *c)
{
    for (unsigned kind = 0; kind < KINDS; kind++)
        if (!c->kinds[kind])
            return "a kind of step was never reached";
    if (!c->resolved)
        return "nobody who was held was resolved";
    if (!c->trims[false] || !c->trims[true])
        return "events were never trimmed, or always";
    if (!c->closed || !c->results[STORE_OK] || !c->results[STORE_FENCED] || !c->results[STORE_REFUSED])
        return "a result was never reached";
    return conformance_raw_missing(c);
}

int main(int argc, char **argv)
{
    struct conformance c = {0};
    char directory[] = "/tmp/sluice-fake-XXXXXX", path[64];
    unsigned steps = argc > 2 ? (unsigned)atoi(argv[2]) : STEPS;
    c.real = real_redis_start(false);
    c.reader = redisReaderCreate();
    sluice_assert(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/socket", directory);
    for (int side = REAL; side <= FAKE; side++) {
        c.answers[side].p = malloc(TEXT_MAX);
        c.dumps[side].p = malloc(TEXT_MAX);
        sluice_assert(c.answers[side].p && c.dumps[side].p);
    }
    open_all(&c, path);
    for (unsigned i = 0; i < HANDS; i++) /* they bring the library */
        for (int side = REAL; side <= FAKE; side++)
            (void)ASK(c.hands[i][side], store_campaigns);
    c.seed = argc > 1 ? strtoull(argv[1], NULL, 0) : io_random(c.hands[0][REAL]->io) % 1000000;
    c.random = c.seed;
    printf("conformance: seed %llu, %u steps\n", (unsigned long long)c.seed, steps);
    for (c.step = 1; c.step <= steps || (steps >= STEPS && c.step <= 4 * steps && missing(&c)); c.step++) {
        if (chance(&c, 12))
            conformance_raw(&c);
        else if (chance(&c, 5))
            readers_both(&c);
        else if (chance(&c, 100 / PEOPLE_EVERY))
            people_both(&c);
        else
            step_both(&c);
        conformance_keys(&c);
    }
    if (steps >= STEPS && missing(&c))
        conformance_fail(&c, "%s", missing(&c));
    printf("conformance: ok %u, fenced %u, refused %u; leases closed %u\n", c.results[STORE_OK],
           c.results[STORE_FENCED], c.results[STORE_REFUSED], c.closed);
    close_all(&c);
    (void)unlink(path);
    (void)rmdir(directory);
    return 0;
}
