/* A list of millions is read a batch at a time and written a bucket at a time, so that neither memory nor round trips
 * grow with it. */
#include "cli/listing.h"

#include "cli/counts.h"
#include "cli/input.h"
#include "cli/text.h"
#include "net/idn.h"
#include "proto/number.h"
#include "proto/smtp/address.h"
#include "store/suppress.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>

/* ---- buckets ---- */

enum { PARTS_MAX = SUPPRESS_BUCKETS + LISTING_BATCH / STORE_SUPPRESS_MOST };

/* Entries of one bucket, at most STORE_SUPPRESS_MOST of them. */
struct part {
    struct ask_answer answer;
    uint8_t bucket;
    unsigned first, count; /* in `order` */
};

struct parts {
    struct listing *listing;
    struct part parts[PARTS_MAX];
    unsigned count;
    unsigned order[LISTING_BATCH]; /* entries by bucket, otherwise as they came */
};

static uint8_t bucket_of(const struct listing_entry *entry) { return suppress_bucket(slice_of(entry->key)); }

static struct parts *make_parts(struct listing *listing)
{
    unsigned starts[SUPPRESS_BUCKETS + 1] = {0};
    struct parts *p = calloc(1, sizeof *p);
    sluice_assert(p);
    p->listing = listing;
    for (unsigned i = 0; i < listing->count; i++)
        starts[bucket_of(&listing->entries[i]) + 1]++;
    for (unsigned b = 0; b < SUPPRESS_BUCKETS; b++) {
        for (unsigned n = 0; n < starts[b + 1]; n += STORE_SUPPRESS_MOST) {
            unsigned left = starts[b + 1] - n;
            p->parts[p->count++] = (struct part){.bucket = (uint8_t)b,
                                                 .first = starts[b] + n,
                                                 .count = left < STORE_SUPPRESS_MOST ? left : STORE_SUPPRESS_MOST};
        }
        starts[b + 1] += starts[b];
    }
    for (unsigned i = 0; i < listing->count; i++)
        p->order[starts[bucket_of(&listing->entries[i])]++] = i;
    return p;
}

static struct listing_entry *entry_of(struct parts *p, const struct part *part, unsigned i)
{
    return &p->listing->entries[p->order[part->first + i]];
}

/* By hand: gcc 12 takes the array for one of no bytes when it looks for its end by strlen. */
static struct slice value_of(const struct listing_entry *entry)
{
    size_t n = 0;
    while (n < SUPPRESS_VALUE && entry->value[n])
        n++;
    return (struct slice){entry->value, n};
}

/* `values`: of each its value too. */
static unsigned texts_of(struct parts *p, const struct part *part, bool values, struct slice *texts)
{
    unsigned n = 0;
    for (unsigned i = 0; i < part->count; i++) {
        const struct listing_entry *entry = entry_of(p, part, i);
        texts[n++] = slice_of(entry->key);
        if (values)
            texts[n++] = value_of(entry);
    }
    return n;
}

/* Asks for all parts in one write, and waits for all. */
static bool each_part(struct listing *listing, bool values,
                      void (*step)(struct store *, struct store_request *, uint8_t, const struct slice *, unsigned),
                      void (*read)(struct parts *p, struct part *part))
{
    struct slice texts[2 * STORE_SUPPRESS_MOST];
    struct parts *p = make_parts(listing);
    bool good = true;
    for (unsigned i = 0; i < p->count; i++)
        step(listing->ask->store, ask_request(&p->parts[i].answer), p->parts[i].bucket, texts,
             texts_of(p, &p->parts[i], values, texts));
    for (unsigned i = 0; i < p->count; i++) {
        good = ask_wait(listing->ask, &p->parts[i].answer) && good;
        if (good)
            read(p, &p->parts[i]);
    }
    if (listing->ask->gave_up) /* requests are still out, and in this memory */
        return false;
    for (unsigned i = 0; i < p->count; i++)
        ask_free(&p->parts[i].answer);
    free(p);
    return good;
}

static void read_number(struct parts *p, struct part *part) { p->listing->changed += (uint64_t)part->answer.number; }

static void read_found(struct parts *p, struct part *part)
{
    for (unsigned i = 0; i < part->count && i < part->answer.item_count; i++) {
        struct listing_entry *entry = entry_of(p, part, i);
        struct slice value = part->answer.items[i];
        entry->listed = value.p != NULL;
        slice_copy(entry->value, sizeof entry->value, value);
        p->listing->changed += entry->listed;
    }
}

bool listing_write(struct listing *listing) { return each_part(listing, true, store_suppress, read_number); }
bool listing_remove(struct listing *listing) { return each_part(listing, false, store_unsuppress, read_number); }
bool listing_look(struct listing *listing) { return each_part(listing, false, store_suppressed, read_found); }

/* ---- one address ---- */

void listing_reason(char reason[SUPPRESS_REASON + 1], const char *text)
{
    size_t n = 0;
    for (; text[n] && n < SUPPRESS_REASON; n++)
        reason[n] = suppress_is_reason((struct slice){text + n, 1}) ? text[n] : '-';
    reason[n] = 0;
    if (!suppress_is_reason(slice_of(reason)))
        snprintf(reason, SUPPRESS_REASON + 1, "listed");
}

