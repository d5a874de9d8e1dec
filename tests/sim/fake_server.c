/* The fake Redis as a server: connections over io.h, with the faults that a network and a tired machine add. */
#include "fake_command.h"

#include <stdio.h>
#include <stdlib.h>

struct fake_client {
    struct fake_client *next;
    struct fake_redis *fake;
    int fd;
    struct io_recv recv;
    struct io_send send;
    struct io_timer late, patience; /* answers are due; a blocked command has waited enough */
    struct fake_buffer in, out, sending;
    struct slice *args;
    unsigned args_cap;
    struct fake_text *channel;  /* subscribed to; NULL: none */
    struct fake_write *blocked; /* the command that waits; NULL: none */
    bool left_behind;           /* at a server that is the master no more */
    bool asking;                /* has said ASKING: for the next command */
    bool dying;                 /* closes when what it was told is sent */
    bool closing;
};

/* ---- ending ---- */

static void client_free(struct fake_client *client)
{
    struct fake_client **at = &client->fake->clients;
    while (*at != client)
        at = &(*at)->next;
    *at = client->next;
    for (unsigned i = 0; client->blocked && i < client->blocked->count; i++)
        free(client->blocked->args[i]);
    free(client->blocked);
    free(client->channel);
    free(client->in.p);
    free(client->out.p);
    free(client->sending.p);
    free(client->args);
    free(client);
}

static void client_settle(struct fake_client *client)
{
    if (!client->closing || io_op_busy(&client->recv.op) || io_op_busy(&client->send.op))
        return;
    io_close(client->fake->io, client->fd);
    client_free(client);
}

/* The client may be gone when this returns. */
static void client_close(struct fake_client *client)
{
    struct io *io = client->fake->io;
    if (!client->closing) {
        client->closing = true;
        io_timer_clear(io, &client->late);
        io_timer_clear(io, &client->patience);
        io_cancel(io, &client->recv.op);
        io_cancel(io, &client->send.op);
    }
    client_settle(client);
}

void fake_clients_crashed(struct fake_redis *fake)
{
    while (fake->clients)
        client_free(fake->clients);
    fake->io = NULL;
    fake->listener = -1;
    fake->accept = (struct io_accept){0};
}

void fake_redis_cut(struct fake_redis *fake)
{
    struct fake_client *client = fake->clients;
    while (client) {
        struct fake_client *next = client->next;
        client_close(client);
        client = next;
    }
}

void fake_redis_demote(struct fake_redis *fake)
{
    for (struct fake_client *client = fake->clients; client; client = client->next)
        client->left_behind = true;
}

bool fake_client_is_left_behind(const struct fake_client *client) { return client->left_behind; }

/* ---- talking ---- */

static void client_flush(struct fake_client *client)
{
    if (client->closing || io_op_busy(&client->send.op))
        return;
    if (!client->out.n) {
        if (client->dying)
            client_close(client);
        return;
    }
    struct fake_buffer empty = client->sending;
    client->sending = client->out;
    client->out = empty;
    client->out.n = 0;
    struct slice part = {client->sending.p, client->sending.n};
    io_send(client->fake->io, &client->send, client->fd, &part, 1);
}

static void on_sent(struct io_op *op, int result)
{
    struct fake_client *client = container_of(op, struct fake_client, send.op);
    if (client->closing)
        client_settle(client);
    else if (result < 0)
        client_close(client);
    else
        client_flush(client);
}

/* "$5\r\n": reads the number behind the mark. 1: read, `*at` is behind the line; 0: not all of it is there; -1:
 * rubbish. */
static int read_length(const struct fake_buffer *in, char mark, size_t *at, size_t *length)
{
    size_t p = *at, n = 0;
    if (p < in->n && in->p[p++] != mark)
        return -1;
    while (p < in->n && in->p[p] >= '0' && in->p[p] <= '9' && n < 1u << 30)
        n = 10 * n + (size_t)(in->p[p++] - '0');
    if (p + 2 > in->n)
        return 0;
    if (in->p[p] != '\r' || in->p[p + 1] != '\n')
        return -1;
    *at = p + 2;
    *length = n;
    return 1;
}

/* One whole command from `*at` on: its arguments borrow from the input. Results as above. */
static int read_command(struct fake_client *client, size_t *at, unsigned *count)
{
    const struct fake_buffer *in = &client->in;
    size_t p = *at, args, length;
    int got = read_length(in, '*', &p, &args);
    if (got <= 0)
        return got;
    if (args == 0)
        return -1;
    if (client->args_cap < args) {
        client->args_cap = (unsigned)args;
        client->args = realloc(client->args, args * sizeof *client->args);
        sluice_assert(client->args);
    }
    for (size_t i = 0; i < args; i++) {
        got = read_length(in, '$', &p, &length);
        if (got <= 0)
            return got;
        if (in->n - p < length + 2)
            return 0;
        client->args[i] = (struct slice){in->p + p, length};
        p += length + 2;
    }
    *at = p;
    *count = (unsigned)args;
    return 1;
}

static bool strikes(struct fake_redis *fake, uint32_t per_million)
{
    return per_million && io_random(fake->io) % 1000000 < per_million;
}

