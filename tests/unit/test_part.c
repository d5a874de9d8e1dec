/* test_part.c - what was encoded ahead and what is filled in make one text again, in lines that are not too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/message/part.h"
#include "tests/unit/chance.h"

static struct json_token tokens[1024];
static char memory[1 << 20], encoded[1 << 20], in_pieces[1 << 20], decoded[1 << 20], plain[1 << 20];

struct plain_sink {
    struct template_sink sink;
    size_t n;
    bool cr;
};

/* The text as it should be: every line end CRLF. */
static void take(struct plain_sink *sink, struct slice text)
{
    for (size_t i = 0; i < text.n; i++) {
        bool lone = text.p[i] != '\n' || !sink->cr;
        sink->cr = text.p[i] == '\r';
        if (text.p[i] == '\r' || text.p[i] == '\n') {
            if (!lone)
                continue;
            plain[sink->n++] = '\r';
            plain[sink->n++] = '\n';
        } else {
            plain[sink->n++] = text.p[i];
        }
    }
}

static void take_text(struct template_sink *sink, uint32_t node, struct slice text)
{
    (void)node;
    take(container_of(sink, struct plain_sink, sink), text);
}

static void take_value(struct template_sink *sink, struct slice value)
{
    take(container_of(sink, struct plain_sink, sink), value);
}

static size_t expected_text(const struct part *part, const struct json *json)
{
    struct plain_sink sink = {{take_text, take_value}, 0, false};
    struct template_error error;
    assert_true(template_render(&part->template, json, part->escape, false, &sink.sink, &error));
    if (sink.n && plain[sink.n - 1] != '\n')
        take(&sink, SLICE("\n"));
    return sink.n;
}

static void check(struct slice source, const struct json *json)
{
    struct room room = {.p = memory, .cap = part_room(source)};
    struct part part;
    struct template_error error;
    struct out out = {encoded, sizeof(encoded), 0};
    assert_true(room.cap <= sizeof(memory));
    if (!part_make(&part, source, ESCAPE_HTML, &room, &error))
        fail_msg("%.*s: %s", SLICE_ARGS(source), error.reason);
    assert_true(part_render(&part, json, false, &out, &error));
    struct out pieces = {in_pieces, sizeof(in_pieces), 0};
    part_render_shared(&part, &pieces);
    assert_true(!part_is_shared(&part) || pieces.n == out.n);
    assert_true(part_render_rest(&part, json, false, &pieces, &error));
    assert_int_equal(pieces.n, out.n);
    assert_memory_equal(in_pieces, encoded, out.n);
    size_t column = 0;
    for (size_t i = 0; i < out.n; i++) {
        assert_true(column || (encoded[i] != '.' && encoded[i] != '-'));
        column = encoded[i] == '\n' ? 0 : column + 1;
        assert_true(column <= ENCODE_LINE_MAX + 1);
    }
    size_t n = part.encoding == ENCODING_QP ? decode_qp((struct slice){encoded, out.n}, decoded)
                                            : decode_base64((struct slice){encoded, out.n}, decoded);
    size_t expected = expected_text(&part, json);
    if (n != expected || memcmp(decoded, plain, n) != 0)
        fail_msg("%.*s\n->\n%.*s", SLICE_ARGS(source), (int)out.n, encoded);
}

static void random_templates_come_out_whole(void **state)
{
    (void)state;
    static const char *const words[] = {
        "{{a}}",
        "{{{b}}}",
        "{{c}}",
        "{{d}}",
        "{{#l}}{{.}}, {{/l}}",
        "{{^none}}x{{/none}}",
        "{{! c }}",
        "\n",
        "\r\n",
        "\r",
        " ",
        "  ",
        ".",
        "-",
        "--",
        "From ",
        "=",
        "word ",
        "caf\xC3\xA9",
        "\xE3\x81\x93\xE3\x82\x93\xE3\x81\xAB\xE3\x81\xA1\xE3\x81\xAF",
        "<td style=\"color:#333\">a cell without any line end in it, and long enough to be cut</td>"};
    static const char data[] =
        "{\"a\":\"Ann\",\"b\":\"\\r\\n.\\r\\n-- "
        "\\n\",\"c\":\"\\r\",\"d\":\"\\n<a-rather-long-value-that-has-no-space-and-fills-a-line-of-"
        "seventy-six-alone>\",\"l\":[1,\" \",\"\\n\",\"\xC3\xA9\",\"\"]}";
    chance_begin(state);
    struct json json;
    struct json_error error;
    assert_true(json_scan(((struct slice){data, sizeof(data) - 1}), tokens, countof(tokens), &json, &error));
    static char source[8192];
    for (int round = 0; round < 10000; round++) {
        size_t n = 0;
        for (uint32_t i = random_below(40); i > 0; i--) {
            const char *word = words[random_below(countof(words))];
            memcpy(source + n, word, strlen(word));
            n += strlen(word);
        }
        check((struct slice){source, n}, &json);
    }
}

static void text_behind_a_field_is_joined_where_that_is_cheap(void **state)
{
    (void)state;
    static const struct {
        const char *what, *source, *expected;
    } cases[] = {
        {"at a line end that is near", "Hi {{a}}!\nNext line\n", "Hi Ann!\r\nNext line\r\n"},
        {"at once where the text is short", "{{a}} and {{a}}.", "Ann and Ann.\r\n"},
        {"by a soft break where the next line end is far",
         "{{a}} and so on, a line that has more than sixty octets behind its field\nNext",
         "Ann=\r\n and so on, a line that has more than sixty octets behind its field\r\nNext\r\n"},
        {"by none where the line is empty",
         "{{none}}and so on, a line that has more than sixty octets behind its field\n",
         "and so on, a line that has more than sixty octets behind its field\r\n"},
    };
    struct json json;
    struct json_error json_error;
    assert_true(json_scan(SLICE("{\"a\":\"Ann\"}"), tokens, countof(tokens), &json, &json_error));
    for (size_t i = 0; i < countof(cases); i++) {
        struct room room = {.p = memory, .cap = sizeof(memory)};
        struct part part;
        struct template_error error;
        struct out out = {encoded, sizeof(encoded) - 1, 0};
        assert_true(part_make(&part, slice_of(cases[i].source), ESCAPE_NONE, &room, &error));
        assert_true(part_render(&part, &json, false, &out, &error));
        encoded[out.n] = 0;
        if (strcmp(encoded, cases[i].expected) != 0)
            fail_msg("%s: %s", cases[i].what, encoded);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_templates_come_out_whole),
        cmocka_unit_test(text_behind_a_field_is_joined_where_that_is_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