/* NULL, or what is wrong with it. */
static const char *read_address(struct listing_entry *entry, const char *text)
{
    struct address address;
    struct address_fault fault;
    char ascii[LIMIT_DOMAIN + 1];
    if (!address_parse(slice_trim(slice_of(text)), &address, &fault))
        return fault.reason;
    if (!idn_to_ascii(address.domain, ascii) && address.utf8_domain)
        return "the domain is no internationalised domain name";
    struct slice domain = address.utf8_domain ? slice_of(ascii) : address.domain;
    if (address.local.n + 1 + domain.n > LIMIT_ADDRESS)
        return "the address is longer than 254 octets";
    suppress_key(entry->key, address.local, domain);
    return NULL;
}

static struct listing_entry *next_entry(struct listing *listing)
{
    struct listing_entry *entry = &listing->entries[listing->count];
    *entry = (struct listing_entry){.entry = {.when_ms = listing->now_ms}};
    snprintf(entry->reason, sizeof entry->reason, "%s", listing->reason);
    return entry;
}

static bool take(struct listing *listing, struct listing_entry *entry)
{
    entry->entry.reason = slice_of(entry->reason);
    entry->entry.campaign = slice_of(entry->campaign);
    suppress_write(entry->value, &entry->entry);
    listing->addresses++;
    listing->count++;
    return listing->count < LISTING_BATCH || listing_end(listing);
}

bool listing_end(struct listing *listing)
{
    bool good = !listing->count || listing->flush(listing);
    listing->count = 0;
    return good;
}

bool listing_add(struct listing *listing, const char *address)
{
    struct listing_entry *entry = next_entry(listing);
    const char *wrong = read_address(entry, address);
    if (wrong)
        cli_error("\"%s\" is no address: %s", address, wrong);
    return !wrong && take(listing, entry);
}

/* ---- files ---- */

/* A field as text, "" if it is not there; false: it is neither text nor a number. */
static bool field(const json_t *object, const char *name, char *to, size_t cap)
{
    const json_t *value = json_object_get(object, name);
    to[0] = 0;
    if (json_is_integer(value))
        snprintf(to, cap, "%lld", (long long)json_integer_value(value));
    else if (json_is_string(value))
        snprintf(to, cap, "%s", json_string_value(value));
    else
        return !value || json_is_null(value);
    return true;
}

/* NULL, or what is wrong with the record. */
static const char *read_record(struct listing_entry *entry, const json_t *object)
{
    char to[1024], reason[1024], campaign[LIMIT_CAMPAIGN_ID + 2], seq[32], when[32];
    uint64_t number;
    if (!field(object, "to", to, sizeof to) || !field(object, "reason", reason, sizeof reason) ||
        !field(object, "campaign", campaign, sizeof campaign) || !field(object, "seq", seq, sizeof seq) ||
        !field(object, "when", when, sizeof when))
        return "to, reason, campaign, seq and when are texts or numbers";
    if (!to[0] && (!field(object, "email", to, sizeof to) || !to[0]))
        return "it has no \"to\"";
    if (reason[0])
        listing_reason(entry->reason, reason);
    if (campaign[0] && !counts_id_is_plain(campaign))
        return "campaign is 1 to 64 of A-Z a-z 0-9 . _ -";
    if (seq[0] && !number_parse(slice_of(seq), UINT64_MAX, &entry->entry.seq))
        return "seq is a whole number";
    if (when[0] && !number_parse(slice_of(when), INT64_MAX, &number))
        return "when is a whole number: milliseconds since 1970, UTC";
    entry->entry.has_seq = seq[0] != 0;
    if (when[0])
        entry->entry.when_ms = (int64_t)number;
    slice_copy(entry->campaign, sizeof entry->campaign, slice_of(campaign));
    return read_address(entry, to);
}

static const char *read_text(struct listing_entry *entry, struct slice text)
{
    char line[1024];
    if (!text.n || text.p[0] != '{') {
        slice_copy(line, sizeof line, text);
        return text.n < sizeof line ? read_address(entry, line) : "it is no address";
    }
    json_t *object = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    const char *wrong = json_is_object(object) ? read_record(entry, object) : "it is no JSON object";
    json_decref(object);
    return wrong;
}

static int read_all(struct listing *listing, struct input *input, const char *name)
{
    struct slice text;
    enum input_result result;
    while ((result = input_next(input, &text)) == INPUT_ENTRY) {
        struct listing_entry *entry = next_entry(listing);
        const char *wrong = read_text(entry, slice_trim(text));
        if (!wrong) {
            if (!take(listing, entry))
                return CLI_FAILED;
            continue;
        }
        if (listing->left_out++ < LISTING_FAULTS_SAID)
            cli_error("%s, line %lu: %s", name, input_line(input), wrong);
    }
    if (result == INPUT_FAULT)
        cli_error("%s, " SLICE_FORMAT "; what stands before it has been taken", name, SLICE_ARGS(text));
    return result == INPUT_END ? CLI_OK : CLI_FAILED;
}

int listing_read(struct listing *listing, const char *path, bool lines)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    FILE *file = is_stdin ? stdin : fopen(path, "re");
    if (!file) {
        cli_error("%s cannot be read: %s", path, strerror(errno));
        return CLI_FAILED;
    }
    struct input *input = input_open(file, lines ? INPUT_LINES : input_guess(name, file));
    int code = input ? read_all(listing, input, name) : CLI_FAILED;
    input_close(input);
    if (!is_stdin)
        fclose(file);
    return code;
}
