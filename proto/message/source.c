/* source.c - platforms that build their own messages keep their structure; only texts are filled in, and every octet
 * leaves as 7-bit. */
#include "proto/message/source.h"

#include "proto/message/header.h"
#include "proto/message/line.h"
#include "proto/utf8.h"

static const struct slice mime_field = SLICE("mime");

enum {
    SOURCE_DEPTH_MAX = 8, /* multiparts inside each other */
    BOUNDARY_MAX = 70,    /* RFC 2046 §5.1.1 */
};

/* An entity while it is planned: the message itself, or a part. */
struct entity {
    struct slice header, body;
    struct content content;
    bool top;
};

static bool refuse(struct planning *p, const char *reason, struct slice name)
{
    return plan_fail(p, mime_field, reason, name);
}

/* ---- headers ---- */

static bool unfold(struct planning *p, struct slice *value)
{
    char *room = room_take(p->room, value->n);
    if (room)
        *value = (struct slice){room, content_unfold(*value, room)};
    return room != NULL;
}

bool source_read(struct planning *p, struct slice mime, struct source *source)
{
    struct content_field field;
    *source = (struct source){.whole = mime};
    content_split(mime, &source->header, &source->body);
    struct slice header = source->header;
    unsigned count = 0;
    while (content_next_field(&header, &field))
        count++;
    if (header.n)
        return plan_fail_at(p, mime_field,
                            &(struct template_error){"this line is no header", SLICE(""), (size_t)(header.p - mime.p)});
    source->fields = room_take(p->room, count * sizeof(*source->fields));
    if (!source->fields)
        return false;
    header = source->header;
    while (source->count < count && content_next_field(&header, &field)) {
        if (!unfold(p, &field.value))
            return false;
        source->fields[source->count++] = field;
    }
    return true;
}

struct slice source_value(const struct source *source, struct slice name)
{
    for (unsigned i = 0; i < source->count; i++)
        if (slice_equal_nocase(source->fields[i].name, name))
            return source->fields[i].value;
    return (struct slice){NULL, 0};
}

static bool is_content(struct slice name)
{
    return name.n > 8 && slice_equal_nocase((struct slice){name.p, 8}, SLICE("Content-"));
}

/* Of these there is one; each is planned apart from the others, or written by Sluice. */
static bool is_single(struct slice name)
{
    static const struct slice names[] = {SLICE("From"), SLICE("To"),         SLICE("Subject"),
                                         SLICE("Date"), SLICE("Message-ID"), SLICE("MIME-Version")};
    for (size_t i = 0; i < countof(names); i++)
        if (slice_equal_nocase(name, names[i]))
            return true;
    return is_content(name);
}

bool source_plan_headers(struct planning *p, const struct source *source)
{
    for (unsigned i = 0; i < source->count; i++) {
        struct slice name = source->fields[i].name;
        if (!is_single(name)) {
            if (!line_plan_given(p, mime_field, name, source->fields[i].value, true))
                return false;
            continue;
        }
        for (unsigned j = 0; j < i; j++)
            if (slice_equal_nocase(source->fields[j].name, name))
                return refuse(p, "this header is there twice", name);
    }
    return true;
}

/* ---- an entity's own headers ---- */

static bool emit(struct planning *p, const struct entity *entity, struct slice name, struct slice value)
{
    size_t run = 0;
    if (!header_is_name(name))
        return refuse(p, "no header can have this name", name);
    if (value.n && memmem(value.p, value.n, "{{", 2))
        return refuse(p, "merge fields are not filled in in this header", name);
    for (size_t i = 0; i < value.n; i++) {
        run = value.p[i] > ' ' ? run + 1 : 0;
        if ((unsigned char)value.p[i] >= 0x80 || run > HEADER_WORD_MAX)
            return refuse(p, "this header must be ASCII in words that fit a line", name);
    }
    struct out out = room_open(p->room);
    header_words(&out, name, value);
    struct slice bytes = room_close(p->room, &out);
    if (p->room->full)
        return false;
    return entity->top ? plan_line(p, bytes) : plan_static(p, bytes);
}

