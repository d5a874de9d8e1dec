/* fake_redis.h - a Redis for the simulation: our own RESP server over io.h, with the ~70 commands that store.c,
 * steps.lua and the tests use, and the very steps.lua run by liblua5.1, so that what is simulated is what is shipped.
 *
 * The conformance suite (tests/integration/conformance.c) holds it against a real Redis: same steps, same replies, same
 * keys. It works on either io. What it holds survives its io, as a disk does: after a crash of its process it may be
 * served again from another io, with all that it knew, without the last writes, or empty. */
#ifndef FAKE_REDIS_H
#define FAKE_REDIS_H

#include "io/io.h"
#include "sluice/base.h"
#include "sluice/slice.h"

struct fake_redis;

/* `keeps`: writes of so long may be lost later (fake_redis_lose); 0: none. */
must_use struct fake_redis *fake_redis_new(nsec keeps);
/* From now on; what it holds already is not lost. */
void fake_redis_keep(struct fake_redis *fake, nsec keeps);
void fake_redis_free(struct fake_redis *fake); /* requires that its io is closed, or that it was stopped */

/* Serves at an address. Requires that it is not served already. */
void fake_redis_serve(struct fake_redis *fake, struct io *io, const struct io_address *at);
/* Its io was closed, or crashed: connections are forgotten. */
void fake_redis_crashed(struct fake_redis *fake);
/* On an io that lives on: closes every connection and the listener, and turns until all of it is over. */
void fake_redis_stop(struct fake_redis *fake);
void fake_redis_cut(struct fake_redis *fake); /* closes every connection, with answers perhaps half on their way */

/* ---- what a crash may do to what it holds; not while it is served ---- */

/* Writes after this instant of its wall clock never happened, as with appendfsync everysec. At most those of the last
 * `keeps` before the newest are lost. */
void fake_redis_lose(struct fake_redis *fake, nsec wall);
void fake_redis_empty(struct fake_redis *fake); /* all is gone, its functions too */

/* ---- unwillingness and faults ---- */

enum fake_redis_mode {
    FAKE_REDIS_WELL = 1,
    FAKE_REDIS_LOADING,  /* every command is answered with LOADING, and so on */
    FAKE_REDIS_READONLY, /* every write */
    FAKE_REDIS_OOM,      /* every write that may take memory */
    FAKE_REDIS_BUSY,
    FAKE_REDIS_MASTERDOWN,
    FAKE_REDIS_NOREPLICAS, /* every write: min-replicas-to-write */
    FAKE_REDIS_MISCONF,    /* every write: it cannot write to its disk */
    FAKE_REDIS_NOPERM,     /* every function and every write: somebody has changed our rights */
    FAKE_REDIS_MODE_COUNT
};
void fake_redis_set_mode(struct fake_redis *fake, enum fake_redis_mode mode);
/* The connections that there are lead to a replica from now on (READONLY); new ones lead to the master, at the same
 * address, as where a name or an address is moved in a fail-over. */
void fake_redis_demote(struct fake_redis *fake);

/* Drawn by io_random at each command of a connection. */
struct fake_redis_faults {
    nsec delay;                      /* what comes in is answered so much later */
    uint32_t cut_before_per_million; /* the connection closes before the command was run */
    uint32_t cut_after_per_million;  /* ... after it was run, with a part of the answer sent */
    uint32_t refuse_per_million;     /* a lone LOADING, BUSY, TRYAGAIN... */
};
void fake_redis_set_faults(struct fake_redis *fake, const struct fake_redis_faults *faults);

/* What happened so far, for reach counters. */
struct fake_redis_counts {
    uint64_t connections, commands, steps; /* steps: FCALLs that were run */
    uint64_t fenced, gone;                 /* answers of steps that refused a hand */
    uint64_t cut_before, cut_after, refused;
    uint64_t writes_lost, expired;
};
const struct fake_redis_counts *fake_redis_counts(const struct fake_redis *fake);

/* ---- for tests: a command without a connection ---- */

/* Runs one and returns its reply as RESP, to be freed; *n is its length. Faults and modes do not apply. */
must_use char *fake_redis_argv(struct fake_redis *fake, const struct slice *args, unsigned count, size_t *n);
/* Words split at spaces. */
printf_like(2, 3) must_use char *fake_redis_do(struct fake_redis *fake, const char *format, ...);
/* Bytes of a connection that was given up arrive late: a step by this name ("lease_list") among the writes that may be
 * lost, the last one but `back`, is run once more, and nobody is answered. False: there is none. */
must_use bool fake_redis_late(struct fake_redis *fake, const char *step, unsigned back);
/* A command whose answer is a number. An error or anything else ends the test. */
printf_like(2, 3) int64_t fake_redis_number(struct fake_redis *fake, const char *format, ...);

#endif
