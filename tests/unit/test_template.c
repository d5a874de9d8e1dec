/* test_template.c - every rule of Mustache's interpolation, sections, inverted sections, comments and delimiters, and
 * what is refused where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/message/out.h"
#include "proto/message/template.h"

static struct template_node nodes[1024];
static struct json_token tokens[4096];
static char rendered[1 << 20];

struct text_sink {
    struct template_sink sink;
    struct out out;
};

static void take_text(struct template_sink *sink, uint32_t node, struct slice text)
{
    assert_true(node < countof(nodes) && nodes[node].kind == TEMPLATE_TEXT);
    out_slice(&container_of(sink, struct text_sink, sink)->out, text);
}

static void take_value(struct template_sink *sink, struct slice value)
{
    out_slice(&container_of(sink, struct text_sink, sink)->out, value);
}

static bool compile(struct slice source, struct template *template, struct template_error *error)
{
    struct template counted;
    memset(error, 0, sizeof(*error));
    if (!template_compile(source, NULL, 0, &counted, error))
        return false;
    assert_true(counted.count <= countof(nodes));
    assert_true(template_compile(source, nodes, counted.count, template, error));
    assert_int_equal(template->count, counted.count);
    return true;
}

static bool render(const struct template *template, struct slice json_text, enum template_escape escape, bool strict,
                   struct template_error *error)
{
    struct json json;
    struct json_error json_error;
    struct text_sink sink = {{take_text, take_value}, {rendered, sizeof(rendered) - 1, 0}};
    if (!json_scan(json_text, tokens, countof(tokens), &json, &json_error))
        fail_msg("%.*s: %s", SLICE_ARGS(json_text), json_error.reason);
    if (!template_render(template, &json, escape, strict, &sink.sink, error))
        return false;
    assert_true(sink.out.n < sizeof(rendered));
    rendered[sink.out.n] = 0;
    return true;
}

struct example {
    const char *what, *template, *json, *expected;
};

static void run(const struct example *examples, size_t count, enum template_escape escape)
{
    for (size_t i = 0; i < count; i++) {
        struct template template;
        struct template_error error;
        if (!compile(slice_of(examples[i].template), &template, &error))
            fail_msg("%s: %s at %zu", examples[i].what, error.reason, error.position);
        assert_true(render(&template, slice_of(examples[i].json), escape, false, &error));
        if (strcmp(rendered, examples[i].expected) != 0)
            fail_msg("%s:\n%s\nexpected:\n%s", examples[i].what, rendered, examples[i].expected);
    }
}

static void interpolation(void **state)
{
    (void)state;
    static const struct example examples[] = {
        {"text is left as it is", "Hello from {Mustache}!\n", "{}", "Hello from {Mustache}!\n"},
        {"nothing gives nothing", "", "{}", ""},
        {"a variable", "Hello, {{subject}}!", "{\"subject\":\"world\"}", "Hello, world!"},
        {"values are not templates", "{{a}} {{b}}", "{\"a\":\"{{b}}\",\"b\":\"{{a}}\"}", "{{b}} {{a}}"},
        {"what HTML means is escaped", "{{s}}", "{\"s\":\"& \\\" < > '\"}", "&amp; &quot; &lt; &gt; &#39;"},
        {"three braces do not escape", "{{{s}}}", "{\"s\":\"& \\\" < > '\"}", "& \" < > '"},
        {"nor does an ampersand", "{{&s}}", "{\"s\":\"& \\\" < > '\"}", "& \" < > '"},
        {"an integer", "{{n}} {{{n}}} {{&n}}", "{\"n\":85}", "85 85 85"},
        {"a decimal", "{{n}} {{{n}}} {{&n}}", "{\"n\":1.21}", "1.21 1.21 1.21"},
        {"zero and minus", "{{a}} {{b}}", "{\"a\":0,\"b\":-7}", "0 -7"},
        {"true and false", "{{a}} {{b}}", "{\"a\":true,\"b\":false}", "true false"},
        {"null is nothing", "({{n}}) ({{{n}}}) ({{&n}})", "{\"n\":null}", "() () ()"},
        {"what is missing is nothing", "({{n}}) ({{{n}}}) ({{&n}})", "{}", "() () ()"},
        {"lists and objects have no text", "({{l}}) ({{{o}}})", "{\"l\":[1],\"o\":{\"a\":1}}", "() ()"},
        {"escapes of JSON are undone", "{{s}}", "{\"s\":\"\\u00e9\\ud83d\\ude00\\n\\/\\\"\"}",
         "\xC3\xA9\xF0\x9F\x98\x80\n/&quot;"},
        {"a name may be escaped in the JSON", "{{name}}", "{\"n\\u0061me\":\"Ann\"}", "Ann"},
        {"dotted names", "{{p.name}} {{{p.name}}} {{&p.name}}", "{\"p\":{\"name\":\"Joe\"}}", "Joe Joe Joe"},
        {"of any depth", "{{a.b.c.d.e.name}}", "{\"a\":{\"b\":{\"c\":{\"d\":{\"e\":{\"name\":\"Phil\"}}}}}}", "Phil"},
        {"a chain that breaks is nothing", "({{a.b.c}})", "{\"a\":{}}", "()"},
        {"a chain does not go back", "({{a.b.c.name}})", "{\"a\":{\"b\":{}},\"c\":{\"name\":\"Jim\"}}", "()"},
        {"the first name is looked up alone", "{{#a}}{{b.c}}{{/a}}", "{\"a\":{\"b\":{}},\"b\":{\"c\":\"error\"}}", ""},
        {"the first found counts", "{{#a}}{{b.c}}{{/a}}", "{\"a\":{\"b\":{\"c\":\"in\"}},\"b\":{\"c\":\"out\"}}", "in"},
        {"a dotted name is never one key", "({{a.b}})", "{\"a.b\":\"c\"}", "()"},
        {"nor masked by one", "{{a.b}}", "{\"a.b\":\"c\",\"a\":{\"b\":\"d\"}}", "d"},
        {"the context itself", "Hello, {{.}}!", "\"world\"", "Hello, world!"},
        {"the context itself, escaped", "{{.}} {{{.}}} {{&.}}", "\"<\"", "&lt; < <"},
        {"the context itself, a number", "{{.}}", "85", "85"},
        {"white space around is kept", "| {{s}} {{{s}}} {{&s}} |", "{\"s\":\"---\"}", "| --- --- --- |"},
        {"a variable does not take its line", "  {{s}}\n  {{{s}}}\n  {{&s}}\n", "{\"s\":\"-\"}", "  -\n  -\n  -\n"},
        {"white space inside is passed over", "|{{ s }}|{{{ s }}}|{{& s }}|{{\ts\n}}|", "{\"s\":\"-\"}", "|-|-|-|-|"},
        {"a name may hold spaces", "{{First name}}", "{\"First name\":\"Ann\"}", "Ann"},
        {"braces beside a tag", "{{{{s}}}}", "{\"{s\":\"yes\",\"s\":\"no\"}", "yes}"},
    };
    run(examples, countof(examples), ESCAPE_HTML);
}

static void sections(void **state)
{
    (void)state;
    static const struct example examples[] = {
        {"true renders", "\"{{#b}}yes{{/b}}\"", "{\"b\":true}", "\"yes\""},
        {"false does not", "\"{{#b}}no{{/b}}\"", "{\"b\":false}", "\"\""},
        {"null does not", "\"{{#b}}no{{/b}}\"", "{\"b\":null}", "\"\""},
        {"what is missing does not", "\"{{#b}}no{{/b}}\"", "{}", "\"\""},
        {"an empty string does not", "\"{{#b}}no{{/b}}\"", "{\"b\":\"\"}", "\"\""},
        {"zero does not", "\"{{#a}}no{{/a}}{{#b}}no{{/b}}\"", "{\"a\":0,\"b\":-0.0e5}", "\"\""},
        {"other numbers and texts do", "{{#a}}A{{/a}}{{#b}}B{{/b}}{{#c}}C{{/c}}", "{\"a\":0.5,\"b\":\"0\",\"c\":1e0}",
         "ABC"},
        {"an empty object does", "{{#o}}yes{{/o}}", "{\"o\":{}}", "yes"},
        {"an object is the context", "\"{{#c}}Hi {{name}}.{{/c}}\"", "{\"c\":{\"name\":\"Joe\"}}", "\"Hi Joe.\""},
        {"the outer context is seen", "{{#sec}}{{a}}, {{b}}, {{c.d}}{{/sec}}",
         "{\"a\":\"foo\",\"b\":\"wrong\",\"sec\":{\"b\":\"bar\"},\"c\":{\"d\":\"baz\"}}", "foo, bar, baz"},
        {"any true value is the context", "{{#foo}}{{.}} is {{foo}}{{/foo}}", "{\"foo\":\"bar\"}", "bar is bar"},
        {"all contexts of a nest are seen",
         "{{#a}}{{one}}{{#b}}{{one}}{{two}}{{one}}{{#c}}{{one}}{{two}}{{three}}{{two}}{{one}}{{/c}}{{/b}}{{/a}}",
         "{\"a\":{\"one\":1},\"b\":{\"two\":2},\"c\":{\"three\":3}}", "112112321"},
        {"a list repeats", "\"{{#list}}{{item}}{{/list}}\"", "{\"list\":[{\"item\":1},{\"item\":2},{\"item\":3}]}",
         "\"123\""},
        {"an empty list does not", "\"{{#list}}no{{/list}}\"", "{\"list\":[]}", "\"\""},
        {"twice in a row", "{{#b}}\n* first\n{{/b}}\n* {{two}}\n{{#b}}\n* third\n{{/b}}\n",
         "{\"two\":\"second\",\"b\":true}", "* first\n* second\n* third\n"},
        {"inside each other", "| A {{#b}}B {{#b}}C{{/b}} D{{/b}} E |", "{\"b\":true}", "| A B C D E |"},
        {"inside each other, false", "| A {{#b}}B {{#b}}C{{/b}} D{{/b}} E |", "{\"b\":false}", "| A  E |"},
        {"lists inside lists", "{{#l}}{{#m}}{{x}}{{/m}};{{/l}}",
         "{\"l\":[{\"m\":[{\"x\":1},{\"x\":2}]},{\"m\":[]},{\"m\":[{\"x\":3}]}]}", "12;;3;"},
        {"a member of an element hides the outer one", "{{#l}}{{x}}{{/l}}", "{\"x\":\"-\",\"l\":[{\"x\":1},{}]}", "1-"},
        {"the element itself", "\"{{#list}}({{.}}){{/list}}\"", "{\"list\":[\"a\",\"b\"]}", "\"(a)(b)\""},
        {"elements of all kinds", "{{#l}}({{.}}){{/l}}", "{\"l\":[1,2.5,true,null,\"<\"]}", "(1)(2.5)(true)()(&lt;)"},
        {"elements that are not escaped", "{{#l}}({{{.}}})({{&.}}){{/l}}", "{\"l\":[\"<\"]}", "(<)(<)"},
        {"lists of lists", "{{#l}}({{#.}}{{.}}{{/.}}){{/l}}", "{\"l\":[[1,2],[3],[]]}", "(12)(3)()"},
        {"the root may be a list", "{{#.}}({{v}}){{/.}}", "[{\"v\":\"a\"},{\"v\":\"b\"}]", "(a)(b)"},
        {"dotted names", "\"{{#a.b.c}}Here{{/a.b.c}}\"", "{\"a\":{\"b\":{\"c\":true}}}", "\"Here\""},
        {"dotted names that are false", "\"{{#a.b.c}}Here{{/a.b.c}}\"", "{\"a\":{\"b\":{\"c\":false}}}", "\"\""},
        {"dotted names that break", "\"{{#a.b.c}}Here{{/a.b.c}}\"", "{\"a\":{}}", "\"\""},
        {"an empty section", "({{#l}}{{/l}})", "{\"l\":[1,2,3]}", "()"},
        {"a section ends with its outer one", "{{#a}}{{#a}}x{{/a}}{{/a}}{{#a}}y{{/a}}", "{\"a\":[1,2]}", "xxxxyy"},
        {"white space around is kept", " | {{#b}}\t|\t{{/b}} | \n", "{\"b\":true}", " | \t|\t | \n"},
        {"line ends inside are kept", " | {{#b}} {{! comment }}\n {{/b}} | \n", "{\"b\":true}", " |  \n  | \n"},
        {"tags in a line with others take nothing", " {{#b}}YES{{/b}}\n {{#b}}GOOD{{/b}}\n", "{\"b\":true}",
         " YES\n GOOD\n"},
        {"standing alone", "| This Is\n{{#b}}\n|\n{{/b}}\n| A Line\n", "{\"b\":true}", "| This Is\n|\n| A Line\n"},
        {"standing alone, indented", "| This Is\n  {{#b}}\n|\n\t{{/b}} \n| A Line\n", "{\"b\":true}",
         "| This Is\n|\n| A Line\n"},
        {"standing alone, CRLF", "|\r\n{{#b}}\r\n{{/b}}\r\n|", "{\"b\":true}", "|\r\n|"},
        {"standing alone on the first line", "  {{#b}}\n#{{/b}}\n/", "{\"b\":true}", "#\n/"},
        {"standing alone on the last line", "#{{#b}}\n/\n  {{/b}}", "{\"b\":true}", "#\n/\n"},
        {"a CR alone ends no line", "a\r{{#b}}\rb{{/b}}", "{\"b\":true}", "a\r\rb"},
        {"white space inside is passed over", "|{{# b }}={{/ b }}|{{ #b }}={{ /b }}|", "{\"b\":true}", "|=|=|"},
    };
    run(examples, countof(examples), ESCAPE_HTML);
}

static void inverted_sections(void **state)
{
    (void)state;
    static const struct example examples[] = {
        {"false renders", "\"{{^b}}yes{{/b}}\"", "{\"b\":false}", "\"yes\""},
        {"true does not", "\"{{^b}}no{{/b}}\"", "{\"b\":true}", "\"\""},
        {"null renders", "\"{{^b}}yes{{/b}}\"", "{\"b\":null}", "\"yes\""},
        {"what is missing renders", "\"{{^b}}yes{{/b}}\"", "{}", "\"yes\""},
        {"an empty list renders", "\"{{^b}}yes{{/b}}\"", "{\"b\":[]}", "\"yes\""},
        {"an empty string and zero render", "{{^a}}A{{/a}}{{^b}}B{{/b}}", "{\"a\":\"\",\"b\":0}", "AB"},
        {"an object does not", "\"{{^c}}no{{/c}}\"", "{\"c\":{\"name\":\"Joe\"}}", "\"\""},
        {"a list does not", "\"{{^l}}no{{/l}}\"", "{\"l\":[{\"n\":1}]}", "\"\""},
        {"twice in a row", "{{^b}}\n* first\n{{/b}}\n* {{two}}\n{{^b}}\n* third\n{{/b}}\n",
         "{\"two\":\"second\",\"b\":false}", "* first\n* second\n* third\n"},
        {"inside each other", "| A {{^b}}B {{^b}}C{{/b}} D{{/b}} E |", "{\"b\":false}", "| A B C D E |"},
        {"inside each other, true", "| A {{^b}}B {{^b}}C{{/b}} D{{/b}} E |", "{\"b\":true}", "| A  E |"},
        {"inside a section", "{{#l}}{{^x}}none{{/x}}{{x}};{{/l}}", "{\"l\":[{\"x\":1},{}]}", "1;none;"},
        {"dotted names", "\"{{^a.b.c}}Not{{/a.b.c}}\"", "{\"a\":{\"b\":{\"c\":true}}}", "\"\""},
        {"dotted names that are false", "\"{{^a.b.c}}Not{{/a.b.c}}\"", "{\"a\":{\"b\":{\"c\":false}}}", "\"Not\""},
        {"dotted names that break", "\"{{^a.b.c}}Not{{/a.b.c}}\"", "{\"a\":{}}", "\"Not\""},
        {"white space around is kept", " | {{^b}}\t|\t{{/b}} | \n", "{\"b\":false}", " | \t|\t | \n"},
        {"line ends inside are kept", " | {{^b}} {{! comment }}\n {{/b}} | \n", "{\"b\":false}", " |  \n  | \n"},
        {"tags in a line with others take nothing", " {{^b}}NO{{/b}}\n {{^b}}WAY{{/b}}\n", "{\"b\":false}",
         " NO\n WAY\n"},
        {"standing alone", "| This Is\n  {{^b}}\n|\n  {{/b}}\n| A Line\n", "{\"b\":false}", "| This Is\n|\n| A Line\n"},
        {"standing alone, CRLF", "|\r\n{{^b}}\r\n{{/b}}\r\n|", "{\"b\":false}", "|\r\n|"},
        {"standing alone on the first and last line", "  {{^b}}\n^\n  {{/b}}", "{\"b\":false}", "^\n"},
        {"white space inside is passed over", "|{{^ b }}={{/ b }}|", "{\"b\":false}", "|=|"},
    };
    run(examples, countof(examples), ESCAPE_HTML);
}

static void comments(void **state)
{
    (void)state;
    static const struct example examples[] = {
        {"inside a line", "12345{{! Comment! }}67890", "{}", "1234567890"},
        {"of several lines", "12345{{!\n  of several\n  lines...\n}}67890\n", "{}", "1234567890\n"},
        {"standing alone", "Begin.\n{{! alone }}\nEnd.\n", "{}", "Begin.\nEnd.\n"},
        {"standing alone, indented", "Begin.\n  {{! alone }}\nEnd.\n", "{}", "Begin.\nEnd.\n"},
        {"standing alone, CRLF", "|\r\n{{! alone }}\r\n|", "{}", "|\r\n|"},
        {"standing alone on the first line", "  {{! alone }}\n!", "{}", "!"},
        {"standing alone on the last line", "!\n  {{! alone }}", "{}", "!\n"},
        {"standing alone on several lines", "Begin.\n  {{!\n    something\n  }}\nEnd.\n", "{}", "Begin.\nEnd.\n"},
        {"behind text", "  12 {{! 34 }}\n", "{}", "  12 \n"},
        {"white space around is kept", "12345 {{! Comment }} 67890", "{}", "12345  67890"},
        {"a comment is no field", "({{! name }})({{!name}})", "{\"! name\":1,\"!name\":2,\"name\":3}", "()()"},
        {"a comment may say what it likes", "({{! {{#open {{^ <% }})", "{}", "()"},
    };
    run(examples, countof(examples), ESCAPE_HTML);
}

static void delimiters(void **state)
{
    (void)state;
    static const struct example examples[] = {
        {"a pair", "{{=<% %>=}}(<%text%>)", "{\"text\":\"Hey!\"}", "(Hey!)"},
        {"one character each", "({{=[ ]=}}[text])", "{\"text\":\"It worked!\"}", "(It worked!)"},
        {"sections", "[\n{{#s}}\n  {{data}}\n  |data|\n{{/s}}\n\n{{= | | =}}\n|#s|\n  {{data}}\n  |data|\n|/s|\n]\n",
         "{\"s\":true,\"data\":\"I got interpolated.\"}",
         "[\n  I got interpolated.\n  |data|\n\n  {{data}}\n  I got interpolated.\n]\n"},
        {"inverted sections", "[\n{{^s}}\n  {{data}}\n{{/s}}\n{{= | | =}}\n|^s|\n  |data|\n|/s|\n]\n",
         "{\"s\":false,\"data\":\"x\"}", "[\n  x\n  x\n]\n"},
        {"changed back", "{{=<% %>=}}<%a%>{{a}}<%={{ }}=%>{{a}}<%a%>", "{\"a\":1}", "1{{a}}1<%a%>"},
        {"raw with others", "{{=<% %>=}}<%& a %><%{ a }%>", "{\"a\":\"<\"}", "<<"},
        {"characters that mean something elsewhere", "({{=[. .]=}}[.a.])({{=.* *.=}}.*a*.)", "{\"a\":1}",
         "(1)({{=.* *.=}}.*a*.)"},
        {"white space around is kept", "| {{=@ @=}} |", "{}", "|  |"},
        {"behind text", " | {{=@ @=}}\n", "{}", " | \n"},
        {"standing alone", "Begin.\n{{=@ @=}}\nEnd.\n", "{}", "Begin.\nEnd.\n"},
        {"standing alone, indented", "Begin.\n  {{=@ @=}}\nEnd.\n", "{}", "Begin.\nEnd.\n"},
        {"standing alone, CRLF", "|\r\n{{= @ @ =}}\r\n|", "{}", "|\r\n|"},
        {"standing alone on the first line", "  {{=@ @=}}\n=", "{}", "="},
        {"standing alone on the last line", "=\n  {{=@ @=}}", "{}", "=\n"},
        {"white space inside is passed over", "|{{= @   @ =}}|", "{}", "||"},
    };
    run(examples, countof(examples), ESCAPE_HTML);
}

static void other_escapes(void **state)
{
    (void)state;
    static const struct example plain[] = {
        {"no escape", "{{s}} {{{s}}}", "{\"s\":\"<&>\"}", "<&> <&>"},
    };
    static const struct example url[] = {
        {"all but unreserved characters", "?e={{s}}", "{\"s\":\"a-b._~ @+/?&=%\\u00e9\\n\\\"<>\"}",
         "?e=a-b._~%20%40%2B%2F%3F%26%3D%25%C3%A9%0A%22%3C%3E"},
        {"a whole URL", "{{{s}}}", "{\"s\":\"https://a.example/?b=c%20d&e=[1]#f <>\\r\\n\\u00e9\\\"\\\\\"}",
         "https://a.example/?b=c%20d&e=[1]#f%20%3C%3E%0D%0A%C3%A9%22%5C"},
    };
    run(plain, countof(plain), ESCAPE_NONE);
    run(url, countof(url), ESCAPE_URL);
}

static void what_is_no_template_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct slice source;
        const char *reason, *name;
        size_t position;
    } cases[] = {
        {SLICE("ab{{name"), "the tag is not closed", "", 2},
        {SLICE("ab{{name}"), "the tag is not closed", "", 2},
        {SLICE("{{{name}}"), "the tag is not closed", "", 0},
        {SLICE("{{! comment"), "the tag is not closed", "", 0},
        {SLICE("{{=<% %>}}"), "the tag is not closed", "", 0},
        {SLICE("{{"), "the tag is not closed", "", 0},
        {SLICE("{{name\n and {{other}}"), "the tag is not closed on its line", "", 0},
        {SLICE("a{{}}"), "the tag has no name", "", 1},
        {SLICE("a{{# }}"), "the tag has no name", "", 1},
        {SLICE("{{a..b}}"), "the name has an empty part", "a..b", 0},
        {SLICE("{{.a}}"), "the name has an empty part", ".a", 0},
        {SLICE("{{#a.}}{{/a.}}"), "the name has an empty part", "a.", 0},
        {SLICE("a{{#b}}c"), "the section is not closed", "b", 1},
        {SLICE("{{#a}}{{^b}}{{/b}}"), "the section is not closed", "a", 0},
        {SLICE("a{{/b}}c"), "closes a section that is not open", "b", 1},
        {SLICE("{{#a}}{{#b}}{{/a}}{{/b}}"), "closes another section than the one that is open", "a", 12},
        {SLICE("x{{>part}}"), "partials are not supported", "part", 1},
        {SLICE("{{<parent}}{{/parent}}"), "parents and blocks are not supported", "parent", 0},
        {SLICE("{{$block}}{{/block}}"), "parents and blocks are not supported", "block", 0},
        {SLICE("{{=<%=}}"), "delimiters are set as {{=<% %>=}}", "<%", 0},
        {SLICE("{{==}}"), "delimiters are set as {{=<% %>=}}", "", 0},
        {SLICE("{{=a b c=}}"), "delimiters are set as {{=<% %>=}}", "a b c", 0},
        {SLICE("{{== = =}}"), "delimiters are set as {{=<% %>=}}", "= =", 0},
        {SLICE("{{=12345678901234567 ]=}}"), "delimiters are set as {{=<% %>=}}", "12345678901234567 ]", 0},
        {SLICE("abc\xFF{{x}}"), "not UTF-8", "", 3},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct template template;
        struct template_error error;
        if (compile(cases[i].source, &template, &error))
            fail_msg("compiled: %.*s", SLICE_ARGS(cases[i].source));
        if (strcmp(error.reason, cases[i].reason) != 0 || error.position != cases[i].position ||
            !slice_equal(error.name, slice_of(cases[i].name)))
            fail_msg("%.*s: %s \"%.*s\" at %zu", SLICE_ARGS(cases[i].source), error.reason, SLICE_ARGS(error.name),
                     error.position);
    }
}

static void nests_are_bounded(void **state)
{
    (void)state;
    char source[TEMPLATE_DEPTH_MAX * 12 + 64];
    for (unsigned depth = TEMPLATE_DEPTH_MAX; depth <= TEMPLATE_DEPTH_MAX + 1; depth++) {
        struct template template;
        struct template_error error;
        size_t n = 0;
        for (unsigned i = 0; i < depth; i++, n += 6)
            memcpy(source + n, i % 2 ? "{{^b}}" : "{{#a}}", 6);
        source[n++] = 'x';
        for (unsigned i = depth; i > 0; i--, n += 6)
            memcpy(source + n, i % 2 ? "{{/a}}" : "{{/b}}", 6);
        assert_int_equal(compile((struct slice){source, n}, &template, &error), depth == TEMPLATE_DEPTH_MAX);
        if (depth == TEMPLATE_DEPTH_MAX) {
            assert_true(render(&template, SLICE("{\"a\":1}"), ESCAPE_NONE, false, &error));
            assert_string_equal(rendered, "x");
        } else {
            assert_string_equal(error.reason, "too many sections inside each other");
        }
    }
}

static void repetitions_are_bounded(void **state)
{
    (void)state;
    struct template template;
    struct template_error error;
    assert_true(
        compile(SLICE("{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{#l}}{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}{{/l}}"), &template, &error));
    assert_true(render(&template, SLICE("{\"l\":[1,2,3,4]}"), ESCAPE_NONE, false, &error));
    assert_false(render(&template, SLICE("{\"l\":[1,2,3,4,5,6,7,8,9,10]}"), ESCAPE_NONE, false, &error));
    assert_string_equal(error.reason, "the lists repeat too much");
}

static void strict_rendering_names_what_is_missing(void **state)
{
    (void)state;
    static const struct {
        const char *template, *reason, *name;
        size_t position;
    } cases[] = {
        {"{{a}} {{b}}", "no such field", "b", 8},
        {"{{a}} {{{b}}}", "no such field", "b", 9},
        {"{{a.c}}", "no such field", "a.c", 2},
        {"{{#l}}{{x}}{{/l}}", "no such field", "x", 8},
        {"{{l}}", "the field has no text", "l", 2},
        {"{{o}}", "the field has no text", "o", 2},
        {"{{a}}{{n}}{{e}}{{#b}}{{b}}{{/b}}{{^b}}none{{/b}}", NULL, "", 0},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        struct template template;
        struct template_error error;
        assert_true(compile(slice_of(cases[i].template), &template, &error));
        bool ok = render(&template, SLICE("{\"a\":1,\"n\":null,\"e\":\"\",\"l\":[{\"x\":1},{}],\"o\":{}}"), ESCAPE_NONE,
                         true, &error);
        assert_int_equal(ok, cases[i].reason == NULL);
        if (ok)
            continue;
        assert_string_equal(error.reason, cases[i].reason);
        assert_true(slice_equal(error.name, slice_of(cases[i].name)));
        assert_int_equal(error.position, cases[i].position);
    }
}

static void text_alone_is_static(void **state)
{
    (void)state;
    struct template template;
    struct template_error error;
    assert_true(compile(SLICE("a {{! comment }} b"), &template, &error));
    assert_true(template_is_static(&template));
    assert_true(compile(SLICE("a {{^x}} b{{/x}}"), &template, &error));
    assert_false(template_is_static(&template));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interpolation),
        cmocka_unit_test(sections),
        cmocka_unit_test(inverted_sections),
        cmocka_unit_test(comments),
        cmocka_unit_test(delimiters),
        cmocka_unit_test(other_escapes),
        cmocka_unit_test(what_is_no_template_is_refused),
        cmocka_unit_test(nests_are_bounded),
        cmocka_unit_test(repetitions_are_bounded),
        cmocka_unit_test(strict_rendering_names_what_is_missing),
        cmocka_unit_test(text_alone_is_static),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
