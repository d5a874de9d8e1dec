/* dns_answer.c - takes records and their times to live out of a raw DNS answer, since c-ares 1.18 gives no TTL of MX.
 */
#include "net/dns_answer.h"

#include <netinet/in.h>

enum {
    NAME_OCTETS = 255, /* of a name with its length bytes, RFC 1035 §2.3.4 */
    LABEL_OCTETS = 63,
    CNAMES_MAX = 10,
    RECORDS_MAX = 1024, /* of one section that are looked at */
    CLASS_IN = 1,
    FLAG_ANSWER = 0x8000,
    FLAG_AUTHORITATIVE = 0x0400,
    FLAG_TRUNCATED = 0x0200,
    FLAG_AUTHENTIC = 0x0020, /* AD */
    RCODE = 0x000f,
    RCODE_OK = 0,
    RCODE_NXDOMAIN = 3,
};

/* Lower-cased labels, each behind its length byte, and the root's zero. */
struct name {
    uint8_t octets[NAME_OCTETS];
    size_t n;
};

/* `at` moves on; `bad` once anything was not there. */
struct reader {
    const uint8_t *p;
    size_t n, at;
    bool bad;
};

struct record {
    struct name owner;
    uint16_t type, class_;
    uint32_t ttl_s;
    size_t data, end; /* of its data within the packet */
};

/* The packet, cut into its sections. */
struct packet {
    struct reader reader;
    uint16_t flags;
    struct name question;
    size_t answers, authorities; /* where they begin */
    unsigned answer_count, authority_count;
};

/* ---- reading ---- */

static uint32_t read_number(struct reader *r, size_t octets)
{
    uint32_t value = 0;
    if (r->bad || r->n - r->at < octets) {
        r->bad = true;
        return 0;
    }
    for (size_t i = 0; i < octets; i++)
        value = value << 8 | r->p[r->at++];
    return value;
}

static uint8_t lower(uint8_t c) { return (uint8_t)ascii_lower((char)c); }

/* A name, compressed or not (RFC 1035 §4.1.4). What a pointer leads to must end before the pointer, so every hop goes
 * back and no loop is possible. */
static void read_name(struct reader *r, struct name *name)
{
    size_t at = r->at, limit = r->n;
    bool jumped = false;
    name->n = 0;
    while (!r->bad && at < limit) {
        size_t length = r->p[at];
        if ((length & 0xc0) == 0xc0) {
            if (limit - at < 2)
                break;
            size_t target = (length & 0x3f) << 8 | r->p[at + 1];
            if (!jumped)
                r->at = at + 2;
            jumped = true;
            limit = at;
            at = target;
            continue;
        }
        if (length > LABEL_OCTETS || name->n + 1 + length > NAME_OCTETS || limit - at < 1 + length)
            break;
        name->octets[name->n++] = (uint8_t)length;
        for (size_t i = 1; i <= length; i++)
            name->octets[name->n++] = lower(r->p[at + i]);
        at += 1 + length;
        if (length == 0) {
            if (!jumped)
                r->at = at;
            return;
        }
    }
    r->bad = true;
}

static bool name_equal(const struct name *a, const struct name *b)
{
    return a->n == b->n && memcmp(a->octets, b->octets, a->n) == 0;
}

/* "mx.example" of the name's labels; "" of the root. `text` holds NAME_OCTETS bytes. */
static void name_text(const struct name *name, char *text)
{
    size_t n = 0;
    for (size_t at = 0; name->octets[at] != 0;) {
        if (n > 0)
            text[n++] = '.';
        size_t length = name->octets[at++];
        for (; length > 0; length--, at++) {
            uint8_t c = name->octets[at];
            text[n++] = c > ' ' && c < 0x7f && c != '.' && c != '\\' ? (char)c : '?';
        }
    }
    text[n] = 0;
}

static void read_record(struct reader *r, struct record *record)
{
    read_name(r, &record->owner);
    record->type = (uint16_t)read_number(r, 2);
    record->class_ = (uint16_t)read_number(r, 2);
    record->ttl_s = read_number(r, 4);
    if (record->ttl_s & 0x80000000u)
        record->ttl_s = 0; /* RFC 2181 §8 */
    size_t length = read_number(r, 2);
    if (r->bad || r->n - r->at < length) {
        r->bad = true;
        return;
    }
    record->data = r->at;
    record->end = r->at + length;
    r->at = record->end;
}

/* False: malformed, or no answer to a question of this type. */
static bool read_packet(struct packet *packet, struct slice bytes, enum dns_type type)
{
    struct reader *r = &packet->reader;
    *packet = (struct packet){.reader = {.p = (const uint8_t *)bytes.p, .n = bytes.n}};
    read_number(r, 2);
    packet->flags = (uint16_t)read_number(r, 2);
    unsigned questions = read_number(r, 2);
    packet->answer_count = read_number(r, 2);
    packet->authority_count = read_number(r, 2);
    read_number(r, 2);
    if (r->bad || !(packet->flags & FLAG_ANSWER) || (packet->flags & FLAG_TRUNCATED) || questions != 1)
        return false;
    read_name(r, &packet->question);
    if (read_number(r, 2) != (uint32_t)type || read_number(r, 2) != CLASS_IN)
        return false;
    packet->answers = r->at;
    if (packet->answer_count > RECORDS_MAX || packet->authority_count > RECORDS_MAX)
        return false;
    struct record record;
    for (unsigned i = 0; i < packet->answer_count; i++)
        read_record(r, &record);
    packet->authorities = r->at;
    for (unsigned i = 0; i < packet->authority_count; i++)
        read_record(r, &record);
    return !r->bad;
}

