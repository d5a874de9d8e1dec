/* dns_channel.h - a channel of c-ares as dns.c needs it, and the questions it asks. */
#ifndef NET_DNS_CHANNEL_H
#define NET_DNS_CHANNEL_H

#include <ares.h>

#include "net/dns_answer.h"
#include "net/resolver.h"

/* Opens a channel to the configured servers. False with a sentence in `error`: there is none. `sockets` is told of
 * them as ares_sock_state_cb. */
must_use bool dns_channel_open(ares_channel *channel, const struct resolver_config *config, ares_sock_state_cb sockets,
                               void *context, char *error, size_t error_cap);

/* Asks once. `answered` gets the raw answer, whatever the server says in it, or why there is none; it may be called
 * before this returns. `random`: the query's id is made of it, which a stranger must not guess (RFC 5452 §4.3). */
void dns_channel_ask(ares_channel channel, const char *name, enum dns_type type, uint64_t random,
                     ares_callback answered, void *argument);

#endif
