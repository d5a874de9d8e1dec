/* Numbers of many lanes become one sentence that says what to change. */
#include "cli/bottleneck.h"

#include "control/config_table.h"

#include <jansson.h>
#include <stdio.h>

uint64_t bottleneck_number(const json_t *object, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(object, name));
    return n > 0 ? (uint64_t)n : 0;
}

const char *bottleneck_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

struct bottleneck_isp *bottleneck_isp(struct bottleneck *found, const char *name)
{
    for (unsigned i = 0; i < found->isp_count; i++)
        if (strcmp(found->isps[i].name, name) == 0)
            return &found->isps[i];
    if (found->isp_count == BOTTLENECK_ISPS)
        return &found->isps[BOTTLENECK_ISPS - 1]; /* the rest is shown as one */
    struct bottleneck_isp *isp = &found->isps[found->isp_count++];
    snprintf(isp->name, sizeof isp->name, "%s", found->isp_count == BOTTLENECK_ISPS ? "(others)" : name);
    isp->percent = 100;
    return isp;
}

/* A lane that goes says less about what waits than one that does not. */
static bool says_more(const struct bottleneck_isp *isp, const json_t *row)
{
    const char *wait = bottleneck_text(row, "wait");
    if (strcmp(wait, "idle") == 0)
        return !isp->wait[0];
    return !isp->wait[0] || strcmp(isp->wait, "idle") == 0 || strcmp(isp->wait, "going") == 0;
}

void bottleneck_add_up(struct bottleneck *found, const json_t *rows)
{
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row)
    {
        struct bottleneck_isp *isp = bottleneck_isp(found, bottleneck_text(row, "isp"));
        isp->lanes++;
        isp->sessions += bottleneck_number(row, "sessions");
        isp->allowed += bottleneck_number(row, "allowed");
        isp->waiting += bottleneck_number(row, "waiting");
        isp->parked += bottleneck_number(row, "parked");
        isp->open += bottleneck_number(row, "open");
        isp->per_ks += bottleneck_number(row, "started_per_ks");
        if (bottleneck_number(row, "message_us") > isp->message_us)
            isp->message_us = bottleneck_number(row, "message_us");
        if (bottleneck_number(row, "percent") && bottleneck_number(row, "percent") < isp->percent)
            isp->percent = bottleneck_number(row, "percent");
        if (!says_more(isp, row))
            continue;
        snprintf(isp->wait, sizeof isp->wait, "%s", bottleneck_text(row, "wait"));
        snprintf(isp->why, sizeof isp->why, "%s", bottleneck_text(row, "why"));
        snprintf(isp->why_source, sizeof isp->why_source, "%s", bottleneck_text(row, "source"));
        isp->next_ms = (int64_t)bottleneck_number(row, "next_ms");
    }
}

/* ---- the bottleneck, in a sentence ---- */

static bool is(const struct bottleneck_isp *isp, const char *wait) { return strcmp(isp->wait, wait) == 0; }

static void say_rate(const struct config *config, const struct bottleneck_isp *isp, char *text, size_t cap)
{
    const struct config_limits *limits = config_limits_for(config, slice_of(isp->name));
    char per[32], slowed[64] = "";
    config_duration_text(limits->rate_per ? limits->rate_per : NSEC_PER_S, per, sizeof per);
    if (isp->percent < 100)
        snprintf(slowed, sizeof slowed, ", slowed down to %ju %% of that", (uintmax_t)isp->percent);
    snprintf(text, cap,
             "the rate: %ju per %s for each of %ju lanes%s. `rate` in isp %s, or more sources, would change it",
             (uintmax_t)limits->rate, per, (uintmax_t)isp->lanes, slowed, isp->name);
}

static void say_remote(const struct bottleneck_isp *isp, char *text, size_t cap)
{
    uint64_t most_ks = isp->message_us ? isp->allowed * 1000000000 / isp->message_us : 0;
    snprintf(text, cap,
             "the provider's servers: a message takes them %ju ms, and all %ju connections are busy, which is at most "
             "%ju.%ju/s. `connections` in isp %s, or more sources, would change it",
             (uintmax_t)isp->message_us / 1000, (uintmax_t)isp->allowed, (uintmax_t)most_ks / 1000,
             (uintmax_t)most_ks % 1000 / 100, isp->name);
}

