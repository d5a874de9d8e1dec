/* message.c - turns a campaign's hash into a plan, and a plan and a recipient into the octets that DATA carries. */
#include "proto/message/message.h"

#include "proto/message/bulk.h"
#include "proto/message/line.h"
#include "proto/message/mime.h"
#include "proto/message/source.h"
#include "proto/number.h"

/* The fields of the hash that make the message; p is NULL for one that is not there. */
struct fields {
    struct slice from, subject, html, text, mime, reply_to, headers, list_unsubscribe, strict;
    struct slice bulk[BULK_COUNT];
};

/* ---- what all that plan use ---- */

bool plan_fail(struct planning *planning, struct slice field, const char *reason, struct slice name)
{
    plan_error(planning->error, field, reason, name);
    return false;
}

bool plan_fail_at(struct planning *planning, struct slice field, const struct template_error *error)
{
    plan_error(planning->error, field, error->reason, error->name);
    planning->error->has_position = true;
    planning->error->position = error->position;
    return false;
}

static struct piece *new_piece(struct planning *planning)
{
    struct piece *piece = room_take(planning->room, sizeof(*piece));
    if (!piece)
        return NULL;
    *planning->plan->last_piece = piece;
    planning->plan->last_piece = &piece->next;
    return piece;
}

bool plan_line(struct planning *planning, struct slice bytes)
{
    struct line *line = room_take(planning->room, sizeof(*line));
    if (!line)
        return false;
    const char *colon = memchr(bytes.p, ':', bytes.n);
    *line = (struct line){.kind = LINE_STATIC, .name = {bytes.p, (size_t)(colon - bytes.p)}, .bytes = bytes};
    *planning->plan->last_line = line;
    planning->plan->last_line = &line->next;
    return true;
}

bool plan_static(struct planning *planning, struct slice bytes)
{
    struct piece *piece = new_piece(planning);
    if (piece)
        piece->bytes = bytes;
    return piece != NULL;
}

bool plan_part(struct planning *planning, struct slice field, const struct part *part)
{
    struct piece *piece = new_piece(planning);
    if (piece)
        *piece = (struct piece){.field = field, .part = part};
    return piece != NULL;
}

/* ---- reading the hash ---- */

static struct fields read_fields(const struct slice *items, unsigned count)
{
    struct fields fields = {.strict = {NULL, 0}};
    const struct {
        struct slice name, *value;
    } known[] = {
        {SLICE("from"), &fields.from},       {SLICE("subject"), &fields.subject},
        {SLICE("html"), &fields.html},       {SLICE("text"), &fields.text},
        {SLICE("mime"), &fields.mime},       {SLICE("reply_to"), &fields.reply_to},
        {SLICE("headers"), &fields.headers}, {SLICE("list_unsubscribe"), &fields.list_unsubscribe},
        {SLICE("strict"), &fields.strict},
    };
    for (unsigned i = 0; i + 1 < count; i += 2)
        for (size_t j = 0; j < countof(known); j++)
            if (slice_equal(items[i], known[j].name))
                *known[j].value = items[i + 1].p ? items[i + 1] : SLICE("");
    for (unsigned i = 0; i + 1 < count; i += 2)
        for (int j = BULK_BROKEN + 1; j < BULK_COUNT; j++)
            if (slice_equal(items[i], bulk_field((enum bulk_header)j)))
                fields.bulk[j] = items[i + 1];
    return fields;
}

/* An un-escaped string of the JSON, in the room if it has to be copied. */
static bool read_string(struct planning *p, const struct json *json, uint32_t index, struct slice *text)
{
    *text = json_raw(json, index);
    if (!json->tokens[index].escaped)
        return true;
    char *copy = room_take(p->room, text->n);
    if (copy)
        *text = (struct slice){copy, json_text(json, index, copy)};
    return copy != NULL;
}

static bool plan_header(struct planning *p, const struct json *json, uint32_t key)
{
    struct slice name, value;
    if (!read_string(p, json, key, &name))
        return false;
    if (json->tokens[key + 1].type != JSON_STRING)
        return plan_fail(p, SLICE("headers"), "the value is not a string", name);
    return read_string(p, json, key + 1, &value) && line_plan_given(p, SLICE("headers"), name, value, false);
}

static bool plan_given_headers(struct planning *p, struct slice headers)
{
    uint32_t cap = (uint32_t)JSON_TOKENS_MAX(headers.n);
    struct json_token *tokens = room_take(p->room, cap * sizeof(*tokens));
    struct json_error json_error;
    struct json json;
    if (!tokens)
        return false;
    if (!json_scan(headers, tokens, cap, &json, &json_error))
        return plan_fail_at(p, SLICE("headers"),
                            &(struct template_error){json_error.reason, SLICE(""), json_error.position});
    if (tokens[0].type != JSON_OBJECT)
        return plan_fail(p, SLICE("headers"), "is not a JSON object", SLICE(""));
    for (uint32_t i = 1; i < tokens[0].next; i = tokens[i + 1].next)
        if (!plan_header(p, &json, i))
            return false;
    return true;
}