static void client_run(struct fake_client *client, unsigned count)
{
    static const char *const passing[] = {"LOADING Redis is loading the dataset in memory",
                                          "BUSY Redis is busy running a script.",
                                          "TRYAGAIN Multiple keys request during rehashing of slot"};
    struct fake_redis *fake = client->fake;
    if (strikes(fake, fake->faults.cut_before_per_million)) {
        fake->counts.cut_before++;
        client->dying = true;
        return;
    }
    if (strikes(fake, fake->faults.refuse_per_million)) {
        fake->counts.refused++;
        fake_say_error(&client->out, "%s", passing[io_random(fake->io) % countof(passing)]);
        return;
    }
    size_t before = client->out.n;
    bool asking = client->asking;
    client->asking = false;
    fake->client = client;
    if (!fake->cluster || !fake_cluster_refuses(fake, asking, client->args, count, &client->out))
        fake_run_outer(fake, client->args, count, &client->out);
    fake->client = NULL;
    if (client->out.n > before && strikes(fake, fake->faults.cut_after_per_million)) {
        fake->counts.cut_after++;
        client->dying = true;
        client->out.n = before + io_random(fake->io) % (client->out.n - before);
    }
}

/* Runs all that came in whole, until a command blocks or the connection is to end. */
static void client_process(struct fake_client *client)
{
    size_t at = 0;
    unsigned count;
    int got = 0;
    while (!client->dying && !client->blocked && (got = read_command(client, &at, &count)) > 0)
        client_run(client, count);
    if (got < 0) {
        fake_say_error(&client->out, "ERR Protocol error");
        client->dying = true;
    }
    memmove(client->in.p, client->in.p + at, client->in.n - at);
    client->in.n -= at;
    client_flush(client);
}

static void on_late(struct io_timer *timer) { client_process(container_of(timer, struct fake_client, late)); }

static void on_bytes(struct io_recv *recv, struct slice bytes)
{
    struct fake_client *client = container_of(recv, struct fake_client, recv);
    struct fake_redis *fake = client->fake;
    if (client->dying || client->closing)
        return;
    fake_append(&client->in, bytes);
    if (!fake->faults.delay)
        client_process(client);
    else if (!io_timer_is_set(&client->late))
        io_timer_set(fake->io, &client->late, io_now(fake->io) + fake->faults.delay);
}

static void on_end(struct io_op *op, int result)
{
    struct fake_client *client = container_of(op, struct fake_client, recv.op);
    (void)result;
    client_close(client);
}

/* ---- commands that wait ---- */

bool fake_block(struct fake_redis *fake, const struct slice *args, unsigned count, int64_t wait_ms)
{
    struct fake_client *client = fake->client;
    if (!client || fake->running)
        return false;
    if (client->blocked)
        return true;
    client->blocked = malloc(sizeof *client->blocked + count * sizeof client->blocked->args[0]);
    sluice_assert(client->blocked);
    *client->blocked = (struct fake_write){.count = count};
    for (unsigned i = 0; i < count; i++)
        client->blocked->args[i] = fake_text_new(args[i]);
    if (wait_ms > 0)
        io_timer_set(fake->io, &client->patience, io_now(fake->io) + wait_ms * NSEC_PER_MS);
    return true;
}

static void unblock(struct fake_client *client)
{
    for (unsigned i = 0; i < client->blocked->count; i++)
        free(client->blocked->args[i]);
    free(client->blocked);
    client->blocked = NULL;
    io_timer_clear(client->fake->io, &client->patience);
    client_process(client);
}

static void on_patience(struct io_timer *timer)
{
    struct fake_client *client = container_of(timer, struct fake_client, patience);
    fake_say_nil_array(&client->out);
    unblock(client);
}

/* Looks again for every client that waits. True: one was answered, and the list may be another now. */
static bool wake_one(struct fake_redis *fake)
{
    struct fake_client *asking = fake->client;
    for (struct fake_client *client = fake->clients; client; client = client->next) {
        struct slice args[16];
        size_t before = client->out.n;
        if (!client->blocked || client->closing)
            continue;
        sluice_assert(client->blocked->count <= countof(args));
        for (unsigned i = 0; i < client->blocked->count; i++)
            args[i] = fake_text_slice(client->blocked->args[i]);
        fake->client = client;
        fake_run(fake, args, client->blocked->count, &client->out);
        fake->client = asking;
        if (client->out.n > before) {
            unblock(client);
            return true;
        }
    }
    return false;
}

void fake_wake_blocked(struct fake_redis *fake)
{
    while (wake_one(fake))
        ;
}

/* ---- commands of the server ---- */

unsigned fake_publish(struct fake_redis *fake, struct slice channel, struct slice message)
{
    unsigned told = 0;
    for (struct fake_client *client = fake->clients; client; client = client->next) {
        if (!client->channel || client->closing || !slice_equal(fake_text_slice(client->channel), channel))
            continue;
        fake_say_array(&client->out, 3);
        fake_say_text(&client->out, SLICE("message"));
        fake_say_text(&client->out, channel);
        fake_say_text(&client->out, message);
        client_flush(client);
        told++;
    }
    return told;
}

