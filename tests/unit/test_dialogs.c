/* Runs the conversations of tests/dialogs/ (their README says how they are written) against the client, each with the
 * server's bytes cut at every position, and byte by byte. */
#include "proto/smtp/client.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FOLDER "tests/dialogs"

enum {
    DIALOG_MAX = 16 * 1024,
    DIALOGS_MIN = 160,
    PENDING_MAX = CLIENT_SLOTS_MAX + 1,
    SLOTS = CLIENT_SLOTS_MAX,
    CUT_NOWHERE = -1,
    CUT_EVERYWHERE = -2,
};

/* ---- the words of a dialog ---- */

static const char *const stage_words[STAGE_COUNT] = {
    "between", "recipient", "route", "connect", "greeting", "ehlo", "starttls", "auth", "mail", "rcpt", "data", "body",
};

static const struct {
    const char *word;
    enum happening happening;
} happening_words[] = {
    {"reply", HAPPENING_REPLY},     {"closed", HAPPENING_CLOSED},
    {"reset", HAPPENING_RESET},     {"timeout", HAPPENING_TIMEOUT},
    {"garbage", HAPPENING_GARBAGE}, {"local", HAPPENING_LOCAL},
    {"size", HAPPENING_SIZE},       {"eight_bit", HAPPENING_EIGHT_BIT},
    {"invalid", HAPPENING_INVALID}, {"unreachable", HAPPENING_UNREACHABLE},
    {"tls", HAPPENING_TLS},         {"not_offered", HAPPENING_NOT_OFFERED},
};

static const char *const wait_words[CLIENT_WAIT_COUNT] = {"nothing", "greeting", "ehlo", "mail",
                                                          "rcpt",    "data",     "body", "quit"};

static const char *happening_word(enum happening happening)
{
    for (size_t i = 0; i < countof(happening_words); i++)
        if (happening_words[i].happening == happening)
            return happening_words[i].word;
    return "?";
}

/* ---- one run of one dialog ---- */

struct offer {
    struct client_envelope envelope;
    bool open;
};

struct run {
    const char *file;
    unsigned line; /* of the dialog, being executed */
    long cut;      /* position among all of the server's bytes, or CUT_* */
    long served;   /* bytes of the server so far */
    bool started, closed;
    struct client client;
    struct client_options options;
    struct reply_parser parser;
    char sent[2 * CLIENT_OUT_MAX];
    size_t sent_n;
    char told[PENDING_MAX][128];
    unsigned told_n;
    struct offer offers[SLOTS];
};

static void wrong(const struct run *run, const char *what, const char *expected, const char *got)
{
    print_error("%s:%u (cut at %ld): %s: expected '%s', got '%s'\n", run->file, run->line, run->cut, what, expected,
                got);
    fail();
}

static void expect(const struct run *run, bool ok, const char *what)
{
    if (!ok)
        wrong(run, what, "so", "not so");
}

static struct client_out out_of(struct run *run)
{
    expect(run, run->sent_n + CLIENT_OUT_MAX <= sizeof run->sent, "room for what the client says");
    return (struct client_out){.p = run->sent + run->sent_n, .cap = CLIENT_OUT_MAX};
}

/* What a call has written is said, and behind it the secret that it names. */
static void say(struct run *run, const struct client_out *out)
{
    run->sent_n += out->n;
    if (!out->secret.n)
        return;
    expect(run, run->sent_n + out->secret.n + 2 + CLIENT_OUT_MAX <= sizeof run->sent, "room for a secret");
    memcpy(run->sent + run->sent_n, out->secret.p, out->secret.n);
    memcpy(run->sent + run->sent_n + out->secret.n, "\r\n", 2);
    run->sent_n += out->secret.n + 2;
}

