/* mx.c - turns the answer to an MX query into a route, so that mail goes only where RFC 5321 §5.1 allows. */
#include "proto/policy/mx.h"

/* ---- names ---- */

static struct slice without_dot(struct slice name)
{
    if (name.n > 0 && name.p[name.n - 1] == '.')
        name.n--;
    return name;
}

/* Order of names without case: negative, 0, positive. */
static int compare_names(struct slice a, struct slice b)
{
    for (size_t i = 0; i < a.n && i < b.n; i++) {
        unsigned char x = (unsigned char)ascii_lower(a.p[i]), y = (unsigned char)ascii_lower(b.p[i]);
        if (x != y)
            return x < y ? -1 : 1;
    }
    return a.n == b.n ? 0 : a.n < b.n ? -1 : 1;
}

static bool is_label_byte(char c)
{
    char l = ascii_lower(c);
    /* The underscore is against RFC 1123 §2.1, but there are hosts that have one and take mail. */
    return (l >= 'a' && l <= 'z') || (l >= '0' && l <= '9') || l == '-' || l == '_';
}

static bool is_localhost(struct slice name)
{
    return slice_equal_nocase(name, SLICE("localhost")) || slice_ends_with_nocase(name, SLICE(".localhost")) ||
           slice_equal_nocase(name, SLICE("localhost.localdomain"));
}

bool mx_host_is_name(struct slice host)
{
    enum { NAME_MAX_OCTETS = 253, LABEL_MAX = 63 }; /* RFC 1035 §2.3.4, in text */
    struct slice name = without_dot(host);
    if (name.n == 0 || name.n > NAME_MAX_OCTETS || is_localhost(name))
        return false;
    size_t label = 0;
    bool digits = true; /* the label so far */
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
            digits = true;
            continue;
        }
        if (!is_label_byte(c) || ++label > LABEL_MAX)
            return false;
        digits = digits && c >= '0' && c <= '9';
    }
    /* No top-level domain is all digits (RFC 3696 §2): what ends in such a label is an IPv4 address. */
    return label > 0 && !digits;
}

/* ---- the set's key ---- */

/* FNV-1a, then a mixer (splitmix64's), since the low bits choose buckets. */
static uint64_t hash_byte(uint64_t hash, unsigned char byte) { return (hash ^ byte) * 0x100000001b3u; }

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t hash_host(uint64_t hash, uint16_t preference, struct slice host)
{
    hash = hash_byte(hash, (unsigned char)(preference >> 8));
    hash = hash_byte(hash, (unsigned char)preference);
    for (size_t i = 0; i < host.n; i++)
        hash = hash_byte(hash, (unsigned char)ascii_lower(host.p[i]));
    return hash_byte(hash, 0);
}

enum { IMPLICIT_PREFERENCE = 0 };
#define HASH_START 0xcbf29ce484222325u

/* ---- reading the answer ---- */

static int compare_records(const struct mx_record *a, const struct mx_record *b)
{
    if (a->preference != b->preference)
        return a->preference < b->preference ? -1 : 1;
    return compare_names(without_dot(a->host), without_dot(b->host));
}

/* Does the same host stand elsewhere with a better claim? */
static bool is_repeated(const struct mx_record *records, unsigned count, unsigned at)
{
    struct slice host = without_dot(records[at].host);
    for (unsigned i = 0; i < count; i++) {
        if (i == at || compare_names(host, without_dot(records[i].host)) != 0)
            continue;
        if (records[i].preference < records[at].preference ||
            (records[i].preference == records[at].preference && i < at))
            return true;
    }
    return false;
}

/* Puts record `at` in its place in the ordered list; the worst falls out when it is full. */
static void insert(struct mx_route *route, const struct mx_record *records, unsigned at)
{
    unsigned place = route->count;
    while (place > 0 && compare_records(&records[at], &records[route->order[place - 1]]) < 0)
        place--;
    if (place == LIMIT_MX_HOSTS)
        return;
    unsigned kept = route->count < LIMIT_MX_HOSTS ? route->count : LIMIT_MX_HOSTS - 1;
    memmove(&route->order[place + 1], &route->order[place], kept - place);
    route->order[place] = (uint8_t)at;
    route->count = (uint8_t)(kept + 1);
}

static void read_records(struct mx_route *route, const struct mx_record *records, unsigned count)
{
    unsigned nulls = 0;
    for (unsigned i = 0; i < count; i++) {
        if (without_dot(records[i].host).n == 0)
            nulls++;
        else if (!mx_host_is_name(records[i].host))
            route->left_out++;
        else if (!is_repeated(records, count, i))
            insert(route, records, i);
    }
    if (nulls == count) {
        route->verdict = MX_NULL;
        return;
    }
    /* RFC 5321 §5.1: "If MX records are present, but none of them are usable, ... this situation MUST be reported as
     * an error", so the domain's own address is not looked at. */
    if (route->count == 0) {
        route->verdict = MX_UNUSABLE;
        return;
    }
    route->verdict = MX_HOSTS;
    uint64_t hash = HASH_START;
    for (unsigned i = 0; i < route->count; i++) {
        const struct mx_record *record = &records[route->order[i]];
        hash = hash_host(hash, record->preference, without_dot(record->host));
    }
    route->set = mix(hash);
}

