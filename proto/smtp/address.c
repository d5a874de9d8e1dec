/* A recipient's address comes from strangers and goes into a command line; this is the gate between. */
#include "proto/smtp/address.h"

#include "proto/smtp/utf8.h"

static bool is_letter_or_digit(char c)
{
    char lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
}

/* RFC 5322 §3.2.3 */
static bool is_atext(char c) { return is_letter_or_digit(c) || (c != 0 && strchr("!#$%&'*+-/=?^_`{|}~", c)); }

static bool fail(struct address_fault *fault, size_t position, const char *reason)
{
    *fault = (struct address_fault){reason, position};
    return false;
}

/* What may stand nowhere in an address; `length` is the character's, 0 if it is none. Never NULL for those. */
static const char *forbidden(const char *p, size_t length)
{
    if (length == 0)
        return "not UTF-8";
    if (utf8_is_control(p, length))
        return "a control character";
    if (*p == ' ')
        return "a space";
    if (*p == '<' || *p == '>')
        return "an angle bracket";
    return NULL;
}

/* ---- domain ---- */

static bool is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if ((unsigned char)text.p[i] >= 0x80)
            return false;
    return true;
}

static bool check_label(struct slice text, size_t from, size_t to, struct address_fault *fault)
{
    struct slice label = {text.p + from, to - from};
    if (from == to)
        return fail(fault, from, from == text.n ? "the domain ends in a dot" : "an empty label in the domain");
    if (label.n > 63 && is_ascii(label)) /* RFC 1035 §2.3.4; of a U-label, the A-label's length counts */
        return fail(fault, from + 63, "a label of the domain is longer than 63 octets");
    if (text.p[from] == '-')
        return fail(fault, from, "a label of the domain begins with a hyphen");
    if (text.p[to - 1] == '-')
        return fail(fault, to - 1, "a label of the domain ends in a hyphen");
    return true;
}

static bool all_digits(struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (text.p[i] < '0' || text.p[i] > '9')
            return false;
    return true;
}

bool address_domain(struct slice text, bool *utf8, struct address_fault *fault)
{
    *utf8 = false;
    if (text.n == 0)
        return fail(fault, 0, "the domain is missing");
    if (text.p[0] == '[')
        return fail(fault, 0, "an address literal, not a domain");
    size_t label = 0;
    for (size_t i = 0; i < text.n;) {
        size_t length = utf8_length(text.p + i, text.n - i);
        const char *reason = forbidden(text.p + i, length);
        if (reason)
            return fail(fault, i, reason);
        if (text.p[i] == '.') {
            if (!check_label(text, label, i, fault))
                return false;
            label = i + 1;
        } else if (length > 1) {
            *utf8 = true;
        } else if (!is_letter_or_digit(text.p[i]) && text.p[i] != '-' && text.p[i] != '_') {
            return fail(fault, i, "a character that no domain has");
        }
        i += length;
    }
    if (!check_label(text, label, text.n, fault))
        return false;
    /* No top-level domain is a number (RFC 3696 §2): most likely an IPv4 address without its brackets. */
    if (all_digits((struct slice){text.p + label, text.n - label}))
        return fail(fault, label, "the domain ends in a number");
    if (text.n > LIMIT_DOMAIN)
        return fail(fault, LIMIT_DOMAIN, "the domain is longer than 255 octets");
    return true;
}

/* ---- local part ---- */

/* An unquoted local part: dot-string. Returns its length, up to the '@' or to the end. */
static bool dot_string(struct slice text, struct address *address, size_t *end, struct address_fault *fault)
{
    size_t i = 0;
    bool after_dot = true;
    while (i < text.n && text.p[i] != '@') {
        size_t length = utf8_length(text.p + i, text.n - i);
        const char *reason = forbidden(text.p + i, length);
        if (reason)
            return fail(fault, i, reason);
        if (text.p[i] == '.' && after_dot)
            return fail(fault, i, i == 0 ? "the local part begins with a dot" : "two dots in the local part");
        if (length == 1 && text.p[i] != '.' && !is_atext(text.p[i]))
            return fail(fault, i, "a character that only a quoted local part may have");
        after_dot = text.p[i] == '.';
        address->utf8_local |= length > 1;
        i += length;
    }
    if (i == 0)
        return fail(fault, 0, "the local part is missing");
    if (after_dot)
        return fail(fault, i - 1, "the local part ends in a dot");
    *end = i;
    return true;
}

/* A quoted local part with its quotes (RFC 5321 §4.1.2 Quoted-string), less what `forbidden` names. */
static bool quoted_string(struct slice text, struct address *address, size_t *end, struct address_fault *fault)
{
    address->quoted = true;
    size_t i = 1;
    while (i < text.n && text.p[i] != '"') {
        if (text.p[i] == '\\') {
            i++; /* quoted-pair: what follows must be a printable ASCII character */
            if (i == text.n || (unsigned char)text.p[i] >= 0x80)
                return fail(fault, i, "a backslash with nothing to quote");
        }
        size_t length = utf8_length(text.p + i, text.n - i);
        const char *reason = forbidden(text.p + i, length);
        if (reason)
            return fail(fault, i, reason);
        address->utf8_local |= length > 1;
        i += length;
    }
    if (i == text.n)
        return fail(fault, i, "the quoted local part has no end");
    if (i == 1)
        return fail(fault, 1, "the local part is empty");
    *end = i + 1;
    return true;
}

bool address_parse(struct slice text, struct address *address, struct address_fault *fault)
{
    *address = (struct address){0};
    if (text.n == 0)
        return fail(fault, 0, "the address is empty");
    size_t end = 0;
    bool quoted = text.p[0] == '"';
    if (!(quoted ? quoted_string(text, address, &end, fault) : dot_string(text, address, &end, fault)))
        return false;
    if (end == text.n)
        return fail(fault, end, "the address has no @");
    if (text.p[end] != '@')
        return fail(fault, end, "no @ behind the quoted local part");
    if (end > LIMIT_LOCAL_PART)
        return fail(fault, LIMIT_LOCAL_PART, "the local part is longer than 64 octets");
    address->local = (struct slice){text.p, end};
    address->domain = (struct slice){text.p + end + 1, text.n - end - 1};
    if (!address_domain(address->domain, &address->utf8_domain, fault)) {
        fault->position += end + 1;
        return false;
    }
    if (text.n > LIMIT_ADDRESS)
        return fail(fault, LIMIT_ADDRESS, "the address is longer than 254 octets");
    return true;
}
