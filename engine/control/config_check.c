/* Says whether a text of the configuration is the name, host, address or path that its row asks for. */
#include "control/config_table.h"

#include "store/url.h"

#include <arpa/inet.h>
#include <stdlib.h>

/* Not <ctype.h>, which asks the locale. */
static bool is_alnum(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static bool is_printable(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    return true;
}

static bool is_id(const char *text)
{
    for (; *text; text++)
        if (!is_alnum(*text) && !strchr("._:-", *text))
            return false;
    return true;
}

/* Labels of letters, digits and inner hyphens, at most 63 octets each (RFC 1035 §2.3.1, RFC 1123 §2.1); underscores
 * occur in the names of real mail exchangers. */
static bool is_host(struct slice s)
{
    size_t label = 0;
    if (s.n == 0 || s.n > LIMIT_DOMAIN)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c == '.') {
            if (label == 0 || s.p[i - 1] == '-')
                return false;
            label = 0;
        } else if (!(is_alnum(c) || c == '_' || (c == '-' && label > 0)) || ++label > 63) {
            return false;
        }
    }
    return label > 0 && s.p[s.n - 1] != '-';
}

static bool is_suffix(struct slice s)
{
    if (s.n && s.p[0] == '.') {
        s.p++;
        s.n--;
    }
    return is_host(s);
}

/* A host name, or "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 §4.1.3). */
static bool is_ehlo(struct slice s)
{
    char inner[LIMIT_DOMAIN + 1];
    unsigned char address[16];
    if (s.n < 2 || s.n > LIMIT_DOMAIN || s.p[0] != '[' || s.p[s.n - 1] != ']')
        return is_host(s);
    slice_copy(inner, sizeof inner, (struct slice){s.p + 1, s.n - 2});
    if (strncmp(inner, "IPv6:", 5) == 0)
        return inet_pton(AF_INET6, inner + 5, address) == 1;
    return inet_pton(AF_INET, inner, address) == 1;
}

static bool read_port(const char *text, uint16_t *port)
{
    size_t n = strspn(text, "0123456789");
    unsigned long number = n >= 1 && n <= 5 && text[n] == 0 ? strtoul(text, NULL, 10) : 0;
    *port = (uint16_t)number;
    return number >= 1 && number <= 65535;
}

bool config_at(struct slice s, uint16_t port, struct io_address *address)
{
    char text[128];
    if (s.n == 0 || s.n >= sizeof text)
        return false;
    slice_copy(text, sizeof text, s);
    char *host = text, *colon = strrchr(text, ':');
    const char *digits = NULL;
    if (text[0] == '[') {
        char *close = strchr(text, ']');
        if (!close || (close[1] != ':' && close[1] != 0))
            return false;
        digits = close[1] ? close + 2 : NULL;
        *close = 0;
        host = text + 1;
    } else if (colon && strchr(text, ':') == colon) {
        *colon = 0;
        digits = colon + 1;
    }
    if (digits && !read_port(digits, &port))
        return false;
    return port && host[0] != '/' && io_address_parse(address, host, port);
}

static bool is_servers(const char *text)
{
    struct io_address address;
    for (const char *p = text; *p;) {
        while (*p == ' ')
            p++;
        size_t n = strcspn(p, ","), used = n;
        while (used && p[used - 1] == ' ')
            used--;
        if (!config_at((struct slice){p, used}, 53, &address))
            return false;
        p += n;
        if (*p == ',' && !*++p)
            return false;
    }
    return true;
}

static bool is_url(const char *text)
{
    struct url url;
    char error[URL_ERROR];
    return url_parse(&url, text, error, sizeof error);
}

bool config_text_fits(const struct config_row *row, const char *text)
{
    struct slice s = slice_of(text);
    struct io_address address;
    if ((int64_t)s.n < row->min || (int64_t)s.n > row->max || !is_printable(text))
        return false;
    if (s.n == 0)
        return true;
    switch (row->type) {
    case CONFIG_TEXT:
    case CONFIG_TEXTS:
        return true;
    case CONFIG_PATH:
        return text[0] == '/';
    case CONFIG_ID:
    case CONFIG_NAME:
        return is_id(text);
    case CONFIG_HOST:
        return is_host(s);
    case CONFIG_URL:
        return is_url(text);
    case CONFIG_AT:
        return config_at(s, 0, &address);
    case CONFIG_SERVERS:
        return is_servers(text);
    case CONFIG_EHLO:
        return is_ehlo(s);
    case CONFIG_SUFFIXES:
        return is_suffix(s);
    default:
        return false;
    }
}
