/* line.c - headers with merge fields: each value is filled in by itself and written by header.c, so that it can never
 * become more than a value. */
#include "proto/message/line.h"

#include "proto/message/header.h"
#include "proto/number.h"
#include "proto/smtp/address.h"

struct value_sink {
    struct template_sink sink;
    struct out out;
};

static void value_text(struct template_sink *sink, uint32_t node, struct slice text)
{
    (void)node;
    out_slice(&container_of(sink, struct value_sink, sink)->out, text);
}

static void value_value(struct template_sink *sink, struct slice value)
{
    out_slice(&container_of(sink, struct value_sink, sink)->out, value);
}

static bool fail(struct line_render *r, const struct line *line, const char *reason, struct slice name)
{
    plan_error(r->error, line->field.n ? line->field : line->name, reason, name);
    return false;
}

/* Renders one template into `scratch`, behind what is there; `value` borrows from it. */
static bool fill(struct line_render *r, const struct line *line, const struct template *template,
                 enum template_escape escape, struct out *scratch, struct slice *value)
{
    struct value_sink sink = {{value_text, value_value}, *scratch};
    struct template_error error;
    if (!template_render(template, r->recipient->json, escape, r->strict, &sink.sink, &error))
        return fail(r, line, error.reason, error.name);
    if (sink.out.n > sink.out.cap)
        return fail(r, line, "longer than a header may be", SLICE(""));
    *value = (struct slice){scratch->p + scratch->n, sink.out.n - scratch->n};
    *scratch = sink.out;
    return true;
}

static bool render_words(struct line_render *r, const struct line *line, struct out *scratch)
{
    struct slice value;
    if (!fill(r, line, &line->templates[0], ESCAPE_NONE, scratch, &value))
        return false;
    for (size_t i = 0; i < value.n; i++)
        if ((unsigned char)value.p[i] >= 0x80)
            return fail(r, line, "this header can hold ASCII alone", line->name);
    size_t run = 0;
    for (size_t i = 0; i < value.n; i++) {
        run = value.p[i] > ' ' ? run + 1 : 0;
        if (run > HEADER_WORD_MAX)
            return fail(r, line, "a word is longer than a line may be", line->name);
    }
    header_words(r->out, line->name, value);
    return true;
}

/* An address that stands in a header: syntax, and ASCII but for its local part. */
static bool check_address(struct line_render *r, const struct line *line, struct slice text, struct address *address)
{
    struct address_fault fault;
    if (!address_parse(text, address, &fault))
        return fail(r, line, fault.reason, SLICE(""));
    if (address->utf8_domain)
        return fail(r, line, "the domain must be written as A-labels (xn--...)", SLICE(""));
    r->utf8 = r->utf8 || address->utf8_local;
    return true;
}

static bool render_mailboxes(struct line_render *r, const struct line *line, struct out *scratch)
{
    struct mailbox mailboxes[PLAN_MAILBOXES_MAX];
    for (unsigned i = 0; i < line->count; i++) {
        struct address address;
        if (!fill(r, line, &line->templates[2 * i], ESCAPE_NONE, scratch, &mailboxes[i].display) ||
            !fill(r, line, &line->templates[2 * i + 1], ESCAPE_NONE, scratch, &mailboxes[i].address) ||
            !check_address(r, line, mailboxes[i].address, &address))
            return false;
        if (line->sender) {
            sluice_assert(address.domain.n <= sizeof(r->domain_room));
            memcpy(r->domain_room, address.domain.p, address.domain.n);
            r->domain = (struct slice){r->domain_room, address.domain.n};
        }
    }
    header_mailboxes(r->out, line->name, mailboxes, line->count);
    return true;
}

static bool starts_with_nocase(struct slice text, struct slice prefix)
{
    return text.n > prefix.n && slice_equal_nocase((struct slice){text.p, prefix.n}, prefix);
}

/* RFC 2369 §2 and RFC 8058 §3.1: the URLs in angle brackets, and one-click if one of them is https. */
static bool render_urls(struct line_render *r, const struct line *line, struct out *scratch)
{
    bool https = false;
    size_t start = scratch->n;
    for (unsigned i = 0; i < line->count; i++) {
        struct slice url;
        out_write(scratch, i ? ", <" : "<", i ? 3 : 1);
        if (!fill(r, line, &line->templates[i], ESCAPE_URL, scratch, &url))
            return false;
        bool one_click = starts_with_nocase(url, SLICE("https:"));
        if (!one_click && !starts_with_nocase(url, SLICE("mailto:")) && !starts_with_nocase(url, SLICE("http:")))
            return fail(r, line, "neither an https nor a mailto URL", SLICE(""));
        if (one_click && https)
            return fail(r, line, "more than one https URL", SLICE(""));
        if (url.n > HEADER_WORD_MAX)
            return fail(r, line, "an URL is longer than a line may be", SLICE(""));
        https = https || one_click;
        out_char(scratch, '>');
    }
    if (scratch->n > scratch->cap)
        return fail(r, line, "longer than a header may be", SLICE(""));
    header_words(r->out, line->name, (struct slice){scratch->p + start, scratch->n - start});
    if (https)
        out_slice(r->out, SLICE("List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"));
    return true;
}