static void run_publish(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)count;
    fake_say_number(out, fake_publish(fake, args[1], args[2]));
}

static void run_subscribe(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)count;
    if (!fake->client || fake->client->channel) {
        fake_say_error(out, "ERR one channel and a connection, please");
        return;
    }
    fake->client->channel = fake_text_new(args[1]);
    fake_say_array(out, 3);
    fake_say_text(out, SLICE("subscribe"));
    fake_say_text(out, args[1]);
    fake_say_number(out, 1);
}

static void run_ok(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)fake;
    (void)args;
    (void)count;
    fake_say_status(out, "OK");
}

static void run_ping(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)fake;
    (void)args;
    (void)count;
    fake_say_status(out, "PONG");
}

static void run_info(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)args;
    (void)count;
    char text[384];
    int n = snprintf(text, sizeof text,
                     "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\nrun_id:%040llx\r\n"
                     "# Persistence\r\nrdb_last_load_keys_loaded:0\r\naof_enabled:1\r\naof_base_size:%u\r\n"
                     "# Replication\r\nsecond_repl_offset:-1\r\n",
                     (unsigned long long)fake->process, fake->process > 1 ? 89 : 0);
    fake_say_text(out, (struct slice){text, (size_t)n});
}

/* To the millisecond, as everything that the fake dates. */
static void run_time(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    char text[2][24];
    (void)args;
    (void)count;
    int n[] = {snprintf(text[0], sizeof text[0], "%lld", (long long)(fake->now_ms / 1000)),
               snprintf(text[1], sizeof text[1], "%lld", (long long)(fake->now_ms % 1000 * 1000))};
    fake_say_array(out, 2);
    for (unsigned i = 0; i < 2; i++)
        fake_say_text(out, (struct slice){text[i], (size_t)n[i]});
}

/* What it does with its disk, whatever is asked: as fake_redis_lose does. */
static void run_config(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    static const char *const words[] = {"appendonly", "yes", "appendfsync", "everysec"};
    (void)fake;
    (void)count;
    if (!fake_word(args[1], "GET")) {
        fake_say_error(out, "ERR unknown subcommand of CONFIG");
        return;
    }
    fake_say_array(out, countof(words));
    for (unsigned i = 0; i < countof(words); i++)
        fake_say_text(out, slice_of(words[i]));
}

static void run_asking(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    fake->client->asking = true;
    run_ok(fake, args, count, out);
}

static void run_cluster(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    (void)count;
    if (fake->cluster && fake_word(args[1], "SLOTS"))
        fake_cluster_say_slots(fake, out);
    else
        fake_say_error(out, "ERR This instance has cluster support disabled");
}

const struct fake_command fake_server_commands[] = {
    {"ASKING", 1, FAKE_NO_SCRIPT, run_asking},
    {"CLUSTER", -2, FAKE_NO_SCRIPT, run_cluster},
    {"AUTH", -2, FAKE_NO_SCRIPT, run_ok},
    {"SELECT", 2, FAKE_NO_SCRIPT, run_ok},
    {"PING", 1, 0, run_ping},
    {"INFO", -1, 0, run_info},
    {"TIME", 1, 0, run_time},
    {"CONFIG", -3, FAKE_NO_SCRIPT, run_config},
    {"PUBLISH", 3, 0, run_publish},
    {"SUBSCRIBE", 2, FAKE_NO_SCRIPT, run_subscribe},
    {NULL, 0, 0, NULL},
};

/* ---- serving ---- */

static void on_accepted(struct io_accept *accept, int fd)
{
    struct fake_redis *fake = container_of(accept, struct fake_redis, accept);
    struct fake_client *client = calloc(1, sizeof *client);
    sluice_assert(client);
    client->fake = fake;
    client->fd = fd;
    client->next = fake->clients;
    client->recv.op.done = on_end;
    client->recv.bytes = on_bytes;
    client->send.op.done = on_sent;
    client->late.fire = on_late;
    client->patience.fire = on_patience;
    fake->clients = client;
    fake->counts.connections++;
    io_recv(fake->io, &client->recv, fd);
}

static void on_accept_end(struct io_op *op, int result)
{
    (void)op;
    (void)result;
}

void fake_redis_serve(struct fake_redis *fake, struct io *io, const struct io_address *at)
{
    sluice_assert(!fake->io);
    fake->io = io;
    if (fake->process++)
        fake_libraries_restart(fake);
    fake->listener = io_listen(io, at, 64, false);
    sluice_assert(fake->listener >= 0);
    fake->accept.accepted = on_accepted;
    fake->accept.op.done = on_accept_end;
    io_accept(io, &fake->accept, fake->listener);
}

void fake_redis_stop(struct fake_redis *fake)
{
    struct io *io = fake->io;
    io_cancel(io, &fake->accept.op);
    fake_redis_cut(fake);
    while (io_op_busy(&fake->accept.op) || fake->clients)
        io_turn(io, io_now(io) + NSEC_PER_S);
    io_close(io, fake->listener);
    fake_clients_crashed(fake);
}
