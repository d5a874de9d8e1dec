/* relays.h - what the shards of an engine know together of its relays: the secret of each, and whether it takes us.
 *
 * The engine owns one and hands it to its shards, as it does with the metrics. The main thread alone reads files:
 * relays_open at the start, relays_refresh every few seconds and on SIGHUP. Shards ask from their threads; a lock for
 * each relay is held for no longer than it takes to copy some bytes, and no shard asks for each message.
 *
 * A relay that does not know us *stops*, for the whole engine: nothing is sent through it, with one line of log, and
 * nobody is bounced. One shard at a time may *probe* it with one session: when its secret has changed, and RELAY_REST
 * after the last refusal. When a session is let in, it goes again by itself.
 *
 * Guarantees: a secret is never logged, printed or put into an error, and is wiped before its memory is freed or used
 * again. A refusal of a secret that has been replaced since stops nothing. */
#ifndef CONTROL_RELAYS_H
#define CONTROL_RELAYS_H

#include "control/config.h"
#include "control/log.h"
#include "sluice/base.h"

#define RELAY_REST (900 * NSEC_PER_S)

enum { RELAY_SECRET_MAX = 8192, RELAY_WHY = 256 }; /* base64 of it fits the 12,288 octets of RFC 4954 §4 */

struct relays;

/* Reads all secrets. NULL: `error` says "FILE:LINE: what is wrong; what is allowed", the line being that of the
 * configuration. `log` is copied; NULL: silent. Holds the configuration until relays_close. A reload opens new ones. */
must_use struct relays *relays_open(const struct config *config, const struct log *log, char *error, size_t error_cap);
struct relays *relays_hold(struct relays *relays); /* returns it: for each, one relays_close more */
void relays_close(struct relays *relays);          /* the last one wipes; NULL: does nothing */
/* Reads again the files that have changed. One that cannot be read leaves what was known, with a line of log. `now`:
 * any clock that does not go back. */
void relays_refresh(struct relays *relays, nsec now);

/* ---- for shards, from any thread; `relay` is an index into config.relays ---- */

/* Copies the secret. Its version: 0 for a relay without one, another number each time that it changes. */
uint64_t relays_secret(struct relays *relays, unsigned relay, char secret[RELAY_SECRET_MAX], size_t *n);

enum relay_state {
    RELAY_BROKEN = 0,
    RELAY_GOES,
    RELAY_STOPPED,
    RELAY_PROBE, /* stopped, and the caller has the one probe: it ends with relays_refused, _accepted or _probed */
};
/* One atomic read. */
bool relays_stopped(const struct relays *relays, unsigned relay);
/* Takes the probe if it is due. */
enum relay_state relays_probe(struct relays *relays, unsigned relay, nsec now);
/* A session with this version of the secret was refused: the relay stops, unless the secret has changed since. `why` is
 * what the server said. */
void relays_refused(struct relays *relays, unsigned relay, uint64_t version, nsec now, const char *why);
/* A session with it was let in. */
void relays_accepted(struct relays *relays, unsigned relay, uint64_t version);
/* The probe ended and told nothing of the secret, say because nobody answered: another may be due a minute later. */
void relays_probed(struct relays *relays, unsigned relay, nsec now);

/* Why the relay has stopped; "" while it goes. */
void relays_why(struct relays *relays, unsigned relay, char why[RELAY_WHY]);
/* "sluice_relay_stopped{relay="ses"} 1" and the like, line by line, for whoever exposes metrics. */
void relays_expose(const struct relays *relays, void (*line)(void *context, const char *text), void *context);
/* One line about the relays that have stopped; false: none has. */
bool relays_complaint(struct relays *relays, char *text, size_t cap);

#endif
