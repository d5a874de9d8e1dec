/* mx_personality.c - reads what each ISP is like from a file, so that a benchmark or a test can name its weather
 * without being compiled again. */
#include "bench/mx_reading.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mx_personality_init(struct mx_personality *personality, const char *name)
{
    *personality = (struct mx_personality){
        .ehlo = true,
        .pipelining = true,
        .eight_bit = true,
        .enhanced = true,
        .size_max = 50 * 1024 * 1024,
        .connections_reply = "421 4.7.0 too many connections",
        .rate_reply = "451 4.7.1 too many messages, try again later",
    };
    snprintf(personality->name, sizeof personality->name, "%s", name);
    snprintf(personality->banner, sizeof personality->banner, "mx.%s", name);
}

struct mx_rule *mx_personality_rule(struct mx_personality *personality, enum mx_stage stage, uint32_t chance,
                                    const char *reply)
{
    sluice_assert(personality->rule_count < MX_RULES_MAX && stage > MX_STAGE_BROKEN && stage < MX_STAGE_COUNT);
    struct mx_rule *rule = &personality->rules[personality->rule_count++];
    *rule = (struct mx_rule){.stage = stage, .chance = chance};
    if (reply) {
        rule->action = MX_REPLY;
        snprintf(rule->reply, sizeof rule->reply, "%s", reply);
    }
    return rule;
}

/* ---- values; each returns false when the text is none ---- */

static bool read_count(const char **text, uint64_t *count)
{
    const char *p = *text;
    *count = 0;
    while (*p >= '0' && *p <= '9' && *count < UINT64_MAX / 100)
        *count = *count * 10 + (uint64_t)(*p++ - '0');
    bool some = p != *text;
    *text = p;
    return some;
}

static bool read_unit(const char *text, size_t n, nsec *unit)
{
    static const struct {
        const char *name;
        nsec length;
    } units[] = {{"us", NSEC_PER_US},
                 {"ms", NSEC_PER_MS},
                 {"s", NSEC_PER_S},
                 {"min", 60 * NSEC_PER_S},
                 {"h", 3600 * NSEC_PER_S}};
    for (size_t i = 0; i < countof(units); i++) {
        if (strlen(units[i].name) == n && memcmp(units[i].name, text, n) == 0) {
            *unit = units[i].length;
            return true;
        }
    }
    return false;
}

static bool read_duration_part(const char **text, nsec *length)
{
    uint64_t count;
    nsec unit;
    if (!read_count(text, &count))
        return false;
    size_t n = 0;
    while ((*text)[n] >= 'a' && (*text)[n] <= 'z')
        n++;
    if (!read_unit(*text, n, &unit) || count > (uint64_t)(24 * 3600 * NSEC_PER_S / unit))
        return false;
    *text += n;
    *length = (nsec)count * unit;
    return true;
}

static bool read_duration(const char *text, nsec *length) { return read_duration_part(&text, length) && *text == 0; }

/* "20ms", or "20ms..50ms" for anything between. */
static bool read_latency(const char *text, struct mx_latency *latency)
{
    nsec most;
    latency->jitter = 0;
    if (!read_duration_part(&text, &latency->base))
        return false;
    if (*text == 0)
        return true;
    if (strncmp(text, "..", 2) != 0 || !read_duration(text + 2, &most) || most < latency->base)
        return false;
    latency->jitter = most - latency->base;
    return true;
}

/* "500/min" */
static bool read_rate(const char *text, uint64_t *rate, nsec *per)
{
    return read_count(&text, rate) && *rate > 0 && *text == '/' && read_unit(text + 1, strlen(text + 1), per);
}

/* "2", "0.05": in parts per million. */
static bool read_percent(const char *text, uint32_t *chance)
{
    uint64_t whole, part = 0;
    if (!read_count(&text, &whole) || whole > 100)
        return false;
    uint64_t worth = 10000;
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9'; text++, worth /= 10)
            part += (uint64_t)(*text - '0') * worth / 10;
    *chance = (uint32_t)(whole * 10000 + part);
    return *text == 0 && *chance <= MX_CERTAIN;
}