static bool render_to(struct line_render *r, const struct line *line)
{
    struct mailbox mailbox = {SLICE(""), r->recipient->to};
    struct address address;
    if (!check_address(r, line, mailbox.address, &address))
        return false;
    header_mailboxes(r->out, line->name, &mailbox, 1);
    return true;
}

static void two_digits(char *to, unsigned value)
{
    to[0] = (char)('0' + value / 10);
    to[1] = (char)('0' + value % 10);
}

/* RFC 5322 §3.3 in UTC. The civil date from a count of days: years begin in March, so that the leap day is last. */
static void render_date(struct line_render *r)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char text[] = "Date: Sun, 00 Jan 0000 00:00:00 +0000\r\n";
    int64_t seconds = r->recipient->wall / NSEC_PER_S;
    uint32_t day = (uint32_t)(seconds / 86400), second = (uint32_t)(seconds % 86400);
    uint32_t since = day + 719468; /* days since 1 March of the year 0 */
    uint32_t era = since / 146097, of_era = since % 146097;
    uint32_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint32_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t shifted = (5 * of_year + 2) / 153; /* 0 is March */
    uint32_t month = shifted < 10 ? shifted + 2 : shifted - 10, year = year_of_era + era * 400 + (month < 2);
    memcpy(text + 6, days + (day + 4) % 7 * 3, 3);
    two_digits(text + 11, of_year - (153 * shifted + 2) / 5 + 1);
    memcpy(text + 14, months + month * 3, 3);
    two_digits(text + 18, year / 100);
    two_digits(text + 20, year % 100);
    two_digits(text + 23, second / 3600);
    two_digits(text + 26, second / 60 % 60);
    two_digits(text + 29, second % 60);
    out_write(r->out, text, sizeof(text) - 1);
}

static bool is_plain(char c, const char *more) { return ascii_is_alnum(c) || (c && strchr(more, c)); }

/* <campaign.seq.token@domain>. A dot that a dot-atom may not hold there (RFC 5322 §3.2.3) becomes a '_'. */
static void render_message_id(struct line_render *r)
{
    const struct message_recipient *recipient = r->recipient;
    char digits[NUMBER_DIGITS_MAX];
    out_slice(r->out, SLICE("Message-ID: "));
    r->message_id_at = r->out->n;
    out_char(r->out, '<');
    for (size_t i = 0; i < recipient->campaign.n; i++) {
        char c = recipient->campaign.p[i];
        bool lone = i > 0 && i + 1 < recipient->campaign.n && recipient->campaign.p[i + 1] != '.';
        out_char(r->out, c == '.' && !lone ? '_' : c);
    }
    out_char(r->out, '.');
    out_write(r->out, digits, number_write(digits, recipient->seq));
    out_char(r->out, '.');
    out_slice(r->out, recipient->token);
    out_char(r->out, '@');
    out_slice(r->out, r->domain);
    out_char(r->out, '>');
    r->message_id_n = r->out->n - r->message_id_at;
    out_write(r->out, "\r\n", 2);
}

static void render_campaign(struct line_render *r)
{
    char digits[NUMBER_DIGITS_MAX];
    out_slice(r->out, SLICE("X-Campaign: "));
    out_slice(r->out, r->recipient->campaign);
    out_char(r->out, '/');
    out_write(r->out, digits, number_write(digits, r->recipient->seq));
    out_write(r->out, "\r\n", 2);
}

/* The caller's own values, which no producer and no peer has touched. */
static void check_recipient(const struct message_recipient *recipient)
{
    sluice_assert(recipient->campaign.n && recipient->campaign.n <= LIMIT_CAMPAIGN_ID);
    sluice_assert(recipient->token.n && recipient->token.n <= 64 && recipient->wall >= 0);
    for (size_t i = 0; i < recipient->campaign.n; i++)
        sluice_assert(is_plain(recipient->campaign.p[i], "._-"));
    for (size_t i = 0; i < recipient->token.n; i++)
        sluice_assert(is_plain(recipient->token.p[i], ""));
}

static bool render_filled(struct line_render *r, const struct line *line)
{
    char room[PLAN_VALUE_MAX];
    struct out scratch = {room, sizeof(room), 0};
    struct slice value;
    switch (line->kind) {
    case LINE_TEXT:
        if (!fill(r, line, &line->templates[0], ESCAPE_NONE, &scratch, &value))
            return false;
        header_text(r->out, line->name, value);
        return true;
    case LINE_WORDS:
        return render_words(r, line, &scratch);
    case LINE_MAILBOXES:
        return render_mailboxes(r, line, &scratch);
    default:
        sluice_assert(line->kind == LINE_URLS);
        return render_urls(r, line, &scratch);
    }
}

bool line_render(struct line_render *r, const struct line *line)
{
    switch (line->kind) {
    case LINE_STATIC:
        out_slice(r->out, line->bytes);
        return true;
    case LINE_TO:
        return render_to(r, line);
    case LINE_DATE:
        render_date(r);
        return true;
    case LINE_MESSAGE_ID:
        check_recipient(r->recipient);
        render_message_id(r);
        return true;
    case LINE_CAMPAIGN:
        render_campaign(r);
        return true;
    default:
        return render_filled(r, line);
    }
}
