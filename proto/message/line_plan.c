/* line_plan.c - headers are planned as templates, and those that no merge field can change are written at once. */
#include "proto/message/header.h"
#include "proto/message/line.h"

/* A value that people wrote: its encoded words decoded, so that merge fields are seen inside them too. */
static bool read_value(struct planning *p, struct slice field, struct slice name, struct slice *value)
{
    if (!memmem(value->p, value->n, "=?", 2))
        return true;
    char *decoded = room_take(p->room, 2 * value->n);
    if (!decoded)
        return false;
    size_t n = header_decode(*value, decoded);
    if (n == SIZE_MAX)
        return plan_fail(p, field, "an encoded word is broken, or in a charset that is not known here", name);
    *value = (struct slice){decoded, n};
    return true;
}

static bool compile(struct planning *p, struct slice field, struct slice source, struct template *template)
{
    struct template_error error;
    if (!template_compile(source, NULL, 0, template, &error))
        return plan_fail(p, field, error.reason, error.name);
    struct template_node *nodes = room_take(p->room, template->count * sizeof(*nodes));
    return nodes && template_compile(source, nodes, template->count, template, &error);
}

static struct line *new_line(struct planning *p, enum line_kind kind, struct slice field, struct slice name,
                             unsigned templates)
{
    struct line *line = room_take(p->room, sizeof(*line));
    struct template *room = room_take(p->room, templates * sizeof(*room));
    if (room)
        *line = (struct line){.kind = kind, .field = field, .name = name, .templates = room};
    return room ? line : NULL;
}

/* Appends the line; if no recipient can change it, it is rendered now. */
static bool add_line(struct planning *p, struct line *line, unsigned templates)
{
    static const struct json_token null_token = {.end = 0, .next = 1, .type = JSON_NULL};
    static const struct json null_json = {{"", 0}, &null_token, 1};
    static const struct message_recipient nobody = {.json = &null_json};
    *p->plan->last_line = line;
    p->plan->last_line = &line->next;
    for (unsigned i = 0; i < templates; i++)
        if (!template_is_static(&line->templates[i]))
            return true;
    struct out out = room_open(p->room);
    struct line_render r = {.recipient = &nobody, .out = &out, .error = p->error};
    if (!line_render(&r, line))
        return false;
    line->bytes = room_close(p->room, &out);
    line->kind = LINE_STATIC;
    if (line->sender)
        p->plan->sender = line->templates[1].source;
    p->plan->utf8 = p->plan->utf8 || r.utf8;
    return !p->room->full;
}

static bool plan_value(struct planning *p, enum line_kind kind, struct slice field, struct slice name,
                       struct slice value)
{
    struct line *line = new_line(p, kind, field, name, 1);
    return line && read_value(p, field, name, &value) && compile(p, field, value, &line->templates[0]) &&
           add_line(p, line, 1);
}

bool line_plan_text(struct planning *p, struct slice field, struct slice name, struct slice value)
{
    return plan_value(p, LINE_TEXT, field, name, value);
}

bool line_plan_words(struct planning *p, struct slice field, struct slice name, struct slice value)
{
    return plan_value(p, LINE_WORDS, field, name, value);
}

/* The display name apart from the address: fields in one cannot reach the other. */
static bool plan_mailbox(struct planning *p, struct line *line, struct slice *list)
{
    struct mailbox mailbox;
    const char *reason;
    struct template *pair = &line->templates[2 * line->count];
    if (!header_next_mailbox(list, &mailbox, &reason))
        return plan_fail(p, line->field, reason, SLICE(""));
    char *display = room_take(p->room, mailbox.display.n);
    if (!display)
        return false;
    mailbox.display = (struct slice){display, header_unquote(mailbox.display, display)};
    line->count++;
    return read_value(p, line->field, line->name, &mailbox.display) &&
           compile(p, line->field, mailbox.display, &pair[0]) && compile(p, line->field, mailbox.address, &pair[1]);
}

bool line_plan_mailboxes(struct planning *p, struct slice field, struct slice name, struct slice value, unsigned most,
                         bool sender)
{
    struct line *line = new_line(p, LINE_MAILBOXES, field, name, 2 * most);
    if (!line)
        return false;
    line->sender = sender;
    do {
        if (line->count == most)
            return plan_fail(p, field, most == 1 ? "more than one address" : "too many addresses", SLICE(""));
        if (!plan_mailbox(p, line, &value))
            return false;
    } while (value.n);
    return add_line(p, line, 2 * line->count);
}

static struct slice trim(struct slice text)
{
    while (text.n && (unsigned char)text.p[0] <= ' ')
        text.p++, text.n--;
    while (text.n && (unsigned char)text.p[text.n - 1] <= ' ')
        text.n--;
    return text;
}

/* An URL may hold commas: one ends it if another URL, or a field that holds one, begins behind it. */
static bool next_url(struct slice *list, struct slice *url)
{
    static const struct slice starts[] = {SLICE("http:"), SLICE("https:"), SLICE("mailto:"), SLICE("<"), SLICE("{{")};
    size_t end = list->n;
    for (size_t i = 0; i < list->n && end == list->n; i++) {
        struct slice rest = {list->p + i + 1, list->n - i - 1};
        rest = trim(rest);
        for (size_t j = 0; j < countof(starts) && list->p[i] == ','; j++)
            if (slice_equal_nocase((struct slice){rest.p, rest.n < starts[j].n ? rest.n : starts[j].n}, starts[j]))
                end = i;
    }
    *url = trim((struct slice){list->p, end});
    *list = (struct slice){list->p + end + (end < list->n), list->n - end - (end < list->n)};
    if (url->n && url->p[0] == '<') {
        if (url->p[url->n - 1] != '>')
            return false;
        *url = trim((struct slice){url->p + 1, url->n - 2});
    }
    return url->n > 0;
}

