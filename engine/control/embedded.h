/* embedded.h - our own private Redis, and the lock that says an engine's id is taken.
 *
 * Without `redis` in the configuration the engine starts a redis-server of its own: append-only file on, synced every
 * second, no snapshots, listening on state_dir/redis.sock alone, which only this user may open. It is stopped when the
 * engine ends, and gets SIGTERM from the kernel when the engine dies (PR_SET_PDEATHSIG).
 *
 * All of this blocks and belongs to the main thread: the kernel sends that signal when the *thread* that started the
 * server ends. */
#ifndef CONTROL_EMBEDDED_H
#define CONTROL_EMBEDDED_H

#include "control/log.h"
#include "sluice/base.h"

struct embedded;

/* "unix:<state_dir>/redis.sock", what store_open wants. */
void embedded_url(const char *state_dir, char *url, size_t cap);

/* Starts the server and returns when it answers, be it only that it is loading: the store waits for the rest. A server
 * that an engine left behind is on its way out; it is told to end, and its end is awaited. NULL on failure with a
 * sentence in `error`: not installed, state_dir in use by another engine, not writable, or what the server said. */
must_use struct embedded *embedded_open(const char *state_dir, const struct log *log, char *error, size_t error_cap);
/* Starts the server again if it ended by itself; to be called about once a second. */
void embedded_tend(struct embedded *embedded);
/* Stops the server and waits until it has written everything; NULL: does nothing. */
void embedded_close(struct embedded *embedded);

/* Makes state_dir (mode 700) if it is missing, and takes the lock of the engine's id in it. The descriptor, to be kept
 * while the engine runs (the kernel frees the lock with the process), or -1 with a sentence in `error`. The file holds
 * the incarnation that had the lock last, which is dead therefore: `previous`, 0 if there was none. From now on it holds
 * `incarnation`. */
must_use int embedded_lock(const char *state_dir, const char *engine, uint64_t incarnation, uint64_t *previous,
                           char *error, size_t error_cap);

#endif