static bool read_reply(const char *text, char *reply)
{
    size_t n = strlen(text);
    bool good = n > 4 && n < MX_REPLY_MAX && text[0] >= '2' && text[0] <= '5' && text[1] >= '0' && text[1] <= '9' &&
                text[2] >= '0' && text[2] <= '9' && text[3] == ' ';
    if (good)
        memcpy(reply, text, n + 1);
    return good;
}

/* ---- sections ---- */

static const char *const stages[MX_STAGE_COUNT] = {
    [MX_GREETING] = "greeting", [MX_EHLO] = "ehlo", [MX_STARTTLS] = "starttls", [MX_HANDSHAKE] = "handshake",
    [MX_AUTH] = "auth",         [MX_MAIL] = "mail", [MX_RCPT] = "rcpt",         [MX_DATA] = "data",
    [MX_CHUNK] = "chunk",       [MX_BODY] = "body",
};

static bool read_name(const struct mx_reading *reading, cfg_t *section, const char *key, char *to)
{
    const char *text = cfg_getstr(section, key);
    if (!text)
        return true;
    if (text[0] == 0 || strlen(text) >= MX_NAME_MAX || strpbrk(text, " \t\r\n"))
        return mx_reading_wrong(reading, section, key, text, "a name of at most 63 bytes");
    strcpy(to, text);
    return true;
}

static bool read_limit(const struct mx_reading *reading, cfg_t *section, const char *key, uint64_t most,
                       uint64_t *limit)
{
    long value = cfg_getint(section, key);
    char text[24];
    snprintf(text, sizeof text, "%ld", value);
    if (value < 0 || (uint64_t)value > most)
        return mx_reading_wrong(reading, section, key, text, "0 (no limit) and above");
    *limit = (uint64_t)value;
    return true;
}

static bool read_rule(const struct mx_reading *reading, cfg_t *section, struct mx_personality *personality,
                      enum mx_stage stage)
{
    static const struct {
        const char *name;
        enum mx_action action;
    } actions[] = {{"reply", MX_REPLY},     {"close", MX_HANG_UP}, {"reset", MX_ABORT}, {"silence", MX_SILENCE},
                   {"garbage", MX_GARBAGE}, {"inject", MX_INJECT}, {"twice", MX_TWICE}, {"truncate", MX_TRUNCATE}};
    if (personality->rule_count == MX_RULES_MAX)
        return mx_reading_wrong(reading, section, "rule", "one more", "32 rules of an ISP");
    struct mx_rule *rule = mx_personality_rule(personality, stage, 0, NULL);
    const char *action = cfg_getstr(section, "action"), *percent = cfg_getstr(section, "percent");
    const char *reply = cfg_getstr(section, "reply"), *match = cfg_getstr(section, "match");
    for (size_t i = 0; i < countof(actions); i++)
        if (strcmp(actions[i].name, action) == 0)
            rule->action = actions[i].action;
    bool raw = rule->action == MX_GARBAGE || rule->action == MX_INJECT;
    if (!rule->action || (rule->action == MX_TRUNCATE && stage != MX_HANDSHAKE))
        return mx_reading_wrong(reading, section, "action", action,
                                "reply, close, reset, silence, garbage, inject, twice; at handshake: truncate");
    if (!read_percent(percent, &rule->chance))
        return mx_reading_wrong(reading, section, "percent", percent, "0 to 100");
    if (raw ? !reply || strlen(reply) >= sizeof rule->reply
            : rule->action == MX_REPLY && (!reply || !read_reply(reply, rule->reply)))
        return mx_reading_wrong(reading, section, "reply", reply ? reply : "", "\"550 5.1.1 text\"");
    if (raw)
        strcpy(rule->reply, reply);
    if (match && strlen(match) >= sizeof rule->match)
        return mx_reading_wrong(reading, section, "match", match, "a pattern of at most 63 bytes");
    snprintf(rule->match, sizeof rule->match, "%s", match ? match : "");
    rule->sticky = cfg_getbool(section, "sticky");
    rule->accept = cfg_getbool(section, "accept");
    uint64_t first = 0, after = 0;
    bool good = read_limit(reading, section, "first", UINT32_MAX, &first) &&
                read_limit(reading, section, "after", UINT32_MAX, &after);
    rule->first = (uint32_t)first;
    rule->after = (uint32_t)after;
    return good;
}

