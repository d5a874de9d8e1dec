/* Claims: what a store asks of a Redis that has forgotten what it was asked before, or more than can be done again. No
 * store asks it here, but FCALL, so that both are asked in the same state. */
#include "conformance.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum raw { CLAIM_LIST, CLAIM_PARKED, CLAIM_RETRY, CLAIM_ADOPT, RAW_SKIP, RAW_DOUBT, RAWS };

struct raw_step {
    const char *argv[64];
    int argc;
    char texts[48][160];
    unsigned text_count;
};

printf_like(2, 3) static void put(struct raw_step *raw, const char *format, ...)
{
    va_list args;
    char *text = raw->texts[raw->text_count++];
    sluice_assert(raw->text_count <= countof(raw->texts) && raw->argc < (int)countof(raw->argv));
    va_start(args, format);
    int n = vsnprintf(text, sizeof raw->texts[0], format, args);
    va_end(args);
    sluice_assert(n >= 0 && (size_t)n < sizeof raw->texts[0]);
    raw->argv[raw->argc++] = text;
}

static long long number_in(struct conformance *c, const char *key, const char *field)
{
    redisReply *reply = ASK_SIDE(c, REAL, "HGET", key, field);
    long long number = reply->type == REDIS_REPLY_STRING ? atoll(reply->str) : 0;
    freeReplyObject(reply);
    return number;
}

/* The items that are there to be claimed, some of them, or one that is not, behind the first's seq. */
static void put_items(struct conformance *c, struct raw_step *raw, enum raw kind, const char *id, const char *isp)
{
    char key[64], status[64];
    long long taken = 0, from = 0;
    snprintf(status, sizeof status, "sluice:{%s}:status", id);
    if (kind == CLAIM_LIST) {
        taken = number_in(c, status, "taken");
        from = taken - number_in(c, status, "trimmed");
        taken += chance(c, 80) ? 0 : (long long)draw(c, 3) - 1;
    }
    snprintf(key, sizeof key,
             kind == CLAIM_LIST     ? "sluice:{%s}:recipients"
             : kind == CLAIM_PARKED ? "sluice:{%s}:parked:%s"
                                    : "sluice:{%s}:retry",
             id, isp);
    char first[24], last[24];
    snprintf(first, sizeof first, "%lld", from);
    snprintf(last, sizeof last, "%lld", from + (long long)draw(c, 5));
    redisReply *items = ASK_SIDE(c, REAL, kind == CLAIM_RETRY ? "ZRANGE" : "LRANGE", key, first, last);
    put(raw, "%lld", taken < 0 ? 0 : taken);
    for (size_t i = 0; items->type == REDIS_REPLY_ARRAY && i < items->elements; i++)
        if (is_text(items->element[i], sizeof raw->texts[0]) && chance(c, 95))
            put(raw, "%s", items->element[i]->str);
    if (chance(c, 20))
        put(raw, "%s", "7 1 0 - forgotten@x");
    freeReplyObject(items);
}

/* Mostly a name that is free to be claimed, or a lease that is there to be adopted. */
static const char *pick_lease(struct conformance *c, const char *id, enum raw kind)
{
    char key[64];
    const char *lease = leases[draw(c, LEASES_MAX)];
    snprintf(key, sizeof key, "sluice:{%s}:leases", id);
    for (unsigned i = 0; i < LEASES_MAX && chance(c, 95); i++) {
        redisReply *reply = ASK_SIDE(c, REAL, "HGET", key, lease);
        bool there = reply->type == REDIS_REPLY_STRING;
        freeReplyObject(reply);
        if (there == (kind == CLAIM_ADOPT))
            break;
        lease = leases[i];
    }
    return lease;
}

/* Mostly one with somebody in it. */
static const char *pick_isp(struct conformance *c, const char *id)
{
    char key[64];
    const char *isp = isps[draw(c, ISPS_MAX)];
    for (unsigned i = 0; i < ISPS_MAX && chance(c, 95); i++) {
        snprintf(key, sizeof key, "sluice:{%s}:parked:%s", id, isp);
        redisReply *reply = ASK_SIDE(c, REAL, "LLEN", key);
        bool there = reply->type == REDIS_REPLY_INTEGER && reply->integer > 0;
        freeReplyObject(reply);
        if (there)
            break;
        isp = isps[i];
    }
    return isp;
}

/* From whom a lease is adopted: mostly from whoever has it. */
static void put_owner(struct conformance *c, struct raw_step *raw, const char *id, const char *lease)
{
    char key[64], owner[64] = "-", incarnation[24] = "0";
    snprintf(key, sizeof key, "sluice:{%s}:leases", id);
    redisReply *reply = ASK_SIDE(c, REAL, "HGET", key, lease);
    if (reply->type == REDIS_REPLY_STRING && chance(c, 80))
        (void)sscanf(reply->str, "%63s %23s", owner, incarnation);
    freeReplyObject(reply);
    put(raw, "%s", owner);
    put(raw, "%s", incarnation);
}