/* ---- what stands in a record ---- */

/* A name that must fill the data from `at` on. */
static bool data_name(const struct packet *packet, const struct record *record, size_t at, struct name *name)
{
    struct reader r = packet->reader;
    r.at = at;
    r.n = record->end;
    read_name(&r, name);
    return !r.bad && r.at == record->end;
}

/* Keeps the best preferences in order when there are more than fit. */
static bool take_mx(const struct packet *packet, const struct record *record, struct resolver_answer *answer)
{
    struct reader r = packet->reader;
    r.at = record->data;
    struct name host;
    if (record->end - record->data < 2)
        return false;
    uint16_t preference = (uint16_t)read_number(&r, 2);
    if (!data_name(packet, record, r.at, &host))
        return false;
    unsigned place = answer->mx_count;
    while (place > 0 && answer->mx[place - 1].preference > preference)
        place--;
    if (place == LIMIT_MX_HOSTS)
        return true;
    if (answer->mx_count < LIMIT_MX_HOSTS)
        answer->mx_count++;
    memmove(&answer->mx[place + 1], &answer->mx[place], (answer->mx_count - 1 - place) * sizeof answer->mx[0]);
    answer->mx[place].preference = preference;
    name_text(&host, answer->mx[place].host);
    return true;
}

static bool take_address(const struct packet *packet, const struct record *record, struct resolver_answer *answer)
{
    size_t length = record->end - record->data;
    const uint8_t *bytes = packet->reader.p + record->data;
    if (length != (record->type == DNS_TYPE_A ? 4 : 16))
        return false;
    if (answer->address_count == LIMIT_HOST_ADDRESSES)
        return true;
    struct io_address *address = &answer->addresses[answer->address_count++];
    memset(address, 0, sizeof *address);
    if (record->type == DNS_TYPE_A) {
        struct sockaddr_in in = {.sin_family = AF_INET};
        memcpy(&in.sin_addr, bytes, length);
        memcpy(&address->storage, &in, sizeof in);
        address->length = sizeof in;
    } else {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
        memcpy(&in6.sin6_addr, bytes, length);
        memcpy(&address->storage, &in6, sizeof in6);
        address->length = sizeof in6;
    }
    return true;
}

/* The room for one more record, or NULL. */
static struct slice *record_room(struct resolver_answer *answer)
{
    if (answer->record_count < RESOLVER_RECORDS)
        return &answer->records[answer->record_count++];
    answer->records_left_out = true;
    return NULL;
}

/* Puts the strings of a record together: where one ends means nothing. */
static bool take_txt(const struct packet *packet, const struct record *record, struct resolver_answer *answer)
{
    const uint8_t *p = packet->reader.p;
    size_t used = 0, n = 0;
    for (unsigned i = 0; i < answer->record_count; i++)
        used += answer->records[i].n;
    for (size_t at = record->data; at < record->end; at += 1 + p[at])
        if (record->end - at < 1u + p[at])
            return false;
    if (record->end - record->data > RESOLVER_TEXT - used) {
        answer->records_left_out = true;
        return true;
    }
    struct slice *text = record_room(answer);
    if (!text)
        return true;
    for (size_t at = record->data; at < record->end; at += 1 + p[at]) {
        memcpy(answer->text + used + n, p + at + 1, p[at]);
        n += p[at];
    }
    *text = (struct slice){answer->text + used, n};
    return true;
}

static bool take_tlsa(const struct packet *packet, const struct record *record, struct resolver_answer *answer)
{
    struct slice *data = record_room(answer);
    if (data)
        *data = (struct slice){(const char *)packet->reader.p + record->data, record->end - record->data};
    return true;
}

/* ---- sections ---- */

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Goes from the name that was asked for to the one that the records belong to (RFC 1034 §3.6.2), in whatever order the
 * records stand. False: malformed, or too long a chain. */
static bool follow_cnames(struct packet *packet, struct name *name, uint32_t *ttl_s)
{
    *name = packet->question;
    for (unsigned hops = 0; hops <= CNAMES_MAX; hops++) {
        struct reader r = packet->reader;
        struct record record;
        bool found = false;
        r.at = packet->answers;
        for (unsigned i = 0; i < packet->answer_count && !found; i++) {
            read_record(&r, &record);
            found = record.type == DNS_TYPE_CNAME && record.class_ == CLASS_IN && name_equal(&record.owner, name);
        }
        if (!found)
            return true;
        if (!data_name(packet, &record, record.data, name))
            return false;
        *ttl_s = smaller(*ttl_s, record.ttl_s);
    }
    return false;
}

