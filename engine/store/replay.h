/* replay.h - each numbered step of a campaign happens once: not again by bytes that come late, and not never because
 * Redis lost its last seconds.
 *
 * Every change that a store (a *hand*) asks of a campaign gets a number that grows. Redis keeps the last one of each
 * kind that this hand had done, in the step itself, so that
 *   - a step that comes again (its answer was lost; the bytes of a connection that was given up reach Redis after all)
 *     changes nothing, and answers what is still known of its outcome;
 *   - a step before which another is missing does not run: Redis has forgotten what it acknowledged (it was killed, or
 * a replica took its place). The steps of the last `keeps` are kept here for that: they are sent again, in their order,
 * before anything new; whoever has asked meanwhile waits. All of them are also checked whenever another process
 * answers. Behind `keeps` an acknowledged step is taken for safe (appendfsync everysec; 0: always).
 *
 * Two kinds are counted apart. A *take* leases, adopts, or marks addresses as used; a *work* is what happens in a
 * lease. A take waits for all works before it, one take at a time; a work waits for all works and for the takes that
 * were answered before it. So what was leased is brought to its end by a Redis that gives out nothing new (OOM).
 *
 * A lease that Redis has forgotten is claimed: the very same recipients or none. They may be on their way back (another
 * hand has to repeat the step that put them there), so a claim is tried for CLAIM_S; then, or if another has them, it
 * is given up: the steps on that lease are fenced.
 *
 * To keep others from taking them first, a process of Redis gives nothing out (lease, adopt) before
 *   - `settle` has passed since an engine first asked it for anything. That is longer than any hand needs that can reach
 * it, and Redis itself counts, so an engine that was started a moment ago waits as all others do, and so it is after a
 * fail-over, and for each master of a cluster;
 *   - then, each hand that has an open lease of the campaign has reported that it has done all of its own again, or is
 * known to be dead (flow/neighbours.h), or its engine is ours and runs in a later incarnation; but at most for a minute
 * in all.
 * Nobody is waited for where nobody can have anything to claim: a campaign that was leased from in this very process
 * before, a process that was started without data and never was a replica, and one that this engine has started for
 * itself (`alone`). Without INFO (ACL) a library that is loaded into an old process counts as a process of its own.
 *
 * What stays: a hand that cannot reach Redis for longer than that, or for longer than `settle` if all its leases of the
 * campaign fell into the lost seconds: others lease what it had, and it is fenced when it comes back, so what it sent
 * in the lost seconds is sent twice. Redis counts by its wall clock: a jump forward shortens the wait.
 *
 * More may be lost than is kept here: Redis came back empty, or from an old copy. Then all that this hand had leased
 * counts as in doubt (steps.lua: doubt), its requests are fenced, and `lost` is called. Nothing of it is sent again
 * without a word. What cannot be had is a right account when the engine dies within `keeps` of Redis' loss: what it
 * kept dies with it.
 *
 * Memory: at most what is asked within `keeps`; from REPLAY_BYTES on store_busy says true. What was given back counts as
 * well: no more than that is held, but for the steps that were under way when it was reached. */
#ifndef STORE_REPLAY_H
#define STORE_REPLAY_H

#include "store/step.h"

enum { REPLAY_BYTES = 64 << 20, REPLAY_CLAIM_S = 20 };

enum replay_step {
    REPLAY_BROKEN = 0,
    REPLAY_LEASE, /* takes: recipients, ... */
    REPLAY_ADOPT,
    REPLAY_UNIQUE,
    REPLAY_WORK,
};

struct replay;

must_use struct replay *replay_open(struct store *store, nsec keeps, nsec settle, bool alone);
void replay_close(struct replay *replay); /* as store_close */
/* The step that was written to store->command, without its last arguments: they are its number. */
void replay_ask(struct store *store, struct store_request *r, struct slice campaign, enum replay_step step);
/* A command of replay's own was answered: `owner` begins with STEP_NUMBERED. */
void replay_answered(struct store *store, void *owner, const struct resp_node *reply, bool repeated);
/* Once a turn, before what was asked leaves. */
void replay_turn(struct store *store);
size_t replay_bytes(const struct replay *replay); /* of steps that are kept, or wait */

#endif
