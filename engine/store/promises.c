/* People find out that Redis kept nothing when they need it. This tells them at the start. */
#include "store/promises.h"

#include "proto/number.h"
#include "store/greeting.h"

/* ---- reading ---- */

/* 0: no number. */
static uint64_t number_of(struct slice text)
{
    uint64_t n = 0;
    return number_parse(text, UINT64_MAX, &n) ? n : 0;
}

void promises_info(struct promises *p, struct slice text)
{
    p->info = true;
    slice_copy(p->version, sizeof p->version, greeting_info(text, SLICE("redis_version")));
    slice_copy(p->role, sizeof p->role, greeting_info(text, SLICE("role")));
    slice_copy(p->policy, sizeof p->policy, greeting_info(text, SLICE("maxmemory_policy")));
    slice_copy(p->write_status, sizeof p->write_status, greeting_info(text, SLICE("aof_last_write_status")));
    struct slice file = greeting_info(text, SLICE("aof_enabled"));
    if (file.n)
        slice_copy(p->appendonly, sizeof p->appendonly, slice_equal(file, SLICE("1")) ? SLICE("yes") : SLICE("no"));
    p->maxmemory = number_of(greeting_info(text, SLICE("maxmemory")));
    p->replicas = number_of(greeting_info(text, SLICE("connected_slaves")));
}

void promises_settings(struct promises *p, const struct slice *items, unsigned count)
{
    p->settings = true;
    for (unsigned i = 0; i + 1 < count; i += 2) {
        struct slice name = items[i], value = items[i + 1];
        if (slice_equal(name, SLICE("appendonly")))
            slice_copy(p->appendonly, sizeof p->appendonly, value);
        else if (slice_equal(name, SLICE("appendfsync")))
            slice_copy(p->appendfsync, sizeof p->appendfsync, value);
        else if (slice_equal(name, SLICE("no-appendfsync-on-rewrite")))
            slice_copy(p->on_rewrite, sizeof p->on_rewrite, value);
        else if (slice_equal(name, SLICE("maxmemory-policy")))
            slice_copy(p->policy, sizeof p->policy, value);
        else if (slice_equal(name, SLICE("maxmemory")))
            p->maxmemory = number_of(value);
    }
}

/* ---- judging ---- */

static bool is(const char *text, const char *word) { return strcmp(text, word) == 0; }

/* How it writes its file, where it has one. */
static unsigned judge_file(const struct promises *p)
{
    unsigned said = 0;
    if (is(p->write_status, "err"))
        said |= PROMISE_WRITE_FAILS;
    if (is(p->appendfsync, "no"))
        said |= PROMISE_NO_SYNC;
    else if (is(p->appendfsync, "everysec"))
        said |= PROMISE_EVERYSEC;
    /* With always it makes no difference which of both is set, but for the time of a rewriting. */
    if (is(p->on_rewrite, "yes") && !is(p->appendfsync, "no"))
        said |= PROMISE_NO_SYNC_ON_REWRITE;
    return said;
}

unsigned promises_judge(const struct promises *p)
{
    unsigned said = 0;
    if (!p->info && !p->settings)
        return PROMISE_UNTOLD;
    if (p->version[0] >= '1' && p->version[0] < '7' && p->version[1] == '.')
        said |= PROMISE_VERSION;
    if (is(p->role, "slave"))
        said |= PROMISE_REPLICA;
    if (is(p->appendonly, "no"))
        said |= PROMISE_NO_FILE;
    else
        said |= judge_file(p);
    if (p->maxmemory && p->policy[0] && !is(p->policy, "noeviction"))
        said |= PROMISE_EVICTS;
    if (!p->appendonly[0] || (is(p->appendonly, "yes") && !p->appendfsync[0]))
        said |= PROMISE_SYNC_UNTOLD;
    if (p->replicas)
        said |= PROMISE_FAILOVER;
    return said;
}

struct promise_words promise_words(enum promise promise)
{
    switch (promise) {
    case PROMISE_VERSION:
        return (struct promise_words){"this Redis is older than 7.0", "it does not know our functions",
                                      "Redis 7.0 or later, or Valkey"};
    case PROMISE_REPLICA:
        return (struct promise_words){"this Redis is a replica", "it takes no writes, so nothing is sent",
                                      "redis = the master, or sentinel://"};
    case PROMISE_NO_FILE:
        return (struct promise_words){"Redis' append-only file is off",
                                      "when Redis ends, what was pushed and sent since its last snapshot is forgotten: "
                                      "recipients are lost, or sent to twice, and caps exceeded",
                                      "appendonly yes"};
    case PROMISE_WRITE_FAILS:
        return (struct promise_words){"Redis cannot write its append-only file", "what it acknowledges is not kept",
                                      "room on its disk; its log says more"};
    case PROMISE_NO_SYNC:
        return (struct promise_words){"Redis leaves it to the system when its file is written (appendfsync no)",
                                      "a crash of its machine forgets half a minute or more: recipients are lost, or "
                                      "sent to twice, and caps exceeded",
                                      "appendfsync everysec, or always"};
    case PROMISE_NO_SYNC_ON_REWRITE:
        return (struct promise_words){
            "Redis does not sync its file while it rewrites it (no-appendfsync-on-rewrite yes)",
            "a crash of its machine meanwhile forgets all of that time", "no-appendfsync-on-rewrite no"};
    case PROMISE_EVICTS:
        return (struct promise_words){"Redis throws keys away when its memory is full (maxmemory-policy)",
                                      "campaigns, ledgers and caps may vanish: recipients are lost, or sent to twice",
                                      "maxmemory-policy noeviction"};
    case PROMISE_UNTOLD:
        return (struct promise_words){"Redis tells neither its state nor its settings (INFO, CONFIG GET)",
                                      "whether it keeps what it acknowledges could not be checked",
                                      "the permissions +info +config|get, or see to appendonly yes, appendfsync "
                                      "everysec or always, maxmemory-policy noeviction"};
    case PROMISE_SYNC_UNTOLD:
        return (struct promise_words){"Redis does not tell its settings (CONFIG GET)",
                                      "how often it writes to its disk could not be checked",
                                      "the permission +config|get, or see to appendfsync everysec or always"};
    case PROMISE_EVERYSEC:
        return (struct promise_words){
            "Redis writes to its disk once a second (appendfsync everysec)",
            "if its machine fails together with this engine, up to two seconds are forgotten, "
            "and who was sent to meanwhile may be sent to again",
            "appendfsync always, which costs throughput"};
    case PROMISE_FAILOVER:
        return (struct promise_words){
            "Redis has replicas, and acknowledges before they have it",
            "a failover may forget the last moments; this engine does again what it asked for in "
            "the last three seconds",
            "min-replicas-to-write 1 and min-replicas-max-lag to keep it short"};
    case PROMISE_NOTES:
        break;
    }
    sluice_assert(!"one bit of them");
    return (struct promise_words){0};
}
