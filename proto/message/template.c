/* template.c - Mustache without allocation: the compiled template is an array of nodes, the rendering a walk over it.
 */
#include "proto/message/template.h"

#include "proto/utf8.h"

struct open_section {
    uint32_t node;
    struct slice name;
    size_t position;
};

struct compile {
    struct slice source;
    size_t at;         /* compiled until here */
    size_t text_start; /* text that is not a node yet begins here */
    struct slice opener, closer;
    struct template_node *nodes;
    uint32_t count, cap;
    struct open_section open[TEMPLATE_DEPTH_MAX];
    unsigned depth;
    struct template_error *error;
};

/* A tag as it stands in the source. */
struct tag {
    size_t start, end;    /* with its delimiters */
    char sigil;           /* one of "#^/!=&{><$", or 0 for a plain variable */
    struct slice content; /* without white space around it */
};

static bool fail(struct template_error *error, const char *reason, struct slice name, size_t position)
{
    *error = (struct template_error){reason, name, position};
    return false;
}

/* Offset of `needle` in the source at or after `from`, or the source's length. */
static size_t find(const struct compile *c, size_t from, struct slice needle)
{
    const char *hit = memmem(c->source.p + from, c->source.n - from, needle.p, needle.n);
    return hit ? (size_t)(hit - c->source.p) : c->source.n;
}

static void add(struct compile *c, enum template_kind kind, size_t start, size_t length)
{
    if (c->count < c->cap)
        c->nodes[c->count] = (struct template_node){(uint32_t)start, (uint32_t)length, c->count + 1, kind};
    c->count++;
}

static void add_text(struct compile *c, size_t end)
{
    if (end > c->text_start)
        add(c, TEMPLATE_TEXT, c->text_start, end - c->text_start);
}

/* The tag that opens at `start`. */
static bool read_tag(struct compile *c, size_t start, struct tag *tag)
{
    char closer[1 + TEMPLATE_DELIMITER_MAX];
    size_t p = start + c->opener.n, n = 0;
    while (p < c->source.n && ascii_is_space(c->source.p[p]))
        p++;
    tag->start = start;
    tag->sigil = 0;
    if (p < c->source.n && c->source.p[p] && strchr("#^/!=&{><$", c->source.p[p]))
        tag->sigil = c->source.p[p++];
    if (tag->sigil == '{')
        closer[n++] = '}';
    if (tag->sigil == '=')
        closer[n++] = '=';
    memcpy(closer + n, c->closer.p, c->closer.n);
    n += c->closer.n;
    size_t end = find(c, p, (struct slice){closer, n});
    if (end == c->source.n)
        return fail(c->error, "the tag is not closed", SLICE(""), start);
    tag->content = slice_trim((struct slice){c->source.p + p, end - p});
    tag->end = end + n;
    return true;
}

/* A tag other than a variable that stands alone on its line: `start` becomes the line's beginning and `end` the
 * beginning of the next line. */
static void widen_standalone(const struct compile *c, size_t *start, size_t *end)
{
    size_t s = *start, e = *end;
    while (s > 0 && (c->source.p[s - 1] == ' ' || c->source.p[s - 1] == '\t'))
        s--;
    if (s > 0 && c->source.p[s - 1] != '\n')
        return;
    while (e < c->source.n && (c->source.p[e] == ' ' || c->source.p[e] == '\t'))
        e++;
    if (e < c->source.n) {
        if (c->source.p[e] == '\r' && e + 1 < c->source.n && c->source.p[e + 1] == '\n')
            e++;
        if (c->source.p[e] != '\n')
            return;
        e++;
    }
    *start = s;
    *end = e;
}

