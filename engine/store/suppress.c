/* The steps on the suppression list. They are outside of all campaigns: a bucket and its strikes are a slot of their
 * own. */
#include "store/suppress.h"

#include "store/step.h"

enum { SCAN_COUNT = 1000 };

/* "prefix:suppressed:3f" as the next argument; of its strikes with braces around it, so that both are one slot. */
static void bucket_key(struct store *store, uint8_t bucket, bool strikes)
{
    static const char digits[] = "0123456789abcdef";
    const char hex[2] = {digits[bucket >> 4], digits[bucket & 15]};
    const struct slice parts[] = {strikes ? SLICE("{") : SLICE(""),
                                  slice_of(store->prefix),
                                  SLICE(":suppressed:"),
                                  {hex, sizeof hex},
                                  strikes ? SLICE("}:strikes") : SLICE("")};
    step_joined_key(store, parts, countof(parts));
}

static void begin(struct store *store, const char *function, uint8_t bucket)
{
    step_begin_function(store, function, 2);
    bucket_key(store, bucket, false);
    bucket_key(store, bucket, true);
}

static void arguments(struct store *store, const struct slice *texts, unsigned count)
{
    sluice_assert(count > 0 && count <= 2 * STORE_SUPPRESS_MOST);
    for (unsigned i = 0; i < count; i++)
        resp_text(&store->command, texts[i]);
}

static void read_values(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_OK};
    (void)repeated;
    for (unsigned i = 0; i < reply->count; i++) {
        const struct resp_node *node = reply + 1 + i; /* texts and nils: one node each */
        bool found = node->type == RESP_STRING;
        step_item(store, found ? (struct slice){node->text.n ? node->text.p : "", node->text.n} : (struct slice){0});
    }
    step_done(store, r, &answer);
}

void store_suppressed(struct store *store, struct store_request *r, uint8_t bucket, const struct slice *keys,
                      unsigned count)
{
    step_begin_command(store, "HMGET");
    bucket_key(store, bucket, false);
    arguments(store, keys, count);
    step_ask(store, r, read_values, 0);
}

static int64_t ms_of(nsec duration) { return duration / NSEC_PER_MS; }

void store_strike(struct store *store, struct store_request *r, const struct store_strike *strike)
{
    struct suppress_entry entry = {.reason = strike->class_,
                                   .campaign = strike->campaign,
                                   .has_seq = true,
                                   .seq = strike->seq,
                                   .when_ms = strike->now_ms};
    char value[SUPPRESS_VALUE + 1];
    size_t n = suppress_write(value, &entry);
    sluice_assert(strike->after > 0);
    begin(store, "strike", suppress_bucket(strike->key));
    resp_text(&store->command, strike->key);
    resp_text(&store->command, (struct slice){value, n});
    resp_text(&store->command, strike->class_);
    resp_text(&store->command, strike->campaign);
    resp_unsigned(&store->command, strike->seq);
    resp_unsigned(&store->command, strike->attempt);
    resp_number(&store->command, strike->now_ms);
    resp_unsigned(&store->command, strike->after);
    resp_number(&store->command, ms_of(strike->within));
    resp_number(&store->command, ms_of(strike->keep));
    step_ask(store, r, step_read_command, 0);
}

/* ---- for the command line ---- */

void store_suppress(struct store *store, struct store_request *r, uint8_t bucket, const struct slice *keys_values,
                    unsigned count)
{
    sluice_assert(count % 2 == 0);
    step_begin_command(store, "HSET");
    bucket_key(store, bucket, false);
    arguments(store, keys_values, count);
    step_ask(store, r, step_read_command, 0);
}

void store_unsuppress(struct store *store, struct store_request *r, uint8_t bucket, const struct slice *keys,
                      unsigned count)
{
    begin(store, "unsuppress", bucket);
    arguments(store, keys, count);
    step_ask(store, r, step_read_command, 0);
}

static void read_scan(struct store *store, struct store_request *r, const struct resp_node *reply, bool repeated)
{
    struct store_answer answer = {.result = STORE_OK};
    (void)repeated;
    step_item(store, resp_to_text(resp_member(reply, 0)));
    step_items_of(store, resp_member(reply, 1));
    step_done(store, r, &answer);
}

void store_suppressed_scan(struct store *store, struct store_request *r, uint8_t bucket, struct slice cursor)
{
    step_begin_command(store, "HSCAN");
    bucket_key(store, bucket, false);
    resp_text(&store->command, cursor);
    step_text(store, "COUNT");
    resp_unsigned(&store->command, SCAN_COUNT);
    step_ask(store, r, read_scan, 0);
}
