/* counts.h - what a campaign's numbers in Redis mean to people. */
#ifndef CLI_COUNTS_H
#define CLI_COUNTS_H

#include "cli/ask.h"

/* A campaign as one look shows it. Owned by whoever looked; freed by counts_free. */
struct counts {
    struct store_view view;
    enum store_state state;
    struct ask_answer answer; /* its items are the hash's fields */
    uint64_t ended;           /* recipients with a final event */
    uint64_t open;            /* pushed and not ended */
};

/* False: Redis is away, said why. A campaign that there is not has !view.exists. */
must_use bool counts_look(struct ask *ask, struct slice campaign, struct counts *counts);
void counts_free(struct counts *counts);
/* The phase as the engine wrote it, "new" before any engine saw it. */
const char *counts_phase(const struct counts *counts);
bool counts_over(const struct counts *counts);         /* done or cancelled */
bool counts_only_held(const struct counts *counts);    /* the rest is in doubt: people must say what becomes of it */
const char *counts_state(const struct counts *counts); /* as people set it: "running" unless they said otherwise */
struct slice counts_field(const struct counts *counts, const char *name);
/* The caller owns it (jansson's json_t; its header and proto/json.h do not go together). */
struct json_t *counts_json(const struct counts *counts, const char *campaign);

bool counts_id_is_plain(const char *campaign);
/* 1 .. LIMIT_CAMPAIGN_ID of [A-Za-z0-9._-]; else says so. */
must_use bool counts_id_fits(const char *campaign);

#endif