/* Its name holds a hash: the real one is asked. */
static void find_library(struct conformance *c)
{
    redisReply *list = ASK_SIDE(c, REAL, "FUNCTION", "LIST", "LIBRARYNAME", "sluice_*");
    for (size_t i = 0; i < list->elements; i++)
        for (size_t k = 0; k + 1 < list->element[i]->elements; k += 2)
            if (strcmp(list->element[i]->element[k]->str, "library_name") == 0 &&
                strncmp(list->element[i]->element[k + 1]->str, "sluice_", 7) == 0)
                snprintf(c->library, sizeof c->library, "%s", list->element[i]->element[k + 1]->str);
    freeReplyObject(list);
    sluice_assert(c->library[0]);
}

/* FCALL of a numbered step by a hand of "rival 2", which no store is, as one that was done before and is forgotten. */
void conformance_raw(struct conformance *c)
{
    static const char *const functions[RAWS] = {"lease_list", "lease_parked", "lease_retry",
                                                "adopt",      "skip_take",    "doubt"};
    static const char *const keys[] = {"campaign", "status", "recipients", "leases", "parked", "retry",
                                       "held",     "events", "totals",     "unique", "steps"};
    struct raw_step raw = {0};
    if (!c->library[0])
        find_library(c);
    enum raw kind = (enum raw)draw(c, RAWS);
    const char *id = campaigns[draw(c, CAMPAIGNS_MAX)], *lease = pick_lease(c, id, kind), *isp = pick_isp(c, id);
    bool on_lease = kind <= CLAIM_ADOPT;
    put(&raw, "FCALL");
    put(&raw, "%s_%s", c->library, functions[kind]);
    put(&raw, "%u", (unsigned)countof(keys) + (on_lease ? 2 : 0) + (kind == CLAIM_PARKED));
    for (unsigned i = 0; i < countof(keys); i++)
        put(&raw, "sluice:{%s}:%s", id, keys[i]);
    if (on_lease) {
        put(&raw, "sluice:{%s}:ledger:%s", id, lease);
        put(&raw, "sluice:{%s}:batch:%s", id, lease);
        if (kind == CLAIM_PARKED)
            put(&raw, "sluice:{%s}:parked:%s", id, isp);
        put(&raw, "%s", lease);
    }
    if (kind != RAW_SKIP) {
        put(&raw, "rival");
        put(&raw, "2");
        put(&raw, "raw");
    }
    if (kind == RAW_DOUBT) {
        put(&raw, "%u", (unsigned)draw(c, 60));
    } else if (kind == CLAIM_ADOPT) {
        put(&raw, "%llu", c->raw_number);
        put_owner(c, &raw, id, lease);
        put(&raw, "4096");
    } else if (kind != RAW_SKIP) {
        put(&raw, "10");
        put(&raw, "65536");
        put(&raw, "4096");
        if (kind == CLAIM_PARKED)
            put(&raw, "%s", isp);
        if (kind == CLAIM_RETRY)
            put(&raw, "%u", 5);
        put_items(c, &raw, kind, id, isp);
    }
    if (kind != RAW_DOUBT) {
        c->raw_number += chance(c, 90); /* else it comes late */
        put(&raw, "raw");
        put(&raw, "%llu", c->raw_number);
        put(&raw, "%u", chance(c, 97) ? 0 : UINT32_MAX); /* a take before it that nobody knows */
        put(&raw, "0");
        put(&raw, "1");
        put(&raw, "0");
        put(&raw, "%s", "");
    }
    snprintf(c->what, sizeof c->what, "%s of %s %s by no store", functions[kind], id, lease);
    long long code = 0;
    for (int side = REAL; side <= FAKE; side++) {
        redisReply *reply = conformance_ask(c, side, raw.argc, raw.argv);
        c->answers[side].n = 0;
        conformance_reply(&c->answers[side], reply);
        code = reply->type == REDIS_REPLY_ARRAY ? reply->element[0]->integer : 0;
        freeReplyObject(reply);
    }
    conformance_equal(c, "answers", c->answers);
    c->raw[kind][code == 1 ? 0 : code == -3 ? 2 : 1]++;
}

const char *conformance_raw_missing(const struct conformance *c)
{
    for (enum raw kind = 0; kind < RAWS; kind++)
        if (!c->raw[kind][0] || (kind < RAW_SKIP && !c->raw[kind][1]))
            return "a raw step was never done, or never refused";
    return c->raw[CLAIM_PARKED][2] && c->raw[CLAIM_RETRY][2] ? NULL : "nobody waited to claim";
}

void conformance_held(struct conformance *c, struct slice campaign, char records[2][HELD_MAX])
{
    char key[64];
    snprintf(key, sizeof key, "sluice:{" SLICE_FORMAT "}:held", SLICE_ARGS(campaign));
    redisReply *held = ASK_SIDE(c, REAL, "LRANGE", key, "0", "5");
    for (unsigned i = 0; i < 2; i++) {
        const redisReply *one = held->elements ? held->element[draw(c, held->elements)] : NULL;
        bool there = one && is_text(one, HELD_MAX) && chance(c, 90);
        snprintf(records[i], HELD_MAX, "%s", there ? one->str : "3 1 0 - nobody@x");
    }
    freeReplyObject(held);
}
