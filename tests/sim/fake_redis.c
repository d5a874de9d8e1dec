/* The fake Redis: what it remembers, what it is willing to do, and what a crash may take from it. */
#include "fake_command.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { WORDS_MAX = 64 };

/* ---- running commands ---- */

const struct fake_command *fake_command_find(struct slice name)
{
    const struct fake_command *const tables[] = {fake_key_commands, fake_type_commands, fake_member_commands, fake_stream_commands,
                                                 fake_function_commands, fake_server_commands};
    for (unsigned i = 0; i < countof(tables); i++)
        for (const struct fake_command *command = tables[i]; command->name; command++)
            if (fake_word(name, command->name))
                return command;
    return NULL;
}

void fake_run(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    const struct fake_command *command = fake_command_find(args[0]);
    if (!command)
        fake_say_error(out, "ERR unknown command '" SLICE_FORMAT "'", SLICE_ARGS(args[0]));
    else if (command->arity > 0 ? (int)count != command->arity : (int)count < -command->arity)
        fake_say_error(out, "ERR wrong number of arguments for '%s' command", command->name);
    else
        command->run(fake, args, count, out);
}

const char *fake_unwilling_to_write(const struct fake_redis *fake)
{
    if (fake->client && fake_client_is_left_behind(fake->client))
        return "READONLY You can't write against a read only replica.";
    switch (fake->mode) {
    case FAKE_REDIS_READONLY:
        return "READONLY You can't write against a read only replica.";
    case FAKE_REDIS_NOREPLICAS:
        return "NOREPLICAS Not enough good replicas to write.";
    case FAKE_REDIS_MISCONF:
        return "MISCONF Errors writing to the AOF file: No space left on device";
    case FAKE_REDIS_NOPERM:
        return "NOPERM this user has no permissions to run the command or its subcommand";
    default:
        return NULL;
    }
}

/* What the mode has against a command of a client; NULL: nothing. Scripts are looked at when they are called. */
static const char *unwilling(const struct fake_redis *fake, struct slice name)
{
    const struct fake_command *command = fake_command_find(name);
    unsigned flags = command ? command->flags : 0;
    switch (fake->mode) {
    case FAKE_REDIS_LOADING:
        return "LOADING Redis is loading the dataset in memory";
    case FAKE_REDIS_BUSY:
        return "BUSY Redis is busy running a script.";
    case FAKE_REDIS_MASTERDOWN:
        return "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    case FAKE_REDIS_OOM:
        return flags & FAKE_DENY_OOM ? "OOM command not allowed when used memory > 'maxmemory'." : NULL;
    case FAKE_REDIS_NOPERM:
        return flags & FAKE_WRITES || fake_word(name, "FCALL") ? fake_unwilling_to_write(fake) : NULL;
    default:
        return flags & FAKE_WRITES ? fake_unwilling_to_write(fake) : NULL;
    }
}

/* ---- the log of writes ---- */

static void write_free(struct fake_write *write)
{
    for (unsigned i = 0; i < write->count; i++)
        free(write->args[i]);
    free(write);
}

/* The oldest write becomes one that nothing can undo any more. */
static void write_settle(struct fake_redis *fake)
{
    struct fake_write *write = fake->writes;
    struct fake_dict keys = fake->keys;
    struct fake_client *client = fake->client;
    int64_t now_ms = fake->now_ms;
    struct fake_buffer out = {0};
    struct fake_redis_counts counts = fake->counts;
    struct slice *args = calloc(write->count, sizeof *args);
    sluice_assert(args);
    for (unsigned i = 0; i < write->count; i++)
        args[i] = fake_text_slice(write->args[i]);
    /* Done again on what is durable, at the instant at which it was done first: the same comes of it. */
    fake->keys = fake->durable;
    fake->client = NULL;
    fake->now_ms = write->at_ms;
    fake_run(fake, args, write->count, &out);
    fake->durable = fake->keys;
    fake->keys = keys;
    fake->client = client;
    fake->now_ms = now_ms;
    fake->counts = counts;
    fake->writes = write->next;
    if (!fake->writes)
        fake->writes_end = &fake->writes;
    write_free(write);
    free(args);
    free(out.p);
}

static void write_log(struct fake_redis *fake, const struct slice *args, unsigned count)
{
    if (!fake->keeps)
        return;
    struct fake_write *write = malloc(sizeof *write + count * sizeof write->args[0]);
    sluice_assert(write);
    *write = (struct fake_write){.at_ms = fake->now_ms, .count = count};
    for (unsigned i = 0; i < count; i++)
        write->args[i] = fake_text_new(args[i]);
    *fake->writes_end = write;
    fake->writes_end = &write->next;
    while (fake->writes->at_ms < fake->now_ms - fake->keeps / NSEC_PER_MS)
        write_settle(fake);
}

void fake_run_outer(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out)
{
    if (fake->io)
        fake->now_ms = io_wall(fake->io) / NSEC_PER_MS;
    const char *no = fake->client ? unwilling(fake, args[0]) : NULL;
    fake->changes = 0;
    fake->counts.commands++;
    if (no) {
        fake->counts.refused++;
        fake_say_error(out, "%s", no);
        return;
    }
    size_t before = out->n;
    fake_run(fake, args, count, out);
    if (out->n > before && out->p[before] == '-' && fake->mode != FAKE_REDIS_WELL)
        fake->counts.refused++;
    if (!fake->changes)
        return;
    write_log(fake, args, count);
    fake_wake_blocked(fake);
}

