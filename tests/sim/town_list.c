/* The oracles of the suppression list: nobody on it has mail that began more than a minute later, and whoever was
 * refused for good is on it. Keys and buckets are worked out here anew. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "io/io.h"

/* What the list promises, and a message's own time. */
enum { FRESH_S = 60, MESSAGE_S = 2 };

static unsigned bucket_of(const char *key)
{
    uint32_t crc = 0xffffffff; /* bit by bit, as ISO 3309 has it */
    for (const char *p = key; *p; p++) {
        crc ^= (unsigned char)*p;
        for (unsigned i = 0; i < 8; i++)
            crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
    return ~crc & 255;
}

static void lower(const char *address, char *key, size_t cap)
{
    size_t n = 0;
    for (; address[n] && n + 1 < cap; n++)
        key[n] = ascii_lower(address[n]);
    key[n] = 0;
}

void town_suppress(struct town *town, const char *key, const char *value)
{
    char bucket[64];
    size_t n;
    snprintf(bucket, sizeof bucket, "sluice:suppressed:%02x", bucket_of(key));
    struct slice args[] = {SLICE("HSET"), slice_of(bucket), slice_of(key), slice_of(value)};
    char *reply = fake_redis_argv(town->redis, args, countof(args), &n);
    assert_int_equal(reply[0], ':');
    free(reply);
}

/* The value of an address; "" : it is not there. */
void town_suppressed(struct town *town, const char *address, char *value, size_t cap)
{
    char key[512];
    lower(address, key, sizeof key);
    char *reply = fake_redis_do(town->redis, "HGET sluice:suppressed:%02x %s", bucket_of(key), key);
    const char *text = reply[0] == '$' && reply[1] != '-' ? strchr(reply, '\n') + 1 : "";
    snprintf(value, cap, "%.*s", (int)strcspn(text, "\r"), text);
    free(reply);
}

void town_judge_suppressed(struct town *town, const char *address, nsec since)
{
    const struct mx_ledger *ledger = &town->mail->ledger;
    char key[512], recipient[512];
    lower(address, key, sizeof key);
    for (size_t i = 0; i < ledger->accepted_count; i++) {
        lower(mx_ledger_recipient(ledger, &ledger->accepted[i]), recipient, sizeof recipient);
        if (strcmp(recipient, key) == 0 && ledger->accepted[i].at > since + (FRESH_S + MESSAGE_S) * NSEC_PER_S)
            fail_msg("seed %llu: %s has a message that came %lld s after it was suppressed",
                     (unsigned long long)town->seed, address,
                     (long long)((ledger->accepted[i].at - since) / NSEC_PER_S));
    }
}

/* The text behind `name` in an entry of the stream, as RESP has it. */
static bool says(const char *entry, const char *end, const char *name, char *value, size_t cap)
{
    char field[64];
    snprintf(field, sizeof field, "\n%s\r\n$", name);
    const char *at = strstr(entry, field), *text = at && at < end ? strchr(at + strlen(field), '\n') : NULL;
    if (!text)
        return false;
    snprintf(value, cap, "%.*s", (int)strcspn(text + 1, "\r"), text + 1);
    return true;
}

unsigned town_judge_listed(struct town *town, const char *id)
{
    char *stream = fake_redis_do(town->redis, "XRANGE sluice:{%s}:events - +", id);
    unsigned listed = 0;
    for (char *at = strstr(stream, "\ntype\r\n"), *next; at; at = next) {
        char type[32] = "", kind[32] = "", class_[32] = "", to[256] = "", value[256];
        next = strstr(at + 1, "\ntype\r\n");
        const char *end = next ? next : at + strlen(at);
        if (!says(at, end, "type", type, sizeof type) || strcmp(type, "bounced") != 0)
            continue;
        bool has = says(at, end, "kind", kind, sizeof kind) && says(at, end, "class", class_, sizeof class_) &&
                   says(at, end, "to", to, sizeof to);
        assert_true(has);
        town_suppressed(town, to, value, sizeof value);
        bool dead = strcmp(kind, "hard") == 0 && strcmp(class_, "bad-mailbox") == 0;
        if (dead && !value[0])
            fail_msg("seed %llu: %s bounced (%s) and is not on the list", (unsigned long long)town->seed, to, class_);
        if (strcmp(kind, "block") == 0 && value[0])
            fail_msg("seed %llu: %s is on the list for a block", (unsigned long long)town->seed, to);
        listed += dead;
    }
    free(stream);
    return listed;
}
