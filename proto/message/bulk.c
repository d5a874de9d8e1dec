/* Receivers sort and count bulk mail by a handful of headers, and take a malformed one for a sign of spam: so their
 * values are checked when the campaign is made, not by a mailbox provider. */
#include "proto/message/bulk.h"

#include "proto/message/header.h"
#include "proto/message/line.h"

enum { FEEDBACK_FIELDS_MAX = 4, FEEDBACK_SENDER_LEAST = 5, FEEDBACK_SENDER_MOST = 15 };

static const struct {
    struct slice field, name;
} headers[BULK_COUNT] = {
    [BULK_LIST_ID] = {SLICE("list_id"), SLICE("List-Id")},
    [BULK_FEEDBACK_ID] = {SLICE("feedback_id"), SLICE("Feedback-ID")},
    [BULK_PRECEDENCE] = {SLICE("precedence"), SLICE("Precedence")},
    [BULK_AUTO_SUBMITTED] = {SLICE("auto_submitted"), SLICE("Auto-Submitted")},
};

struct slice bulk_field(enum bulk_header header) { return headers[header].field; }
struct slice bulk_name(enum bulk_header header) { return headers[header].name; }

/* list-label "." list-id-namespace (RFC 2919 §2): dot-atoms; more than letters is hardly ever seen and often refused.
 */
static bool is_list_id(struct slice id)
{
    bool dot = false;
    for (size_t i = 0; i < id.n; i++) {
        bool inside = i > 0 && i + 1 < id.n;
        if (id.p[i] == '.' && inside && id.p[i - 1] != '.')
            dot = true;
        else if (!ascii_is_alnum(id.p[i]) && !(inside && (id.p[i] == '-' || id.p[i] == '_')))
            return false;
    }
    return dot && id.n <= LIMIT_DOMAIN;
}

static bool plan_list_id(struct planning *p, struct slice value)
{
    const struct slice field = headers[BULK_LIST_ID].field;
    struct mailbox list = {SLICE(""), value};
    const char *reason;
    if (memmem(value.p, value.n, "{{", 2))
        return plan_fail(p, field, "names the list, so it can hold no merge field", SLICE(""));
    if (memchr(value.p, '<', value.n) && !header_next_mailbox(&value, &list, &reason))
        return plan_fail(p, field, reason, SLICE(""));
    if (!is_list_id(list.address))
        return plan_fail(p, field, "must be like \"Shop news <news.shop.example>\", is", list.address);
    char *display = room_take(p->room, list.display.n);
    if (!display)
        return false;
    list.display = (struct slice){display, header_unquote(list.display, display)};
    char bare[LIMIT_DOMAIN + 2] = "<"; /* alone, too, it stands in brackets (RFC 2919 §3) */
    memcpy(bare + 1, list.address.p, list.address.n);
    bare[list.address.n + 1] = '>';
    struct out out = room_open(p->room);
    if (list.display.n)
        header_mailboxes(&out, headers[BULK_LIST_ID].name, &list, 1);
    else
        header_words(&out, headers[BULK_LIST_ID].name, (struct slice){bare, list.address.n + 2});
    return plan_line(p, room_close(p->room, &out)) && !p->room->full;
}

/* Google's help on the Feedback Loop (answer 6254652): the sender's id is the last field and the only one needed. */
static bool plan_feedback_id(struct planning *p, struct slice value)
{
    const struct slice field = headers[BULK_FEEDBACK_ID].field;
    unsigned fields = 1;
    size_t last = 0;
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] == ':') {
            fields++;
            last = i + 1;
        }
    struct slice sender = {value.p + last, value.n - last};
    bool good = sender.n >= FEEDBACK_SENDER_LEAST && sender.n <= FEEDBACK_SENDER_MOST;
    for (size_t i = 0; i < sender.n; i++)
        good = good && (ascii_is_alnum(sender.p[i]) || memchr("._-", sender.p[i], 3));
    if (fields > FEEDBACK_FIELDS_MAX)
        return plan_fail(p, field, "has more than four fields with colons between", SLICE(""));
    if (!good)
        return plan_fail(p, field, "must end in a sender's id of 5 to 15 letters and digits, ends in", sender);
    return line_plan_words(p, field, headers[BULK_FEEDBACK_ID].name, value);
}

static bool plan_word(struct planning *p, enum bulk_header header, struct slice value, const struct slice words[3],
                      const char *reason)
{
    for (unsigned i = 0; i < 3; i++)
        if (slice_equal(value, words[i]))
            return line_plan_words(p, headers[header].field, headers[header].name, value);
    return plan_fail(p, headers[header].field, reason, value);
}

bool bulk_plan(struct planning *p, enum bulk_header header, struct slice value)
{
    static const struct slice precedences[] = {SLICE("bulk"), SLICE("list"), SLICE("junk")};
    static const struct slice submitted[] = {SLICE("auto-generated"), SLICE("auto-replied"), SLICE("no")};
    switch (header) {
    case BULK_LIST_ID:
        return plan_list_id(p, value);
    case BULK_FEEDBACK_ID:
        return plan_feedback_id(p, value);
    case BULK_PRECEDENCE:
        return plan_word(p, header, value, precedences, "must be bulk, list or junk, is");
    default:
        sluice_assert(header == BULK_AUTO_SUBMITTED);
        return plan_word(p, header, value, submitted, "must be auto-generated, auto-replied or no, is");
    }
}