/* Names: parts with dots between them, or one dot alone. */
static bool check_name(struct compile *c, const struct tag *tag)
{
    struct slice name = tag->content;
    if (name.n == 0)
        return fail(c->error, "the tag has no name", name, tag->start);
    if (memchr(name.p, '\n', name.n))
        return fail(c->error, "the tag is not closed on its line", SLICE(""), tag->start);
    if (name.n == 1 && name.p[0] == '.')
        return true;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] == '.' && (i == 0 || i + 1 == name.n || name.p[i + 1] == '.'))
            return fail(c->error, "the name has an empty part", name, tag->start);
    return true;
}

static bool open_section(struct compile *c, const struct tag *tag)
{
    if (c->depth == TEMPLATE_DEPTH_MAX)
        return fail(c->error, "too many sections inside each other", tag->content, tag->start);
    c->open[c->depth++] = (struct open_section){c->count, tag->content, tag->start};
    add(c, tag->sigil == '#' ? TEMPLATE_SECTION : TEMPLATE_INVERTED, (size_t)(tag->content.p - c->source.p),
        tag->content.n);
    return true;
}

static bool close_section(struct compile *c, const struct tag *tag)
{
    if (c->depth == 0)
        return fail(c->error, "closes a section that is not open", tag->content, tag->start);
    const struct open_section *open = &c->open[--c->depth];
    if (!slice_equal(open->name, tag->content))
        return fail(c->error, "closes another section than the one that is open", tag->content, tag->start);
    if (open->node < c->cap)
        c->nodes[open->node].next = c->count;
    return true;
}

/* "<% %>": two delimiters without white space or '='. */
static bool set_delimiters(struct compile *c, const struct tag *tag)
{
    struct slice text = tag->content;
    size_t n = 0;
    while (n < text.n && !ascii_is_space(text.p[n]))
        n++;
    struct slice opener = {text.p, n}, closer = slice_trim((struct slice){text.p + n, text.n - n});
    bool whole = opener.n && closer.n && opener.n <= TEMPLATE_DELIMITER_MAX && closer.n <= TEMPLATE_DELIMITER_MAX;
    for (size_t i = 0; i < text.n && whole; i++)
        whole = text.p[i] != '=';
    for (size_t i = 0; i < closer.n && whole; i++)
        whole = !ascii_is_space(closer.p[i]);
    if (!whole)
        return fail(c->error, "delimiters are set as {{=<% %>=}}", text, tag->start);
    c->opener = opener;
    c->closer = closer;
    return true;
}

static bool compile_tag(struct compile *c, const struct tag *tag)
{
    size_t start = tag->start, end = tag->end;
    if (tag->sigil && strchr("#^/!=", tag->sigil))
        widen_standalone(c, &start, &end);
    add_text(c, start);
    c->at = c->text_start = end;
    if (tag->sigil == '!')
        return true;
    if (tag->sigil == '=')
        return set_delimiters(c, tag);
    if (!check_name(c, tag))
        return false;
    switch (tag->sigil) {
    case '#':
    case '^':
        return open_section(c, tag);
    case '/':
        return close_section(c, tag);
    case '>':
        return fail(c->error, "partials are not supported", tag->content, tag->start);
    case '<':
    case '$':
        return fail(c->error, "parents and blocks are not supported", tag->content, tag->start);
    default:
        add(c, tag->sigil ? TEMPLATE_RAW : TEMPLATE_VARIABLE, (size_t)(tag->content.p - c->source.p), tag->content.n);
        return true;
    }
}

bool template_compile(struct slice source, struct template_node *nodes, uint32_t cap, struct template *template,
                      struct template_error *error)
{
    if (source.n == 0)
        source = SLICE(""); /* what is not there may have no address */
    struct compile c = {.source = source, .opener = SLICE("{{"), .closer = SLICE("}}"), .nodes = nodes, .cap = cap};
    c.error = error;
    if (source.n > INT32_MAX)
        return fail(error, "the template is too long", SLICE(""), 0);
    size_t valid = utf8_valid_until(source);
    if (valid < source.n)
        return fail(error, "not UTF-8", SLICE(""), valid);
    for (;;) {
        struct tag tag;
        size_t start = find(&c, c.at, c.opener);
        if (start == source.n)
            break;
        if (!read_tag(&c, start, &tag) || !compile_tag(&c, &tag))
            return false;
    }
    add_text(&c, source.n);
    if (c.depth)
        return fail(error, "the section is not closed", c.open[c.depth - 1].name, c.open[c.depth - 1].position);
    *template = (struct template){source, nodes, c.count};
    return true;
}