void mx_read(struct mx_route *route, enum mx_answer answer, struct slice domain, const struct mx_record *records,
             unsigned count)
{
    sluice_assert(count <= UINT8_MAX);
    memset(route, 0, sizeof *route);
    switch (answer) {
    case MX_ANSWER_OK:
        if (count > 0) {
            read_records(route, records, count);
            return;
        }
        route->verdict = MX_FAILED; /* an answer that says it has records and has none is rubbish */
        return;
    case MX_ANSWER_NODATA: {
        struct slice name = without_dot(domain);
        route->verdict = MX_IMPLICIT;
        route->set = mix(hash_host(HASH_START, IMPLICIT_PREFERENCE, name));
        return;
    }
    case MX_ANSWER_NXDOMAIN:
        route->verdict = MX_NXDOMAIN;
        return;
    case MX_ANSWER_FAILED:
        route->verdict = MX_FAILED;
        return;
    case MX_ANSWER_BROKEN:
        break;
    }
    sluice_assert(!"an answer");
}

void mx_shuffle(struct mx_route *route, const struct mx_record *records, uint64_t random)
{
    unsigned start = 0;
    while (start < route->count) {
        unsigned end = start + 1;
        while (end < route->count && records[route->order[end]].preference == records[route->order[start]].preference)
            end++;
        for (unsigned left = end - start; left > 1; left--) { /* Fisher and Yates */
            random += 0x9e3779b97f4a7c15u;
            unsigned pick = start + (unsigned)(mix(random) % left);
            uint8_t last = route->order[start + left - 1];
            route->order[start + left - 1] = route->order[pick];
            route->order[pick] = last;
        }
        start = end;
    }
}

bool mx_same(const struct mx_route *a, const struct mx_record *a_records, const struct mx_route *b,
             const struct mx_record *b_records)
{
    if (a->verdict != MX_HOSTS || b->verdict != MX_HOSTS || a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++)
        if (compare_records(&a_records[a->order[i]], &b_records[b->order[i]]) != 0)
            return false;
    return true;
}

/* ---- addresses ---- */

static enum mx_address_kind kind_of_ipv4(const uint8_t *b)
{
    if (b[0] == 127)
        return MX_ADDRESS_LOOPBACK;
    if (b[0] == 0 || b[0] >= 224) /* RFC 1122 §3.2.1.3; RFC 5771; RFC 1112 §4 */
        return MX_ADDRESS_UNUSABLE;
    bool private = b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16) || (b[0] == 192 && b[1] == 168) || /* RFC 1918 */
                   (b[0] == 169 && b[1] == 254) ||                                                       /* RFC 3927 */
                   (b[0] == 100 && (b[1] & 0xc0) == 64);                                                 /* RFC 6598 */
    return private ? MX_ADDRESS_PRIVATE : MX_ADDRESS_PUBLIC;
}

enum mx_address_kind mx_address_kind(const uint8_t *bytes, size_t length)
{
    static const uint8_t zeros[16], mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (length == 4)
        return kind_of_ipv4(bytes);
    sluice_assert(length == 16);
    if (memcmp(bytes, mapped, sizeof mapped) == 0)
        return kind_of_ipv4(bytes + sizeof mapped);
    if (memcmp(bytes, zeros, 15) == 0 && bytes[15] <= 1)
        return bytes[15] == 1 ? MX_ADDRESS_LOOPBACK : MX_ADDRESS_UNUSABLE;
    if (bytes[0] == 0xff) /* multicast, RFC 4291 §2.7 */
        return MX_ADDRESS_UNUSABLE;
    bool unique_local = (bytes[0] & 0xfe) == 0xfc;                   /* RFC 4193 */
    bool link_local = bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80; /* RFC 4291 §2.5.6 */
    return unique_local || link_local ? MX_ADDRESS_PRIVATE : MX_ADDRESS_PUBLIC;
}

unsigned mx_targets(const struct mx_route *route, const unsigned *address_counts, struct mx_target targets[MX_TARGETS])
{
    unsigned hosts = route->verdict == MX_IMPLICIT ? 1 : route->verdict == MX_HOSTS ? route->count : 0;
    unsigned written = 0;
    for (unsigned host = 0; host < hosts; host++)
        for (unsigned address = 0; address < address_counts[host] && address < MX_ADDRESSES_PER_HOST; address++)
            targets[written++] = (struct mx_target){.host = (uint8_t)host, .address = (uint8_t)address};
    return written;
}
