/* isp.c - finds the ISP of mail hosts by the longest suffix that is known, with a few hash look-ups a name. */
#include "proto/policy/isp.h"

static struct slice without_dot(struct slice name)
{
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    return name;
}

/* FNV-1a over the lower-cased bytes, mixed. */
static uint64_t hash_name(struct slice name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < name.n; i++)
        hash = (hash ^ (unsigned char)ascii_lower(name.p[i])) * 0x100000001b3u;
    return (hash ^ (hash >> 32)) * 0x9e3779b97f4a7c15u;
}

uint32_t isp_slots(uint32_t count)
{
    sluice_assert(count < UINT32_MAX / 4);
    uint32_t slots = 2;
    while (slots < 2 * count)
        slots *= 2;
    return slots;
}

/* The slot that holds `name`, or the free one where it would go. Slots hold a row's position plus one, 0: free. There
 * always is a free one, since at most half are taken. */
static uint32_t *find_slot(const struct isp_table *table, struct slice name)
{
    uint32_t at = (uint32_t)(hash_name(name) >> 32) & table->mask;
    while (table->slots[at] != 0 && !slice_equal_nocase(without_dot(table->rows[table->slots[at] - 1].suffix), name))
        at = (at + 1) & table->mask;
    return &table->slots[at];
}

int isp_table_init(struct isp_table *table, const struct isp_suffix *rows, uint32_t count, uint32_t *slots)
{
    uint32_t slot_count = isp_slots(count);
    *table = (struct isp_table){.rows = rows, .slots = slots, .mask = slot_count - 1};
    memset(slots, 0, slot_count * sizeof *slots);
    int repeated = -1;
    for (uint32_t i = 0; i < count; i++) {
        sluice_assert(rows[i].isp != ISP_NONE);
        uint32_t *slot = find_slot(table, without_dot(rows[i].suffix));
        if (*slot == 0)
            *slot = i + 1;
        else if (repeated < 0)
            repeated = (int)i;
    }
    return repeated;
}

uint32_t isp_of_host(const struct isp_table *table, struct slice host)
{
    struct slice name = without_dot(host);
    uint32_t found = *find_slot(table, name);
    /* From the left, so that the longest suffix comes first. A dot in front of everything is no label. */
    for (size_t i = 1; found == 0 && i < name.n; i++)
        if (name.p[i] == '.')
            found = *find_slot(table, (struct slice){name.p + i, name.n - i});
    return found == 0 ? ISP_NONE : table->rows[found - 1].isp;
}

struct isp_choice isp_of_route(const struct isp_table *table, const struct mx_route *route, struct slice domain,
                               const struct mx_record *records)
{
    struct isp_choice choice = {.isp = ISP_NONE};
    if (route->verdict == MX_IMPLICIT)
        return (struct isp_choice){.isp = isp_of_host(table, domain), .usable = 1};
    if (route->verdict != MX_HOSTS)
        return choice;
    uint32_t isps[LIMIT_MX_HOSTS];
    unsigned best = 0; /* hosts of best preference */
    for (unsigned i = 0; i < route->count; i++) {
        isps[i] = isp_of_host(table, records[route->order[i]].host);
        best += records[route->order[i]].preference == records[route->order[0]].preference;
    }
    unsigned most = 0;
    for (unsigned i = 0; i < best; i++) {
        unsigned votes = 0;
        for (unsigned j = 0; j < best; j++)
            votes += isps[j] == isps[i];
        if (isps[i] != ISP_NONE && (votes > most || (votes == most && isps[i] < choice.isp))) {
            choice.isp = isps[i];
            most = votes;
        }
    }
    for (unsigned i = 0; i < route->count; i++)
        if (isps[i] == choice.isp || isps[i] == ISP_NONE)
            choice.usable |= (uint16_t)(1u << i);
    return choice;
}

void isp_keep(struct mx_route *route, uint16_t usable)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < route->count; i++)
        if (usable & (1u << i))
            route->order[kept++] = route->order[i];
    route->count = (uint8_t)kept;
}

unsigned isp_bucket(uint64_t set) { return (unsigned)(set % ISP_BUCKETS); }

void isp_own_name(char name[LIMIT_ISP_NAME + 1], struct slice best_host)
{
    enum { PREFIX = 3, DIGITS = 16 };
    struct slice host = without_dot(best_host);
    size_t at = PREFIX;
    memcpy(name, "mx:", PREFIX);
    if (host.n > LIMIT_ISP_NAME - PREFIX) {
        uint64_t hash = hash_name(host);
        for (unsigned i = 0; i < DIGITS; i++)
            name[at++] = "0123456789abcdef"[(hash >> (60 - 4 * i)) & 15];
        name[at++] = ':';
        size_t tail = LIMIT_ISP_NAME - at;
        host = (struct slice){host.p + (host.n - tail), tail};
    }
    for (size_t i = 0; i < host.n; i++)
        name[at++] = ascii_lower(host.p[i]);
    name[at] = 0;
}
