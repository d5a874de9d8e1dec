/* What two Redis hold and answer becomes text, so that a difference can be read. */
#include "conformance.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void conformance_fail(const struct conformance *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "conformance: seed %llu, step %u (%s): ", (unsigned long long)c->seed, c->step, c->what);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

/* ---- texts that are compared ---- */

static void add(struct text *text, struct slice bytes)
{
    for (size_t i = 0; i < bytes.n; i++) {
        unsigned char b = (unsigned char)bytes.p[i];
        sluice_assert(text->n + 8 < TEXT_MAX);
        if (b >= ' ' && b < 127)
            text->p[text->n++] = (char)b;
        else
            text->n += (size_t)sprintf(text->p + text->n, "\\x%02x", b);
    }
    text->p[text->n] = 0;
}

printf_like(2, 3) static void addf(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->p + text->n, TEXT_MAX - text->n, format, args);
    va_end(args);
    sluice_assert(n >= 0 && (size_t)n < TEXT_MAX - text->n);
    text->n += (size_t)n;
}

void conformance_equal(struct conformance *c, const char *name, const struct text *texts)
{
    if (texts[REAL].n == texts[FAKE].n && memcmp(texts[REAL].p, texts[FAKE].p, texts[REAL].n) == 0)
        return;
    conformance_fail(c, "%s differ\n--- real\n%s\n--- fake\n%s", name, texts[REAL].p, texts[FAKE].p);
}

/* ---- commands without the store ---- */

static redisReply *ask_fake(struct conformance *c, int argc, const char **argv)
{
    struct slice args[64];
    sluice_assert(argc <= (int)countof(args));
    size_t n;
    void *reply = NULL;
    for (int i = 0; i < argc; i++)
        args[i] = slice_of(argv[i]);
    char *resp = fake_redis_argv(c->fake, args, (unsigned)argc, &n);
    redisReaderFeed(c->reader, resp, n);
    if (redisReaderGetReply(c->reader, &reply) != REDIS_OK || !reply)
        conformance_fail(c, "the fake's reply to %s is no RESP: %s", argv[0], resp);
    free(resp);
    return reply;
}

redisReply *conformance_ask(struct conformance *c, int side, int argc, const char **argv)
{
    return side == REAL ? real_redis_argv(c->real, argc, argv, NULL) : ask_fake(c, argc, argv);
}

/* ---- the dump ---- */

static int by_text(const void *a, const void *b)
{
    const redisReply *const *x = a, *const *y = b;
    size_t n = (*x)->len < (*y)->len ? (*x)->len : (*y)->len;
    int order = memcmp((*x)->str, (*y)->str, n);
    return order ? order : (*x)->len < (*y)->len ? -1 : (*x)->len > (*y)->len;
}

/* Members come in groups; sorted by the first of each. */
static void sort(const redisReply *array, size_t group)
{
    if (array->elements)
        qsort(array->element, array->elements / group, group * sizeof *array->element, by_text);
}

static bool ends_with(const char *key, const char *end)
{
    size_t n = strlen(key), m = strlen(end);
    return n >= m && strcmp(key + n - m, end) == 0;
}

static unsigned number_of_hand(struct conformance *c, int side, const char *name)
{
    unsigned hand = 0;
    while (hand < c->known[side] && strcmp(c->known_hands[side][hand], name) != 0)
        hand++;
    if (hand == NAMES)
        conformance_fail(c, "more hands than stores: %s", name);
    if (hand == c->known[side])
        snprintf(c->known_hands[side][c->known[side]++], 20, "%s", name);
    return hand;
}

/* "owner incarnation kind first count hand call closing": hands are random, so they are numbered as they are met. */
static void add_lease(struct conformance *c, int side, const redisReply *entry, struct text *text)
{
    char copy[256], *words[9] = {0}, *save = NULL;
    unsigned count = 0;
    snprintf(copy, sizeof copy, "%s", entry->str);
    for (char *word = strtok_r(copy, " ", &save); word && count < 9; word = strtok_r(NULL, " ", &save))
        words[count++] = word;
    if (count != 8)
        conformance_fail(c, "this is no lease: %s", entry->str);
    bool nobody = strcmp(words[5], "-") == 0;
    unsigned hand = nobody ? 0 : number_of_hand(c, side, words[5]);
    addf(text, "%s %s %s %s %s %s%u %s %s", words[0], words[1], words[2], words[3], words[4],
         nobody ? "-" : "", hand, words[6], words[7]);
}

