/* mx_ledger.c - what the exchangers accepted and what the client did wrong, kept compactly so that a million messages
 * fit in memory and written as lines that people and tests can read. */
#include "bench/mx_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Who sends a new campaign with every message costs text, not time. */
enum { CAMPAIGNS_SEARCHED = 64 };

static const char *const violation_names[MX_VIOLATION_COUNT] = {
    [MX_VIOLATION_NONE] = "none",
    [MX_BARE_CR] = "bare-cr",
    [MX_BARE_LF] = "bare-lf",
    [MX_LINE_TOO_LONG] = "line-too-long",
    [MX_NUL] = "nul",
    [MX_EARLY_TALK] = "early-talk",
    [MX_PIPELINED] = "pipelined",
    [MX_BEHIND_LAST] = "behind-last",
    [MX_DOT_NOT_STUFFED] = "dot-not-stuffed",
    [MX_BODY_UNWANTED] = "body-unwanted",
    [MX_PARAMETER] = "parameter",
    [MX_EIGHT_BIT_UNSAID] = "eight-bit-unsaid",
    [MX_SIZE_EXCEEDED] = "size-exceeded",
    [MX_SEQUENCE] = "sequence",
    [MX_SYNTAX] = "syntax",
    [MX_BEHIND_STARTTLS] = "behind-starttls",
    [MX_PLAIN_TEXT] = "plain-text",
    [MX_AUTH_UNPROTECTED] = "auth-unprotected",
    [MX_CHUNK_UNWANTED] = "chunk-unwanted",
    [MX_CHUNK_SIZE] = "chunk-size",
    [MX_SMUGGLED] = "smuggled",
};

const char *mx_violation_name(enum mx_violation violation)
{
    sluice_assert(violation < MX_VIOLATION_COUNT);
    return violation_names[violation];
}

void *mx_grow(void *array, size_t *cap, size_t need, size_t element)
{
    if (need <= *cap)
        return array;
    size_t wider = *cap ? *cap * 2 : 8;
    while (wider < need)
        wider *= 2;
    array = realloc(array, wider * element);
    sluice_assert(array);
    *cap = wider;
    return array;
}

struct mx_ip mx_ip_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    return (struct mx_ip){{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}};
}

void mx_ip_text(const struct mx_ip *ip, char text[static 46])
{
    const uint8_t *b = ip->b;
    const struct mx_ip mapped = mx_ip_v4(0, 0, 0, 0);
    if (memcmp(b, mapped.b, 12) == 0) {
        snprintf(text, 46, "%u.%u.%u.%u", b[12], b[13], b[14], b[15]);
        return;
    }
    size_t at = 0;
    for (int i = 0; i < 16; i += 2)
        at += (size_t)snprintf(text + at, 46 - at, i ? ":%x" : "%x", (unsigned)(b[i] << 8 | b[i + 1]));
}

/* Returns where the text stands; texts are never moved out of order, so an offset is its name for ever. */
static uint32_t keep_text(struct mx_ledger *ledger, const char *text)
{
    size_t n = strlen(text) + 1;
    sluice_assert(ledger->text_used + n <= UINT32_MAX);
    ledger->text = mx_grow(ledger->text, &ledger->text_cap, ledger->text_used + n, 1);
    memcpy(ledger->text + ledger->text_used, text, n);
    uint32_t at = (uint32_t)ledger->text_used;
    ledger->text_used += n;
    return at;
}

static uint32_t keep_campaign(struct mx_ledger *ledger, const char *campaign)
{
    size_t oldest = ledger->campaign_count > CAMPAIGNS_SEARCHED ? ledger->campaign_count - CAMPAIGNS_SEARCHED : 0;
    for (size_t i = ledger->campaign_count; i-- > oldest;)
        if (strcmp(ledger->text + ledger->campaigns[i], campaign) == 0)
            return ledger->campaigns[i];
    ledger->campaigns = mx_grow(ledger->campaigns, &ledger->campaign_cap, ledger->campaign_count + 1, sizeof(uint32_t));
    return ledger->campaigns[ledger->campaign_count++] = keep_text(ledger, campaign);
}

void mx_ledger_init(struct mx_ledger *ledger)
{
    *ledger = (struct mx_ledger){0};
    keep_campaign(ledger, "");
}

void mx_ledger_free(struct mx_ledger *ledger)
{
    free(ledger->accepted);
    free(ledger->starts);
    free(ledger->text);
    free(ledger->campaigns);
    free(ledger->servers);
    *ledger = (struct mx_ledger){0};
}

const char *mx_ledger_campaign(const struct mx_ledger *ledger, const struct mx_accepted *record)
{
    return ledger->text + record->campaign;
}

const char *mx_ledger_recipient(const struct mx_ledger *ledger, const struct mx_accepted *record)
{
    return ledger->text + record->recipient;
}

