/* Runs the io contract suite on the kernel: real sockets on loopback, real time, a thread for each shard but the first.
 */
#include "backend.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { SHARDS_MAX = 8, PATIENCE_S = 20 };

struct shard_thread {
    struct backend *backend;
    unsigned shard;
    pthread_t thread;
    bool running;
    void (*init)(struct io *io, void *context);
    void *context;
    int stop_event; /* an eventfd that the shard itself polls: it sleeps without limit, so a lost wake-up is seen */
    struct io_op stopped;
    pthread_mutex_t lock; /* guards `ready` */
    pthread_cond_t changed;
    bool ready;
};

struct backend {
    struct io_group *group;
    struct io *io;
    unsigned shards;
    int used_descriptors[4];
    unsigned used_count;
    struct shard_thread threads[SHARDS_MAX];
    char directory[32];
    unsigned paths;
};

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "io contract, kernel: %s\n", what);
    abort();
}

static struct io *open_shard(struct backend *backend, unsigned shard)
{
    char error[512] = "";
    struct io_config config = {.group = backend->group, .shard = shard, .sessions_max = 256};
    struct io *io = io_open(&config, error, sizeof error);
    check(io != NULL, error);
    return io;
}

struct backend *backend_open(unsigned shards)
{
    struct backend *backend = calloc(1, sizeof *backend);
    check(backend && shards <= SHARDS_MAX, "no memory, or too many shards");
    backend->shards = shards;
    backend->group = io_group_open(shards);
    check(backend->group != NULL, "io_group_open");
    snprintf(backend->directory, sizeof backend->directory, "/tmp/sluice-io-XXXXXX");
    check(mkdtemp(backend->directory) != NULL, "mkdtemp");
    backend->io = open_shard(backend, 0);
    return backend;
}

void backend_close(struct backend *backend)
{
    char path[64];
    for (unsigned shard = 1; shard < backend->shards; shard++)
        if (backend->threads[shard].running)
            backend_stop(backend, shard);
    io_close_all(backend->io);
    io_group_close(backend->group);
    for (unsigned i = 0; i < backend->used_count; i++)
        close(backend->used_descriptors[i]);
    for (unsigned i = 0; i < backend->paths; i++) {
        snprintf(path, sizeof path, "%s/%u", backend->directory, i);
        (void)unlink(path);
    }
    (void)rmdir(backend->directory);
    free(backend);
}

struct io *backend_io(struct backend *backend) { return backend->io; }

void backend_restart(struct backend *backend)
{
    io_close_all(backend->io);
    backend->io = open_shard(backend, 0);
}

unsigned backend_turn(struct backend *backend, nsec until) { return io_turn(backend->io, until); }

bool backend_until(struct backend *backend, bool (*condition)(void *context), void *context)
{
    nsec limit = io_now(backend->io) + PATIENCE_S * NSEC_PER_S;
    while (!condition(context)) {
        if (io_now(backend->io) > limit)
            return false;
        /* Another thread may make the condition true without a word to this one. */
        io_turn(backend->io, nsec_min(limit, io_now(backend->io) + NSEC_PER_MS));
    }
    return true;
}

static void on_stop(struct io_op *op, int result)
{
    (void)op;
    check(result == POLLIN, "the eventfd");
}

static void *run_shard(void *context)
{
    struct shard_thread *self = context;
    struct io *io = open_shard(self->backend, self->shard);
    self->stopped.done = on_stop;
    io_poll(io, &self->stopped, self->stop_event, POLLIN);
    if (self->init)
        self->init(io, self->context);
    pthread_mutex_lock(&self->lock);
    self->ready = true;
    pthread_cond_signal(&self->changed);
    pthread_mutex_unlock(&self->lock);
    while (io_op_busy(&self->stopped))
        io_turn(io, NSEC_NEVER);
    io_close_all(io);
    return NULL;
}

void backend_start(struct backend *backend, unsigned shard, void (*init)(struct io *io, void *context), void *context)
{
    struct shard_thread *thread = &backend->threads[shard];
    check(shard > 0 && shard < backend->shards && !thread->running, "backend_start");
    *thread =
        (struct shard_thread){.backend = backend, .shard = shard, .running = true, .init = init, .context = context};
    thread->stop_event = eventfd(0, EFD_CLOEXEC);
    check(thread->stop_event >= 0, "eventfd");
    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->changed, NULL);
    check(pthread_create(&thread->thread, NULL, run_shard, thread) == 0, "pthread_create");
    pthread_mutex_lock(&thread->lock);
    while (!thread->ready)
        pthread_cond_wait(&thread->changed, &thread->lock);
    pthread_mutex_unlock(&thread->lock);
}

void backend_stop(struct backend *backend, unsigned shard)
{
    struct shard_thread *thread = &backend->threads[shard];
    check(thread->running, "backend_stop");
    check(eventfd_write(thread->stop_event, 1) == 0, "eventfd_write");
    check(pthread_join(thread->thread, NULL) == 0, "pthread_join");
    close(thread->stop_event);
    pthread_mutex_destroy(&thread->lock);
    pthread_cond_destroy(&thread->changed);
    thread->running = false;
}

static void fresh_address(struct backend *backend, int family, struct io_address *at)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%u", backend->directory, backend->paths);
    const char *text = family == AF_INET ? "127.0.0.1" : family == AF_INET6 ? "::1" : path;
    check(io_address_parse(at, text, 0), "io_address_parse");
    backend->paths += family == AF_UNIX;
}

static void bound_to(int fd, struct io_address *at)
{
    at->length = sizeof at->storage;
    check(getsockname(fd, (struct sockaddr *)&at->storage, &at->length) == 0, "getsockname");
}

int backend_listen(struct backend *backend, struct io *io, int family, bool share, struct io_address *at)
{
    fresh_address(backend, family, at);
    int fd = io_listen(io, at, 512, share);
    check(fd >= 0, "io_listen");
    bound_to(fd, at);
    return fd;
}

void backend_nobody(struct backend *backend, int family, struct io_address *at)
{
    fresh_address(backend, family, at);
    if (family == AF_UNIX)
        return; /* no such path: ENOENT is a refusal too */
    /* Bound and never listened on, until the backend closes: nobody else gets the port. */
    check(backend->used_count < countof(backend->used_descriptors), "too many dead addresses");
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0 && bind(fd, (const struct sockaddr *)&at->storage, at->length) == 0, "bind");
    bound_to(fd, at);
    backend->used_descriptors[backend->used_count++] = fd;
}

void backend_source(struct backend *backend, unsigned n, struct io_address *source)
{
    char text[32];
    (void)backend;
    snprintf(text, sizeof text, "127.0.0.%u", n + 2);
    check(io_address_parse(source, text, 0), "io_address_parse");
}

void backend_reset(struct backend *backend, struct io *io, int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0}; /* close() sends RST (socket(7), tcp(7)) */
    (void)backend;
    check(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now) == 0, "SO_LINGER");
    io_close(io, fd);
}
