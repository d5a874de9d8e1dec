/* json.c - every recipient is JSON and is read twice, so the scanner makes one pass, eight plain bytes at a time. */
#include "proto/json.h"

#include "proto/utf8.h"

struct scan {
    const char *start, *p, *end;
    struct json_token *tokens;
    uint32_t count, cap;
    uint32_t open[JSON_DEPTH_MAX]; /* the containers that are not closed yet */
    unsigned depth;
    struct json_error *error;
};

static bool fail(struct scan *s, const char *reason)
{
    *s->error = (struct json_error){reason, (size_t)(s->p - s->start)};
    return false;
}

static void skip_space(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

/* Adds a token that starts at `start`; its end and next are set when they are known. */
static struct json_token *add(struct scan *s, enum json_type type, const char *start)
{
    if (s->count == s->cap) {
        fail(s, "too many values");
        return NULL;
    }
    struct json_token *token = &s->tokens[s->count++];
    *token = (struct json_token){.start = (uint32_t)(start - s->start), .next = s->count, .type = (uint8_t)type};
    return token;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four hex digits at p, or -1. */
static int32_t hex4(const char *p, const char *end)
{
    int32_t code = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0)
            return -1;
        code = code << 4 | digit;
    }
    return code;
}

static bool is_high(int32_t code) { return code >= 0xD800 && code <= 0xDBFF; }
static bool is_low(int32_t code) { return code >= 0xDC00 && code <= 0xDFFF; }

/* s->p stands at a backslash. */
static bool scan_escape(struct scan *s)
{
    if (s->end - s->p < 2)
        return s->p = s->end, fail(s, "unfinished string");
    if (s->p[1] != 'u') {
        if (!memchr("\"\\/bfnrt", s->p[1], 8))
            return fail(s, "no such escape");
        s->p += 2;
        return true;
    }
    int32_t code = hex4(s->p + 2, s->end);
    if (code < 0)
        return fail(s, "\\u needs four hex digits");
    if (is_low(code))
        return fail(s, "half of a surrogate pair");
    if (!is_high(code)) {
        s->p += 6;
        return true;
    }
    if (s->end - s->p < 12 || s->p[6] != '\\' || s->p[7] != 'u' || !is_low(hex4(s->p + 8, s->end)))
        return fail(s, "half of a surrogate pair");
    s->p += 12;
    return true;
}

/* True if one of the eight bytes is a quote, a backslash, a control or not ASCII: the classic zero-byte trick, which
 * may also say true for a plain byte above another hit, never false for a hit. */
static bool has_special(uint64_t eight)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t quote = eight ^ (ones * '"'), backslash = eight ^ (ones * '\\');
    return ((eight | (eight - ones * 0x20) | (quote - ones) | (backslash - ones)) & tops) != 0;
}

/* s->p stands behind the opening quote; leaves it behind the closing one. */
static bool scan_string(struct scan *s)
{
    struct json_token *token = add(s, JSON_STRING, s->p);
    if (!token)
        return false;
    for (;;) {
        uint64_t eight;
        while (s->end - s->p >= 8 && (memcpy(&eight, s->p, 8), !has_special(eight)))
            s->p += 8;
        if (s->p == s->end)
            return fail(s, "unfinished string");
        unsigned char c = (unsigned char)*s->p;
        if (c == '"') {
            token->end = (uint32_t)(s->p++ - s->start);
            return true;
        }
        if (c == '\\') {
            token->escaped = 1;
            if (!scan_escape(s))
                return false;
        } else if (c < 0x20) {
            return fail(s, "control character in a string");
        } else {
            size_t n = utf8_length(s->p, (size_t)(s->end - s->p));
            if (n == 0)
                return fail(s, "not UTF-8");
            s->p += n;
        }
    }
}

static bool scan_digits(struct scan *s)
{
    if (s->p == s->end || *s->p < '0' || *s->p > '9')
        return fail(s, "expected a digit");
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return true;
}

static bool scan_number(struct scan *s)
{
    struct json_token *token = add(s, JSON_NUMBER, s->p);
    if (!token)
        return false;
    s->p += *s->p == '-';
    if (s->p < s->end && *s->p == '0')
        s->p++;
    else if (!scan_digits(s))
        return false;
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!scan_digits(s))
            return false;
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (!scan_digits(s))
            return false;
    }
    token->end = (uint32_t)(s->p - s->start);
    return true;
}

static bool scan_literal(struct scan *s, enum json_type type, struct slice literal)
{
    struct json_token *token = add(s, type, s->p);
    if (!token)
        return false;
    if (!slice_starts_with((struct slice){s->p, (size_t)(s->end - s->p)}, literal))
        return fail(s, "expected a value");
    s->p += literal.n;
    token->end = (uint32_t)(s->p - s->start);
    return true;
}

static bool scan_open(struct scan *s, enum json_type type)
{
    if (s->depth == JSON_DEPTH_MAX)
        return fail(s, "nested too deeply");
    if (!add(s, type, s->p))
        return false;
    s->open[s->depth++] = s->count - 1;
    s->p++;
    return true;
}