static void note(struct run *run, const struct client_result *result)
{
    expect(run, run->told_n < PENDING_MAX, "room for results");
    char code[32] = "", *text = run->told[run->told_n++];
    if (result->happening == HAPPENING_REPLY) {
        expect(run, result->reply != NULL, "a reply that is there");
        snprintf(code, sizeof code, " %u%s%s", result->reply->code, result->reply->status[0] ? " " : "",
                 result->reply->status);
    }
    char who[16] = "close";
    if (result->what == CLIENT_ENDED) {
        expect(run, result->slot < SLOTS && run->offers[result->slot].open, "an open slot that ends");
        run->offers[result->slot].open = false;
        snprintf(who, sizeof who, "%u", result->slot);
    }
    snprintf(text, sizeof run->told[0], "%s %s %s%s%s%s", who, stage_words[result->stage],
             happening_word(result->happening), code, result->body_left ? " left" : "",
             result->untouched ? " untouched" : "");
}

static void drain(struct run *run)
{
    struct client_result result;
    enum client_what what;
    while ((what = client_next(&run->client, &result)) == CLIENT_ENDED)
        note(run, &result);
    if (what == CLIENT_CLOSE) {
        expect(run, !run->closed, "closing once");
        for (unsigned i = 0; i < SLOTS; i++)
            expect(run, !run->offers[i].open, "no open slot at the close");
        run->closed = true;
        note(run, &result);
    }
}

static void start(struct run *run)
{
    if (run->started)
        return;
    run->started = true;
    client_init(&run->client, &run->options);
    reply_init(&run->parser);
}

/* ---- S: and s: ---- */

static void feed(struct run *run, struct slice bytes)
{
    struct reply reply;
    while (!run->closed) {
        if (client_secures(&run->client)) { /* RFC 3207 §4.2: what came in plain text is dropped */
            reply_init(&run->parser);
            return;
        }
        enum reply_result result = reply_parse(&run->parser, &bytes, &reply);
        if (result == REPLY_MORE)
            return;
        if (result == REPLY_COMPLETE) {
            struct client_out out = out_of(run);
            client_reply(&run->client, &reply, &out);
            say(run, &out);
        } else {
            client_lost(&run->client, HAPPENING_GARBAGE);
        }
        drain(run);
    }
}

/* What the server sends at once, cut as this run wants it. */
static void serve(struct run *run, struct slice bytes)
{
    start(run);
    size_t cut =
        run->cut > run->served && run->cut < run->served + (long)bytes.n ? (size_t)(run->cut - run->served) : 0;
    if (run->cut == CUT_EVERYWHERE)
        for (size_t i = 0; i < bytes.n; i++)
            feed(run, (struct slice){bytes.p + i, 1});
    else if (cut > 0) {
        feed(run, (struct slice){bytes.p, cut});
        feed(run, (struct slice){bytes.p + cut, bytes.n - cut});
    } else
        feed(run, bytes);
    run->served += (long)bytes.n;
}

static unsigned hex(const struct run *run, char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    expect(run, at != NULL, "a hexadecimal digit");
    return (unsigned)(at - digits);
}

/* Appends the line's bytes with \r \n \\ and \xHH resolved. */
static size_t unescape(const struct run *run, struct slice text, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '\\') {
            expect(run, ++i < text.n, "something behind the backslash");
            c = text.p[i];
            if (c == 'x') {
                expect(run, i + 2 < text.n, "two digits behind \\x");
                c = (char)(hex(run, text.p[i + 1]) << 4 | hex(run, text.p[i + 2]));
                i += 2;
            } else {
                c = c == 'r' ? '\r' : c == 'n' ? '\n' : c;
            }
        }
        to[n++] = c;
    }
    return n;
}

/* ---- C: = ? ---- */

static void expect_sent(struct run *run, struct slice text)
{
    char expected[1024];
    snprintf(expected, sizeof expected, "%.*s\r\n", SLICE_ARGS(text));
    size_t n = strlen(expected);
    if (run->sent_n < n || memcmp(run->sent, expected, n) != 0) {
        run->sent[run->sent_n] = 0;
        wrong(run, "what the client says", expected, run->sent);
    }
    run->sent_n -= n;
    memmove(run->sent, run->sent + n, run->sent_n);
}

