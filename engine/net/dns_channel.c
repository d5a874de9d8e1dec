/* dns_channel.c - writes the queries itself, since c-ares 1.18 never asks whether an answer is authentic. */
#include "net/dns_channel.h"

#include <stdio.h>

enum {
    DNS_UDP_OCTETS = 1232, /* announced by EDNS (RFC 6891): what passes everywhere in one piece (DNS flag day 2020) */
    DNS_CLASS_IN = 1,
    FLAGS_LOW = 3, /* the octet of a header with AD, RFC 4035 §3 */
    FLAG_AUTHENTIC = 0x20,
};

void dns_channel_ask(ares_channel channel, const char *name, enum dns_type type, uint64_t random,
                     ares_callback answered, void *argument)
{
    unsigned char *query;
    int length;
    int result =
        ares_create_query(name, DNS_CLASS_IN, type, (unsigned short)random, 1, &query, &length, DNS_UDP_OCTETS);
    if (result != ARES_SUCCESS) {
        answered(argument, result, 0, NULL, 0);
        return;
    }
    query[FLAGS_LOW] |= FLAG_AUTHENTIC; /* RFC 6840 §5.7: we understand the bit in the answer */
    ares_send(channel, query, length, answered, argument);
    ares_free_string(query);
}

static bool set_servers(ares_channel channel, const char *servers, char *error, size_t error_cap)
{
    enum { LIST_MAX = 1024 };
    char list[LIST_MAX]; /* without blanks, which c-ares would take for part of an address */
    size_t n = 0;
    for (const char *p = servers; *p && n + 1 < sizeof list; p++)
        if (*p != ' ' && *p != '\t')
            list[n++] = *p;
    list[n] = 0;
    if (ares_set_servers_ports_csv(channel, list) == ARES_SUCCESS)
        return true;
    snprintf(error, error_cap, "resolver \"%s\": not a list of addresses; write 127.0.0.1:5353, [::1]:53", servers);
    return false;
}

bool dns_channel_open(ares_channel *channel, const struct resolver_config *config, ares_sock_state_cb sockets,
                      void *context, char *error, size_t error_cap)
{
    enum { TIMEOUT_MAX_MS = 60 * 1000 };
    nsec timeout_ms = config->timeout / NSEC_PER_MS;
    struct ares_options options = {
        /* The search list and aliases of this host are not for recipients' domains. */
        .flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
        .timeout = timeout_ms < 1                ? 1
                   : timeout_ms > TIMEOUT_MAX_MS ? TIMEOUT_MAX_MS
                                                 : (int)timeout_ms,
        .tries = config->tries ? (int)config->tries : 3,
        .ednspsz = DNS_UDP_OCTETS,
        .sock_state_cb = sockets,
        .sock_state_cb_data = context,
    };
    int result = ares_init_options(channel, &options,
                                   ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
                                       ARES_OPT_SOCK_STATE_CB);
    if (result != ARES_SUCCESS) {
        snprintf(error, error_cap, "resolver: c-ares did not start: %s", ares_strerror(result));
        return false;
    }
    if (!config->servers || !config->servers[0] || set_servers(*channel, config->servers, error, error_cap))
        return true;
    ares_destroy(*channel);
    return false;
}