/* ---- from outside ---- */

struct fake_redis *fake_redis_new(nsec keeps)
{
    struct fake_redis *fake = calloc(1, sizeof *fake);
    sluice_assert(fake);
    fake->mode = FAKE_REDIS_WELL;
    fake->keeps = keeps;
    fake->writes_end = &fake->writes;
    fake->listener = -1;
    return fake;
}

void fake_redis_keep(struct fake_redis *fake, nsec keeps)
{
    sluice_assert(!fake->keeps && keeps);
    fake->keeps = keeps;
    fake->durable = fake_keys_copy(&fake->keys);
}

static void writes_drop(struct fake_redis *fake)
{
    while (fake->writes) {
        struct fake_write *write = fake->writes;
        fake->writes = write->next;
        fake->counts.writes_lost++;
        write_free(write);
    }
    fake->writes_end = &fake->writes;
}

void fake_redis_free(struct fake_redis *fake)
{
    fake_clients_crashed(fake);
    writes_drop(fake);
    fake_keys_free(&fake->keys);
    fake_keys_free(&fake->durable);
    fake_libraries_free(fake);
    free(fake);
}

void fake_redis_crashed(struct fake_redis *fake) { fake_clients_crashed(fake); }

void fake_redis_lose(struct fake_redis *fake, nsec wall)
{
    sluice_assert(!fake->io && fake->keeps);
    while (fake->writes && fake->writes->at_ms <= wall / NSEC_PER_MS)
        write_settle(fake);
    writes_drop(fake);
    fake_keys_free(&fake->keys);
    fake->keys = fake_keys_copy(&fake->durable);
}

void fake_redis_empty(struct fake_redis *fake)
{
    sluice_assert(!fake->io);
    writes_drop(fake);
    fake_keys_free(&fake->keys);
    fake_keys_free(&fake->durable);
    fake_libraries_free(fake);
}

void fake_redis_set_mode(struct fake_redis *fake, enum fake_redis_mode mode) { fake->mode = mode; }
void fake_redis_set_faults(struct fake_redis *fake, const struct fake_redis_faults *faults) { fake->faults = *faults; }
const struct fake_redis_counts *fake_redis_counts(const struct fake_redis *fake) { return &fake->counts; }

char *fake_redis_argv(struct fake_redis *fake, const struct slice *args, unsigned count, size_t *n)
{
    struct fake_buffer out = {0};
    sluice_assert(!fake->client);
    fake_run_outer(fake, args, count, &out);
    *n = out.n;
    return out.p;
}

__attribute__((format(printf, 2, 0))) static char *do_words(struct fake_redis *fake, const char *format, va_list list)
{
    char text[4096];
    struct slice args[WORDS_MAX];
    unsigned count = 0;
    size_t n;
    int length = vsnprintf(text, sizeof text, format, list);
    sluice_assert(length >= 0 && (size_t)length < sizeof text);
    for (char *p = text; *p;) {
        size_t word = strcspn(p, " ");
        sluice_assert(count < WORDS_MAX);
        if (word)
            args[count++] = (struct slice){p, word};
        p += word + (p[word] == ' ');
    }
    return fake_redis_argv(fake, args, count, &n);
}

char *fake_redis_do(struct fake_redis *fake, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *reply = do_words(fake, format, list);
    va_end(list);
    return reply;
}

static bool is_step(const struct fake_write *write, const char *step)
{
    size_t n = strlen(step);
    struct slice name = write->count > 1 ? fake_text_slice(write->args[1]) : SLICE("");
    return fake_word(fake_text_slice(write->args[0]), "FCALL") && name.n > n && name.p[name.n - n - 1] == '_' &&
           memcmp(name.p + name.n - n, step, n) == 0;
}

bool fake_redis_late(struct fake_redis *fake, const char *step, unsigned back)
{
    unsigned count = 0, at = 0;
    for (const struct fake_write *write = fake->writes; write; write = write->next)
        count += is_step(write, step);
    if (count <= back)
        return false;
    for (const struct fake_write *write = fake->writes; write; write = write->next) {
        if (!is_step(write, step) || at++ != count - 1 - back)
            continue;
        struct slice *args = calloc(write->count, sizeof *args);
        size_t n;
        sluice_assert(args);
        for (unsigned i = 0; i < write->count; i++)
            args[i] = fake_text_slice(write->args[i]);
        char *reply = fake_redis_argv(fake, args, write->count, &n);
        free(reply);
        free(args);
        break;
    }
    return true;
}

int64_t fake_redis_number(struct fake_redis *fake, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    char *reply = do_words(fake, format, list);
    va_end(list);
    if (reply[0] != ':')
        fprintf(stderr, "fake redis: %s: %s", format, reply);
    sluice_assert(reply[0] == ':');
    int64_t number = strtoll(reply + 1, NULL, 10);
    free(reply);
    return number;
}