/* The entity's type with its parameters, but utf-8 as charset. */
static bool emit_utf8_type(struct planning *p, const struct entity *entity)
{
    const struct content *content = &entity->content;
    struct out out = room_open(p->room);
    out_slice(&out, content->type);
    struct slice rest = {"", 0};
    if (content->value.n)
        rest = (struct slice){content->value.p + content->type.n, content->value.n - content->type.n};
    struct slice name, value, whole;
    while (rest.n && content_next_parameter(&rest, &name, &value, &whole)) {
        if (slice_equal_nocase(name, SLICE("charset")))
            continue;
        out_write(&out, "; ", 2);
        out_write(&out, whole.p, whole.n);
    }
    out_slice(&out, SLICE("; charset=utf-8"));
    struct slice type = room_close(p->room, &out);
    return !p->room->full && unfold(p, &type) && emit(p, entity, SLICE("Content-Type"), type);
}

/* All headers of a part, or the Content- headers of the message, with the encoding that it is sent in. */
static bool emit_headers(struct planning *p, const struct entity *entity, bool utf8, struct slice encoding)
{
    struct slice header = entity->header;
    struct content_field field;
    if (utf8 && !emit_utf8_type(p, entity))
        return false;
    while (content_next_field(&header, &field)) {
        bool type = slice_equal_nocase(field.name, SLICE("Content-Type"));
        if (slice_equal_nocase(field.name, SLICE("Content-Transfer-Encoding")) || (type && utf8) ||
            (entity->top && !is_content(field.name)))
            continue;
        if (!unfold(p, &field.value) || !emit(p, entity, field.name, field.value))
            return false;
    }
    if (header.n)
        return refuse(p, "a part's header has a line that is no header", SLICE(""));
    if (encoding.n && !emit(p, entity, SLICE("Content-Transfer-Encoding"), encoding))
        return false;
    return entity->top || plan_static(p, SLICE("\r\n"));
}

/* ---- leaves ---- */

/* The body without its transfer encoding; the body itself if it has none. */
static bool decode(struct planning *p, const struct entity *entity, struct slice *text)
{
    *text = entity->body;
    if (entity->content.encoding == CONTENT_IDENTITY)
        return true;
    char *room = room_take(p->room, text->n);
    if (!room)
        return false;
    bool base64 = entity->content.encoding == CONTENT_BASE64;
    size_t n = base64 ? decode_base64(*text, room) : decode_qp(*text, room);
    if (n == SIZE_MAX)
        return refuse(p, "a part's base64 is broken", SLICE(""));
    *text = (struct slice){room, n};
    return true;
}

static bool is_utf8_charset(struct slice charset)
{
    return charset.n == 0 || slice_equal_nocase(charset, SLICE("utf-8")) ||
           slice_equal_nocase(charset, SLICE("us-ascii"));
}

static bool plan_data(struct planning *p, const struct entity *entity, struct slice data, bool text)
{
    struct encoder encoder = encoder_start(text ? ENCODING_QP : ENCODING_BASE64);
    if (!emit_headers(p, entity, false, encoding_name(encoder.encoding)))
        return false;
    struct out out = room_open(p->room);
    if (text) {
        encode_text(&encoder, data, &out);
        encode_finish(&encoder, &out);
    } else {
        encode_octets(&encoder, data, &out);
        encode_finish_octets(&encoder, &out);
    }
    struct slice bytes = room_close(p->room, &out);
    return !p->room->full && plan_static(p, bytes);
}

