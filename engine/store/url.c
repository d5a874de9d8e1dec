/* Reads the address of Redis once, at start, where a mistake can still be explained to whoever made it. */
#include "store/url.h"

#include "sluice/slice.h"

#include <stdio.h>

#define URL_ALLOWED "allowed are unix:/path and redis://[user:password@]host[:port][/database]"

static bool refuse(char *error, size_t error_cap, const char *why)
{
    snprintf(error, error_cap, "%s; " URL_ALLOWED, why);
    return false;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    char lower = ascii_lower(c);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool percent_decode(char *to, size_t cap, struct slice text)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '%') {
            int high = i + 2 < text.n ? hex_value(text.p[i + 1]) : -1;
            int low = i + 2 < text.n ? hex_value(text.p[i + 2]) : -1;
            if (high < 0 || low < 0 || 16 * high + low == 0)
                return false;
            c = (char)(16 * high + low);
            i += 2;
        }
        if (n + 1 >= cap)
            return false;
        to[n++] = c;
    }
    to[n] = 0;
    return true;
}

/* A decimal number of at most `max`; digits alone. */
static bool read_number(struct slice text, unsigned max, unsigned *number)
{
    unsigned n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
        n = 10 * n + (unsigned)(text.p[i] - '0');
        if (n > max)
            return false;
    }
    *number = n;
    return text.n > 0;
}

/* Takes "user:password@" off the front of `rest`. The last @ counts, for passwords may hold one. */
static bool take_userinfo(struct url *url, struct slice *rest, char *error, size_t error_cap)
{
    size_t at = rest->n;
    while (at && rest->p[at - 1] != '@')
        at--;
    if (!at)
        return true;
    struct slice info = {rest->p, at - 1};
    *rest = (struct slice){rest->p + at, rest->n - at};
    const char *colon = memchr(info.p, ':', info.n);
    if (!colon)
        return refuse(error, error_cap, "a user without a password");
    struct slice user = {info.p, (size_t)(colon - info.p)};
    struct slice password = {colon + 1, info.n - user.n - 1};
    if (!percent_decode(url->user, sizeof url->user, user))
        return refuse(error, error_cap, "the user is too long or has a broken %XX");
    if (!password.n)
        return refuse(error, error_cap, "the password is empty");
    if (!percent_decode(url->password, sizeof url->password, password))
        return refuse(error, error_cap, "the password is too long or has a broken %XX");
    return true;
}

static bool parse_unix(struct url *url, struct slice rest, char *error, size_t error_cap)
{
    url->is_unix = true;
    if (slice_starts_with(rest, SLICE("//"))) {
        rest = (struct slice){rest.p + 2, rest.n - 2};
        if (rest.n && rest.p[0] != '/' && !take_userinfo(url, &rest, error, error_cap))
            return false;
    }
    if (!rest.n || rest.p[0] != '/')
        return refuse(error, error_cap, "the path of a Unix socket must begin with /");
    if (rest.n > URL_PATH_MAX)
        return refuse(error, error_cap, "the path of a Unix socket is longer than 107 bytes");
    slice_copy(url->path, sizeof url->path, rest);
    return true;
}

/* "host", "host:port", "[::1]:port" */
static bool parse_host(struct url *url, struct slice rest, char *error, size_t error_cap)
{
    struct slice host = rest, port = {"", 0};
    bool bracket = rest.n && rest.p[0] == '[', has_port = false;
    const char *close = bracket ? memchr(rest.p, ']', rest.n) : NULL;
    if (bracket && !close)
        return refuse(error, error_cap, "a [ without its ]");
    const char *after = bracket ? close + 1 : memchr(rest.p, ':', rest.n);
    if (bracket)
        host = (struct slice){rest.p + 1, (size_t)(close - rest.p) - 1};
    if (after && after < rest.p + rest.n) {
        if (*after != ':')
            return refuse(error, error_cap, "something other than :port behind the ]");
        if (!bracket)
            host.n = (size_t)(after - rest.p);
        port = (struct slice){after + 1, (size_t)(rest.p + rest.n - after) - 1};
        has_port = true;
    }
    if (!host.n || host.n > LIMIT_DOMAIN)
        return refuse(error, error_cap, host.n ? "the host's name is too long" : "no host");
    slice_copy(url->host, sizeof url->host, host);
    unsigned number = URL_PORT;
    if (has_port && (!read_number(port, UINT16_MAX, &number) || number == 0))
        return refuse(error, error_cap, "the port is no number from 1 to 65535");
    url->port = (uint16_t)number;
    return true;
}

static bool parse_redis(struct url *url, struct slice rest, char *error, size_t error_cap)
{
    if (!take_userinfo(url, &rest, error, error_cap))
        return false;
    const char *slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
    if (slash) {
        struct slice database = {slash + 1, (size_t)(rest.p + rest.n - slash) - 1};
        if (database.n && !read_number(database, URL_DATABASE_MAX, &url->database))
            return refuse(error, error_cap, "the database is no number from 0 to 15");
        rest.n = (size_t)(slash - rest.p);
    }
    return parse_host(url, rest, error, error_cap);
}

bool url_parse(struct url *url, const char *text, char *error, size_t error_cap)
{
    static const char *const later[] = {"rediss:", "sentinel:", "cluster:"};
    *url = (struct url){0};
    for (unsigned i = 0; i < countof(later); i++)
        if (slice_starts_with(slice_of(text), slice_of(later[i]))) {
            snprintf(error, error_cap, "%s// is not supported yet; " URL_ALLOWED, later[i]);
            return false;
        }
    struct slice whole = slice_of(text);
    if (slice_starts_with(whole, SLICE("unix:")))
        return parse_unix(url, (struct slice){text + 5, whole.n - 5}, error, error_cap);
    if (slice_starts_with(whole, SLICE("redis://")))
        return parse_redis(url, (struct slice){text + 8, whole.n - 8}, error, error_cap);
    return refuse(error, error_cap, "this is no address of a Redis");
}

void url_text(const struct url *url, char *text, size_t cap)
{
    bool is_v6 = strchr(url->host, ':') != NULL;
    if (url->is_unix)
        snprintf(text, cap, "unix:%s", url->path);
    else
        snprintf(text, cap, "redis://%s%s%s:%u/%u", is_v6 ? "[" : "", url->host, is_v6 ? "]" : "", url->port,
                 url->database);
}