/* "take work hour" of each hand. The hour of one side may be over already. */
static void dump_steps(struct conformance *c, int side, const redisReply *all, struct text *text)
{
    unsigned long long counts[NAMES][2] = {{0}};
    bool has[NAMES] = {false};
    for (size_t i = 0; i < all->elements; i += 2) {
        unsigned hand = number_of_hand(c, side, all->element[i]->str);
        has[hand] = true;
        if (sscanf(all->element[i + 1]->str, "%llu %llu ", &counts[hand][0], &counts[hand][1]) != 2)
            conformance_fail(c, "these are no numbers of steps: %s", all->element[i + 1]->str);
    }
    for (unsigned hand = 0; hand < NAMES; hand++)
        if (has[hand])
            addf(text, "  %u = %llu %llu\n", hand, counts[hand][0], counts[hand][1]);
}

static void dump_hash(struct conformance *c, int side, const char *key, struct text *text)
{
    redisReply *all = ASK_SIDE(c, side, "HGETALL", key);
    sort(all, 2);
    if (ends_with(key, ":steps")) {
        dump_steps(c, side, all, text);
        freeReplyObject(all);
        return;
    }
    for (size_t i = 0; i < all->elements; i += 2) {
        bool is_instant = ends_with(key, ":status") && ends_with(all->element[i]->str, "_at");
        addf(text, "  %s = ", all->element[i]->str);
        bool is_process = ends_with(key, ":status") && strcmp(all->element[i]->str, "redis") == 0;
        if (is_instant || is_process)
            addf(text, is_process ? "some process" : "some time");
        else if (ends_with(key, ":leases"))
            add_lease(c, side, all->element[i + 1], text);
        else
            add(text, (struct slice){all->element[i + 1]->str, all->element[i + 1]->len});
        addf(text, "\n");
    }
    freeReplyObject(all);
}

static void dump_flat(struct text *text, redisReply *reply, bool sorted)
{
    if (reply->type == REDIS_REPLY_STRING)
        add(text, (struct slice){reply->str, reply->len});
    if (sorted)
        sort(reply, 1);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        addf(text, "  ");
        add(text, (struct slice){reply->element[i]->str, reply->element[i]->len});
        addf(text, "\n");
    }
    addf(text, "\n");
    freeReplyObject(reply);
}

static void dump_stream(struct conformance *c, int side, const char *key, struct text *text)
{
    redisReply *all = ASK_SIDE(c, side, "XRANGE", key, "-", "+");
    for (size_t i = 0; i < all->elements; i++) {
        const redisReply *fields = all->element[i]->element[1];
        for (size_t k = 0; k < fields->elements; k++) {
            addf(text, " ");
            add(text, (struct slice){fields->element[k]->str, fields->element[k]->len});
        }
        addf(text, "\n");
    }
    freeReplyObject(all);
    static const char *const groups[] = {"g1", "g2"};
    for (unsigned i = 0; i < countof(groups); i++) {
        redisReply *pending = ASK_SIDE(c, side, "XPENDING", key, groups[i]);
        if (pending->type == REDIS_REPLY_ARRAY)
            addf(text, " %s owes %lld\n", groups[i], pending->element[0]->integer);
        freeReplyObject(pending);
    }
}

static void dump_key(struct conformance *c, int side, const char *key, struct text *text, long long *life_ms)
{
    redisReply *type = ASK_SIDE(c, side, "TYPE", key), *left = ASK_SIDE(c, side, "PTTL", key);
    *life_ms = left->integer;
    addf(text, "%s (%s)\n", key, type->str);
    if (strcmp(type->str, "string") == 0)
        dump_flat(text, ASK_SIDE(c, side, "GET", key), false);
    else if (strcmp(type->str, "hash") == 0)
        dump_hash(c, side, key, text);
    else if (strcmp(type->str, "list") == 0)
        dump_flat(text, ASK_SIDE(c, side, "LRANGE", key, "0", "-1"), false);
    else if (strcmp(type->str, "set") == 0)
        dump_flat(text, ASK_SIDE(c, side, "SMEMBERS", key), true);
    else if (strcmp(type->str, "zset") == 0)
        dump_flat(text, ASK_SIDE(c, side, "ZRANGE", key, "0", "-1", "WITHSCORES"), false);
    else if (strcmp(type->str, "stream") == 0)
        dump_stream(c, side, key, text);
    freeReplyObject(type);
    freeReplyObject(left);
}

