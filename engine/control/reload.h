/* reload.h - a new configuration for an engine that runs: read, aligned with the one in force, and refused in one piece
 * when anything about it is not good. */
#ifndef CONTROL_RELOAD_H
#define CONTROL_RELOAD_H

#include "control/config.h"
#include "control/log.h"
#include "control/relays.h"
#include "sign/keys.h"

/* All of it is held, one hold for each reload. */
struct reload {
    const struct config *config;
    struct relays *relays;
    struct sign_keys *keys;
};

/* Reads the file that `now` came from, with all that it names: rules, secrets, keys; and binds to the sources that are
 * new. Says in the log which keys wait for a restart. NULL: `error` is "FILE:LINE: ..." or a sentence. */
must_use struct reload *reload_read(const struct config *now, const struct log *log,
                                    void (*warn)(void *context, const char *sentence), void *context, char *error,
                                    size_t error_cap);
/* The same again, for one more who takes it. NULL: no memory. */
must_use struct reload *reload_copy(const struct reload *reload);
void reload_free(struct reload *reload); /* NULL: does nothing */

/* Binding is the only proof that an address is this machine's. False: a sentence says what to do. */
must_use bool reload_has_source(const struct config_source *source, char *error, size_t error_cap);

#endif
