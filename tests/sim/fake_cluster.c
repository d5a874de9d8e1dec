/* The fake Redis as one of several: which of them a key belongs to, and what it says to those who ask the wrong one. */
#include "fake_command.h"
#include "store/slot.h"

#include <stdio.h>
#include <stdlib.h>

struct fake_cluster {
    struct fake_redis *nodes[FAKE_CLUSTER_NODES];
    char address[FAKE_CLUSTER_NODES][24];
    unsigned count;
    bool again, down;
    uint8_t owner[SLOT_COUNT];                    /* as it is */
    uint8_t view[FAKE_CLUSTER_NODES][SLOT_COUNT]; /* as each of them knows it */
    unsigned slot, from, to;                      /* that moves; SLOT_NONE: none does */
    struct fake_cluster_counts counts;
};

/* ---- which slot ---- */

/* The keys of a command. None: any server will do. */
static void keys_of(const struct slice *args, unsigned count, unsigned *first, unsigned *end)
{
    static const char *const without[] = {"PING",   "INFO",    "TIME",      "CONFIG", "FUNCTION", "SCAN",   "AUTH",
                                          "SELECT", "PUBLISH", "SUBSCRIBE", "DBSIZE", "CLUSTER",  "ASKING", "COMMAND"};
    *first = *end = 1;
    for (unsigned i = 0; i < countof(without); i++)
        if (fake_word(args[0], without[i]))
            return;
    if (fake_word(args[0], "FCALL")) {
        int64_t keys;
        *first = *end = 3;
        if (count > 2 && fake_integer(args[2], &keys) && keys > 0 && keys <= (int64_t)count - 3)
            *end += (unsigned)keys;
        return;
    }
    bool all = fake_word(args[0], "SUNION") || fake_word(args[0], "DEL") || fake_word(args[0], "EXISTS");
    *end = all ? count : count > 1 ? 2 : 1;
}

static void point(const struct fake_cluster *cluster, struct fake_buffer *out, const char *word, unsigned slot,
                  unsigned node)
{
    fake_say_error(out, "%s %u %s:%u", word, slot, cluster->address[node], (unsigned)FAKE_CLUSTER_PORT);
}

/* The slot is between two servers, and this is one of them. True: an error was said. */
static bool is_between(struct fake_redis *fake, unsigned slot, bool asking, const struct slice *keys, unsigned count,
                       struct fake_buffer *out)
{
    struct fake_cluster *cluster = fake->cluster;
    bool gives = slot == cluster->slot && fake->node == cluster->from;
    bool takes = slot == cluster->slot && fake->node == cluster->to && asking;
    unsigned missing = 0;
    for (unsigned i = 0; i < count; i++)
        missing += !fake_key_any(fake, keys[i]);
    if ((gives && missing && missing < count && cluster->again) || (takes && missing && count > 1)) {
        cluster->counts.again++;
        fake_say_error(out, "TRYAGAIN Multiple keys request during rehashing of slot");
        return true;
    }
    if (gives && missing) {
        cluster->counts.ask++;
        point(cluster, out, "ASK", slot, cluster->to);
        return true;
    }
    return false;
}

bool fake_cluster_refuses(struct fake_redis *fake, bool asking, const struct slice *args, unsigned count,
                          struct fake_buffer *out)
{
    struct fake_cluster *cluster = fake->cluster;
    unsigned first, end;
    keys_of(args, count, &first, &end);
    if (first == end)
        return false;
    unsigned slot = slot_of(args[first]);
    for (unsigned i = first; i < end; i++)
        if (slot_of(args[i]) != slot) {
            fake_say_error(out, "CROSSSLOT Keys in request don't hash to the same slot");
            return true;
        }
    if (cluster->down) {
        cluster->counts.down++;
        fake_say_error(out, "CLUSTERDOWN The cluster is down");
        return true;
    }
    unsigned owner = cluster->view[fake->node][slot];
    cluster->counts.asking += asking;
    if (owner == fake->node || (asking && slot == cluster->slot && fake->node == cluster->to))
        return is_between(fake, slot, asking, args + first, end - first, out);
    cluster->counts.moved++;
    point(cluster, out, "MOVED", slot, owner);
    return true;
}

/* ---- CLUSTER SLOTS ---- */

void fake_cluster_say_slots(struct fake_redis *fake, struct fake_buffer *out)
{
    struct fake_cluster *cluster = fake->cluster;
    const uint8_t *view = cluster->view[fake->node];
    unsigned ranges = 1;
    cluster->counts.maps++;
    for (unsigned slot = 1; slot < SLOT_COUNT; slot++)
        ranges += view[slot] != view[slot - 1];
    fake_say_array(out, ranges);
    for (unsigned from = 0, to; from < SLOT_COUNT; from = to + 1) {
        to = from;
        while (to + 1 < SLOT_COUNT && view[to + 1] == view[from])
            to++;
        fake_say_array(out, 3);
        fake_say_number(out, from);
        fake_say_number(out, to);
        fake_say_array(out, 3);
        fake_say_text(out, slice_of(cluster->address[view[from]]));
        fake_say_number(out, FAKE_CLUSTER_PORT);
        fake_say_text(out, SLICE("0123456789abcdef0123456789abcdef01234567"));
    }
}

