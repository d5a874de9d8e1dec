/* mx_server.c - one ISP's side of the story: who is connected, how much was sent, and which rule hits. */
#include "bench/mx_private.h"

#include <stdlib.h>
#include <string.h>

/* splitmix64: small, seedable with anything, and good enough to draw fates from. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t mx_server_random(struct mx_server *server, uint64_t below)
{
    sluice_assert(below > 0);
    server->random += 0x9e3779b97f4a7c15u;
    return mix(server->random) % below;
}

void mx_server_init(struct mx_server *server, const struct mx_personality *personality, struct mx_ledger *ledger,
                    uint64_t seed)
{
    sluice_assert(ledger->server_count < UINT16_MAX);
    *server = (struct mx_server){.personality = personality, .ledger = ledger, .random = seed};
    server->sticky_seed = mix(seed + 1);
    server->number = (uint16_t)ledger->server_count;
    server->sources = calloc(MX_SOURCES_MAX, sizeof *server->sources);
    sluice_assert(server->sources);
    ledger->servers = realloc(ledger->servers, (ledger->server_count + 1) * sizeof(void *));
    sluice_assert(ledger->servers);
    ledger->servers[ledger->server_count++] = server;
}

void mx_server_free(struct mx_server *server)
{
    free(server->sources);
    server->sources = NULL;
}

unsigned mx_server_source(struct mx_server *server, const struct mx_ip *ip)
{
    for (unsigned i = 0; i < server->source_count; i++)
        if (memcmp(server->sources[i].ip.b, ip->b, sizeof ip->b) == 0)
            return i;
    if (server->source_count == MX_SOURCES_MAX)
        return MX_SOURCES_MAX - 1;
    server->sources[server->source_count].ip = *ip;
    return server->source_count++;
}

bool mx_server_rate(struct mx_server *server, struct mx_source *source, nsec now)
{
    const struct mx_personality *personality = server->personality;
    if (!personality->rate)
        return true;
    sluice_assert(personality->rate_per > 0);
    nsec *paid_until = personality->rate_by_source ? &source->paid_until : &server->paid_until;
    nsec interval = personality->rate_per / (nsec)personality->rate;
    nsec paid = nsec_max(*paid_until, now) + interval;
    if (paid - now > personality->rate_per)
        return false;
    *paid_until = paid;
    return true;
}

/* `*` stands for any run of bytes; without case. */
static bool matches(const char *pattern, struct slice text)
{
    if (*pattern == 0)
        return text.n == 0;
    if (*pattern == '*') {
        for (size_t skip = 0; skip <= text.n; skip++)
            if (matches(pattern + 1, (struct slice){text.p + skip, text.n - skip}))
                return true;
        return false;
    }
    if (text.n == 0 || ascii_lower(*pattern) != ascii_lower(*text.p))
        return false;
    return matches(pattern + 1, (struct slice){text.p + 1, text.n - 1});
}

static struct slice local_part(struct slice address)
{
    for (size_t i = address.n; i-- > 0;)
        if (address.p[i] == '@')
            return (struct slice){address.p, i};
    return address;
}

/* The same address draws the same fate on every try. */
static uint64_t sticky_draw(const struct mx_server *server, enum mx_stage stage, struct slice recipient)
{
    uint64_t h = server->sticky_seed + (uint64_t)stage;
    for (size_t i = 0; i < recipient.n; i++)
        h = (h ^ (unsigned char)ascii_lower(recipient.p[i])) * 0x100000001b3u;
    return mix(h) % MX_CERTAIN;
}

const struct mx_rule *mx_server_draw(struct mx_server *server, enum mx_stage stage, struct slice recipient)
{
    const struct mx_personality *personality = server->personality;
    uint64_t loose = MX_CERTAIN, sticky = MX_CERTAIN; /* drawn when the first rule of the stage asks */
    for (unsigned i = 0; i < personality->rule_count; i++) {
        const struct mx_rule *rule = &personality->rules[i];
        if (rule->stage != stage)
            continue;
        if (rule->match[0] && !matches(rule->match, local_part(recipient)))
            continue;
        if (rule->first && server->hits[i] >= rule->first)
            continue;
        uint64_t *draw = rule->sticky ? &sticky : &loose;
        if (rule->chance < MX_CERTAIN) {
            if (*draw == MX_CERTAIN)
                *draw = rule->sticky ? sticky_draw(server, stage, recipient) : mx_server_random(server, MX_CERTAIN);
            if (*draw >= rule->chance) {
                *draw -= rule->chance;
                continue;
            }
        }
        if (rule->after && server->passed[i] < rule->after) {
            server->passed[i]++;
            continue;
        }
        if (rule->first)
            server->hits[i]++;
        return rule;
    }
    return NULL;
}
