/* template.h - Mustache templates: compiled once per campaign, rendered for each recipient from its JSON.
 *
 *   {{name}}            the field, escaped as the rendering is told
 *   {{{name}}} {{&name}} the field as it is
 *   {{#name}}...{{/name}} for each element of a list; once with the value as context for anything else that is true
 *   {{^name}}...{{/name}} if the section above would not be rendered at all
 *   {{! comment}}       {{=<% %>=}} changes the delimiters
 * Names: `a.b.c` looks `a` up in the contexts from the inside out and the rest in what was found, without going back;
 * `.` is the context itself. A tag other than a variable that stands alone on its line takes the line with it. White
 * space inside a tag is passed over; a name may hold spaces ("First name"), for columns of a table often do.
 * False are: what is missing, null, false, the empty string, zero, the empty list. Numbers, true and false are written
 * as they stand in the JSON, null as nothing; a list or an object has no text.
 * Partials ({{>name}}), blocks and parents ({{$ }}, {{< }}) and lambdas are refused where they can be seen.
 *
 * Pure: memory is the caller's; rendering is bounded by TEMPLATE_STEPS_MAX whatever template and JSON hold. */
#ifndef PROTO_MESSAGE_TEMPLATE_H
#define PROTO_MESSAGE_TEMPLATE_H

#include "proto/json.h"
#include "sluice/slice.h"

enum {
    TEMPLATE_DEPTH_MAX = 32,     /* sections inside each other */
    TEMPLATE_STEPS_MAX = 200000, /* nodes visited in one rendering, repetitions counted */
    TEMPLATE_DELIMITER_MAX = 16, /* bytes of a delimiter */
};

enum template_kind {
    TEMPLATE_BROKEN = 0,
    TEMPLATE_TEXT,
    TEMPLATE_VARIABLE, /* {{name}} */
    TEMPLATE_RAW,      /* {{{name}}}, {{&name}} */
    TEMPLATE_SECTION,
    TEMPLATE_INVERTED,
};

struct template_node {
    uint32_t start, length; /* of the text or the name, in the source */
    uint32_t next;          /* the node behind this one and all that is inside it */
    enum template_kind kind;
};

/* Borrows source and nodes for as long as it is used. */
struct template
{
    struct slice source;
    struct template_node *nodes;
    uint32_t count;
};

struct template_error {
    const char *reason; /* a constant: "the section is not closed" */
    struct slice name;  /* of the field or section, borrowed from the source; may be empty */
    size_t position;    /* in the source, from 0 */
};

/* Compiles UTF-8 text. `template->count` is the nodes that it takes; if that is more than `cap`, the template is not
 * usable yet: compile again with room for so many. `nodes` may be NULL if `cap` is 0. False: no template. */
must_use bool template_compile(struct slice source, struct template_node *nodes, uint32_t cap,
                               struct template *template, struct template_error *error);

static inline struct slice template_slice(const struct template *template, uint32_t node)
{
    return (struct slice){template->source.p + template->nodes[node].start, template->nodes[node].length};
}
/* True if it is text alone: every rendering is the same. */
bool template_is_static(const struct template *template);

/* Takes the rendering piece by piece. Values come in pieces that never split a character. */
struct template_sink {
    void (*text)(struct template_sink *sink, uint32_t node, struct slice text); /* a TEMPLATE_TEXT node */
    void (*value)(struct template_sink *sink, struct slice value);
};

/* How variables are written; RAW ones as they are, but for ESCAPE_URL. */
enum template_escape {
    ESCAPE_BROKEN = 0,
    ESCAPE_NONE,
    ESCAPE_HTML, /* & < > " ' as entities */
    ESCAPE_URL,  /* percent-encoded but for RFC 3986's unreserved; RAW: but for all that an URL may hold */
};

/* False: under `strict` a variable is missing or has no text, or the rendering takes too many steps; `error` says it,
 * and what the sink has got is to be thrown away. */
must_use bool template_render(const struct template *template, const struct json *json, enum template_escape escape,
                              bool strict, struct template_sink *sink, struct template_error *error);

#endif
