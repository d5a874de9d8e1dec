/* url.h - where Redis is, as the configuration names it.
 *
 *   unix:/path/to/socket      unix://[user:password@]/path/to/socket
 *   redis://[[user]:password@]host[:port][/database]              one server
 *   sentinel://[[user]:password@]host[:port],.../name[/database]  the master that the sentinels at these hosts know by
 *                                                                 this name; user and password are for the server
 *   cluster://[[user]:password@]host[:port],...                   a cluster; some of its servers, the rest is asked for
 *
 * rediss, sentinels and clusters are the same over TLS, sentinels included. A host is a name, an IPv4 address, or
 * [IPv6]; its port is 6379, a sentinel's 26379. User and password may hold %XX. */
#ifndef STORE_URL_H
#define STORE_URL_H

#include "sluice/base.h"
#include "sluice/limits.h"

enum {
    URL_PATH_MAX = 107,
    URL_USER_MAX = 127,
    URL_PASSWORD_MAX = 255,
    URL_PORT = 6379,
    URL_PORT_SENTINEL = 26379,
    URL_DATABASE_MAX = 15,
    URL_HOSTS_MAX = 16,
    URL_MASTER_MAX = 127,
    URL_HOST_TEXT = LIMIT_DOMAIN + 16,
    URL_ERROR = 512, /* bytes that take any error */
};

enum url_kind { URL_BROKEN = 0, URL_UNIX, URL_REDIS, URL_SENTINEL, URL_CLUSTER };

struct url_host {
    char name[LIMIT_DOMAIN + 1]; /* without brackets */
    uint16_t port;
};

struct url {
    enum url_kind kind;
    bool is_tls;
    char path[URL_PATH_MAX + 1]; /* UNIX */
    struct url_host hosts[URL_HOSTS_MAX];
    unsigned host_count;
    char master[URL_MASTER_MAX + 1]; /* SENTINEL */
    unsigned database;
    char user[URL_USER_MAX + 1];         /* "": the default user */
    char password[URL_PASSWORD_MAX + 1]; /* "": no AUTH */
};

/* False: `error` says what is wrong, and what is allowed, never the password. */
must_use bool url_parse(struct url *url, const char *text, char *error, size_t error_cap);
/* As people may see it in a log: without user and password. */
void url_text(const struct url *url, char *text, size_t cap);
/* "host:port", "[::1]:port". */
void url_host_text(const struct url_host *host, char text[URL_HOST_TEXT]);

#endif