static void say_engine(const struct bottleneck *found, const struct bottleneck_isp *isp, char *text, size_t cap)
{
    uint64_t busy = found->shards ? found->busy_per_mille / found->shards : 0,
             redis_us = found->shards ? found->redis_us / found->shards : 0;
    if (busy > 900)
        snprintf(text, cap, "the CPU: the shards work %ju.%ju %% of the time. More cores and `shards` would change it",
                 (uintmax_t)busy / 10, (uintmax_t)busy % 10);
    else if (redis_us > 50000)
        snprintf(text, cap, "Redis: a small step takes %ju ms", (uintmax_t)redis_us / 1000);
    else if (found->dns_waiting > isp->waiting && found->dns_waiting > 100)
        snprintf(text, cap, "DNS: %ju recipients wait for an answer about their domain. A nearer `resolver` may help",
                 (uintmax_t)found->dns_waiting);
    else if (isp->waiting || isp->open || isp->per_ks)
        snprintf(text, cap, "nothing: it goes as fast as it is fed");
    else
        snprintf(text, cap, "nothing waits in an engine%s",
                 isp->parked || isp->redis_parked ? "; what is parked is on its way" : "");
}

void bottleneck_say(const struct bottleneck *found, const struct config *config, const struct bottleneck_isp *isp,
                    char *text, size_t cap)
{
    static const struct {
        const char *key, *change;
    } others[] = {
        {"paused", "`sluice paused` says by whom, `sluice resume` ends it"},
        {"backoff", "it ends by itself when the provider is content; sluice:ops has the replies"},
        {"warmup", "`sluice warmup show` has the day's numbers; more warm sources would change it"},
        {"total", "`total.rate` and `total.connections` of the isp would change it"},
        {"turned-away", "the provider does not let sessions in; it is tried again ever more rarely"},
        {"absent", "put its address on an interface (ip address add), or take the source out of the configuration"},
        {"source", "the engine that holds it lets go of it when it ends"},
        {"relay-slow", "the relay says so; its account may allow more"},
        {"relay-quota", "the relay says so; its account may allow more"},
        {"relay-stopped", "the relay's user, password_file or token_file must be put right"},
        {"reload", "it is over within seconds"},
    };
    if (is(isp, "rate")) {
        say_rate(config, isp, text, cap);
        return;
    }
    if (is(isp, "connections")) {
        say_remote(isp, text, cap);
        return;
    }
    for (size_t i = 0; i < countof(others); i++)
        if (is(isp, others[i].key)) {
            snprintf(text, cap, "%s (source %s): %s", isp->why, isp->why_source, others[i].change);
            return;
        }
    say_engine(found, isp, text, cap);
}

/* The shares of the time in which somebody waited, the largest first: "rate 93 %, going 7 %". */
void bottleneck_shares(const json_t *row, char *text, size_t cap)
{
    const json_t *waited = json_object_get(row, "waited_ms");
    uint64_t total = 0;
    const char *key;
    json_t *value;
    size_t n = 0;
    bool said[32] = {0};
    text[0] = 0;
    json_object_foreach((json_t *)waited, key, value) total += (uint64_t)json_integer_value(value);
    for (unsigned round = 0; total && round < 3; round++) {
        uint64_t most = 0;
        unsigned at = 0, best = 0;
        const char *name = NULL;
        json_object_foreach((json_t *)waited, key, value)
        {
            if (at < countof(said) && !said[at] && (uint64_t)json_integer_value(value) > most) {
                most = (uint64_t)json_integer_value(value);
                name = key;
                best = at;
            }
            at++;
        }
        if (!name || most * 100 / total == 0 || n >= cap)
            return;
        said[best] = true;
        n += (size_t)snprintf(text + n, cap - n, "%s%s %ju %%", n ? ", " : "", name, (uintmax_t)(most * 100 / total));
    }
}
