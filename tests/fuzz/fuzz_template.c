/* fuzz_template.c - whatever a template and its data hold, rendering ends, stays in its memory, never splits a
 * character and is the same twice. The input is a template, a line "@@", and JSON. */
#include "proto/message/out.h"
#include "proto/message/template.h"
#include "proto/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct template_node nodes[16384];
static struct json_token tokens[JSON_TOKENS_MAX(65536)];

struct fuzz_sink {
    struct template_sink sink;
    uint64_t sum, n;
};

static void take(struct fuzz_sink *sink, struct slice value)
{
    sluice_assert(utf8_valid_until(value) == value.n);
    for (size_t i = 0; i < value.n; i++)
        sink->sum = sink->sum * 31 + (unsigned char)value.p[i];
    sink->n += value.n;
}

static void take_text(struct template_sink *sink, uint32_t node, struct slice text)
{
    sluice_assert(nodes[node].kind == TEMPLATE_TEXT && text.n == nodes[node].length);
    take(container_of(sink, struct fuzz_sink, sink), text);
}

static void take_value(struct template_sink *sink, struct slice value)
{
    take(container_of(sink, struct fuzz_sink, sink), value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = {(const char *)data, size}, json_text = SLICE("{}");
    const char *mark = size ? memmem(input.p, input.n, "\n@@\n", 4) : NULL;
    if (mark) {
        json_text = (struct slice){mark + 4, (size_t)(input.p + input.n - mark - 4)};
        input.n = (size_t)(mark - input.p);
    }
    struct template template, counted;
    struct template_error error;
    struct json json;
    struct json_error json_error;
    if (size > 65536 || !template_compile(input, NULL, 0, &counted, &error)) {
        sluice_assert(size > 65536 || (error.reason && error.position <= input.n));
        return 0;
    }
    if (counted.count > countof(nodes) || !json_scan(json_text, tokens, countof(tokens), &json, &json_error))
        return 0;
    sluice_assert(template_compile(input, nodes, counted.count, &template, &error));
    for (uint32_t i = 0; i < template.count; i++)
        sluice_assert(nodes[i].next > i && nodes[i].next <= template.count);
    struct fuzz_sink first = {{take_text, take_value}, 0, 0}, second = first;
    enum template_escape escape = (enum template_escape)(ESCAPE_NONE + size % 3);
    bool ok = template_render(&template, &json, escape, size % 2, &first.sink, &error);
    sluice_assert(template_render(&template, &json, escape, size % 2, &second.sink, &error) == ok);
    sluice_assert(first.sum == second.sum && first.n == second.n);
    return 0;
}
