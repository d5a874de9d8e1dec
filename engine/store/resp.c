/* Commands are kept encoded until they are answered, and replies are laid flat without an allocation each, because
 * both happen for every batch of recipients. */
#include "store/resp.h"

#include <hiredis/read.h>
#include <hiredis/sds.h>
#include <limits.h>
#include <stdlib.h>

enum { DIGITS_MAX = 24, DEPTH_MAX = 16 };

static size_t digits_of(char *to, uint64_t number)
{
    char reversed[DIGITS_MAX];
    size_t n = 0;
    do
        reversed[n++] = (char)('0' + number % 10);
    while (number /= 10);
    for (size_t i = 0; i < n; i++)
        to[i] = reversed[n - 1 - i];
    return n;
}

/* ---- commands ---- */

static char *command_room(struct resp_command *command, size_t more)
{
    if (command->cap - command->n < more) {
        size_t cap = command->cap ? command->cap : 4096;
        while (cap - command->n < more)
            cap *= 2;
        command->p = realloc(command->p, cap);
        sluice_assert(command->p);
        command->cap = cap;
    }
    return command->p + command->n;
}

/* "*3\r\n" or "$5\r\n" */
static size_t write_length(char *to, char mark, uint64_t length)
{
    to[0] = mark;
    size_t n = 1 + digits_of(to + 1, length);
    to[n] = '\r';
    to[n + 1] = '\n';
    return n + 2;
}

void resp_begin(struct resp_command *command) { command->n = command->args = 0; }

void resp_joined(struct resp_command *command, const struct slice *parts, unsigned count)
{
    size_t length = 0;
    for (unsigned i = 0; i < count; i++)
        length += parts[i].n;
    char *to = command_room(command, length + DIGITS_MAX + 8);
    char *p = to + write_length(to, '$', length);
    for (unsigned i = 0; i < count; i++) {
        if (parts[i].n)
            memcpy(p, parts[i].p, parts[i].n);
        p += parts[i].n;
    }
    *p++ = '\r';
    *p++ = '\n';
    command->n += (size_t)(p - to);
    command->args++;
}

void resp_raw(struct resp_command *command, struct slice encoded, unsigned args)
{
    memcpy(command_room(command, encoded.n), encoded.p, encoded.n);
    command->n += encoded.n;
    command->args += args;
}

void resp_text(struct resp_command *command, struct slice arg) { resp_joined(command, &arg, 1); }

void resp_unsigned(struct resp_command *command, uint64_t arg)
{
    char digits[DIGITS_MAX];
    resp_text(command, (struct slice){digits, digits_of(digits, arg)});
}

void resp_number(struct resp_command *command, int64_t arg)
{
    char digits[DIGITS_MAX + 1] = "-";
    if (arg >= 0)
        resp_unsigned(command, (uint64_t)arg);
    else
        resp_text(command, (struct slice){digits, 1 + digits_of(digits + 1, -(uint64_t)arg)});
}

void resp_command_free(struct resp_command *command)
{
    free(command->p);
    *command = (struct resp_command){0};
}

/* ---- what is kept ---- */

static char **chunk_at(const struct resp_out *out, unsigned i) { return &out->chunks[(out->first + i) % out->cap]; }

static void chunk_add(struct resp_out *out)
{
    if (out->count == out->cap) {
        unsigned cap = out->cap ? 2 * out->cap : 8;
        char **chunks = calloc(cap, sizeof(char *));
        sluice_assert(chunks);
        for (unsigned i = 0; i < out->count; i++)
            chunks[i] = *chunk_at(out, i);
        free(out->chunks);
        out->chunks = chunks;
        out->first = 0;
        out->cap = cap;
    }
    char *chunk = out->spare ? out->spare : malloc(RESP_CHUNK);
    sluice_assert(chunk);
    out->spare = NULL;
    out->count++;
    *chunk_at(out, out->count - 1) = chunk;
}

