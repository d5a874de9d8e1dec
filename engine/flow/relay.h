/* relay.h - which relay the mail of a (pool, domain) goes to, and how we sign in there.
 *
 * The configuration's routes in their order: the first whose conditions all hold decides. Without one, or when that
 * names no relay, mail goes by MX. */
#ifndef FLOW_RELAY_H
#define FLOW_RELAY_H

#include "control/config.h"
#include "control/relays.h"
#include "io/arena.h"
#include "proto/policy/isp.h"
#include "proto/smtp/client.h"

enum {
    RELAY_NONE = -1,
    RELAY_AUTHS = 4,         /* secrets of one relay that sessions are signing in with at the same time */
    RELAY_AUTH_TEXT = 12288, /* RFC 4954 §4: a line of AUTH */
};

/* What AUTH says, in base64. It does not change while somebody holds it. */
struct relay_auth {
    struct client_credentials credentials; /* in `text` */
    uint64_t version;                      /* of the secret (relays.h); 0: holds none */
    unsigned held;                         /* by sessions that are not ready yet */
    char *text;                            /* RELAY_AUTH_TEXT bytes */
};

/* Of one shard. */
struct relay_table {
    const struct config *config;             /* borrows until replaced */
    struct relay_auth (*auths)[RELAY_AUTHS]; /* of each relay */
};

/* False: the arena is too small. */
must_use bool relay_open(struct relay_table *table, struct arena *arena, const struct config *config);
/* Another configuration, aligned with the one before. */
void relay_reload(struct relay_table *table, const struct config *config);
/* Wipes what was signed in with. */
void relay_close(struct relay_table *table);
/* Index into config.relays, or RELAY_NONE. `domain` as A-labels, without case. */
int relay_of(const struct relay_table *table, unsigned pool, struct slice domain);
/* What to sign in with now: the secret as it is, or, while RELAY_AUTHS older ones are held, the newest of these. Held
 * until relay_signed_in. Requires a relay with a secret. */
must_use struct relay_auth *relay_sign_in(struct relay_table *table, struct relays *relays, unsigned relay);
void relay_signed_in(struct relay_auth *auth); /* whatever came of it */

#endif
