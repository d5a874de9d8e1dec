/* url.h - where Redis is, as the configuration names it.
 *
 *   unix:/path/to/socket      unix://[user:password@]/path/to/socket
 *   redis://[[user]:password@]host[:port][/database]      host: a name, an IPv4 address, or [IPv6]
 *
 * User and password may hold %XX. A scheme that is understood but not served yet (rediss, sentinel, cluster) is refused
 * by name, so that nobody believes that a connection is encrypted which is not. */
#ifndef STORE_URL_H
#define STORE_URL_H

#include "sluice/base.h"
#include "sluice/limits.h"

enum { URL_PATH_MAX = 107, URL_USER_MAX = 127, URL_PASSWORD_MAX = 255, URL_PORT = 6379, URL_DATABASE_MAX = 15 };

struct url {
    bool is_unix;
    char path[URL_PATH_MAX + 1]; /* is_unix */
    char host[LIMIT_DOMAIN + 1]; /* otherwise; without brackets */
    uint16_t port;
    unsigned database;
    char user[URL_USER_MAX + 1];         /* "": the default user */
    char password[URL_PASSWORD_MAX + 1]; /* "": no AUTH */
};

/* False: `error` says what is wrong, never the password. */
must_use bool url_parse(struct url *url, const char *text, char *error, size_t error_cap);
/* As people may see it in a log: without user and password. */
void url_text(const struct url *url, char *text, size_t cap);

#endif
