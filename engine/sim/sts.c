/* sts.c - policy hosts without HTTPS: each domain's file as the test wrote it, after a while; cached as in production.
 */
#include "net/sts.h"
#include "sim/world.h"

#include <stdlib.h>

struct policy_file {
    struct policy_file *next;
    char domain[LIMIT_DOMAIN + 1];
    char *text; /* NULL: it cannot be fetched */
};

struct sts {
    struct sim_world *world;
    struct sts_cache *cache;
    struct policy_file *files;
    nsec latency;
    uint64_t fetches;
};

struct sts_desk {
    struct sts *sts;
    struct io *io;
};

struct sts *sim_sts(struct sim_world *world)
{
    if (!world->sts) {
        world->sts = calloc(1, sizeof *world->sts);
        sluice_assert(world->sts);
        *world->sts = (struct sts){.world = world, .cache = sts_cache_open(), .latency = 100 * NSEC_PER_MS};
        sluice_assert(world->sts->cache);
    }
    return world->sts;
}

void sim_sts_free(struct sts *sts)
{
    if (!sts)
        return;
    for (struct policy_file *file = sts->files, *next; file; file = next) {
        next = file->next;
        free(file->text);
        free(file);
    }
    sts_cache_close(sts->cache);
    free(sts);
}

static struct policy_file *file_of(struct sts *sts, const char *domain)
{
    struct policy_file *file = sts->files;
    while (file && strcmp(file->domain, domain) != 0)
        file = file->next;
    return file;
}

void sim_sts_file(struct sim_world *world, const char *domain, const char *text)
{
    struct sts *sts = sim_sts(world);
    struct policy_file *file = file_of(sts, domain);
    if (!file) {
        file = calloc(1, sizeof *file);
        sluice_assert(file);
        slice_copy(file->domain, sizeof file->domain, slice_of(domain));
        file->next = sts->files;
        sts->files = file;
    }
    free(file->text);
    file->text = text ? strdup(text) : NULL;
}

void sim_sts_latency(struct sim_world *world, nsec latency) { sim_sts(world)->latency = latency; }
uint64_t sim_sts_fetches(struct sim_world *world) { return sim_sts(world)->fetches; }

enum sts_advice sts_look(struct sts *sts, struct slice domain, struct slice id, nsec wall, struct sts_policy *policy)
{
    return sts_cache_look(sts->cache, domain, id, wall, policy);
}

static void fetched(struct io_timer *timer)
{
    struct sts_fetch *fetch = container_of(timer, struct sts_fetch, timer);
    struct sts_desk *desk = fetch->desk;
    struct slice domain = slice_of(fetch->domain), id = slice_of(fetch->id);
    const struct policy_file *file = file_of(desk->sts, fetch->domain);
    const char *text = file && fetch->address_count ? file->text : NULL, *why;
    struct sts_policy policy;
    nsec wall = io_wall(desk->io);
    desk->sts->fetches++;
    if (text && sts_policy_read(slice_of(text), &policy, &why))
        sts_cache_put(desk->sts->cache, domain, id, wall, &policy);
    else
        sts_cache_failed(desk->sts->cache, domain, id, wall);
    fetch->desk = NULL;
    fetch->done(fetch);
}

void sts_fetch(struct sts_desk *desk, struct sts_fetch *fetch, struct slice domain, struct slice id,
               const struct io_address *addresses, unsigned count)
{
    struct sts *sts = desk->sts;
    (void)addresses;
    fetch->desk = desk;
    fetch->timer.fire = fetched;
    fetch->address_count = count;
    slice_copy(fetch->domain, sizeof fetch->domain, domain);
    slice_copy(fetch->id, sizeof fetch->id, id);
    io_timer_set(desk->io, &fetch->timer, io_now(desk->io) + sts->latency);
}

struct sts_desk *sts_desk_open(struct sts *sts, struct io *io)
{
    struct sts_desk *desk = malloc(sizeof *desk);
    if (desk)
        *desk = (struct sts_desk){.sts = sts, .io = io};
    return desk;
}

void sts_desk_close(struct sts_desk *desk) { free(desk); } /* its fetches' timers went with the io */
