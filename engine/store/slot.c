/* A cluster is told apart by arithmetic on keys; here is that arithmetic, and the words in which a server corrects it.
 */
#include "store/slot.h"

#include "proto/number.h"

/* CRC-16/XMODEM: polynomial 0x1021, begins with 0, nothing reflected. Four bits at a time. */
static unsigned crc16(struct slice bytes)
{
    static const uint16_t table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                       0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    uint16_t crc = 0;
    for (size_t i = 0; i < bytes.n; i++) {
        unsigned byte = (unsigned char)bytes.p[i];
        crc = (uint16_t)(crc << 4) ^ table[(crc >> 12) ^ (byte >> 4)];
        crc = (uint16_t)(crc << 4) ^ table[(crc >> 12) ^ (byte & 15)];
    }
    return crc;
}

unsigned slot_of(struct slice key)
{
    const char *open = key.n ? memchr(key.p, '{', key.n) : NULL;
    if (open) {
        struct slice rest = {open + 1, key.n - (size_t)(open + 1 - key.p)};
        const char *close = rest.n ? memchr(rest.p, '}', rest.n) : NULL;
        if (close && close > rest.p)
            key = (struct slice){rest.p, (size_t)(close - rest.p)};
    }
    return crc16(key) % SLOT_COUNT;
}

/* The next word, off the front. */
static struct slice word(struct slice *rest)
{
    size_t n = 0;
    while (n < rest->n && rest->p[n] != ' ')
        n++;
    struct slice taken = {rest->p, n};
    size_t used = n < rest->n ? n + 1 : n;
    *rest = (struct slice){rest->p + used, rest->n - used};
    return taken;
}

/* "slot host:port"; the last colon counts, for IPv6 addresses come without brackets. */
static bool read_place(struct slice rest, struct slot_place *place)
{
    struct slice slot = word(&rest), where = word(&rest);
    size_t colon = where.n;
    uint64_t port = 0, number = 0;
    while (colon && where.p[colon - 1] != ':')
        colon--;
    if (!colon || rest.n || !number_parse(slot, SLOT_COUNT - 1, &number) ||
        !number_parse((struct slice){where.p + colon, where.n - colon}, UINT16_MAX, &port) || port == 0)
        return false;
    place->slot = (unsigned)number;
    place->host = (struct slice){where.p, colon - 1};
    place->port = (uint16_t)port;
    return true;
}

enum slot_answer slot_error(struct slice error, struct slot_place *place)
{
    struct slice rest = error, first = word(&rest);
    bool moved = slice_equal(first, SLICE("MOVED")), ask = slice_equal(first, SLICE("ASK"));
    if (moved || ask) {
        if (!read_place(rest, place))
            return SLOT_AGAIN;
        return moved ? SLOT_MOVED : SLOT_ASK;
    }
    return slice_equal(first, SLICE("TRYAGAIN")) || slice_equal(first, SLICE("CLUSTERDOWN")) ? SLOT_AGAIN : SLOT_ANSWER;
}
