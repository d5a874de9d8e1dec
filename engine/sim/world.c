/* world.c - the one clock of a simulation: what happens next, to whom, and by which chance. */
#include "sim/world.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- chance and trace ---- */

/* splitmix64: one multiplication chain a number, any seed is a good one. */
uint64_t sim_draw(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t sim_random(struct sim_world *world) { return sim_draw(&world->random); }

uint64_t sim_below(struct sim_world *world, uint64_t n)
{
    return n ? (uint64_t)(((unsigned __int128)sim_draw(&world->random) * n) >> 64) : 0;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9FB21C651E98DF25u;
    return hash ^ (hash >> 32);
}

uint64_t sim_hash(uint64_t hash, const char *bytes, size_t n)
{
    hash = mix(hash, n);
    for (; n >= 8; bytes += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = mix(hash, word);
    }
    if (n) {
        uint64_t word = 0;
        memcpy(&word, bytes, n);
        hash = mix(hash, word);
    }
    return hash;
}

void sim_note(struct sim_world *world, const char *what, uint64_t who, uint64_t number)
{
    uint64_t word = 0;
    memcpy(&word, what, strnlen(what, 8));
    world->trace = mix(mix(mix(mix(world->trace, (uint64_t)world->now), word), who), number);
    if (world->text)
        sim_tell(world, "%s %llu %llx", what, (unsigned long long)who, (unsigned long long)number);
}

static void tell_when(struct sim_world *world)
{
    fprintf(world->text, "%lld.%09lld ", (long long)(world->now / NSEC_PER_S), (long long)(world->now % NSEC_PER_S));
}

void sim_tell(struct sim_world *world, const char *format, ...)
{
    if (!world->text)
        return;
    va_list args;
    va_start(args, format);
    tell_when(world);
    vfprintf(world->text, format, args);
    fputc('\n', world->text);
    va_end(args);
}

void sim_tell_bytes(struct sim_world *world, uint64_t who, const char *bytes, size_t n)
{
    enum { MOST = 160 };
    if (!world->text)
        return;
    tell_when(world);
    fprintf(world->text, "bytes %llu: %zu \"", (unsigned long long)who, n);
    for (size_t i = 0; i < n && i < MOST; i++)
        fprintf(world->text, bytes[i] < ' ' || bytes[i] > '~' ? "\\x%02x" : "%c", (unsigned char)bytes[i]);
    fputs(n > MOST ? "\"...\n" : "\"\n", world->text);
}

uint64_t sim_trace(const struct sim_world *world) { return world->trace; }
void sim_trace_to(struct sim_world *world, FILE *file) { world->text = file; }

/* ---- the heap ---- */

static bool before(const struct sim_heap_entry *a, const struct sim_heap_entry *b)
{
    return a->at != b->at ? a->at < b->at : a->salt < b->salt;
}

static void put(struct sim_world *world, size_t place, struct sim_heap_entry entry)
{
    world->heap[place] = entry;
    entry.event->place = place;
}

static void sift_up(struct sim_world *world, size_t place, struct sim_heap_entry entry)
{
    for (; place > 1 && before(&entry, &world->heap[place / 2]); place /= 2)
        put(world, place, world->heap[place / 2]);
    put(world, place, entry);
}

static void sift_down(struct sim_world *world, size_t place, struct sim_heap_entry entry)
{
    for (;;) {
        size_t child = 2 * place;
        if (child > world->heap_count)
            break;
        if (child < world->heap_count && before(&world->heap[child + 1], &world->heap[child]))
            child++;
        if (!before(&world->heap[child], &entry))
            break;
        put(world, place, world->heap[child]);
        place = child;
    }
    put(world, place, entry);
}

void sim_unschedule(struct sim_world *world, struct sim_event *event)
{
    size_t place = event->place;
    if (!place)
        return;
    event->place = 0;
    struct sim_heap_entry last = world->heap[world->heap_count--];
    if (last.event == event)
        return;
    if (place > 1 && before(&last, &world->heap[place / 2]))
        sift_up(world, place, last);
    else
        sift_down(world, place, last);
}

void sim_schedule(struct sim_world *world, struct sim_event *event, nsec at)
{
    sim_unschedule(world, event);
    if (world->heap_count + 2 > world->heap_cap) {
        world->heap_cap = world->heap_cap ? 2 * world->heap_cap : 256;
        world->heap = realloc(world->heap, world->heap_cap * sizeof *world->heap);
        sluice_assert(world->heap);
    }
    struct sim_heap_entry entry = {nsec_max(at, world->now), sim_random(world), event};
    sift_up(world, ++world->heap_count, entry);
}

bool sim_advance(struct sim_world *world, nsec limit)
{
    if (!world->heap_count || world->heap[1].at > limit)
        return false;
    struct sim_event *event = world->heap[1].event;
    world->now = world->heap[1].at;
    sim_unschedule(world, event);
    event->happen(event);
    return true;
}

/* ---- the driver ---- */

static bool step(struct sim_world *world, nsec limit)
{
    sluice_assert(!world->running);
    uint64_t events = world->events;
    sim_hand_over(world);
    while (world->events == events)
        if (!sim_advance(world, limit))
            return false;
    return true;
}

bool sim_step(struct sim_world *world) { return step(world, NSEC_NEVER - 1); }

void sim_run_until(struct sim_world *world, nsec at)
{
    while (step(world, at))
        ;
    world->now = nsec_max(world->now, at);
}

bool sim_run_while(struct sim_world *world, bool (*more)(void *context), void *context, nsec limit)
{
    while (more(context))
        if (!step(world, nsec_min(limit, NSEC_NEVER - 1)))
            return false;
    return true;
}

nsec sim_now(const struct sim_world *world) { return world->now; }
uint64_t sim_events(const struct sim_world *world) { return world->events; }
void sim_batch(struct sim_world *world, unsigned most) { world->batch = most; }

/* ---- hosts ---- */

struct sim_host *sim_host_new(struct sim_world *world, const char *name)
{
    struct sim_host *host = calloc(1, sizeof *host);
    sluice_assert(host);
    host->world = world;
    host->number = ++world->host_count;
    host->port_next = 32768;
    snprintf(host->name, sizeof host->name, "%s", name);
    host->next = world->hosts;
    world->hosts = host;
    return host;
}

static size_t bucket_of(const struct io_address *address)
{
    struct io_address plain = *address;
    io_address_set_port(&plain, 0);
    char text[128];
    io_address_text(&plain, text, sizeof text);
    return sim_hash(1, text, strlen(text)) % SIM_ADDRESS_BUCKETS;
}

struct sim_host *sim_host_at(struct sim_world *world, const struct io_address *address)
{
    struct io_address plain = *address;
    io_address_set_port(&plain, 0);
    for (struct sim_owned_address *o = world->addresses[bucket_of(&plain)]; o; o = o->next)
        if (io_address_equal(&o->address, &plain))
            return o->absent ? NULL : o->host;
    return NULL;
}

void sim_host_absent(struct sim_host *host, const char *text, bool absent)
{
    struct io_address address;
    bool parsed = io_address_parse(&address, text, 0);
    sluice_assert(parsed);
    struct sim_owned_address *o = host->world->addresses[bucket_of(&address)];
    while (o && !io_address_equal(&o->address, &address))
        o = o->next;
    sluice_assert(o && o->host == host);
    o->absent = absent;
}

void sim_lack(struct sim_host *host, int error, nsec until)
{
    sim_note(host->world, "lack", host->number, (uint64_t)error);
    host->lacks = error;
    host->lacks_until = until;
}

void sim_host_address(struct sim_host *host, const char *text)
{
    struct sim_world *world = host->world;
    struct sim_owned_address *owned = calloc(1, sizeof *owned);
    sluice_assert(owned);
    bool parsed = io_address_parse(&owned->address, text, 0);
    sluice_assert(parsed && !sim_host_at(world, &owned->address));
    owned->host = host;
    size_t bucket = bucket_of(&owned->address);
    owned->next = world->addresses[bucket];
    world->addresses[bucket] = owned;
    struct io_address *first = owned->address.storage.ss_family == AF_INET6 ? &host->first_v6 : &host->first_v4;
    if (!first->length)
        *first = owned->address;
}

struct sim_world *sim_host_world(struct sim_host *host) { return host->world; }
void sim_host_shelter(struct sim_host *host, bool sheltered) { host->sheltered = sheltered; }

void sim_wall_jump(struct sim_world *world, struct sim_host *host, nsec by)
{
    sim_note(world, "wall", host ? host->number : 0, (uint64_t)by);
    for (struct sim_host *h = world->hosts; h; h = h->next)
        if (!host || h == host)
            h->wall_offset += by;
}

/* ---- links and partitions ---- */

nsec sim_link_delay(struct sim_world *world, const struct sim_link *link)
{
    return link->latency + (nsec)sim_below(world, (uint64_t)link->jitter);
}

/* How well a rule for (a, b), NULL being anybody, fits the pair (x, y): 0 not at all. */
static unsigned fits(const struct sim_host *a, const struct sim_host *b, const struct sim_host *x,
                     const struct sim_host *y)
{
    if (a && b)
        return (a == x && b == y) || (a == y && b == x) ? 2 : 0;
    return a == x || a == y ? 1 : 0;
}

struct sim_link sim_link_between(struct sim_world *world, struct sim_host *a, struct sim_host *b)
{
    static const struct sim_link within = {10 * NSEC_PER_US, 5 * NSEC_PER_US, 0};
    struct sim_link best = a == b ? within : world->link;
    unsigned fit = 0;
    for (unsigned i = 0; i < world->link_count; i++) {
        unsigned now = fits(world->links[i].a, world->links[i].b, a, b);
        if (now && now >= fit) {
            best = world->links[i].link;
            fit = now;
        }
    }
    return best;
}

void sim_link(struct sim_world *world, struct sim_host *a, struct sim_host *b, const struct sim_link *link)
{
    sluice_assert(link->latency >= 0 && link->jitter >= 0 && (a || !b));
    if (!a) {
        world->link = *link;
        return;
    }
    for (unsigned i = 0; i < world->link_count; i++)
        if (world->links[i].a == a && world->links[i].b == b) {
            world->links[i].link = *link;
            return;
        }
    world->links = realloc(world->links, (world->link_count + 1) * sizeof *world->links);
    sluice_assert(world->links);
    world->links[world->link_count++] = (struct sim_pair_link){a, b, *link};
}

void sim_partition(struct sim_world *world, struct sim_host *a, struct sim_host *b, nsec until)
{
    sim_note(world, "apart", a->number, b ? b->number : 0);
    unsigned kept = 0;
    for (unsigned i = 0; i < world->partition_count; i++)
        if (world->partitions[i].until > world->now)
            world->partitions[kept++] = world->partitions[i];
    world->partition_count = kept;
    world->partitions = realloc(world->partitions, (kept + 1) * sizeof *world->partitions);
    sluice_assert(world->partitions);
    world->partitions[world->partition_count++] = (struct sim_partition){a, b, until};
}

nsec sim_apart_until(struct sim_world *world, struct sim_host *a, struct sim_host *b)
{
    nsec until = 0;
    for (unsigned i = 0; i < world->partition_count; i++) {
        const struct sim_partition *p = &world->partitions[i];
        if (p->until > world->now && a != b && fits(p->a, p->b, a, b))
            until = nsec_max(until, p->until);
    }
    return until;
}

/* What was held back is tried again at once. */
void sim_heal(struct sim_world *world)
{
    sim_note(world, "heal", 0, 0);
    world->partition_count = 0;
    for (struct sim_conn *c = world->conns; c; c = c->next)
        for (unsigned i = 0; i < 2; i++)
            if (c->pipe[i].blocked_since)
                sim_schedule(world, &c->pipe[i].arrival, world->now);
}

/* ---- faults ---- */

const char *sim_fault_name(enum sim_fault fault)
{
    static const char *const names[SIM_FAULT_COUNT] = {
        [SIM_FAULT_BROKEN] = "broken", [SIM_REFUSED] = "refused",     [SIM_BLACK_HOLE] = "black hole",
        [SIM_NO_SOCKET] = "no socket", [SIM_RESET] = "reset",         [SIM_CLOSE] = "close",
        [SIM_STALL] = "stall",         [SIM_DELAY] = "delay",         [SIM_SPLIT] = "split",
        [SIM_PARTITION] = "partition", [SIM_POST_FULL] = "post full", [SIM_SERVFAIL] = "servfail",
        [SIM_DNS_LOST] = "dns lost",   [SIM_LACK] = "lack",           [SIM_NO_PORT] = "no port",
    };
    sluice_assert(fault < SIM_FAULT_COUNT);
    return names[fault];
}

void sim_fault_set(struct sim_world *world, enum sim_fault fault, uint32_t per_million)
{
    sluice_assert(fault > SIM_FAULT_BROKEN && fault < SIM_FAULT_COUNT);
    world->rates[fault] = per_million;
}

uint32_t sim_fault_rate(const struct sim_world *world, enum sim_fault fault) { return world->rates[fault]; }
uint64_t sim_fault_count(const struct sim_world *world, enum sim_fault fault) { return world->struck[fault]; }

bool sim_strikes(struct sim_world *world, enum sim_fault fault)
{
    if (!world->rates[fault] || sim_below(world, 1000000) >= world->rates[fault])
        return false;
    world->struck[fault]++;
    sim_note(world, "fault", fault, world->struck[fault]);
    return true;
}

/* ---- beginning and end ---- */

struct sim_world *sim_world_new(uint64_t seed)
{
    struct sim_world *world = calloc(1, sizeof *world);
    sluice_assert(world);
    world->seed = world->random = seed;
    world->now = NSEC_PER_S; /* an instant of 0 means "never" to some */
    world->dirty_end = &world->dirty;
    world->link = (struct sim_link){50 * NSEC_PER_US, 20 * NSEC_PER_US, 0};
    world->zone = sim_zone_new();
    return world;
}

void sim_world_free(struct sim_world *world)
{
    sluice_assert(!world->running);
    sim_groups_free(world);
    sim_conns_free(world);
    sim_zone_free(world->zone);
    sim_sts_free(world->sts);
    for (size_t i = 0; i < SIM_ADDRESS_BUCKETS; i++)
        for (struct sim_owned_address *o = world->addresses[i], *next; o; o = next) {
            next = o->next;
            free(o);
        }
    for (struct sim_host *h = world->hosts, *next; h; h = next) {
        next = h->next;
        free(h);
    }
    free(world->links);
    free(world->partitions);
    free(world->heap);
    free(world);
}