const struct mx_server *mx_ledger_server(const struct mx_ledger *ledger, unsigned server)
{
    sluice_assert(server < ledger->server_count);
    return ledger->servers[server];
}

void mx_ledger_add(struct mx_ledger *ledger, const struct mx_conn *conn, nsec now)
{
    const char *recipient = conn->recipients;
    for (uint32_t i = 0; i < conn->recipient_count; i++, recipient += strlen(recipient) + 1) {
        size_t mark = ledger->text_used;
        struct mx_accepted record = {
            .at = now,
            .seq = conn->seq,
            .campaign = keep_campaign(ledger, conn->campaign),
            .recipient = keep_text(ledger, recipient),
            .connection = conn->number,
            .bytes = (uint32_t)(conn->bytes < UINT32_MAX ? conn->bytes : UINT32_MAX),
            .server = conn->server->number,
            .source = conn->source,
            .tls = conn->secure,
            .resumed = conn->resumed,
            .chunked = conn->chunked,
            .authenticated = conn->authenticated,
        };
        if (ledger->on_accept)
            ledger->on_accept(ledger->context, ledger, &record, (struct slice){conn->message, conn->message_used});
        if (ledger->forgetful) {
            if (record.campaign < mark)
                ledger->text_used = mark;
            continue;
        }
        ledger->accepted = mx_grow(ledger->accepted, &ledger->accepted_cap, ledger->accepted_count + 1, sizeof record);
        ledger->accepted[ledger->accepted_count++] = record;
    }
}

void mx_ledger_start(struct mx_ledger *ledger, const struct mx_conn *conn, nsec now)
{
    if (!ledger->keep_starts)
        return;
    ledger->starts = mx_grow(ledger->starts, &ledger->start_cap, ledger->start_count + 1, sizeof *ledger->starts);
    ledger->starts[ledger->start_count++] = (struct mx_start){
        .at = now, .connection = conn->number, .server = conn->server->number, .source = conn->source};
}

void mx_ledger_violation(struct mx_ledger *ledger, const struct mx_conn *conn, enum mx_violation violation,
                         struct slice evidence)
{
    ledger->violations[violation]++;
    if (ledger->violation_total++)
        return;
    char *to = ledger->first_violation;
    size_t cap = sizeof ledger->first_violation;
    size_t at = (size_t)snprintf(to, cap, "%s on connection %u of %s: ", mx_violation_name(violation), conn->number,
                                 conn->server->personality->name);
    for (size_t i = 0; i < evidence.n && at + 5 < cap; i++) {
        unsigned char c = (unsigned char)evidence.p[i];
        if (c >= 0x20 && c < 0x7f)
            to[at++] = (char)c;
        else
            at += (size_t)snprintf(to + at, cap - at, "\\x%02x", c);
    }
    to[at] = 0;
}

size_t mx_ledger_heading(char *line, size_t cap)
{
    return slice_copy(line, cap, SLICE("time_ms\tisp\tsource\tconnection\tcampaign\tseq\trecipient\tbytes\thow\n"));
}

/* A peer may put a tab or worse into an address; a line must stay a line. */
static void printable(char *to, size_t cap, const char *text)
{
    size_t n = 0;
    for (; text[n] && n + 1 < cap; n++)
        to[n] = (unsigned char)text[n] < 0x20 || text[n] == 0x7f ? '?' : text[n];
    to[n] = 0;
}

size_t mx_ledger_line(const struct mx_ledger *ledger, const struct mx_accepted *record, char *line, size_t cap)
{
    sluice_assert(cap >= MX_LEDGER_LINE);
    const struct mx_server *server = mx_ledger_server(ledger, record->server);
    char ip[46], seq[24] = "-", recipient[MX_PATH_MAX + 1], campaign[MX_CAMPAIGN_MAX + 1];
    mx_ip_text(&server->sources[record->source].ip, ip);
    if (record->seq != UINT64_MAX)
        snprintf(seq, sizeof seq, "%llu", (unsigned long long)record->seq);
    printable(recipient, sizeof recipient, mx_ledger_recipient(ledger, record));
    printable(campaign, sizeof campaign, mx_ledger_campaign(ledger, record));
    char how[32];
    snprintf(how, sizeof how, "%s%s%s%s", record->tls ? ",tls" : "", record->resumed ? ",resumed" : "",
             record->chunked ? ",bdat" : "", record->authenticated ? ",auth" : "");
    int n = snprintf(line, cap, "%lld\t%s\t%s\t%u\t%s\t%s\t%s\t%u\t%s\n",
                     (long long)((record->at + ledger->wall_offset) / NSEC_PER_MS), server->personality->name, ip,
                     record->connection, campaign[0] ? campaign : "-", seq, recipient, record->bytes,
                     how[0] ? how + 1 : "-");
    sluice_assert(n > 0 && (size_t)n < cap);
    return (size_t)n;
}