bool template_is_static(const struct template *template)
{
    for (uint32_t i = 0; i < template->count; i++)
        if (template->nodes[i].kind != TEMPLATE_TEXT)
            return false;
    return true;
}

/* ---- rendering ---- */

struct frame {
    uint32_t node;         /* the section */
    uint32_t element, end; /* the token that is its context now; where its list ends */
};

struct render {
    const struct template *template;
    const struct json *json;
    enum template_escape escape;
    bool strict;
    struct template_sink *sink;
    struct frame frames[TEMPLATE_DEPTH_MAX];
    unsigned depth;
    struct template_error *error;
};

/* The part of `name` before its first dot; `name` becomes what is behind it. */
static struct slice next_part(struct slice *name)
{
    const char *dot = memchr(name->p, '.', name->n);
    struct slice part = {name->p, dot ? (size_t)(dot - name->p) : name->n};
    size_t skip = part.n + (dot != NULL);
    *name = (struct slice){name->p + skip, name->n - skip};
    return part;
}

static uint32_t context(const struct render *r, unsigned depth) { return depth ? r->frames[depth - 1].element : 0; }

static uint32_t look_up(const struct render *r, struct slice name)
{
    if (name.n == 1 && name.p[0] == '.')
        return context(r, r->depth);
    struct slice part = next_part(&name);
    uint32_t found = JSON_NONE;
    for (unsigned depth = r->depth + 1; depth > 0 && found == JSON_NONE; depth--)
        found = json_member(r->json, context(r, depth - 1), part);
    while (name.n && found != JSON_NONE) {
        part = next_part(&name);
        found = json_member(r->json, found, part);
    }
    return found;
}

static bool is_zero(struct slice number)
{
    for (size_t i = 0; i < number.n && ascii_lower(number.p[i]) != 'e'; i++)
        if (number.p[i] >= '1' && number.p[i] <= '9')
            return false;
    return true;
}

static bool is_true(const struct json *json, uint32_t index)
{
    if (index == JSON_NONE)
        return false;
    const struct json_token *token = &json->tokens[index];
    switch (token->type) {
    case JSON_STRING:
        return token->end > token->start;
    case JSON_NUMBER:
        return !is_zero(json_raw(json, index));
    case JSON_ARRAY:
        return token->next > index + 1;
    case JSON_TRUE:
    case JSON_OBJECT:
        return true;
    default:
        return false;
    }
}

/* What stands in HTML for this character, or nothing. */
static struct slice html_entity(char c)
{
    switch (c) {
    case '&':
        return SLICE("&amp;");
    case '<':
        return SLICE("&lt;");
    case '>':
        return SLICE("&gt;");
    case '"':
        return SLICE("&quot;");
    case '\'':
        return SLICE("&#39;");
    default:
        return SLICE("");
    }
}

static void write_html(struct template_sink *sink, struct slice text)
{
    size_t start = 0;
    for (size_t i = 0; i < text.n; i++) {
        struct slice entity = html_entity(text.p[i]);
        if (entity.n == 0)
            continue;
        if (i > start)
            sink->value(sink, (struct slice){text.p + start, i - start});
        sink->value(sink, entity);
        start = i + 1;
    }
    if (text.n > start)
        sink->value(sink, (struct slice){text.p + start, text.n - start});
}

/* RFC 3986 §2.3, and for a RAW field §2.2 and the '%' of what is encoded already. */
static bool url_keeps(char c, bool raw)
{
    if (ascii_is_alnum(c))
        return true;
    return c && (strchr("-._~", c) || (raw && strchr(":/?#[]@!$&'()*+,;=%", c)));
}