/* From, To, Subject, Date, Message-ID: there once each, in this order. What a message of people's own has counts. */
static bool plan_first_headers(struct planning *p, const struct fields *fields, const struct source *source)
{
    struct slice from = source_value(source, SLICE("From")), to = source_value(source, SLICE("To"));
    struct slice subject = source_value(source, SLICE("Subject"));
    if (!from.p && fields->from.n == 0)
        return plan_fail(p, SLICE("from"), "missing", SLICE(""));
    if (!line_plan_mailboxes(p, from.p ? SLICE("mime") : SLICE("from"), SLICE("From"), from.p ? from : fields->from, 1,
                             true))
        return false;
    if (to.p ? !line_plan_mailboxes(p, SLICE("mime"), SLICE("To"), to, PLAN_MAILBOXES_MAX, false)
             : !line_plan_own(p, LINE_TO))
        return false;
    if (subject.p ? !line_plan_text(p, SLICE("mime"), SLICE("Subject"), subject)
                  : fields->subject.p && !line_plan_text(p, SLICE("subject"), SLICE("Subject"), fields->subject))
        return false;
    return line_plan_own(p, LINE_DATE) && line_plan_own(p, LINE_MESSAGE_ID);
}

static bool plan_headers(struct planning *p, const struct fields *fields, const struct source *source)
{
    bool reply_to = fields->reply_to.n && !source_value(source, SLICE("Reply-To")).p;
    bool unsubscribe = fields->list_unsubscribe.n && !source_value(source, SLICE("List-Unsubscribe")).p;
    if (!plan_first_headers(p, fields, source) || !source_plan_headers(p, source))
        return false;
    if (reply_to &&
        !line_plan_mailboxes(p, SLICE("reply_to"), SLICE("Reply-To"), fields->reply_to, PLAN_MAILBOXES_MAX, false))
        return false;
    if (unsubscribe && !line_plan_urls(p, SLICE("list_unsubscribe"), fields->list_unsubscribe))
        return false;
    for (int i = BULK_BROKEN + 1; i < BULK_COUNT; i++)
        if (fields->bulk[i].n && !source_value(source, bulk_name((enum bulk_header)i)).p &&
            !bulk_plan(p, (enum bulk_header)i, fields->bulk[i]))
            return false;
    if (fields->headers.n && !plan_given_headers(p, fields->headers))
        return false;
    return line_plan_own(p, LINE_CAMPAIGN);
}

static bool plan_all(struct planning *p, const struct fields *fields)
{
    struct source source = {.count = 0};
    if (fields->strict.n > 1 || (fields->strict.n && fields->strict.p[0] != '0' && fields->strict.p[0] != '1'))
        return plan_fail(p, SLICE("strict"), "is 0 or 1", SLICE(""));
    p->plan->strict = slice_equal(fields->strict, SLICE("1"));
    if (fields->mime.p && (fields->html.p || fields->text.p))
        return plan_fail(p, SLICE("mime"), "there is html or text as well: which one is the message?", SLICE(""));
    if (fields->mime.p)
        return source_read(p, fields->mime, &source) && plan_headers(p, fields, &source) &&
               source_plan_body(p, &source);
    if (!fields->html.p && !fields->text.p)
        return plan_fail(p, SLICE("html"), "missing, and so are text and mime: there is nothing to say", SLICE(""));
    return plan_headers(p, fields, &source) && mime_plan_bodies(p, fields->text, fields->html);
}

/* ---- what all messages share ---- */

/* The pieces before the first field once more, in one stretch. */
static bool plan_shared(struct planning *p)
{
    struct out out = room_open(p->room);
    const struct piece *piece = p->plan->pieces;
    while (piece && (!piece->part || part_is_shared(piece->part))) {
        if (piece->part)
            part_render_shared(piece->part, &out);
        else
            out_slice(&out, piece->bytes);
        piece = piece->next;
    }
    if (piece)
        part_render_shared(piece->part, &out);
    p->plan->rest = piece;
    p->plan->shared = room_close(p->room, &out);
    return !p->room->full;
}

/* No more than the pieces take: text grows less than fourfold when it is encoded. */
static size_t shared_room(const struct fields *fields)
{
    return 4 * (fields->html.n + fields->text.n) + 1024 + source_room(fields->mime);
}

/* Encoded text has no such line; a field may have such a name, and a message inside the message any line. */
static bool is_dotted(const struct message_plan *plan)
{
    for (const struct line *line = plan->lines; line; line = line->next)
        if (line->name.n && line->name.p[0] == '.')
            return true;
    for (const struct piece *piece = plan->pieces; piece; piece = piece->next)
        if (!piece->part && piece->bytes.n &&
            (piece->bytes.p[0] == '.' || memmem(piece->bytes.p, piece->bytes.n, "\n.", 2)))
            return true;
    return false;
}

