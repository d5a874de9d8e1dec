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

enum { RELAY_NONE = -1 };

/* Of one shard; immutable but for `auths`. */
struct relay_table {
    const struct config *config; /* borrows until dropped */
    struct isp_table *domains;   /* of each route; without rows where it takes every domain */
    struct relay_auth *auths;    /* of each relay */
};

/* What AUTH says, in base64 (RFC 4954 §4). */
struct relay_auth {
    enum config_auth how;
    uint64_t version;           /* of the secret that it holds, relays.h */
    char *text;                 /* RELAY_AUTH_TEXT bytes */
    struct slice first, second; /* plain, xoauth2: the initial response; login: user, and password. Both in `text` */
};
enum { RELAY_AUTH_TEXT = 12288 };

/* False: the arena is too small. */
must_use bool relay_open(struct relay_table *table, struct arena *arena, const struct config *config);
/* Wipes what was signed in with. */
void relay_close(struct relay_table *table);
/* Index into config.relays, or RELAY_NONE. `domain` as A-labels, without case. */
int relay_of(const struct relay_table *table, unsigned pool, struct slice domain);
/* What to sign in with now, made anew when the secret has changed; NULL: this relay wants nobody to. Borrows until the
 * shard ends: sessions that are signing in while the secret changes use the new one. */
const struct relay_auth *relay_auth_of(struct relay_table *table, struct relays *relays, unsigned relay);

#endif
