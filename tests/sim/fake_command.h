/* fake_command.h - what the files of the fake Redis know of each other; nobody else includes it. */
#ifndef FAKE_COMMAND_H
#define FAKE_COMMAND_H

#include "fake_cluster.h"
#include "fake_data.h"
#include "fake_redis.h"

#include <lua.h>

/* A reply as RESP2, while it is being written. */
struct fake_buffer {
    char *p;
    size_t n, cap;
};
void fake_append(struct fake_buffer *out, struct slice bytes);
void fake_say_status(struct fake_buffer *out, const char *text);
printf_like(2, 3) void fake_say_error(struct fake_buffer *out, const char *text, ...);
void fake_say_number(struct fake_buffer *out, int64_t number);
void fake_say_text(struct fake_buffer *out, struct slice text);
void fake_say_score(struct fake_buffer *out, double score);
void fake_say_nil(struct fake_buffer *out);
void fake_say_nil_array(struct fake_buffer *out);
void fake_say_array(struct fake_buffer *out, size_t count);

/* A function of a library. */
struct fake_function {
    struct fake_function *next;
    struct fake_library *library;
    char name[96];
    int callback; /* in Lua's registry */
    bool no_writes, allow_oom;
};
struct fake_library {
    struct fake_library *next;
    char name[96];
    lua_State *lua;
    struct fake_text *source;
};

/* A write, for when the last ones are to be lost. */
struct fake_write {
    struct fake_write *next;
    int64_t at_ms;
    unsigned count;
    struct fake_text *args[];
};

struct fake_redis {
    struct io *io; /* NULL: nobody can reach it */
    struct fake_dict keys;
    int64_t now_ms; /* UTC */
    struct fake_library *libraries;
    struct fake_function *functions;
    struct fake_function *running; /* NULL: no script runs */
    enum fake_redis_mode mode;
    struct fake_redis_faults faults;
    struct fake_redis_counts counts;
    nsec keeps;               /* how much may be lost */
    struct fake_dict durable; /* as it was before the first of `writes` */
    struct fake_write *writes, **writes_end;
    unsigned changes; /* of keys, by the command that runs */
    uint64_t process; /* another one each time that it is served: its run_id */
    struct fake_cluster *cluster; /* NULL: it is alone */
    unsigned node;                /* which of them it is */
    /* the server */
    int listener;
    struct io_accept accept;
    struct fake_client *clients, *client; /* client: whose command runs */
};

enum {
    FAKE_WRITES = 1,
    FAKE_DENY_OOM = 2,
    FAKE_NO_SCRIPT = 4,
};
struct fake_command {
    const char *name;
    int arity; /* arguments with the name; negative: at least so many */
    unsigned flags;
    void (*run)(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out);
};
/* Tables, each ended by a row without a name. */
extern const struct fake_command fake_key_commands[], fake_type_commands[], fake_member_commands[],
    fake_stream_commands[], fake_function_commands[], fake_server_commands[];
const struct fake_command *fake_command_find(struct slice name);
/* Checks what can be said before a command runs, and runs it. */
void fake_run(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out);
/* The same for one that is no script's: with the clock, the modes, and the log of writes. */
void fake_run_outer(struct fake_redis *fake, const struct slice *args, unsigned count, struct fake_buffer *out);

/* What the mode has against writes; NULL: nothing. */
const char *fake_unwilling_to_write(const struct fake_redis *fake);
bool fake_client_is_left_behind(const struct fake_client *client); /* of the server: fake_redis_demote */

/* The value of a key, NULL: none. False: it is of another type, and the error was said. */
must_use bool fake_key(struct fake_redis *fake, struct slice key, enum fake_type type, struct fake_value **value,
                       struct fake_buffer *out);
/* The same, but makes one. */
must_use bool fake_key_make(struct fake_redis *fake, struct slice key, enum fake_type type, struct fake_value **value,
                            struct fake_buffer *out);
struct fake_value *fake_key_any(struct fake_redis *fake, struct slice key);
bool fake_key_delete(struct fake_redis *fake, struct slice key);
void fake_key_settle(struct fake_redis *fake, struct slice key); /* goes if it is empty */
void fake_keys_expire(struct fake_redis *fake);                  /* all that are due go */

must_use bool fake_integer(struct slice text, int64_t *number); /* as strictly as Redis */
/* Makes [start, stop], from the end where negative, a range of [0, size). */
void fake_range(int64_t *start, int64_t *stop, size_t size);
bool fake_word(struct slice arg, const char *word); /* whatever the case */

void fake_libraries_free(struct fake_redis *fake);
void fake_libraries_restart(struct fake_redis *fake); /* another process: what they had in memory is gone */
/* Of the server: what waits for a stream looks again. */
void fake_wake_blocked(struct fake_redis *fake);
void fake_clients_crashed(struct fake_redis *fake);
/* Of the cluster: it says to a client's command that this is not the server for it, or not now. */
must_use bool fake_cluster_refuses(struct fake_redis *fake, bool asking, const struct slice *args, unsigned count,
                                   struct fake_buffer *out);
void fake_cluster_say_slots(struct fake_redis *fake, struct fake_buffer *out);
/* Of the server: hands a published message to its subscribers. */
unsigned fake_publish(struct fake_redis *fake, struct slice channel, struct slice message);
/* Of the server: the running command of a client is run once more after each write, and at the latest after `wait_ms`.
 * False: nobody waits for its answer. */
must_use bool fake_block(struct fake_redis *fake, const struct slice *args, unsigned count, int64_t wait_ms);

#endif