static void write_url(struct template_sink *sink, struct slice text, bool raw)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t start = 0;
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        if (url_keeps(text.p[i], raw))
            continue;
        if (i > start)
            sink->value(sink, (struct slice){text.p + start, i - start});
        sink->value(sink, (struct slice){(char[]){'%', hex[c >> 4], hex[c & 15]}, 3});
        start = i + 1;
    }
    if (text.n > start)
        sink->value(sink, (struct slice){text.p + start, text.n - start});
}

static void write_piece(const struct render *r, struct slice text, bool raw)
{
    if (r->escape == ESCAPE_URL)
        write_url(r->sink, text, raw);
    else if (r->escape == ESCAPE_HTML && !raw)
        write_html(r->sink, text);
    else if (text.n)
        r->sink->value(r->sink, text);
}

static bool render_variable(const struct render *r, uint32_t node, bool raw)
{
    struct slice name = template_slice(r->template, node);
    uint32_t index = look_up(r, name);
    enum json_type type = index == JSON_NONE ? JSON_BROKEN : (enum json_type)r->json->tokens[index].type;
    switch (type) {
    case JSON_BROKEN:
        return !r->strict || fail(r->error, "no such field", name, r->template->nodes[node].start);
    case JSON_ARRAY:
    case JSON_OBJECT:
        return !r->strict || fail(r->error, "the field has no text", name, r->template->nodes[node].start);
    case JSON_NULL:
        return true;
    default:
        break;
    }
    struct slice text = json_raw(r->json, index);
    if (!r->json->tokens[index].escaped) {
        write_piece(r, text, raw);
        return true;
    }
    for (const char *p = text.p, *end = text.p + text.n; p < end;) {
        char room[4];
        write_piece(r, json_string_piece(&p, end, room), raw);
    }
    return true;
}

/* Enters the section and returns its first node, or returns the node behind it. */
static uint32_t enter_section(struct render *r, uint32_t node)
{
    uint32_t index = look_up(r, template_slice(r->template, node));
    if (!is_true(r->json, index))
        return r->template->nodes[node].next;
    bool list = r->json->tokens[index].type == JSON_ARRAY;
    r->frames[r->depth++] = (struct frame){node, list ? index + 1 : index, r->json->tokens[index].next};
    return node + 1;
}

/* At the end of the innermost section: its first node again with the next element, or, left, the node behind it. */
static uint32_t repeat_section(struct render *r)
{
    struct frame *frame = &r->frames[r->depth - 1];
    frame->element = r->json->tokens[frame->element].next;
    if (frame->element < frame->end)
        return frame->node + 1;
    r->depth--;
    return r->template->nodes[frame->node].next;
}

bool template_render(const struct template *template, const struct json *json, enum template_escape escape, bool strict,
                     struct template_sink *sink, struct template_error *error)
{
    struct render r = {.template = template, .json = json, .escape = escape, .strict = strict, .sink = sink};
    r.error = error;
    uint32_t i = 0;
    for (unsigned steps = 0;; steps++) {
        if (steps == TEMPLATE_STEPS_MAX)
            return fail(error, "the lists repeat too much", SLICE(""), 0);
        if (r.depth && i == template->nodes[r.frames[r.depth - 1].node].next) {
            i = repeat_section(&r);
            continue;
        }
        if (i == template->count)
            return true;
        switch (template->nodes[i].kind) {
        case TEMPLATE_TEXT:
            sink->text(sink, i, template_slice(template, i));
            i++;
            break;
        case TEMPLATE_SECTION:
            i = enter_section(&r, i);
            break;
        case TEMPLATE_INVERTED:
            i = is_true(json, look_up(&r, template_slice(template, i))) ? template->nodes[i].next : i + 1;
            break;
        default:
            if (!render_variable(&r, i, template->nodes[i].kind == TEMPLATE_RAW))
                return false;
            i++;
        }
    }
}
