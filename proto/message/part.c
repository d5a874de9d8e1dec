/* part.c - what a campaign's bodies have in common is encoded once; a rendering mostly copies. */
#include "proto/message/part.h"

#include "sluice/limits.h"

/* A text that is not longer, or whose first line is not, is encoded with what precedes it. */
enum { HEAD_MAX = 60 };

struct part_sink {
    struct template_sink sink;
    const struct part *part;
    struct encoder encoder;
    struct out *out;
};

/* The encoding in which the template's own text is shorter. */
static enum encoding shorter_encoding(const struct template *template)
{
    struct encoder qp = encoder_start(ENCODING_QP), base64 = encoder_start(ENCODING_BASE64);
    struct out qp_out = {NULL, 0, 0}, base64_out = {NULL, 0, 0};
    for (uint32_t i = 0; i < template->count; i++) {
        if (template->nodes[i].kind != TEMPLATE_TEXT)
            continue;
        encode_text(&qp, template_slice(template, i), &qp_out);
        encode_text(&base64, template_slice(template, i), &base64_out);
    }
    encode_finish(&qp, &qp_out);
    encode_finish(&base64, &base64_out);
    return base64_out.n < qp_out.n ? ENCODING_BASE64 : ENCODING_QP;
}

/* How much of a text is encoded with what precedes it. */
static size_t head_length(struct slice text, enum encoding encoding)
{
    if (encoding == ENCODING_BASE64 || text.n <= HEAD_MAX)
        return text.n;
    const char *line_end = memchr(text.p, '\n', HEAD_MAX);
    return line_end ? (size_t)(line_end + 1 - text.p) : 0;
}

static void make_segment(struct part *part, uint32_t node, struct room *room)
{
    struct segment *segment = &part->segments[node];
    struct slice text = template_slice(&part->template, node);
    size_t head = node ? head_length(text, part->encoding) : 0; /* the first begins a line: all of it is known */
    segment->head = (struct slice){text.p, head};
    segment->has_tail = head < text.n;
    if (!segment->has_tail)
        return;
    struct out out = room_open(room);
    segment->soft = node && head == 0;
    segment->after = encoder_start(part->encoding);
    encode_text(&segment->after, (struct slice){text.p + head, text.n - head}, &out);
    segment->tail = room_close(room, &out);
}

static void write_text(const struct part *part, uint32_t node, struct encoder *encoder, struct out *out)
{
    const struct segment *segment = &part->segments[node];
    if (segment->head.n)
        encode_text(encoder, segment->head, out);
    if (!segment->has_tail)
        return;
    if (segment->soft)
        encode_soft_break(encoder, out);
    out_slice(out, segment->tail);
    *encoder = segment->after;
}

/* The texts before the first field, which are in no section. Returns where the encoder stands behind them. */
static struct encoder write_shared(const struct part *part, struct out *out)
{
    struct encoder encoder = encoder_start(part->encoding);
    for (uint32_t i = 0; i < part->shared; i++)
        write_text(part, i, &encoder, out);
    if (part_is_shared(part))
        encode_finish(&encoder, out);
    return encoder;
}

bool part_make(struct part *part, struct slice source, enum template_escape escape, struct room *room,
               struct template_error *error)
{
    struct template *template = &part->template;
    if (!template_compile(source, NULL, 0, template, error))
        return false;
    struct template_node *nodes = room_take(room, template->count * sizeof(*nodes));
    part->segments = room_take(room, template->count * sizeof(*part->segments));
    if (room->full || !template_compile(source, nodes, template->count, template, error))
        return false;
    part->escape = escape;
    part->encoding = shorter_encoding(template);
    for (uint32_t i = 0; i < template->count; i++)
        if (template->nodes[i].kind == TEMPLATE_TEXT)
            make_segment(part, i, room);
    if (room->full)
        return false;
    part->shared = 0;
    while (part->shared < template->count && template->nodes[part->shared].kind == TEMPLATE_TEXT)
        part->shared++;
    struct out nowhere = {NULL, 0, 0};
    part->behind = write_shared(part, &nowhere);
    return true;
}

size_t part_room(struct slice source)
{
    struct template template = {.count = 0};
    struct template_error error;
    if (!template_compile(source, NULL, 0, &template, &error))
        return 0; /* nor will part_make take any */
    return template.count * (sizeof(struct template_node) + sizeof(struct segment)) + 4 * source.n + 4 * ROOM_ALIGN;
}

static void sink_value(struct template_sink *sink, struct slice value)
{
    struct part_sink *s = container_of(sink, struct part_sink, sink);
    if (s->out->n <= LIMIT_MESSAGE) /* more is not sent, and need not be measured exactly */
        encode_text(&s->encoder, value, s->out);
}

void part_render_shared(const struct part *part, struct out *out) { write_shared(part, out); }

static void sink_text(struct template_sink *sink, uint32_t node, struct slice text)
{
    struct part_sink *s = container_of(sink, struct part_sink, sink);
    (void)text;
    if (node >= s->part->shared)
        write_text(s->part, node, &s->encoder, s->out);
}

static bool render_behind(const struct part *part, struct encoder encoder, const struct json *json, bool strict,
                          struct out *out, struct template_error *error)
{
    if (part_is_shared(part))
        return true;
    struct part_sink sink = {{sink_text, sink_value}, part, encoder, out};
    if (!template_render(&part->template, json, part->escape, strict, &sink.sink, error))
        return false;
    encode_finish(&sink.encoder, out);
    return true;
}

bool part_render_rest(const struct part *part, const struct json *json, bool strict, struct out *out,
                      struct template_error *error)
{
    return render_behind(part, part->behind, json, strict, out, error);
}

bool part_render(const struct part *part, const struct json *json, bool strict, struct out *out,
                 struct template_error *error)
{
    return render_behind(part, write_shared(part, out), json, strict, out, error);
}