static void expect_told(struct run *run, struct slice text)
{
    char expected[128];
    slice_copy(expected, sizeof expected, text);
    if (run->told_n == 0 || strcmp(run->told[0], expected) != 0)
        wrong(run, "result", expected, run->told_n ? run->told[0] : "nothing");
    memmove(run->told, run->told + 1, sizeof run->told[0] * --run->told_n);
}

static void expect_answer(struct run *run, struct slice text)
{
    const struct client *client = &run->client;
    char expected[128], got[128] = "";
    slice_copy(expected, sizeof expected, text);
    start(run);
    if (strncmp(expected, "wants", 5) == 0)
        snprintf(got, sizeof got, "wants %s", client_wants(client) ? "a message" : "nothing");
    else if (strncmp(expected, "waits", 5) == 0)
        snprintf(got, sizeof got, "waits %s", wait_words[client_waits_for(client)]);
    else if (strncmp(expected, "body", 4) == 0 && client_body_slot(client) >= 0)
        snprintf(got, sizeof got, "body %d", client_body_slot(client));
    else if (strncmp(expected, "body", 4) == 0)
        snprintf(got, sizeof got, "body none");
    else if (strncmp(expected, "objects", 7) == 0)
        snprintf(got, sizeof got, "objects%s%s%s%s", client_objects_to_pipelining(client) ? " pipelining" : "",
                 client_objects_to_chunking(client) ? " chunking" : "",
                 client_objects_to_across(client) ? " across" : "",
                 client_objects_to_pipelining(client) || client_objects_to_across(client) ||
                         client_objects_to_chunking(client)
                     ? ""
                     : " nothing");
    else if (strncmp(expected, "secures", 7) == 0)
        snprintf(got, sizeof got, "secures %s", client_secures(client) ? "now" : "nothing");
    else if (strncmp(expected, "proved", 6) == 0)
        snprintf(got, sizeof got, "proved %s", client_proved_chunking(client) ? "chunking" : "nothing");
    else
        wrong(run, "question", "wants, waits, body, objects, secures or proved", expected);
    if (strcmp(expected, got) != 0)
        wrong(run, "answer", expected, got);
}

/* Everything that was said and told before must have been expected. */
static void expect_all_seen(struct run *run)
{
    run->sent[run->sent_n] = 0;
    if (run->sent_n > 0)
        wrong(run, "what the client says", "", run->sent);
    if (run->told_n > 0)
        wrong(run, "result", "", run->told[0]);
}

/* ---- ! ---- */

static struct slice next_word(struct slice *text)
{
    size_t at = 0, end;
    while (at < text->n && text->p[at] == ' ')
        at++;
    for (end = at; end < text->n && text->p[end] != ' ';)
        end++;
    struct slice word = {text->p + at, end - at};
    *text = (struct slice){text->p + end, text->n - end};
    return word;
}

static unsigned number(const struct run *run, struct slice digits)
{
    unsigned n = 0;
    expect(run, digits.n > 0 && digits.n < 10, "a number");
    for (size_t i = 0; i < digits.n; i++) {
        expect(run, digits.p[i] >= '0' && digits.p[i] <= '9', "a number");
        n = n * 10 + (unsigned)(digits.p[i] - '0');
    }
    return n;
}

static struct client_credentials credentials_of(const struct run *run, struct slice mechanism)
{
    struct client_credentials credentials = {.first = SLICE("dXNlcg=="), .second = SLICE("cGFzcw==")};
    if (slice_equal(mechanism, SLICE("plain")))
        credentials.mechanism = CLIENT_MECHANISM_PLAIN;
    else if (slice_equal(mechanism, SLICE("login")))
        credentials.mechanism = CLIENT_MECHANISM_LOGIN;
    else if (slice_equal(mechanism, SLICE("xoauth2")))
        credentials.mechanism = CLIENT_MECHANISM_XOAUTH2;
    expect(run, credentials.mechanism != CLIENT_MECHANISM_NONE, "plain, login or xoauth2");
    return credentials;
}

