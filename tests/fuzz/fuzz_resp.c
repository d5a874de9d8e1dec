/* fuzz_resp.c - whatever comes from Redis' socket is replies or is none, and how it was cut on the way changes nothing.
 *
 * The first byte says how: pieces of so many bytes, and one more each time. */
#include "store/resp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t mix(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * 1099511628211u;
    return hash;
}

/* A reply as a number; its members are walked to as the store does it. */
static uint64_t hash_of(const struct resp_node *node)
{
    uint64_t hash = mix(14695981039346656037u, &node->type, sizeof node->type);
    int64_t number = resp_to_number(node);
    struct slice text = resp_to_text(node);
    unsigned size = 1;
    hash = mix(hash, &number, sizeof number);
    hash = mix(hash, text.p, text.n);
    for (unsigned i = 0; node->type == RESP_ARRAY && i < node->count; i++) {
        const struct resp_node *member = resp_member(node, i);
        sluice_assert(member);
        uint64_t inner = hash_of(member);
        hash = mix(hash, &inner, sizeof inner);
        size += member->size;
    }
    sluice_assert(size == node->size && !resp_member(node, node->count));
    return hash;
}

/* All replies that are in there, and whether it ended as rubbish. */
static uint64_t read_in_pieces(struct slice bytes, size_t piece, size_t more)
{
    struct resp_in *in = resp_in_open();
    const struct resp_node *nodes;
    unsigned count;
    uint64_t hash = 0;
    int got = 0;
    sluice_assert(in);
    while (bytes.n && got >= 0) {
        size_t n = bytes.n < piece ? bytes.n : piece;
        resp_in_feed(in, (struct slice){bytes.p, n});
        bytes = (struct slice){bytes.p + n, bytes.n - n};
        piece += more;
        while ((got = resp_in_next(in, &nodes, &count)) > 0) {
            sluice_assert(count > 0 && nodes->size == count);
            uint64_t reply = hash_of(nodes);
            hash = mix(hash, &reply, sizeof reply);
        }
    }
    resp_in_free(in);
    return mix(hash, &got, sizeof got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct slice bytes = {(const char *)data + 1, size - 1};
    uint64_t whole = read_in_pieces(bytes, bytes.n, 0);
    sluice_assert(read_in_pieces(bytes, 1 + data[0], 1) == whole);
    return 0;
}