static bool plan_text(struct planning *p, const struct entity *entity)
{
    struct slice text;
    if (!decode(p, entity, &text))
        return false;
    bool fields = text.n && memmem(text.p, text.n, "{{", 2);
    if (!is_utf8_charset(entity->content.charset) || (!fields && utf8_valid_until(text) < text.n)) {
        if (fields)
            return refuse(p, "a text with merge fields must be in UTF-8, not in", entity->content.charset);
        /* Line ends mean something to quoted-printable: what was binary enough for base64 stays in it. */
        return plan_data(p, entity, text, entity->content.encoding != CONTENT_BASE64);
    }
    bool html = slice_equal_nocase(entity->content.type, SLICE("text/html"));
    struct template_error error = {.reason = NULL};
    struct part *part = room_take(p->room, sizeof(*part));
    if (!part)
        return false;
    if (!part_make(part, text, html ? ESCAPE_HTML : ESCAPE_NONE, p->room, &error))
        return !p->room->full && refuse(p, error.reason, error.name);
    return emit_headers(p, entity, true, encoding_name(part->encoding)) && plan_part(p, mime_field, part);
}

/* base64 as it came, in lines of 76. */
static bool plan_base64(struct planning *p, const struct entity *entity)
{
    size_t column = 0, digits = 0;
    if (!emit_headers(p, entity, false, encoding_name(ENCODING_BASE64)))
        return false;
    struct out out = room_open(p->room);
    for (size_t i = 0, padding = 0; i < entity->body.n; i++) {
        char c = entity->body.p[i];
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            continue;
        bool digit = ascii_is_alnum(c) || c == '+' || c == '/';
        padding += c == '=';
        digits++;
        if ((!digit && c != '=') || (digit && padding) || padding > 2)
            return refuse(p, "a part's base64 is broken", SLICE(""));
        out_char(&out, c);
        if (++column == ENCODE_LINE_MAX) {
            out_write(&out, "\r\n", 2);
            column = 0;
        }
    }
    if (digits % 4)
        return refuse(p, "a part's base64 is broken", SLICE(""));
    if (column)
        out_write(&out, "\r\n", 2);
    struct slice bytes = room_close(p->room, &out);
    return !p->room->full && plan_static(p, bytes);
}

/* RFC 2046 §5.2.1: a message inside the message is not encoded, so it must be fit to travel as it is. */
static bool plan_message(struct planning *p, const struct entity *entity)
{
    if (entity->content.encoding != CONTENT_IDENTITY)
        return refuse(p, "a message inside the message may not be encoded", SLICE(""));
    if (!emit_headers(p, entity, false, SLICE("7bit")))
        return false;
    struct out out = room_open(p->room);
    size_t column = 0;
    bool cr = false;
    for (size_t i = 0; i < entity->body.n; i++) {
        char c = entity->body.p[i];
        if ((unsigned char)c >= 0x80 || c == 0 || column > LIMIT_TEXT_LINE)
            return refuse(p, "a message inside the message must be ASCII in lines of at most 998", SLICE(""));
        if (c == '\n' || c == '\r') {
            if (c == '\r' || !cr)
                out_write(&out, "\r\n", 2);
            column = 0;
        } else {
            out_char(&out, c);
            column++;
        }
        cr = c == '\r';
    }
    if (column > LIMIT_TEXT_LINE)
        return refuse(p, "a message inside the message must be ASCII in lines of at most 998", SLICE(""));
    if (column)
        out_write(&out, "\r\n", 2);
    struct slice bytes = room_close(p->room, &out);
    return !p->room->full && plan_static(p, bytes);
}

static bool plan_leaf(struct planning *p, const struct entity *entity)
{
    const struct content *content = &entity->content;
    bool text = content_is(content, SLICE("text"));
    if (text && !content->attachment)
        return plan_text(p, entity);
    if (content_is(content, SLICE("message")))
        return plan_message(p, entity);
    if (content->encoding == CONTENT_BASE64)
        return plan_base64(p, entity);
    struct slice data;
    return decode(p, entity, &data) && plan_data(p, entity, data, text);
}

/* ---- multiparts ---- */

static struct entity read_entity(struct slice whole, bool top)
{
    struct entity entity = {.top = top};
    content_split(whole, &entity.header, &entity.body);
    entity.content = content_read(entity.header);
    return entity;
}

static bool is_boundary(struct slice boundary)
{
    if (boundary.n == 0 || boundary.n > BOUNDARY_MAX || boundary.p[boundary.n - 1] == ' ')
        return false;
    for (size_t i = 0; i < boundary.n; i++)
        if (boundary.p[i] < ' ' || boundary.p[i] >= 0x7F || boundary.p[i] == '"' || boundary.p[i] == '\\')
            return false;
    return true;
}