static void do_options(struct run *run, struct slice words)
{
    expect(run, !run->started, "options before anything else");
    run->options = (struct client_options){.ehlo = run->options.ehlo};
    for (struct slice word; (word = next_word(&words)).n > 0;)
        if (slice_equal(word, SLICE("pipelining")))
            run->options.pipelining = true;
        else if (slice_equal(word, SLICE("across")))
            run->options.across = true;
        else if (slice_starts_with(word, SLICE("max=")))
            run->options.messages_max = number(run, (struct slice){word.p + 4, word.n - 4});
        else if (slice_starts_with(word, SLICE("flight=")))
            run->options.in_flight = number(run, (struct slice){word.p + 7, word.n - 7});
        else if (slice_equal(word, SLICE("proved")))
            run->options.proved = true;
        else if (slice_equal(word, SLICE("starttls")))
            run->options.starttls = true;
        else if (slice_equal(word, SLICE("required")))
            run->options.starttls = run->options.required = true;
        else if (slice_equal(word, SLICE("implicit")))
            run->options.implicit = run->options.required = true;
        else if (slice_starts_with(word, SLICE("auth=")))
            run->options.credentials = credentials_of(run, (struct slice){word.p + 5, word.n - 5});
        else if (slice_equal(word, SLICE("clear")))
            run->options.credentials.in_clear = true;
        else
            expect(run, slice_equal(word, SLICE("plain")), "an option");
}

static void do_offer(struct run *run, struct slice words)
{
    struct client_envelope envelope = {.from = next_word(&words), .to = next_word(&words)};
    if (slice_equal(envelope.from, SLICE("<>")))
        envelope.from.n = 0;
    envelope.size = number(run, next_word(&words));
    for (struct slice word; (word = next_word(&words)).n > 0;)
        if (slice_equal(word, SLICE("8bit")))
            envelope.eight_bit = true;
        else if (slice_equal(word, SLICE("utf8")))
            envelope.utf8 = true;
        else if (slice_equal(word, SLICE("stuffed")))
            envelope.stuffed = true;
        else
            expect(run, false, "8bit, utf8 or stuffed");
    expect(run, client_wants(&run->client), "a client that wants a message");
    /* The client borrows the envelope until the slot ends, so it must stand in the slot's own place: the next call
     * says which that is, and the others are not touched. */
    unsigned slot = 0;
    while (slot < SLOTS && run->offers[slot].open)
        slot++;
    expect(run, slot < SLOTS, "a slot that is free");
    run->offers[slot] = (struct offer){envelope, true};
    struct client_out out = out_of(run);
    expect(run, client_offer(&run->client, &run->offers[slot].envelope, &out) == slot, "the lowest free slot");
    say(run, &out);
}

static void do_lost(struct run *run, struct slice word)
{
    for (size_t i = 0; i < countof(happening_words); i++)
        if (slice_equal(word, slice_of(happening_words[i].word))) {
            client_lost(&run->client, happening_words[i].happening);
            return;
        }
    expect(run, false, "closed, reset, timeout, garbage, local, unreachable or tls");
}

static void act(struct run *run, struct slice words)
{
    struct slice verb = next_word(&words);
    if (slice_equal(verb, SLICE("options"))) {
        do_options(run, words);
        return;
    }
    start(run);
    if (slice_equal(verb, SLICE("offer"))) {
        do_offer(run, words);
    } else if (slice_equal(verb, SLICE("body"))) {
        expect(run, client_body_slot(&run->client) >= 0, "a slot whose body may be written");
        struct client_out out = out_of(run);
        enum client_body body = client_body_written(&run->client, (unsigned)client_body_slot(&run->client), &out);
        expect(run, (body == CLIENT_BODY_CHUNK) == (out.n > 0), "BDAT before a chunk, and nothing before other bodies");
        say(run, &out);
    } else if (slice_equal(verb, SLICE("secured"))) {
        struct client_out out = out_of(run);
        expect(run, client_secures(&run->client), "a client that waits for it");
        client_secured(&run->client, &out);
        say(run, &out);
    } else if (slice_equal(verb, SLICE("withdraw"))) {
        client_withdraw(&run->client, number(run, next_word(&words)));
    } else if (slice_equal(verb, SLICE("quit"))) {
        struct client_out out = out_of(run);
        client_quit(&run->client, &out);
        say(run, &out);
    } else if (slice_equal(verb, SLICE("lost"))) {
        do_lost(run, next_word(&words));
    } else {
        expect(run, false, "options, offer, body, secured, withdraw, quit or lost");
    }
    drain(run);
}