static bool read_durations(const struct mx_reading *reading, cfg_t *section, struct mx_personality *personality)
{
    cfg_t *latency = cfg_getsec(section, "latency");
    for (unsigned stage = MX_GREETING; stage < MX_STAGE_COUNT; stage++) {
        const char *text = cfg_getstr(latency, stages[stage]);
        if (text && !read_latency(text, &personality->latency[stage]))
            return mx_reading_wrong(reading, section, stages[stage], text, "20ms, 20ms..50ms");
    }
    const char *tarpit = cfg_getstr(section, "tarpit"), *idle = cfg_getstr(section, "idle");
    const char *rate = cfg_getstr(section, "rate");
    if (tarpit && !read_duration(tarpit, &personality->tarpit))
        return mx_reading_wrong(reading, section, "tarpit", tarpit, "20ms between two bytes");
    if (idle && !read_duration(idle, &personality->idle))
        return mx_reading_wrong(reading, section, "idle", idle, "60s");
    if (rate && !read_rate(rate, &personality->rate, &personality->rate_per))
        return mx_reading_wrong(reading, section, "rate", rate, "500/min");
    return true;
}

static bool read_limits(const struct mx_reading *reading, cfg_t *section, struct mx_personality *personality)
{
    uint64_t connections, per_source, messages;
    if (!read_limit(reading, section, "size", INT64_MAX, &personality->size_max) ||
        !read_limit(reading, section, "connections", UINT32_MAX, &connections) ||
        !read_limit(reading, section, "connections_per_source", UINT32_MAX, &per_source) ||
        !read_limit(reading, section, "messages", UINT32_MAX, &messages))
        return false;
    personality->connections_max = (uint32_t)connections;
    personality->connections_per_source_max = (uint32_t)per_source;
    personality->messages_max = (uint32_t)messages;
    return true;
}

static bool read_behind(const struct mx_reading *reading, cfg_t *section, enum mx_behind *behind)
{
    static const char *const names[] = {
        [MX_BEHIND_ALLOWED] = "allow", [MX_BEHIND_REFUSED] = "refuse", [MX_BEHIND_CLOSED] = "close"};
    const char *text = cfg_getstr(section, "behind_dot");
    for (unsigned i = 0; i < countof(names); i++) {
        if (strcmp(names[i], text) == 0) {
            *behind = (enum mx_behind)i;
            return true;
        }
    }
    return mx_reading_wrong(reading, section, "behind_dot", text, "allow, refuse, close");
}

static bool read_replies(const struct mx_reading *reading, cfg_t *section, struct mx_personality *personality)
{
    const char *connections = cfg_getstr(section, "connections_reply"), *rate = cfg_getstr(section, "rate_reply");
    if (connections && !read_reply(connections, personality->connections_reply))
        return mx_reading_wrong(reading, section, "connections_reply", connections, "\"421 4.7.0 text\"");
    if (rate && !read_reply(rate, personality->rate_reply))
        return mx_reading_wrong(reading, section, "rate_reply", rate, "\"451 4.7.1 text\"");
    return true;
}