/* RFC 3986 §2. */
static bool is_url(char c) { return ascii_is_alnum(c) || (c && strchr("-._~:/?#[]@!$&'()*+,;=%", c)); }

/* What people wrote into an URL must be one already; what fields add is percent-encoded. */
static bool check_url(const struct template *template)
{
    for (uint32_t i = 0; i < template->count; i++) {
        struct slice text = template_slice(template, i);
        for (size_t j = 0; j < text.n && template->nodes[i].kind == TEMPLATE_TEXT; j++)
            if (!is_url(text.p[j]))
                return false;
    }
    return true;
}

bool line_plan_urls(struct planning *p, struct slice field, struct slice value)
{
    struct line *line = new_line(p, LINE_URLS, field, SLICE("List-Unsubscribe"), PLAN_URLS_MAX);
    if (!line)
        return false;
    do {
        struct slice url;
        if (line->count == PLAN_URLS_MAX)
            return plan_fail(p, field, "too many URLs", SLICE(""));
        struct template *template = &line->templates[line->count++];
        if (!next_url(&value, &url))
            return plan_fail(p, field, "an URL is missing or its '<' is not closed", SLICE(""));
        if (!compile(p, field, url, template))
            return false;
        if (!check_url(template))
            return plan_fail(p, field, "an URL holds a character that must be percent-encoded", SLICE(""));
        /* A field that an URL begins with holds the whole of it. */
        if (template->count && template->nodes[0].kind == TEMPLATE_VARIABLE)
            template->nodes[0].kind = TEMPLATE_RAW;
    } while (value.n);
    return add_line(p, line, line->count);
}

bool line_plan_own(struct planning *p, enum line_kind kind)
{
    static const struct slice names[] = {[LINE_TO] = SLICE("To"),
                                         [LINE_DATE] = SLICE("Date"),
                                         [LINE_MESSAGE_ID] = SLICE("Message-ID"),
                                         [LINE_CAMPAIGN] = SLICE("X-Campaign")};
    struct line *line = new_line(p, kind, SLICE(""), names[kind], 0);
    if (!line)
        return false;
    *p->plan->last_line = line;
    p->plan->last_line = &line->next;
    return true;
}

static bool is_one_of(struct slice name, const struct slice *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal_nocase(name, names[i]))
            return true;
    return false;
}

/* Those that Sluice writes itself or that only relays and receivers write. */
static bool is_refused(struct slice name)
{
    static const struct slice names[] = {
        SLICE("From"),         SLICE("To"),         SLICE("Subject"),        SLICE("Date"),
        SLICE("Message-ID"),   SLICE("X-Campaign"), SLICE("MIME-Version"),   SLICE("Bcc"),
        SLICE("Return-Path"),  SLICE("Received"),   SLICE("DKIM-Signature"), SLICE("Authentication-Results"),
        SLICE("Delivered-To"),
    };
    return is_one_of(name, names, countof(names)) ||
           (name.n > 8 && slice_equal_nocase((struct slice){name.p, 8}, SLICE("Content-")));
}

bool line_plan_given(struct planning *p, struct slice field, struct slice name, struct slice value, bool again)
{
    static const struct slice mailboxes[] = {SLICE("Reply-To"), SLICE("Cc"), SLICE("Sender")};
    bool addresses = is_one_of(name, mailboxes, countof(mailboxes));
    if (!header_is_name(name))
        return plan_fail(p, field, "no header can have this name", name);
    if (is_refused(name))
        return plan_fail(p, field, "this header would appear twice or is not the sender's to write", name);
    if (slice_equal_nocase(name, SLICE("List-Unsubscribe-Post")))
        return true; /* List-Unsubscribe brings it where it belongs */
    for (const struct line *line = p->plan->lines; line; line = line->next)
        if (slice_equal_nocase(line->name, name) && (!again || addresses || header_is_structured(name)))
            return plan_fail(p, field, "this header is there twice", name);
    if (addresses) /* RFC 5322 §3.6.2: one Sender */
        return line_plan_mailboxes(p, field, name, value,
                                   slice_equal_nocase(name, SLICE("Sender")) ? 1 : PLAN_MAILBOXES_MAX, false);
    if (slice_equal_nocase(name, SLICE("List-Unsubscribe")))
        return line_plan_urls(p, field, value);
    return header_is_structured(name) ? line_plan_words(p, field, name, value) : line_plan_text(p, field, name, value);
}

size_t line_room(size_t bytes)
{
    /* Nodes: a tag takes at least five bytes, and gives itself and a text. Then the value decoded, and encoded. */
    return (bytes / 2 + 4) * sizeof(struct template_node) + 8 * bytes + 512 + sizeof(struct line) +
           (2 * PLAN_MAILBOXES_MAX + PLAN_URLS_MAX) * sizeof(struct template);
}