/* ---- all lines ---- */

static struct slice next_line(struct slice *text)
{
    const char *end = memchr(text->p, '\n', text->n);
    struct slice line = {text->p, end ? (size_t)(end - text->p) : text->n};
    size_t taken = line.n + (end ? 1 : 0);
    *text = (struct slice){text->p + taken, text->n - taken};
    return line;
}

static bool is_served(struct slice line) { return line.n >= 3 && (line.p[0] == 'S' || line.p[0] == 's'); }

/* Executes the dialog once; returns how many bytes the server said in it. */
static long play(const char *file, struct slice text, long cut)
{
    static struct run run;
    run = (struct run){.file = file, .cut = cut};
    run.options = (struct client_options){.ehlo = SLICE("m1.example.com"), .pipelining = true, .across = true};
    while (text.n > 0) {
        struct slice line = next_line(&text);
        run.line++;
        if (line.n == 0 || line.p[0] == '#')
            continue;
        expect(&run, line.n >= 3 && strchr("SsC=?!", line.p[0]), "a line that begins with S: s: C: = ? or !");
        struct slice rest = {line.p + 2, line.n - 2};
        if (line.p[0] == 'S' || line.p[0] == 's' || line.p[0] == 'C') {
            expect(&run, line.p[1] == ':' && line.p[2] == ' ', "a colon and a space");
            rest = (struct slice){line.p + 3, line.n - 3};
        }
        if (is_served(line) || line.p[0] == '!')
            expect_all_seen(&run);
        if (is_served(line)) { /* lines in a row come as one */
            char bytes[DIALOG_MAX];
            size_t n = 0;
            for (;;) {
                n += unescape(&run, rest, bytes + n);
                if (line.p[0] == 'S') {
                    memcpy(bytes + n, "\r\n", 2);
                    n += 2;
                }
                struct slice ahead = text;
                if (text.n == 0 || !is_served(line = next_line(&ahead)))
                    break;
                text = ahead;
                run.line++;
                rest = (struct slice){line.p + 3, line.n - 3};
            }
            serve(&run, (struct slice){bytes, n});
        } else if (line.p[0] == 'C') {
            expect_sent(&run, rest);
        } else if (line.p[0] == '=') {
            expect_told(&run, rest);
        } else if (line.p[0] == '?') {
            expect_answer(&run, rest);
        } else {
            act(&run, rest);
        }
    }
    expect_all_seen(&run);
    expect(&run, run.closed, "a dialog that comes to its close");
    return run.served;
}

static void play_file(const char *name)
{
    char path[512], *text = malloc(DIALOG_MAX);
    assert_non_null(text);
    snprintf(path, sizeof path, FOLDER "/%s", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    size_t n = fread(text, 1, DIALOG_MAX, file);
    assert_true(n > 0 && n < DIALOG_MAX);
    fclose(file);
    long bytes = play(path, (struct slice){text, n}, CUT_NOWHERE);
    for (long cut = 1; cut < bytes; cut++)
        play(path, (struct slice){text, n}, cut);
    play(path, (struct slice){text, n}, CUT_EVERYWHERE);
    free(text);
}

static void test_dialogs(void **state)
{
    (void)state;
    struct dirent **names;
    int count = scandir(FOLDER, &names, NULL, alphasort), played = 0;
    assert_true(count >= 0);
    for (int i = 0; i < count; i++) {
        if (slice_ends_with_nocase(slice_of(names[i]->d_name), SLICE(".txt"))) {
            play_file(names[i]->d_name);
            played++;
        }
        free(names[i]);
    }
    free(names);
    print_message("%d dialogs\n", played);
    assert_true(played >= DIALOGS_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dialogs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
