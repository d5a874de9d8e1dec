/* A key that does not fit its record makes every message worse than unsigned: somebody must hear of it at once. */
#include "sign/published.h"

#include "proto/message/dkim_record.h"

#include <stdio.h>
#include <stdlib.h>

enum { SEEN_NOTHING = DKIM_RECORD_BROKEN, SEEN_FAILURE = 255 };

static const char *failure_name(enum resolver_status status)
{
    return status == RESOLVER_TIMEOUT ? "no answer" : "the server failed";
}

/* ---- what is said ---- */

static void record_name(const struct sign_identity *identity, char *name, size_t cap)
{
    snprintf(name, cap, "%.*s._domainkey.%.*s", SLICE_ARGS(identity->selector), SLICE_ARGS(identity->domain));
}

static void say_wrong(const struct published *p, const struct sign_identity *identity, const char *found,
                      const char *why)
{
    char name[LIMIT_DOMAIN + 1], record[SIGN_KEY_RECORD];
    record_name(identity, name, sizeof name);
    sign_key_record(identity->key, record, sizeof record);
    const struct log_field fields[] = {log_text("dkim", identity->name), log_text("record", name),
                                       log_text("found", found), log_text("publish", record), log_text("why", why)};
    log_write(p->log, LOG_LEVEL_WARNING, "the published DKIM record does not fit its key", fields,
              countof(fields) - !why[0]);
}

static void say_right(const struct published *p, const struct sign_identity *identity, const char *why)
{
    char name[LIMIT_DOMAIN + 1];
    record_name(identity, name, sizeof name);
    const struct log_field fields[] = {log_text("dkim", identity->name), log_text("record", name),
                                       log_text("but", why)};
    log_write(p->log, LOG_LEVEL_INFO, "the published DKIM record fits its key", fields, countof(fields) - !why[0]);
}

static void say_failure(const struct published *p, const struct sign_identity *identity, enum resolver_status status)
{
    char name[LIMIT_DOMAIN + 1];
    record_name(identity, name, sizeof name);
    log_warning(p->log, "a DKIM record could not be looked up", log_text("dkim", identity->name),
                log_text("record", name), log_text("why", failure_name(status)));
}

/* ---- one round ---- */

static void ask_next(struct published *p)
{
    char name[LIMIT_DOMAIN + 1];
    if (p->next == p->count)
        return;
    record_name(sign_keys_at(p->keys, p->next), name, sizeof name);
    p->asking = true;
    resolver_txt_query(p->resolver, &p->query, slice_of(name));
}

static void see(struct published *p, const struct resolver_answer *answer)
{
    const struct sign_identity *identity = sign_keys_at(p->keys, p->next);
    uint8_t before = p->seen[p->next];
    const char *why = "";
    if (answer->status != RESOLVER_OK && answer->status != RESOLVER_NODATA && answer->status != RESOLVER_NXDOMAIN) {
        p->seen[p->next] = SEEN_FAILURE;
        if (before != SEEN_FAILURE)
            say_failure(p, identity, answer->status);
        return;
    }
    enum dkim_record found =
        dkim_record_check(answer->records, answer->status == RESOLVER_OK ? answer->record_count : 0,
                          sign_key_algorithm(identity->key), sign_key_public(identity->key), &why);
    p->seen[p->next] = (uint8_t)found;
    if (before == (uint8_t)found)
        return;
    if (found == DKIM_RECORD_OK)
        say_right(p, identity, why);
    else
        say_wrong(p, identity, dkim_record_name(found), why);
}

static void on_answer(struct resolver_query *query, const struct resolver_answer *answer)
{
    struct published *p = container_of(query, struct published, query);
    p->asking = false;
    if (!p->stale && answer->status != RESOLVER_CANCELED) {
        see(p, answer);
        p->next++;
    }
    p->stale = false;
    ask_next(p);
    p->wrong = 0;
    for (unsigned i = 0; i < p->count; i++)
        p->wrong += p->seen[i] != SEEN_NOTHING && p->seen[i] != DKIM_RECORD_OK;
}

void published_tick(struct published *p, nsec now)
{
    if (!p->keys || p->asking || p->count == 0)
        return;
    if (p->next < p->count) {
        ask_next(p);
    } else if (p->again_at == 0) {
        p->again_at = now + (p->wrong ? PUBLISHED_AGAIN_WRONG : PUBLISHED_AGAIN);
    } else if (now >= p->again_at) {
        p->again_at = 0;
        p->next = 0;
        ask_next(p);
    }
}

/* ---- beginning and end ---- */

bool published_open(struct published *p, struct resolver *resolver, const struct log *log, struct sign_keys *keys)
{
    *p = (struct published){.resolver = resolver, .log = log, .count = sign_keys_count(keys)};
    p->seen = calloc(p->count + 1, sizeof *p->seen);
    if (!p->seen)
        return false;
    p->query.done = on_answer;
    p->keys = sign_keys_hold(keys);
    return true;
}

void published_rekey(struct published *p, struct sign_keys *keys)
{
    sluice_assert(sign_keys_count(keys) == p->count);
    sign_keys_hold(keys);
    sign_keys_release(p->keys);
    p->keys = keys;
    p->stale = p->asking;
    p->next = 0;
    p->again_at = 0;
}

void published_close(struct published *p)
{
    sign_keys_release(p->keys);
    free(p->seen);
    *p = (struct published){.keys = NULL};
}