size_t message_plan_room(const struct slice *items, unsigned count)
{
    struct fields fields = read_fields(items, count);
    size_t headers = fields.headers.n, bulk = 0;
    for (int i = BULK_BROKEN + 1; i < BULK_COUNT; i++)
        bulk += line_room(fields.bulk[i].n);
    return bulk + sizeof(struct message_plan) + 8 * line_room(0) + line_room(fields.from.n) +
           line_room(fields.subject.n) + line_room(fields.reply_to.n) + line_room(fields.list_unsubscribe.n) +
           JSON_TOKENS_MAX(headers) * sizeof(struct json_token) + headers / 6 * line_room(0) + line_room(headers) +
           mime_room(fields.html) + mime_room(fields.text) + source_room(fields.mime) + shared_room(&fields);
}

struct message_plan *message_plan_make(const struct slice *items, unsigned count, void *memory, size_t size,
                                       size_t *used, struct message_error *error)
{
    struct fields fields = read_fields(items, count);
    struct room room = {.p = memory, .cap = size};
    struct message_plan *plan = room_take(&room, sizeof(*plan));
    struct planning planning = {plan, &room, error};
    bool made = false;
    if (plan) {
        plan->sender = SLICE("");
        plan->last_line = &plan->lines;
        plan->last_piece = &plan->pieces;
        made = plan_all(&planning, &fields) && plan_shared(&planning);
        plan->dotted = made && is_dotted(plan);
    }
    if (room.full)
        plan_fail(&planning, SLICE(""), "the room for its plan is too small", SLICE(""));
    if (used)
        *used = room.n;
    return made && !room.full ? plan : NULL;
}

struct slice message_plan_sender(const struct message_plan *plan) { return plan->sender; }

struct slice message_plan_shared(const struct message_plan *plan) { return plan->shared; }

bool message_plan_dotted(const struct message_plan *plan) { return plan->dotted; }

/* ---- rendering ---- */

static bool render_rest(const struct message_plan *plan, const struct message_recipient *recipient, struct out *out,
                        struct message_error *error)
{
    for (const struct piece *piece = plan->rest; piece; piece = piece->next) {
        struct template_error fault;
        if (!piece->part) {
            out_slice(out, piece->bytes);
            continue;
        }
        bool begun = piece == plan->rest;
        if (begun ? part_render_rest(piece->part, recipient->json, plan->strict, out, &fault)
                  : part_render(piece->part, recipient->json, plan->strict, out, &fault))
            continue;
        plan_error(error, piece->field, fault.reason, fault.name);
        error->has_position = true;
        error->position = fault.position;
        return false;
    }
    return true;
}

static enum message_result render(const struct message_plan *plan, const struct message_recipient *recipient,
                                  struct slice shared, struct out out, struct message_rendered *rendered)
{
    struct line_render r = {.recipient = recipient, .strict = plan->strict, .out = &out, .error = &rendered->error};
    memset(rendered, 0, sizeof(*rendered));
    const char *at = memrchr(plan->sender.p, '@', plan->sender.n);
    if (at)
        r.domain = (struct slice){at + 1, (size_t)(plan->sender.p + plan->sender.n - at - 1)};
    for (const struct line *line = plan->lines; line; line = line->next)
        if (!line_render(&r, line))
            return MESSAGE_INVALID;
    out_write(&out, "\r\n", 2); /* RFC 5322 §2.1 */
    rendered->body = out.n;
    out_slice(&out, shared);
    if (!render_rest(plan, recipient, &out, &rendered->error))
        return MESSAGE_INVALID;
    if (out.n + plan->shared.n - shared.n > LIMIT_MESSAGE) {
        rendered->error.reason = "longer than a message may be";
        return MESSAGE_INVALID;
    }
    rendered->n = out.n;
    rendered->utf8 = r.utf8 || plan->utf8;
    if (out.n > out.cap)
        return MESSAGE_TOO_SMALL;
    rendered->message_id = (struct slice){out.p + r.message_id_at, r.message_id_n};
    return MESSAGE_OK;
}

enum message_result message_render(const struct message_plan *plan, const struct message_recipient *recipient, char *to,
                                   size_t cap, struct message_rendered *rendered)
{
    return render(plan, recipient, plan->shared, (struct out){to, cap, 0}, rendered);
}

enum message_result message_render_own(const struct message_plan *plan, const struct message_recipient *recipient,
                                       char *to, size_t cap, struct message_rendered *rendered)
{
    return render(plan, recipient, SLICE(""), (struct out){to, cap, 0}, rendered);
}

/* ---- errors ---- */

size_t message_error_text(const struct message_error *error, char *to, size_t cap)
{
    sluice_assert(cap > 0);
    struct out out = {to, cap - 1, 0};
    char digits[NUMBER_DIGITS_MAX];
    if (error->field.n) {
        out_slice(&out, error->field);
        out_write(&out, ": ", 2);
    }
    out_slice(&out, slice_of(error->reason));
    if (error->name[0]) {
        out_write(&out, " \"", 2);
        for (const char *p = error->name; *p; p++) /* people's: it may hold anything */
            out_char(&out, *p == 0x7F || (unsigned char)*p < ' ' ? ' ' : *p);
        out_char(&out, '"');
    }
    if (error->has_position) {
        out_slice(&out, SLICE(", at byte "));
        out_write(&out, digits, number_write(digits, error->position));
    }
    size_t n = out.n < cap ? out.n : cap - 1;
    to[n] = 0;
    return n;
}
