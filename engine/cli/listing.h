/* listing.h - many addresses of the suppression list at once: read from arguments and files, asked for by bucket. */
#ifndef CLI_LISTING_H
#define CLI_LISTING_H

#include "cli/ask.h"
#include "proto/policy/suppress.h"

enum { LISTING_BATCH = 8192, LISTING_FAULTS_SAID = 20 };

/* One address and what is, or will be, written of it. */
struct listing_entry {
    char key[LIMIT_ADDRESS + 1];
    char value[SUPPRESS_VALUE + 1];
    char reason[SUPPRESS_REASON + 1], campaign[LIMIT_CAMPAIGN_ID + 1]; /* what `entry` borrows */
    struct suppress_entry entry;
    bool listed; /* found there */
};

struct listing {
    struct ask *ask;
    /* Does something with a batch, which ends then. False: Redis is away; said why. */
    bool (*flush)(struct listing *listing);
    struct listing_entry *entries; /* LISTING_BATCH, owned by whoever made the listing */
    unsigned count;
    char reason[SUPPRESS_REASON + 1]; /* of addresses that come without one */
    int64_t now_ms;
    uint64_t addresses, changed; /* so far: read, and answered by Redis as changed or found */
    uint64_t left_out;           /* were no addresses; said which */
    bool as_json;
};

/* False, and said why: it is no address. */
must_use bool listing_add(struct listing *listing, const char *address);
/* All of a file ("-": standard input): CSV with a header, JSON lines, or, if `lines`, an address a line. What is no
 * address is left out and said with its line; a file that is broken ends it. CLI_OK or the exit code. */
must_use int listing_read(struct listing *listing, const char *path, bool lines);
/* Flushes what is left. */
must_use bool listing_end(struct listing *listing);

/* For `flush`: the entries' values go to the list, they are taken off it, or what is there of them is read. */
must_use bool listing_write(struct listing *listing);
must_use bool listing_remove(struct listing *listing);
must_use bool listing_look(struct listing *listing);
/* Any text as a reason: what no reason may hold becomes '-'. */
void listing_reason(char reason[SUPPRESS_REASON + 1], const char *text);

#endif
