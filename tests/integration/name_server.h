/* name_server.h - a name server (Debian's nsd) of the test's own, on a free port of loopback. */
#ifndef NAME_SERVER_H
#define NAME_SERVER_H

#include <stdint.h>
#include <sys/types.h>

struct name_server {
    char directory[64];
    uint16_t port; /* for UDP and TCP */
    pid_t pid;
};

/* Serves the zone `example` with these records, and a zone `broken` that has none: SERVFAIL. It needs a moment until it
 * answers. Ends the test when it cannot be started. */
void name_server_start(struct name_server *server, const char *zone);
void name_server_check(const struct name_server *server); /* ends the test if the server has ended */
void name_server_stop(struct name_server *server);

/* A socket (SOCK_DGRAM, SOCK_STREAM) bound to 127.0.0.1 and *port; 0: any, which it then says. -1: the port is taken.
 */
int loopback_bind(int type, uint16_t *port);
/* A port that is free for both UDP and TCP. */
uint16_t loopback_port(void);

#endif