void resp_out_append(struct resp_out *out, struct slice bytes)
{
    while (bytes.n) {
        uint64_t used = out->end - out->start;
        if (used == (uint64_t)out->count * RESP_CHUNK)
            chunk_add(out);
        size_t in_chunk = used % RESP_CHUNK;
        size_t n = bytes.n < RESP_CHUNK - in_chunk ? bytes.n : RESP_CHUNK - in_chunk;
        memcpy(*chunk_at(out, (unsigned)(used / RESP_CHUNK)) + in_chunk, bytes.p, n);
        out->end += n;
        bytes.p += n;
        bytes.n -= n;
    }
}

size_t resp_out_command(struct resp_out *out, const struct resp_command *command)
{
    char head[DIGITS_MAX + 3];
    size_t n = write_length(head, '*', command->args);
    resp_out_append(out, (struct slice){head, n});
    resp_out_append(out, (struct slice){command->p, command->n});
    return n + command->n;
}

unsigned resp_out_parts(const struct resp_out *out, uint64_t from, uint64_t *to, struct slice *parts, unsigned cap)
{
    unsigned count = 0;
    sluice_assert(from >= out->start && *to <= out->end);
    while (from < *to && count < cap) {
        size_t in_chunk = (from - out->start) % RESP_CHUNK;
        size_t n = *to - from < RESP_CHUNK - in_chunk ? *to - from : RESP_CHUNK - in_chunk;
        parts[count++] = (struct slice){*chunk_at(out, (unsigned)((from - out->start) / RESP_CHUNK)) + in_chunk, n};
        from += n;
    }
    *to = from;
    return count;
}

void resp_out_drop(struct resp_out *out, uint64_t before)
{
    while (out->count && before - out->start >= RESP_CHUNK) {
        char *chunk = *chunk_at(out, 0);
        out->first = (out->first + 1) % out->cap;
        out->count--;
        out->start += RESP_CHUNK;
        if (out->spare)
            free(chunk);
        else
            out->spare = chunk;
    }
}

void resp_out_free(struct resp_out *out)
{
    for (unsigned i = 0; i < out->count; i++)
        free(*chunk_at(out, i));
    free(out->spare);
    free(out->chunks);
    *out = (struct resp_out){0};
}

/* ---- replies ---- */

struct resp_in {
    redisReader *reader;
    struct resp_node *nodes;
    unsigned count, nodes_cap;
    char *text; /* of all nodes; theirs hold offsets until the reply is whole */
    size_t text_n, text_cap;
};

static struct resp_node *node_add(const redisReadTask *task, enum resp_type type)
{
    struct resp_in *in = task->privdata;
    if (in->count == in->nodes_cap) {
        in->nodes_cap = in->nodes_cap ? 2 * in->nodes_cap : 256;
        in->nodes = realloc(in->nodes, in->nodes_cap * sizeof *in->nodes);
        sluice_assert(in->nodes);
    }
    struct resp_node *node = &in->nodes[in->count++];
    *node = (struct resp_node){.type = type, .size = 1};
    return node;
}

/* hiredis only asks whether what was made is NULL. */
static void *made(const redisReadTask *task) { return task->privdata; }

static void *on_string(const redisReadTask *task, char *text, size_t n)
{
    struct resp_in *in = task->privdata;
    enum resp_type type = task->type == REDIS_REPLY_ERROR    ? RESP_ERROR
                          : task->type == REDIS_REPLY_STATUS ? RESP_STATUS
                                                             : RESP_STRING;
    struct resp_node *node = node_add(task, type);
    if (in->text_cap - in->text_n < n) {
        while (in->text_cap - in->text_n < n)
            in->text_cap *= 2;
        in->text = realloc(in->text, in->text_cap);
        sluice_assert(in->text);
    }
    if (n)
        memcpy(in->text + in->text_n, text, n);
    node->number = (int64_t)in->text_n;
    node->text.n = n;
    in->text_n += n;
    return made(task);
}

static void *on_array(const redisReadTask *task, int count)
{
    node_add(task, RESP_ARRAY)->count = (unsigned)count;
    return made(task);
}

static void *on_number(const redisReadTask *task, long long number)
{
    node_add(task, RESP_NUMBER)->number = number;
    return made(task);
}

