/* Reads the address of Redis once, at start, where a mistake can still be explained to whoever made it. */
#include "store/url.h"

#include "proto/number.h"
#include "sluice/slice.h"

#include <stdio.h>

#define URL_ALLOWED                                                                                                    \
    "allowed are unix:/path, redis://[user:password@]host[:port][/database], "                                         \
    "sentinel://[user:password@]host[:port],.../name[/database] and cluster://[user:password@]host[:port],...; with "  \
    "TLS rediss://, sentinels:// and clusters://"

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
    if (slice_starts_with(rest, SLICE("//"))) {
        rest = (struct slice){rest.p + 2, rest.n - 2};
        if (rest.n && rest.p[0] != '/' && !take_userinfo(url, &rest, error, error_cap))
            return false;
    }
    if (!rest.n || rest.p[0] != '/')
        return refuse(error, error_cap, "the path of a Unix socket must begin with /");
    while (slice_starts_with(rest, SLICE("//"))) /* the same path, which can be said again behind "unix:" */
        rest = (struct slice){rest.p + 1, rest.n - 1};
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
    const char *after = bracket ? close + 1 : rest.n ? memchr(rest.p, ':', rest.n) : NULL;
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
    uint64_t number = url->kind == URL_SENTINEL ? URL_PORT_SENTINEL : URL_PORT;
    if (has_port && (!number_parse(port, UINT16_MAX, &number) || number == 0))
        return refuse(error, error_cap, "the port is no number from 1 to 65535");
    if (url->host_count == URL_HOSTS_MAX)
        return refuse(error, error_cap, "more than 16 hosts");
    struct url_host *to = &url->hosts[url->host_count++];
    slice_copy(to->name, sizeof to->name, host);
    to->port = (uint16_t)number;
    return true;
}

static bool parse_hosts(struct url *url, struct slice rest, char *error, size_t error_cap)
{
    for (;;) {
        const char *comma = rest.n ? memchr(rest.p, ',', rest.n) : NULL;
        size_t n = comma ? (size_t)(comma - rest.p) : rest.n;
        if (!parse_host(url, (struct slice){rest.p, n}, error, error_cap))
            return false;
        if (!comma)
            break;
        rest = (struct slice){comma + 1, rest.n - n - 1};
    }
    return url->kind != URL_REDIS || url->host_count == 1 ||
           refuse(error, error_cap, "several hosts, which are for sentinel:// and cluster://");
}

/* Takes what is behind the last slash, or behind the only one, off the end; "" when there is none. */
static struct slice take_tail(struct slice *rest)
{
    const char *slash = rest->n ? memchr(rest->p, '/', rest->n) : NULL;
    if (!slash)
        return SLICE("");
    struct slice tail = {slash + 1, (size_t)(rest->p + rest->n - slash) - 1};
    rest->n = (size_t)(slash - rest->p);
    return tail;
}

static bool parse_master(struct url *url, struct slice name, char *error, size_t error_cap)
{
    if (!name.n || name.n > URL_MASTER_MAX)
        return refuse(error, error_cap,
                      name.n ? "the master's name is longer than 127 bytes"
                             : "no name, behind a /, by which the sentinels know the master");
    for (size_t i = 0; i < name.n; i++)
        if (!ascii_is_alnum(name.p[i]) && !memchr("._-", name.p[i], 3))
            return refuse(error, error_cap, "the master's name holds something else than letters, digits and . _ -");
    slice_copy(url->master, sizeof url->master, name);
    return true;
}

static bool parse_servers(struct url *url, struct slice rest, char *error, size_t error_cap)
{
    uint64_t database = 0;
    if (!take_userinfo(url, &rest, error, error_cap))
        return false;
    struct slice tail = take_tail(&rest);
    if (url->kind == URL_SENTINEL) {
        struct slice name = tail;
        tail = take_tail(&name);
        if (!parse_master(url, name, error, error_cap))
            return false;
    }
    if (tail.n && url->kind == URL_CLUSTER)
        return refuse(error, error_cap, "a database, and a cluster has none");
    if (tail.n && !number_parse(tail, URL_DATABASE_MAX, &database))
        return refuse(error, error_cap, "the database is no number from 0 to 15");
    url->database = (unsigned)database;
    return parse_hosts(url, rest, error, error_cap);
}

static const struct {
    const char *scheme;
    enum url_kind kind;
    bool is_tls;
} schemes[] = {
    {"redis://", URL_REDIS, false},       {"rediss://", URL_REDIS, true},     {"sentinel://", URL_SENTINEL, false},
    {"sentinels://", URL_SENTINEL, true}, {"cluster://", URL_CLUSTER, false}, {"clusters://", URL_CLUSTER, true},
    {"unix:", URL_UNIX, false},
};

bool url_parse(struct url *url, const char *text, char *error, size_t error_cap)
{
    *url = (struct url){0};
    for (unsigned i = 0; i < countof(schemes); i++) {
        struct slice whole = slice_of(text), scheme = slice_of(schemes[i].scheme);
        if (!slice_starts_with(whole, scheme))
            continue;
        struct slice rest = {whole.p + scheme.n, whole.n - scheme.n};
        url->kind = schemes[i].kind;
        url->is_tls = schemes[i].is_tls;
        return url->kind == URL_UNIX ? parse_unix(url, rest, error, error_cap)
                                     : parse_servers(url, rest, error, error_cap);
    }
    return refuse(error, error_cap, "this is no address of a Redis");
}

void url_host_text(const struct url_host *host, char text[URL_HOST_TEXT])
{
    bool is_v6 = strchr(host->name, ':') != NULL;
    snprintf(text, URL_HOST_TEXT, "%s%s%s:%u", is_v6 ? "[" : "", host->name, is_v6 ? "]" : "", host->port);
}

void url_text(const struct url *url, char *text, size_t cap)
{
    size_t n = 0;
    for (unsigned i = 0; i < countof(schemes); i++)
        if (schemes[i].kind == url->kind && schemes[i].is_tls == url->is_tls)
            n = (size_t)snprintf(text, cap, "%s%s", schemes[i].scheme, url->path);
    for (unsigned i = 0; i < url->host_count && n < cap; i++) {
        char host[URL_HOST_TEXT];
        url_host_text(&url->hosts[i], host);
        n += (size_t)snprintf(text + n, cap - n, "%s%s", i ? "," : "", host);
    }
    if (url->kind == URL_SENTINEL && n < cap)
        n += (size_t)snprintf(text + n, cap - n, "/%s", url->master);
    if ((url->kind == URL_REDIS || url->kind == URL_SENTINEL) && n < cap)
        snprintf(text + n, cap - n, "/%u", url->database);
}