static bool read_isp(const struct mx_reading *reading, cfg_t *section, struct mx_personality *personality)
{
    if (strlen(cfg_title(section)) + 4 > MX_NAME_MAX)
        return mx_reading_wrong(reading, section, "isp", cfg_title(section), "a name of at most 59 bytes");
    mx_personality_init(personality, cfg_title(section));
    personality->ehlo = !cfg_getbool(section, "helo_only");
    personality->pipelining = cfg_getbool(section, "pipelining");
    personality->eight_bit = cfg_getbool(section, "eight_bit");
    personality->enhanced = cfg_getbool(section, "enhanced");
    personality->data_without_rcpt = cfg_getbool(section, "data_without_rcpt");
    personality->messages_silent = cfg_getbool(section, "messages_silent");
    personality->rate_by_source = cfg_getbool(section, "rate_by_source");
    personality->idle_silent = cfg_getbool(section, "idle_silent");
    if (!read_name(reading, section, "banner", personality->banner) ||
        !read_behind(reading, section, &personality->behind_dot) || !read_durations(reading, section, personality) ||
        !read_limits(reading, section, personality) || !read_replies(reading, section, personality) ||
        !mx_reading_secure(reading, section, personality))
        return false;
    for (unsigned stage = MX_GREETING; stage < MX_STAGE_COUNT; stage++)
        for (unsigned i = 0; i < cfg_size(section, stages[stage]); i++)
            if (!read_rule(reading, cfg_getnsec(section, stages[stage], i), personality, (enum mx_stage)stage))
                return false;
    return true;
}

static bool read_all(const struct mx_reading *reading, cfg_t *root, struct mx_config *config)
{
    unsigned count = cfg_size(root, "isp"), listeners = 0;
    for (unsigned i = 0; i < count; i++)
        listeners += cfg_size(cfg_getnsec(root, "isp", i), "listen");
    config->personalities = calloc(count + 1, sizeof *config->personalities);
    config->listeners = calloc(listeners + 1, sizeof *config->listeners);
    sluice_assert(config->personalities && config->listeners);
    for (unsigned i = 0; i < count; i++) {
        cfg_t *section = cfg_getnsec(root, "isp", i);
        if (!read_isp(reading, section, &config->personalities[config->personality_count++]))
            return false;
        for (unsigned j = 0; j < cfg_size(section, "listen"); j++) {
            struct mx_listener *listener = &config->listeners[config->listener_count++];
            const char *address = cfg_getnstr(section, "listen", j);
            if (strlen(address) >= sizeof listener->address)
                return mx_reading_wrong(reading, section, "listen", address, "127.0.0.1:2525");
            strcpy(listener->address, address);
            listener->personality = i;
        }
    }
    return true;
}

