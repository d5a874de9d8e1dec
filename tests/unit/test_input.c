/* test_input.c - RFC 4180 to the letter, and every broken list refused with its line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/input.h"
#include "sluice/limits.h"

#include <stdlib.h>

/* All entries, each followed by a line end; a fault as "!sentence". */
static char *read_all(const char *bytes, size_t n, enum input_format format)
{
    FILE *stream = n ? fmemopen((void *)(uintptr_t)bytes, n, "r") : fopen("/dev/null", "r");
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(stream);
    struct input *input = input_open(stream, format);
    assert_non_null(input);
    for (;;) {
        struct slice entry;
        enum input_result result = input_next(input, &entry);
        if (result == INPUT_END)
            break;
        fprintf(out, "%s" SLICE_FORMAT "\n", result == INPUT_FAULT ? "!" : "", SLICE_ARGS(entry));
        if (result == INPUT_FAULT) { /* and it stays one */
            assert_int_equal(input_next(input, &entry), INPUT_FAULT);
            break;
        }
    }
    input_close(input);
    fclose(stream);
    fclose(out);
    return text;
}

static void reads(const char *bytes, enum input_format format, const char *expected)
{
    char *text = read_all(bytes, strlen(bytes), format);
    assert_string_equal(text, expected);
    free(text);
}

static void csv_becomes_objects(void **state)
{
    (void)state;
    reads("to,name\nann@x.example,Ann\nbob@y.example,Bob", INPUT_CSV,
          "{\"to\":\"ann@x.example\",\"name\":\"Ann\"}\n{\"to\":\"bob@y.example\",\"name\":\"Bob\"}\n");
    reads("to\r\nann@x.example\r\n\r\n", INPUT_CSV, "{\"to\":\"ann@x.example\"}\n");
    reads("\xEF\xBB\xBFto,a\nx,1\n", INPUT_CSV, "{\"to\":\"x\",\"a\":\"1\"}\n");
    reads("name,EMail\nA,x\n", INPUT_CSV, "{\"name\":\"A\",\"to\":\"x\"}\n");
    reads("email,to\nold,new\n", INPUT_CSV, "{\"email\":\"old\",\"to\":\"new\"}\n");
    reads("to,a,b\nx,,\n,,\n", INPUT_CSV,
          "{\"to\":\"x\",\"a\":\"\",\"b\":\"\"}\n{\"to\":\"\",\"a\":\"\",\"b\":\"\"}\n");
    reads("to\n", INPUT_CSV, "");
}

static void quotes_are_read(void **state)
{
    (void)state;
    reads("\"to\",\"a b\"\n\"x\",\"1, \"\"2\"\"\r\n3\"\n", INPUT_CSV,
          "{\"to\":\"x\",\"a b\":\"1, \\\"2\\\"\\u000a3\"}\n");
    reads("to,a\nx,\"\"\ny,\"\"\"\"\n", INPUT_CSV, "{\"to\":\"x\",\"a\":\"\"}\n{\"to\":\"y\",\"a\":\"\\\"\"}\n");
    reads("to,a\nx,\\\t\xC3\xBC\n", INPUT_CSV, "{\"to\":\"x\",\"a\":\"\\\\\\u0009\xC3\xBC\"}\n");
    reads("to\n\"\"\n", INPUT_CSV, ""); /* nothing but an empty field is an empty line */
    reads("to,a\nx,b\rc\n", INPUT_CSV, "{\"to\":\"x\",\"a\":\"b\\u000dc\"}\n");
}