static bool plan_boundary(struct planning *p, struct slice before, struct slice boundary, struct slice after)
{
    struct out out = room_open(p->room);
    out_slice(&out, before);
    out_slice(&out, boundary);
    out_slice(&out, after);
    struct slice bytes = room_close(p->room, &out);
    return !p->room->full && plan_static(p, bytes);
}

static bool plan_entity(struct planning *p, const struct entity *entity, unsigned depth);

static bool plan_multipart(struct planning *p, const struct entity *entity, unsigned depth)
{
    struct slice boundary = entity->content.boundary, body = entity->body, part;
    bool started = false, any = false;
    if (depth == SOURCE_DEPTH_MAX)
        return refuse(p, "too many multiparts inside each other", SLICE(""));
    if (slice_equal_nocase(entity->content.type, SLICE("multipart/signed")))
        return refuse(p, "a signed part cannot be filled in", SLICE(""));
    if (entity->content.encoding != CONTENT_IDENTITY)
        return refuse(p, "a multipart may not be encoded", SLICE("")); /* RFC 2045 §6.4 */
    if (!is_boundary(boundary))
        return refuse(p, "a multipart has no boundary that RFC 2046 allows", boundary);
    if (!emit_headers(p, entity, false, SLICE("")))
        return false;
    while (content_next_part(&body, boundary, &started, &part)) {
        struct entity inner = read_entity(part, false);
        if (!plan_boundary(p, any ? SLICE("\r\n--") : SLICE("--"), boundary, SLICE("\r\n")) ||
            !plan_entity(p, &inner, depth + 1))
            return false;
        any = true;
    }
    if (!any)
        return refuse(p, "a multipart has no parts between its boundaries", boundary);
    return plan_boundary(p, SLICE("\r\n--"), boundary, SLICE("--\r\n"));
}

static bool plan_entity(struct planning *p, const struct entity *entity, unsigned depth)
{
    if (entity->content.encoding == CONTENT_BROKEN)
        return refuse(p, "no Content-Transfer-Encoding has this name", SLICE(""));
    return content_is(&entity->content, SLICE("multipart")) ? plan_multipart(p, entity, depth) : plan_leaf(p, entity);
}

bool source_plan_body(struct planning *p, const struct source *source)
{
    struct entity entity = read_entity(source->whole, true);
    return plan_line(p, SLICE("MIME-Version: 1.0\r\n")) && plan_entity(p, &entity, 0);
}

static size_t entity_room(struct slice whole, bool top, unsigned depth)
{
    struct entity entity = read_entity(whole, top);
    struct slice header = entity.header, body = entity.body, part;
    struct content_field field;
    size_t room = 1024 + 8 * header.n;
    while (content_next_field(&header, &field))
        room += line_room(top ? field.value.n : 0);
    if (!content_is(&entity.content, SLICE("multipart"))) {
        bool encoded = entity.content.encoding != CONTENT_IDENTITY;
        bool text = content_is(&entity.content, SLICE("text")) && !entity.content.attachment;
        if (!text)
            return room + (entity.content.encoding == CONTENT_BASE64 ? body.n + body.n / 16 : 5 * body.n);
        /* What a template will be found in encoded text is not known: a tag takes at least five bytes. */
        size_t nodes = encoded ? (body.n / 5 * 2 + 2) * (sizeof(struct template_node) + sizeof(struct segment)) : 0;
        return room + nodes + 5 * body.n + part_room(body) + sizeof(struct part);
    }
    for (bool started = false; depth < SOURCE_DEPTH_MAX && is_boundary(entity.content.boundary) &&
                               content_next_part(&body, entity.content.boundary, &started, &part);)
        room += 512 + entity_room(part, false, depth + 1);
    return room;
}

size_t source_room(struct slice mime) { return mime.n ? entity_room(mime, true, 0) : 1024; }