void conformance_keys(struct conformance *c)
{
    size_t count = 0;
    for (int side = REAL; side <= FAKE; side++) {
        redisReply *keys = ASK_SIDE(c, side, "KEYS", "*");
        sort(keys, 1);
        c->dumps[side].n = 0;
        count = keys->elements < KEYS_MAX ? keys->elements : KEYS_MAX;
        for (size_t i = 0; i < count; i++)
            dump_key(c, side, keys->element[i]->str, &c->dumps[side], &c->lives_ms[side][i]);
        freeReplyObject(keys);
    }
    conformance_equal(c, "keys", c->dumps);
    for (size_t i = 0; i < count; i++) {
        /* A life begins when its command arrives, which is not the same instant on both sides. */
        long long real = c->lives_ms[REAL][i], fake = c->lives_ms[FAKE][i];
        if ((real < 0) != (fake < 0) || llabs(real - fake) > 5000)
            conformance_fail(c, "key %zu lives for %lld and %lld ms\n%s", i, real, fake, c->dumps[REAL].p);
    }
}

/* ---- answers ---- */

static int by_slice(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return order ? order : x->n < y->n ? -1 : x->n > y->n;
}

static void add_view(struct text *text, const struct store_view *view)
{
    addf(text,
         "exists %d taken %llu pushed %llu parked %llu retry %llu held %llu leases %llu events %llu due %lld phase %s: "
         "%s\n",
         view->exists, (unsigned long long)view->taken, (unsigned long long)view->pushed,
         (unsigned long long)view->parked, (unsigned long long)view->retry, (unsigned long long)view->held,
         (unsigned long long)view->leases, (unsigned long long)view->events, (long long)view->retry_due_ms, view->phase,
         view->reason);
    for (unsigned i = 0; i < EVENT_TYPE_COUNT; i++)
        addf(text, "%llu ", (unsigned long long)view->totals[i]);
    for (unsigned i = 0; i < view->orphan_count; i++)
        addf(text, "\norphan %s %s %llu", view->orphans[i], view->orphan_owner[i],
             (unsigned long long)view->orphan_incarnation[i]);
    for (unsigned i = 0; i < view->owner_count; i++)
        addf(text, "\nowner %s %llu", view->owners[i].engine, (unsigned long long)view->owners[i].incarnation);
    for (unsigned i = 0; i < view->parked_count; i++)
        addf(text, "\nparked %s %llu", view->parked_lists[i].isp, (unsigned long long)view->parked_lists[i].records);
}

void conformance_reply(struct text *text, const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR)
        addf(text, "error %.*s", (int)strcspn(reply->str, " "), reply->str);
    else if (reply->type == REDIS_REPLY_INTEGER)
        addf(text, "%lld", reply->integer);
    else if (reply->str)
        add(text, (struct slice){reply->str, reply->len});
    for (size_t i = 0; i < reply->elements; i++) {
        addf(text, "\n  ");
        conformance_reply(text, reply->element[i]);
    }
}

void conformance_answer(struct text *text, struct asker *asker, bool is_look, bool is_set, bool has_ids)
{
    struct store_answer *a = &asker->answer;
    text->n = 0;
    addf(text, "result %d state %d first %llu batch %d number %lld error %.*s ledger ", a->result, a->state,
         (unsigned long long)a->first, a->is_batch, (long long)a->number, (int)strcspn(asker->error, " "),
         asker->error);
    add(text, a->ledger);
    if (is_set && a->item_count)
        qsort(asker->items, a->item_count, sizeof *asker->items, by_slice);
    for (unsigned i = 0; i < a->item_count; i++) {
        /* ids of stream entries are instants */
        bool is_id = has_ids && asker->items[i].n > 14 && memchr(asker->items[i].p, '-', asker->items[i].n);
        addf(text, "\n  ");
        add(text, is_id ? SLICE("some id") : asker->items[i]);
    }
    if (is_look)
        add_view(text, &asker->view);
}