/* ---- moving ---- */

bool fake_cluster_moves(const struct fake_cluster *cluster) { return cluster->slot != SLOT_NONE; }

void fake_cluster_move(struct fake_cluster *cluster, unsigned slot, unsigned to)
{
    sluice_assert(!fake_cluster_moves(cluster) && to != cluster->owner[slot]);
    cluster->slot = slot;
    cluster->from = cluster->owner[slot];
    cluster->to = to;
    cluster->view[cluster->from][slot] = (uint8_t)cluster->from; /* it has heard by now that it has the slot */
}

unsigned fake_cluster_carry(struct fake_cluster *cluster, unsigned keys)
{
    struct fake_redis *from = cluster->nodes[cluster->from], *to = cluster->nodes[cluster->to];
    unsigned left = 0;
    for (uint32_t i = 0; i < from->keys.used; i++) {
        struct fake_text *key = from->keys.entries[i].key;
        void *value, *old;
        if (!key || slot_of(fake_text_slice(key)) != cluster->slot)
            continue;
        if (!keys) {
            left++;
            continue;
        }
        keys--;
        struct fake_text *name = fake_text_new(fake_text_slice(key)); /* the entry's own goes with it */
        if (fake_dict_take(&to->keys, fake_text_slice(name), &old))
            fake_value_free(old);
        bool had = fake_dict_take(&from->keys, fake_text_slice(name), &value);
        sluice_assert(had);
        fake_dict_put(&to->keys, fake_text_slice(name))->value = value;
        free(name);
    }
    return left;
}

static void own(struct fake_cluster *cluster, unsigned slot, unsigned node)
{
    cluster->owner[slot] = (uint8_t)node;
    cluster->view[node][slot] = (uint8_t)node;
}

void fake_cluster_arrive(struct fake_cluster *cluster)
{
    unsigned left = fake_cluster_carry(cluster, 0);
    sluice_assert(!left);
    own(cluster, cluster->slot, cluster->to);
    cluster->view[cluster->from][cluster->slot] = (uint8_t)cluster->to;
    cluster->slot = SLOT_NONE;
}

void fake_cluster_mislead(struct fake_cluster *cluster, unsigned node, unsigned slot, unsigned believed)
{
    cluster->view[node][slot] = (uint8_t)believed;
}

void fake_cluster_gossip(struct fake_cluster *cluster)
{
    for (unsigned i = 0; i < cluster->count; i++)
        memcpy(cluster->view[i], cluster->owner, sizeof cluster->owner);
}

void fake_cluster_follow(struct fake_cluster *cluster, unsigned master, unsigned replica)
{
    struct fake_redis *to = cluster->nodes[replica];
    fake_keys_free(&to->keys);
    to->keys = fake_keys_copy(&cluster->nodes[master]->keys);
}

void fake_cluster_promote(struct fake_cluster *cluster, unsigned master, unsigned replica)
{
    sluice_assert(!fake_cluster_moves(cluster));
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
        if (cluster->owner[slot] == master)
            own(cluster, slot, replica);
    memcpy(cluster->view[replica], cluster->owner, sizeof cluster->owner);
}

void fake_cluster_down(struct fake_cluster *cluster, bool down) { cluster->down = down; }

/* ---- start and end ---- */

struct fake_cluster *fake_cluster_new(unsigned count, unsigned masters, bool again)
{
    struct fake_cluster *cluster = calloc(1, sizeof *cluster);
    sluice_assert(cluster && count <= FAKE_CLUSTER_NODES && masters > 0 && masters <= count);
    cluster->count = count;
    cluster->again = again;
    cluster->slot = SLOT_NONE;
    for (unsigned i = 0; i < count; i++) {
        cluster->nodes[i] = fake_redis_new(0);
        cluster->nodes[i]->cluster = cluster;
        cluster->nodes[i]->node = i;
        snprintf(cluster->address[i], sizeof cluster->address[i], "10.0.1.%u", i + 1);
    }
    for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
        cluster->owner[slot] = (uint8_t)(slot * masters / SLOT_COUNT);
    fake_cluster_gossip(cluster);
    return cluster;
}

void fake_cluster_free(struct fake_cluster *cluster)
{
    for (unsigned i = 0; i < cluster->count; i++)
        fake_redis_free(cluster->nodes[i]);
    free(cluster);
}

struct fake_redis *fake_cluster_node(const struct fake_cluster *cluster, unsigned node) { return cluster->nodes[node]; }
const char *fake_cluster_address(const struct fake_cluster *cluster, unsigned node) { return cluster->address[node]; }
unsigned fake_cluster_owner(const struct fake_cluster *cluster, unsigned slot) { return cluster->owner[slot]; }
const struct fake_cluster_counts *fake_cluster_counts(const struct fake_cluster *cluster) { return &cluster->counts; }