/* The records of `type` that belong to `name`. False: one is malformed. */
static bool take_records(struct packet *packet, const struct name *name, enum dns_type type, uint32_t *ttl_s,
                         struct resolver_answer *answer)
{
    bool (*take)(const struct packet *, const struct record *, struct resolver_answer *) =
        type == DNS_TYPE_MX     ? take_mx
        : type == DNS_TYPE_TXT  ? take_txt
        : type == DNS_TYPE_TLSA ? take_tlsa
                                : take_address;
    struct reader r = packet->reader;
    r.at = packet->answers;
    for (unsigned i = 0; i < packet->answer_count; i++) {
        struct record record;
        read_record(&r, &record);
        if (record.type != type || record.class_ != CLASS_IN || !name_equal(&record.owner, name))
            continue;
        if (!take(packet, &record, answer))
            return false;
        *ttl_s = smaller(*ttl_s, record.ttl_s);
    }
    return true;
}

enum authority { AUTHORITY_SILENT = 1, AUTHORITY_NEGATIVE, AUTHORITY_REFERRAL };

/* How an answer without records is meant (RFC 2308 §2.1, §2.2), and for how long. */
static enum authority read_authority(struct packet *packet, uint32_t *ttl_s)
{
    enum { SOA_NUMBERS = 5 * 4 };
    struct reader r = packet->reader;
    bool referred = false;
    r.at = packet->authorities;
    for (unsigned i = 0; i < packet->authority_count; i++) {
        struct record record;
        read_record(&r, &record);
        referred = referred || record.type == DNS_TYPE_NS;
        if (record.type != DNS_TYPE_SOA || record.end - record.data < SOA_NUMBERS + 2)
            continue;
        struct reader minimum = packet->reader;
        minimum.at = record.end - 4;
        *ttl_s = smaller(*ttl_s, smaller(record.ttl_s, read_number(&minimum, 4)));
        return AUTHORITY_NEGATIVE;
    }
    return referred && !(packet->flags & FLAG_AUTHORITATIVE) ? AUTHORITY_REFERRAL : AUTHORITY_SILENT;
}

static void read_negative(struct packet *packet, enum resolver_status status, uint32_t ttl_s,
                          struct resolver_answer *answer)
{
    switch (read_authority(packet, &ttl_s)) {
    case AUTHORITY_NEGATIVE:
        answer->status = status;
        answer->ttl_s = ttl_s;
        break;
    case AUTHORITY_SILENT:
        answer->status = status;
        break;
    case AUTHORITY_REFERRAL:
        /* "Ask those": a resolver that does not recurse. It says nothing about the name. */
        break;
    }
}

void dns_answer_plain(struct resolver_answer *answer, enum resolver_status status)
{
    answer->status = status;
    answer->ttl_s = 0;
    answer->secure = false;
    answer->name[0] = 0;
    answer->mx_count = answer->address_count = answer->record_count = 0;
    answer->records_left_out = false;
}

void dns_answer_read(struct slice bytes, enum dns_type type, struct resolver_answer *answer)
{
    struct packet packet;
    struct name name;
    uint32_t ttl_s = INT32_MAX;
    dns_answer_plain(answer, RESOLVER_SERVFAIL);
    if (!read_packet(&packet, bytes, type) || !follow_cnames(&packet, &name, &ttl_s))
        return;
    unsigned rcode = packet.flags & RCODE;
    if (rcode != RCODE_OK && rcode != RCODE_NXDOMAIN)
        return;
    if (rcode == RCODE_OK && !take_records(&packet, &name, type, &ttl_s, answer)) {
        dns_answer_plain(answer, RESOLVER_SERVFAIL);
        return;
    }
    if (answer->mx_count + answer->address_count + answer->record_count > 0 || answer->records_left_out) {
        answer->status = RESOLVER_OK;
        answer->ttl_s = ttl_s;
        name_text(&name, answer->name);
    } else {
        read_negative(&packet, rcode == RCODE_OK ? RESOLVER_NODATA : RESOLVER_NXDOMAIN, ttl_s, answer);
    }
    answer->secure = (packet.flags & FLAG_AUTHENTIC) && answer->status != RESOLVER_SERVFAIL;
}

unsigned dns_answer_join(struct io_address addresses[LIMIT_HOST_ADDRESSES], unsigned count,
                         const struct resolver_answer *more)
{
    enum { HALF = LIMIT_HOST_ADDRESSES / 2 };
    unsigned added = more->address_count;
    sluice_assert(count <= LIMIT_HOST_ADDRESSES && added <= LIMIT_HOST_ADDRESSES);
    if (count + added > LIMIT_HOST_ADDRESSES) {
        if (count > HALF)
            count = added < HALF ? LIMIT_HOST_ADDRESSES - added : HALF;
        added = LIMIT_HOST_ADDRESSES - count < added ? LIMIT_HOST_ADDRESSES - count : added;
    }
    memcpy(&addresses[count], more->addresses, added * sizeof addresses[0]);
    return count + added;
}