static void *on_nil(const redisReadTask *task)
{
    node_add(task, RESP_NIL);
    return made(task);
}

static void on_free(void *reply) { (void)reply; }

static const redisReplyObjectFunctions functions = {on_string, on_array, on_number, on_nil, on_free};

struct resp_in *resp_in_open(void)
{
    struct resp_in *in = calloc(1, sizeof *in);
    sluice_assert(in);
    in->text_cap = 4096;
    in->text = malloc(in->text_cap);
    sluice_assert(in->text);
    resp_in_reset(in);
    return in;
}

void resp_in_free(struct resp_in *in)
{
    redisReaderFree(in->reader);
    free(in->nodes);
    free(in->text);
    free(in);
}

void resp_in_reset(struct resp_in *in)
{
    if (in->reader)
        redisReaderFree(in->reader);
    in->reader = redisReaderCreateWithFunctions((redisReplyObjectFunctions *)&functions); /* it only reads them */
    sluice_assert(in->reader);
    in->reader->privdata = in;
    in->reader->maxbuf = 0; /* keep the buffer: without this it is given back whenever it runs empty */
    in->count = 0;
    in->text_n = 0;
}

void resp_in_feed(struct resp_in *in, struct slice bytes)
{
    /* Fails only when out of memory, and then leaves the reader in its error state, which resp_in_next reports. */
    (void)redisReaderFeed(in->reader, bytes.p, bytes.n);
}

/* Text becomes pointers, for it moves no more; each array learns how far it reaches. */
static void nodes_finish(struct resp_in *in)
{
    unsigned open[DEPTH_MAX], left[DEPTH_MAX], depth = 0;
    for (unsigned i = 0; i < in->count; i++) {
        struct resp_node *node = &in->nodes[i];
        if (node->type == RESP_STRING || node->type == RESP_STATUS || node->type == RESP_ERROR) {
            node->text.p = in->text + node->number;
            node->number = 0;
        }
        if (node->type == RESP_ARRAY && node->count) {
            sluice_assert(depth < DEPTH_MAX); /* hiredis refuses deeper ones */
            open[depth] = i;
            left[depth++] = node->count;
            continue;
        }
        while (depth && --left[depth - 1] == 0) {
            depth--;
            in->nodes[open[depth]].size = i + 1 - open[depth];
        }
    }
}

int resp_in_next(struct resp_in *in, const struct resp_node **nodes, unsigned *count)
{
    void *reply = NULL;
    /* A reply that is not whole yet keeps the nodes that it has so far. */
    if (in->reader->ridx == -1) {
        in->count = 0;
        in->text_n = 0;
    }
    if (redisReaderGetReply(in->reader, &reply) != REDIS_OK)
        return -1;
    if (!reply)
        return 0;
    nodes_finish(in);
    *nodes = in->nodes;
    *count = in->count;
    return 1;
}

const struct resp_node *resp_member(const struct resp_node *array, unsigned i)
{
    if (!array || array->type != RESP_ARRAY || i >= array->count)
        return NULL;
    const struct resp_node *node = array + 1;
    for (; i; i--)
        node += node->size;
    return node;
}

struct slice resp_to_text(const struct resp_node *node)
{
    bool is_text = node && (node->type == RESP_STRING || node->type == RESP_STATUS || node->type == RESP_ERROR);
    return is_text ? node->text : (struct slice){"", 0};
}

uint64_t resp_to_unsigned(const struct resp_node *node)
{
    if (node && node->type == RESP_NUMBER)
        return node->number < 0 ? 0 : (uint64_t)node->number;
    struct slice text = resp_to_text(node);
    uint64_t number = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint64_t digit = (uint64_t)(unsigned char)text.p[i] - '0';
        if (digit > 9 || number > (UINT64_MAX - digit) / 10)
            return 0;
        number = 10 * number + digit;
    }
    return number;
}

int64_t resp_to_number(const struct resp_node *node)
{
    if (node && node->type == RESP_NUMBER)
        return node->number;
    uint64_t number = resp_to_unsigned(node);
    return number > INT64_MAX ? 0 : (int64_t)number;
}