static void broken_csv_names_its_line(void **state)
{
    static const struct {
        const char *text, *fault;
    } cases[] = {
        {"", "line 1: the file is empty"},
        {"\n\n", "line 3: the file is empty"},
        {"name,age\nA,1\n", "line 1: no column is named \"to\" or \"email\"; the first line names the columns, as in"},
        {"to;name\nA;1\n",
         "line 1: no column is named \"to\" or \"email\"; the first line names the columns, with commas"},
        {"to,,x\n", "line 1: the name of column 2 is empty"},
        {"to, name\n", "line 1: the name of column 2 is empty, or begins or ends with a space"},
        {"to,a,a\n", "line 1: two columns have the name a"},
        {"to,a\n\n\nx\n", "line 4: there are 1 fields, but 2 columns"},
        {"to,a\r\n\"x\r\ny\",1\r\nx,1,2\r\n", "line 4: there are 3 fields, but 2 columns"},
        {"to,a\nx,\"open\n\n", "line 2: a quoted field has no closing quote"},
        {"to,a\nx,\"a\"b\n", "line 2: text follows the closing quote"},
        {"to,a\nx,a\"b\"\n", "line 2: a quote stands within a field"},
        {"to,a\nx, \"b\"\n", "line 2: a quote stands within a field"},
        {"to,a\nx,M\xFCller\n", "line 2: this is not UTF-8 (byte 0xfc)"},
    };
    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        char *text = read_all(cases[i].text, strlen(cases[i].text), INPUT_CSV);
        const char *fault = strchr(text, '!');
        if (!fault || strncmp(fault + 1, cases[i].fault, strlen(cases[i].fault)) != 0)
            fail_msg("for <%s> expected <%s>, got <%s>", cases[i].text, cases[i].fault, text);
        free(text);
    }
    char *text = read_all("to\na\0b\n", 7, INPUT_CSV);
    assert_string_equal(text, "!line 2: there is a zero byte; this is no text file\n");
    free(text);
}

static void a_missing_quote_does_not_fill_the_memory(void **state)
{
    size_t n = 8 * LIMIT_RECIPIENT;
    char *bytes = malloc(n);
    (void)state;
    memset(bytes, 'x', n);
    memcpy(bytes, "to\n\"", 4);
    char *text = read_all(bytes, n, INPUT_CSV);
    assert_non_null(strstr(text, "!line 2: the record is longer than"));
    free(text);
    memset(bytes, 'x', n);
    text = read_all(bytes, n, INPUT_LINES);
    assert_non_null(strstr(text, "!line 1: is longer than"));
    free(text);
    memset(bytes, ',', n);
    text = read_all(bytes, n, INPUT_CSV);
    assert_non_null(strstr(text, "!line 1: there are more than 256 fields"));
    free(text);
    free(bytes);
}

static void lines_pass_as_they_are(void **state)
{
    (void)state;
    reads("{\"to\":\"x\"}\r\n\n  {broken\n\xFF\nbob@y.example", INPUT_LINES,
          "{\"to\":\"x\"}\n  {broken\n\xFF\nbob@y.example\n");
    reads("", INPUT_LINES, "");
}

static void the_format_is_guessed(void **state)
{
    static const struct {
        const char *name, *text;
        enum input_format format;
    } cases[] = {
        {"a.csv", "{", INPUT_CSV},      {"a.CSV", "x", INPUT_CSV},     {"a.jsonl", "to,", INPUT_LINES},
        {"a.ndjson", "x", INPUT_LINES}, {"-", "{\"to\"", INPUT_LINES}, {"-", "to,name", INPUT_CSV},
        {"csv", "x", INPUT_CSV},
    };
    (void)state;
    for (size_t i = 0; i < countof(cases); i++) {
        FILE *stream = fmemopen((void *)(uintptr_t)cases[i].text, strlen(cases[i].text), "r");
        assert_non_null(stream);
        assert_int_equal(input_guess(cases[i].name, stream), cases[i].format);
        assert_int_equal(getc(stream), cases[i].text[0]);
        fclose(stream);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_becomes_objects),       cmocka_unit_test(quotes_are_read),
        cmocka_unit_test(broken_csv_names_its_line), cmocka_unit_test(a_missing_quote_does_not_fill_the_memory),
        cmocka_unit_test(lines_pass_as_they_are),    cmocka_unit_test(the_format_is_guessed),
    };
    return cmocka_run_group_tests_name("input", tests, NULL, NULL);
}
