/* backend_simulated.c - lets the io contract suite run in a world of engine/sim, all shards on one thread.
 *
 * SIM_SEED in the environment chooses another world; an odd one lets every turn run a single callback. */
#include "backend.h"

#include "sim/sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHARDS_MOST = 8, SESSIONS_MAX = 256, SEED = 20260101 };

struct backend {
    struct sim_world *world;
    struct sim_host *host;
    struct io_group *group;
    struct io *ios[SHARDS_MOST];
    uint16_t port_next;
    unsigned paths;
};

static void *had(void *thing, const char *what)
{
    if (!thing) {
        fprintf(stderr, "backend_simulated: %s\n", what);
        exit(1);
    }
    return thing;
}

static struct io *open_shard(struct backend *backend, unsigned shard)
{
    struct io_config config = {.group = backend->group, .shard = shard, .sessions_max = SESSIONS_MAX};
    char error[256] = "";
    return had(io_open(&config, error, sizeof error), error);
}

struct backend *backend_open(unsigned shards)
{
    struct backend *backend = had(calloc(1, sizeof *backend), "no memory");
    had(shards && shards <= SHARDS_MOST ? backend : NULL, "too many shards");
    const char *chosen = getenv("SIM_SEED");
    unsigned long seed = chosen ? strtoul(chosen, NULL, 10) : SEED;
    backend->world = sim_world_new(seed);
    sim_batch(backend->world, seed % 2 ? 1 : 0);
    backend->host = sim_host_new(backend->world, "here");
    backend->group = sim_process(backend->host, shards);
    backend->port_next = 20000;
    backend->ios[0] = open_shard(backend, 0);
    return backend;
}

void backend_close(struct backend *backend)
{
    for (unsigned shard = SHARDS_MOST - 1; shard; shard--)
        if (backend->ios[shard])
            backend_stop(backend, shard);
    io_close_all(backend->ios[0]);
    sim_world_free(backend->world);
    free(backend);
}

struct io *backend_io(struct backend *backend) { return backend->ios[0]; }

void backend_restart(struct backend *backend)
{
    io_close_all(backend->ios[0]);
    backend->ios[0] = open_shard(backend, 0);
}

unsigned backend_turn(struct backend *backend, nsec until) { return io_turn(backend->ios[0], until); }

bool backend_until(struct backend *backend, bool (*condition)(void *context), void *context)
{
    nsec give_up = sim_now(backend->world) + 20 * NSEC_PER_S;
    while (!condition(context)) {
        nsec now = sim_now(backend->world);
        if (now >= give_up)
            return false;
        (void)io_turn(backend->ios[0], nsec_min(give_up, now + NSEC_PER_MS));
    }
    return true;
}

void backend_start(struct backend *backend, unsigned shard, void (*init)(struct io *io, void *context), void *context)
{
    backend->ios[shard] = open_shard(backend, shard);
    init(backend->ios[shard], context);
    sim_serve(backend->ios[shard]);
}

void backend_stop(struct backend *backend, unsigned shard)
{
    io_close_all(backend->ios[shard]);
    backend->ios[shard] = NULL;
}

static void address_new(struct backend *backend, int family, struct io_address *at)
{
    char path[64];
    snprintf(path, sizeof path, "/run/%u", backend->paths++);
    const char *text = family == AF_UNIX ? path : family == AF_INET6 ? "::1" : "127.0.0.1";
    had(io_address_parse(at, text, backend->port_next++) ? backend : NULL, text);
}

int backend_listen(struct backend *backend, struct io *io, int family, bool share, struct io_address *at)
{
    address_new(backend, family, at);
    int fd = io_listen(io, at, 512, share);
    had(fd >= 0 ? backend : NULL, fd >= 0 ? "" : strerror(-fd));
    return fd;
}

void backend_nobody(struct backend *backend, int family, struct io_address *at) { address_new(backend, family, at); }

void backend_source(struct backend *backend, unsigned n, struct io_address *source)
{
    char text[32];
    snprintf(text, sizeof text, "127.0.0.%u", 2 + n);
    had(io_address_parse(source, text, 0) ? backend : NULL, text);
}

void backend_reset(struct backend *backend, struct io *io, int fd)
{
    (void)backend;
    sim_reset(io, fd);
}