static void scan_close(struct scan *s)
{
    struct json_token *token = &s->tokens[s->open[--s->depth]];
    token->end = (uint32_t)(++s->p - s->start);
    token->next = s->count;
}

/* One value, or the opening of one. */
static bool scan_value(struct scan *s)
{
    if (s->p == s->end)
        return fail(s, "expected a value");
    switch (*s->p) {
    case '"':
        s->p++;
        return scan_string(s);
    case '{':
        return scan_open(s, JSON_OBJECT);
    case '[':
        return scan_open(s, JSON_ARRAY);
    case 't':
        return scan_literal(s, JSON_TRUE, SLICE("true"));
    case 'f':
        return scan_literal(s, JSON_FALSE, SLICE("false"));
    case 'n':
        return scan_literal(s, JSON_NULL, SLICE("null"));
    default:
        if (*s->p != '-' && (*s->p < '0' || *s->p > '9'))
            return fail(s, "expected a value");
        return scan_number(s);
    }
}

/* A member's name and the colon behind it. */
static bool scan_key(struct scan *s)
{
    skip_space(s);
    if (s->p == s->end || *s->p != '"')
        return fail(s, "expected a name in quotes");
    s->p++;
    if (!scan_string(s))
        return false;
    skip_space(s);
    if (s->p == s->end || *s->p != ':')
        return fail(s, "expected ':'");
    s->p++;
    return true;
}

/* Steps from the end of a value, or from behind an opening bracket (`fresh`), to the start of the next value, closing
 * what is closed on the way; stays at the end of the outermost value. */
static bool scan_between(struct scan *s, bool fresh)
{
    while (s->depth) {
        bool object = s->tokens[s->open[s->depth - 1]].type == JSON_OBJECT;
        skip_space(s);
        if (s->p < s->end && *s->p == (object ? '}' : ']')) {
            scan_close(s);
            fresh = false;
            continue;
        }
        if (!fresh) {
            if (s->p == s->end || *s->p != ',')
                return fail(s, object ? "expected ',' or '}'" : "expected ',' or ']'");
            s->p++;
        }
        return !object || scan_key(s);
    }
    return true;
}

bool json_scan(struct slice text, struct json_token *tokens, uint32_t cap, struct json *json, struct json_error *error)
{
    struct scan s = {
        .start = text.p, .p = text.p, .end = text.p + text.n, .tokens = tokens, .cap = cap, .error = error};
    if (text.n > INT32_MAX)
        return fail(&s, "too long");
    do {
        skip_space(&s);
        unsigned depth = s.depth;
        if (!scan_value(&s) || !scan_between(&s, s.depth > depth))
            return false;
    } while (s.depth);
    skip_space(&s);
    if (s.p < s.end)
        return fail(&s, "text behind the value");
    *json = (struct json){text, tokens, s.count};
    return true;
}

struct slice json_string_piece(const char **p, const char *end, char room[4])
{
    static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char *start = *p;
    if (*start != '\\') {
        const char *stop = memchr(start, '\\', (size_t)(end - start));
        *p = stop ? stop : end;
        return (struct slice){start, (size_t)(*p - start)};
    }
    if (start[1] != 'u') {
        room[0] = meant[(const char *)memchr(plain, start[1], 8) - plain];
        *p += 2;
        return (struct slice){room, 1};
    }
    uint32_t code = (uint32_t)hex4(start + 2, end);
    *p += 6;
    if (is_high((int32_t)code)) {
        code = 0x10000 + ((code - 0xD800) << 10) + ((uint32_t)hex4(start + 8, end) - 0xDC00);
        *p += 6;
    }
    return (struct slice){room, utf8_write(room, code)};
}

size_t json_text(const struct json *json, uint32_t index, char *to)
{
    struct slice raw = json_raw(json, index);
    const char *p = raw.p, *end = raw.p + raw.n;
    size_t n = 0;
    while (p < end) {
        char room[4];
        struct slice piece = json_string_piece(&p, end, room);
        memcpy(to + n, piece.p, piece.n);
        n += piece.n;
    }
    return n;
}

bool json_string_equal(const struct json *json, uint32_t index, struct slice bytes)
{
    struct slice raw = json_raw(json, index);
    if (!json->tokens[index].escaped)
        return slice_equal(raw, bytes);
    const char *p = raw.p, *end = raw.p + raw.n;
    size_t n = 0;
    while (p < end) {
        char room[4];
        struct slice piece = json_string_piece(&p, end, room);
        if (piece.n > bytes.n - n || memcmp(piece.p, bytes.p + n, piece.n) != 0)
            return false;
        n += piece.n;
    }
    return n == bytes.n;
}

uint32_t json_member(const struct json *json, uint32_t object, struct slice name)
{
    uint32_t found = JSON_NONE;
    if (json->tokens[object].type != JSON_OBJECT)
        return found;
    for (uint32_t i = object + 1; i < json->tokens[object].next; i = json->tokens[i + 1].next) {
        const struct json_token *key = &json->tokens[i];
        if ((key->escaped || key->end - key->start == name.n) && json_string_equal(json, i, name))
            found = i + 1;
    }
    return found;
}