/* Over 70 lines: the table of what a file may say. */
struct mx_config *mx_config_load(const char *file, char *error, size_t error_cap)
{
    cfg_opt_t rule[] = {CFG_STR("reply", 0, CFGF_NODEFAULT),
                        CFG_STR("action", "reply", CFGF_NONE),
                        CFG_STR("percent", "100", CFGF_NONE),
                        CFG_STR("match", 0, CFGF_NODEFAULT),
                        CFG_BOOL("sticky", cfg_false, CFGF_NONE),
                        CFG_BOOL("accept", cfg_false, CFGF_NONE),
                        CFG_INT("first", 0, CFGF_NONE),
                        CFG_INT("after", 0, CFGF_NONE),
                        CFG_END()};
    cfg_opt_t account[] = {CFG_STR("secret", "", CFGF_NONE), CFG_END()};
    cfg_opt_t latency[] = {CFG_STR("greeting", 0, CFGF_NODEFAULT),
                           CFG_STR("ehlo", 0, CFGF_NODEFAULT),
                           CFG_STR("starttls", 0, CFGF_NODEFAULT),
                           CFG_STR("handshake", 0, CFGF_NODEFAULT),
                           CFG_STR("auth", 0, CFGF_NODEFAULT),
                           CFG_STR("mail", 0, CFGF_NODEFAULT),
                           CFG_STR("rcpt", 0, CFGF_NODEFAULT),
                           CFG_STR("data", 0, CFGF_NODEFAULT),
                           CFG_STR("chunk", 0, CFGF_NODEFAULT),
                           CFG_STR("body", 0, CFGF_NODEFAULT),
                           CFG_END()};
    cfg_opt_t manners[] = {CFG_STR_LIST("listen", 0, CFGF_NODEFAULT),
                           CFG_STR("banner", 0, CFGF_NODEFAULT),
                           CFG_BOOL("helo_only", cfg_false, CFGF_NONE),
                           CFG_BOOL("pipelining", cfg_true, CFGF_NONE),
                           CFG_BOOL("eight_bit", cfg_true, CFGF_NONE),
                           CFG_BOOL("enhanced", cfg_true, CFGF_NONE),
                           CFG_BOOL("data_without_rcpt", cfg_false, CFGF_NONE),
                           CFG_STR("behind_dot", "allow", CFGF_NONE),
                           CFG_INT("size", 50 * 1024 * 1024, CFGF_NONE),
                           CFG_STR("tarpit", 0, CFGF_NODEFAULT),
                           CFG_INT("connections", 0, CFGF_NONE),
                           CFG_INT("connections_per_source", 0, CFGF_NONE),
                           CFG_STR("connections_reply", 0, CFGF_NODEFAULT),
                           CFG_INT("messages", 0, CFGF_NONE),
                           CFG_BOOL("messages_silent", cfg_false, CFGF_NONE),
                           CFG_STR("rate", 0, CFGF_NODEFAULT),
                           CFG_BOOL("rate_by_source", cfg_false, CFGF_NONE),
                           CFG_STR("rate_reply", 0, CFGF_NODEFAULT),
                           CFG_STR("idle", 0, CFGF_NODEFAULT),
                           CFG_BOOL("idle_silent", cfg_false, CFGF_NONE),
                           CFG_SEC("latency", latency, CFGF_NONE),
                           CFG_SEC("greeting", rule, CFGF_MULTI),
                           CFG_SEC("ehlo", rule, CFGF_MULTI),
                           CFG_SEC("starttls", rule, CFGF_MULTI),
                           CFG_SEC("handshake", rule, CFGF_MULTI),
                           CFG_SEC("auth", rule, CFGF_MULTI),
                           CFG_SEC("mail", rule, CFGF_MULTI),
                           CFG_SEC("rcpt", rule, CFGF_MULTI),
                           CFG_SEC("data", rule, CFGF_MULTI),
                           CFG_SEC("chunk", rule, CFGF_MULTI),
                           CFG_SEC("body", rule, CFGF_MULTI),
                           CFG_END()};
    cfg_opt_t isp[countof(manners) - 1 + MX_READING_OPTIONS];
    memcpy(isp, manners, sizeof manners);
    mx_reading_options(isp + countof(manners) - 1, account); /* over CFG_END */
    cfg_opt_t top[] = {CFG_SEC("isp", isp, CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES), CFG_END()};
    struct mx_reading reading = {.file = file, .error = error, .error_cap = error_cap};
    struct mx_config *config = NULL;
    cfg_t *root = cfg_init(top, CFGF_NONE);
    sluice_assert(root);
    int result = cfg_parse(root, file);
    if (result == CFG_SUCCESS) {
        config = calloc(1, sizeof *config);
        sluice_assert(config);
        if (!read_all(&reading, root, config)) {
            mx_config_free(config);
            config = NULL;
        }
    } else {
        snprintf(error, error_cap, "%s: %s", file, result == CFG_FILE_ERROR ? "cannot be read" : "is not understood");
    }
    cfg_free(root);
    return config;
}

void mx_config_free(struct mx_config *config)
{
    if (!config)
        return;
    free(config->personalities);
    free(config->listeners);
    free(config);
}
