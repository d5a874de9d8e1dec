/* test_press.c - what is pressed, when it is thrown away, and that every message is whole, of one edition and signed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "flow/ledger.h"
#include "flow/press.h"
#include "tests/sim/dkim_judge.h"

#include <sys/stat.h>
#include <unistd.h>

enum { BUDGET = 1 << 20 };

#define WALL (1767225600 * NSEC_PER_S) /* 2026-01-01 */

struct shop {
    struct arena arena;
    struct press press;
    struct config *config;
    struct editions editions;
    struct campaign campaign;
    struct lease lease;
    struct attempt attempts[PRESS_BATCH];
    char raw[PRESS_BATCH][128];
};

/* ---- a shop with its keys ---- */

static const char *write_file(char *path, const char *text)
{
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
    return path;
}

/* `blocks`: of dkim, with %s for the files of an RSA key and an Ed25519 key. */
static struct sign_keys *load_keys(struct config **config, const char *domain, bool rsa, bool ed25519)
{
    char rsa_file[] = "/tmp/sluice-press-XXXXXX", ed_file[] = "/tmp/sluice-press-XXXXXX";
    char conf_file[] = "/tmp/sluice-press-XXXXXX", text[2048], error[1024];
    write_file(rsa_file, dkim_judge_pem(DKIM_JUDGE_RSA));
    write_file(ed_file, dkim_judge_pem(DKIM_JUDGE_ED25519));
    snprintf(text, sizeof text,
             "pool p {\n  source 192.0.2.1 { ehlo = a.example }\n}\n"
             "dkim r { enabled = %s  domain = %s  selector = r1  key = %s  expire = 10d }\n"
             "dkim e { enabled = %s  domain = %s  selector = e1  key = %s  ed25519 = yes }\n",
             rsa ? "yes" : "no", domain, rsa_file, ed25519 ? "yes" : "no", domain, ed_file);
    write_file(conf_file, text);
    *config = config_load(conf_file, error, sizeof error);
    if (!*config)
        fail_msg("%s", error);
    struct sign_keys *keys = sign_keys_load(*config, NULL, NULL, error, sizeof error);
    if (!keys)
        fail_msg("%s", error);
    unlink(rsa_file);
    unlink(ed_file);
    unlink(conf_file);
    return keys;
}

static void open_shop(struct shop *shop, size_t budget, bool rsa, bool ed25519)
{
    memset(shop, 0, sizeof *shop);
    struct sign_keys *keys = load_keys(&shop->config, "shop.example", rsa, ed25519);
    assert_true(arena_open(&shop->arena, budget + (4 << 20)));
    assert_true(press_open(&shop->press, &shop->arena, budget, keys));
    sign_keys_release(keys);
    strcpy(shop->campaign.id, "spring");
    shop->lease.campaign = &shop->campaign;
    for (unsigned i = 0; i < PRESS_BATCH; i++) {
        struct attempt *attempt = &shop->attempts[i];
        int n = snprintf(shop->raw[i], sizeof shop->raw[i], "{\"to\":\"r%u@x.example\",\"name\":\"Name%u\"}", i, i);
        *attempt = (struct attempt){.campaign = &shop->campaign, .lease = &shop->lease, .seq = i};
        attempt->raw = (struct slice){shop->raw[i], (size_t)n};
        attempt->to = (struct slice){shop->raw[i] + 7, 12};
        attempt->domain = (struct slice){shop->raw[i] + 10, 9};
    }
}

static void compile(struct shop *shop, const char *name, const char *value)
{
    struct slice items[] = {SLICE("from"),    SLICE("Shop <news@shop.example>"),
                            SLICE("subject"), SLICE("Hi {{name}}"),
                            slice_of(name),   slice_of(value)};
    char reason[256] = "";
    if (shop->campaign.edition)
        edition_retire(shop->campaign.edition);
    shop->campaign.edition = edition_make(&shop->editions, items, countof(items), reason, sizeof reason);
    if (!shop->campaign.edition)
        fail_msg("%s", reason);
    shop->campaign.complete = true;
    shop->campaign.state = STORE_RUNNING;
}

static void close_shop(struct shop *shop)
{
    press_discard(&shop->press);
    assert_int_equal(press_used(&shop->press), 0);
    if (shop->campaign.edition)
        edition_retire(shop->campaign.edition);
    assert_null(shop->editions.first);
    press_close(&shop->press);
    config_free(shop->config);
    arena_drop(&shop->arena);
}

/* Presses the first, and with it the next `others`. */
static enum press_result press_first(struct shop *shop, unsigned others, nsec wall)
{
    struct attempt *list[PRESS_BATCH];
    struct slice reason;
    for (unsigned i = 0; i < others; i++)
        list[i] = &shop->attempts[i + 1];
    return press_batch(&shop->press, &shop->attempts[0], list, others, wall, &reason);
}

static unsigned waiting(const struct shop *shop)
{
    unsigned count = 0;
    for (unsigned i = 0; i < PRESS_BATCH; i++)
        count += shop->attempts[i].pressed != NULL;
    return count;
}

/* ---- reading ---- */

/* The message without its stuffed dots, as a receiver has it; owned by the caller. */
static struct slice received(const struct pressed *pressed)
{
    size_t n = 0, m = 0;
    for (unsigned i = 0; i < PRESSED_PARTS; i++)
        n += pressed->parts[i].n;
    char *text = malloc(n);
    for (unsigned i = 0; i < PRESSED_PARTS; i++)
        for (size_t j = 0; j < pressed->parts[i].n; j++) {
            char c = pressed->parts[i].p[j];
            bool at_start = m == 0 || text[m - 1] == '\n';
            if (c == '.' && at_start) { /* RFC 5321 §4.5.2: a dot that begins a line is one too many */
                assert_true(pressed->transparent);
                j++;
                c = pressed->parts[i].p[j];
            }
            text[m++] = c;
        }
    assert_int_equal(m, pressed->size);
    assert_memory_equal(text + m - 2, "\r\n", 2);
    return (struct slice){text, m};
}

static void judge(const struct pressed *pressed, unsigned rsa, unsigned ed25519)
{
    struct slice message = received(pressed);
    struct dkim_judge_result result = dkim_judge(message);
    if (result.fault[0])
        fail_msg("%s:\n%.*s", result.fault, SLICE_ARGS(message));
    assert_int_equal(result.signatures, rsa + ed25519);
    assert_int_equal(result.rsa, rsa);
    assert_int_equal(result.ed25519, ed25519);
    if (result.signatures)
        assert_int_equal(result.signed_s, pressed->wall / NSEC_PER_S);
    assert_int_equal(dkim_judge_count(message, "Date"), 1);
    assert_int_equal(dkim_judge_count(message, "Message-ID"), 1);
    assert_non_null(memmem(message.p, message.n, pressed->message_id.p, pressed->message_id.n));
    assert_int_equal(pressed->message_id.p[0], '<');
    assert_int_equal(pressed->message_id.p[pressed->message_id.n - 1], '>');
    free((char *)message.p);
}

static void sell(struct shop *shop, unsigned i, unsigned rsa, unsigned ed25519)
{
    assert_non_null(shop->attempts[i].pressed);
    struct pressed *pressed = press_take(&shop->press, &shop->attempts[i]);
    assert_null(shop->attempts[i].pressed);
    judge(pressed, rsa, ed25519);
    press_give(&shop->press, pressed);
}

/* ---- tests ---- */

static const char *const bodies[][2] = {
    {"text", ""},
    {"text", "\n\n\n"},
    {"text", "no field at all"},
    {"text", "Hello {{name}},\n.dot\n\n\n"},
    {"text", "{{name}}"},
    {"text", "trailing white \t\n  \n {{name}} \n \n"},
    {"html", "<p>\xE3\x81\x93\xE3\x82\x93\xE3\x81\xAB\xE3\x81\xA1\xE3\x81\xAF {{name}} "
             "\xE3\x81\x93\xE3\x82\x93\xE3\x81\xAB\xE3\x81\xA1\xE3\x81\xAF</p>"},
    {"mime", "Content-Type: message/rfc822\n\nSubject: inner\n\n.dot\n..two\n.\n\nend\n"},
    {"mime", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nDear {{name}}\n--b\n"
             "Content-Type: message/rfc822\n\nSubject: inner\n\n.dot\n--b--\n"},
    {"mime", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nSubject: inner\n\n"
             ".dot\n--b\nContent-Type: text/plain\n\nDear {{name}}\n--b--\n"},
    {"mime", ".Odd: {{name}}\nContent-Type: text/plain\n\nDear {{name}}\n"},
};

static void every_message_is_signed_as_it_leaves(void **state)
{
    (void)state;
    for (unsigned keys = 0; keys < 4; keys++) {
        struct shop shop;
        open_shop(&shop, BUDGET, keys & 1, keys & 2);
        for (size_t i = 0; i < countof(bodies); i++) {
            compile(&shop, bodies[i][0], bodies[i][1]);
            for (unsigned round = 0; round < 2; round++) {
                assert_int_equal(press_first(&shop, PRESS_BATCH - 1, WALL), PRESS_DONE);
                /* Alone where nobody signs: then there is nothing to be gained by company. */
                assert_int_equal(waiting(&shop), keys ? PRESS_BATCH : 1);
                for (unsigned a = 0; a < (keys ? PRESS_BATCH : 1); a++)
                    sell(&shop, a, keys & 1, keys >> 1 & 1);
            }
        }
        assert_int_equal(shop.press.thrown_away, 0);
        close_shop(&shop);
    }
}

static void what_is_shared_is_copied_for_nobody(void **state)
{
    (void)state;
    struct shop shop;
    open_shop(&shop, BUDGET, true, false);
    static char text[40000];
    memset(text, 'x', sizeof text - 1);
    compile(&shop, "text", text);
    assert_int_equal(press_first(&shop, PRESS_BATCH - 1, WALL), PRESS_DONE);
    assert_int_equal(waiting(&shop), PRESS_BATCH);
    assert_true(press_used(&shop.press) <= PRESS_BATCH * 4096);
    for (unsigned i = 0; i < PRESS_BATCH; i++)
        assert_ptr_equal(shop.attempts[i].pressed->parts[1].p, shop.campaign.edition->shared.p);
    sell(&shop, 0, 1, 0);
    close_shop(&shop);
}

/* A message in flight keeps what it is made of; one that waits is not sent any more. */
static void an_edition_lives_as_long_as_its_messages(void **state)
{
    (void)state;
    struct shop shop;
    open_shop(&shop, BUDGET, true, false);
    compile(&shop, "text", "first edition, {{name}}");
    assert_int_equal(press_first(&shop, 3, WALL), PRESS_DONE);
    struct pressed *flying = press_take(&shop.press, &shop.attempts[0]);
    compile(&shop, "text", "second edition, {{name}}");
    assert_true(shop.editions.retired);
    assert_non_null(shop.editions.first->next);
    assert_false(press_ready(&shop.press, &shop.attempts[1], WALL)); /* thrown away when its turn came */
    assert_int_equal(waiting(&shop), 2);
    press_sweep(&shop.press, WALL); /* and the others at once */
    assert_int_equal(waiting(&shop), 0);
    assert_int_equal(shop.press.thrown_away, 3);
    struct slice message = received(flying);
    assert_non_null(memmem(message.p, message.n, "first edition", 13));
    free((char *)message.p);
    judge(flying, 1, 0);
    press_give(&shop.press, flying);
    assert_null(shop.editions.first->next);
    assert_int_equal(press_first(&shop, 0, WALL), PRESS_DONE);
    message = received(shop.attempts[0].pressed);
    assert_non_null(memmem(message.p, message.n, "second edition", 14));
    free((char *)message.p);
    close_shop(&shop);
}

static void nothing_is_sent_that_is_old_or_from_the_future(void **state)
{
    (void)state;
    static const struct {
        nsec later;
        bool good;
    } cases[] = {
        {0, true},
        {PRESS_GOOD_FOR_S * NSEC_PER_S, true},
        {PRESS_GOOD_FOR_S * NSEC_PER_S + 1, false},
        {-1, false},
    };
    struct shop shop;
    open_shop(&shop, BUDGET, true, false);
    compile(&shop, "text", "Hello {{name}}");
    for (size_t i = 0; i < countof(cases); i++) {
        assert_int_equal(press_first(&shop, 1, WALL), PRESS_DONE);
        press_sweep(&shop.press, WALL + cases[i].later);
        assert_int_equal(waiting(&shop), cases[i].good ? 2 : 0);
        assert_int_equal(press_ready(&shop.press, &shop.attempts[0], WALL + cases[i].later), cases[i].good);
        press_discard(&shop.press);
        assert_int_equal(press_first(&shop, 1, WALL), PRESS_DONE);
        assert_int_equal(press_ready(&shop.press, &shop.attempts[1], WALL + cases[i].later), cases[i].good);
        assert_int_equal(waiting(&shop), cases[i].good ? 2 : 1);
        press_discard(&shop.press);
    }
    close_shop(&shop);
}

static void other_keys_sign_from_now_on(void **state)
{
    (void)state;
    struct shop shop;
    struct config *config, *stranger;
    open_shop(&shop, BUDGET, true, false);
    compile(&shop, "text", "Hello {{name}}");
    assert_int_equal(press_first(&shop, 3, WALL), PRESS_DONE);
    struct sign_keys *keys = load_keys(&config, "shop.example", true, true);
    press_rekey(&shop.press, keys);
    sign_keys_release(keys);
    assert_int_equal(waiting(&shop), 0);
    assert_int_equal(press_first(&shop, 3, WALL), PRESS_DONE);
    for (unsigned i = 0; i < 4; i++)
        sell(&shop, i, 1, 1);
    keys = load_keys(&stranger, "other.example", true, true);
    press_rekey(&shop.press, keys);
    sign_keys_release(keys);
    assert_int_equal(press_first(&shop, 3, WALL), PRESS_DONE);
    sell(&shop, 0, 0, 0);
    press_rekey(&shop.press, NULL);
    assert_int_equal(press_first(&shop, 0, WALL), PRESS_DONE);
    sell(&shop, 0, 0, 0);
    close_shop(&shop);
    config_free(config);
    config_free(stranger);
}

/* What waits takes half of the budget at most, and makes room for what is wanted, however large. */
static void who_waits_keeps_nobody_from_starting(void **state)
{
    (void)state;
    struct shop shop;
    open_shop(&shop, 64 << 10, true, false);
    static char text[80000];
    size_t n = (size_t)snprintf(text, sizeof text, "{{name}} ");
    memset(text + n, 'x', 5000);
    compile(&shop, "text", text); /* 8 KiB each, in 64 */
    assert_int_equal(press_first(&shop, PRESS_BATCH - 1, WALL), PRESS_DONE);
    assert_true(press_used(&shop.press) <= 32 << 10);
    assert_int_equal(waiting(&shop), 4);
    press_forget(&shop.press, &shop.attempts[0]);
    memset(text + n, 'x', 20000);
    compile(&shop, "text", text); /* 32 KiB: half of it all, and it must be found in what the others have left */
    assert_int_equal(press_first(&shop, 0, WALL), PRESS_DONE);
    struct pressed *first = press_take(&shop.press, &shop.attempts[0]);
    assert_int_equal(press_first(&shop, 0, WALL), PRESS_DONE);
    struct pressed *second = press_take(&shop.press, &shop.attempts[0]);
    assert_int_equal(waiting(&shop), 0);
    assert_int_equal(press_first(&shop, 0, WALL), PRESS_NO_ROOM);
    press_give(&shop.press, first);
    assert_int_equal(press_first(&shop, 0, WALL), PRESS_DONE);
    press_give(&shop.press, second);
    press_discard(&shop.press);
    memset(text + n, 'x', 70000);
    compile(&shop, "text", text);
    assert_int_equal(press_first(&shop, 0, WALL), PRESS_INVALID); /* it will never have room */
    close_shop(&shop);
}

/* A recipient that cannot be written to spoils it for nobody else, and is told why when it is its turn. */
static void one_who_is_invalid_is_alone_with_it(void **state)
{
    (void)state;
    struct shop shop;
    open_shop(&shop, BUDGET, true, false);
    struct slice items[] = {SLICE("from"),        SLICE("a@shop.example"), SLICE("text"),
                            SLICE("Hi {{name}}"), SLICE("strict"),         SLICE("1")};
    char reason[256];
    shop.campaign.edition = edition_make(&shop.editions, items, countof(items), reason, sizeof reason);
    assert_non_null(shop.campaign.edition);
    shop.attempts[1].raw = SLICE("r1@x.example");
    assert_int_equal(press_first(&shop, 3, WALL), PRESS_DONE);
    assert_null(shop.attempts[1].pressed);
    assert_int_equal(waiting(&shop), 3);
    struct slice why;
    assert_int_equal(press_batch(&shop.press, &shop.attempts[1], NULL, 0, WALL, &why), PRESS_INVALID);
    assert_non_null(memmem(why.p, why.n, "name", 4));
    sell(&shop, 3, 1, 0);
    close_shop(&shop);
}

/* Where From holds merge fields each message is looked at by itself. */
static void a_sender_that_varies_is_looked_up_each_time(void **state)
{
    (void)state;
    struct shop shop;
    open_shop(&shop, BUDGET, true, false);
    struct slice items[] = {SLICE("from"), SLICE("{{sender}}"),  SLICE("text"),
                            SLICE("Hi"),   SLICE("return_path"), SLICE("bounce@shop.example")};
    char reason[256];
    shop.campaign.edition = edition_make(&shop.editions, items, countof(items), reason, sizeof reason);
    if (!shop.campaign.edition)
        fail_msg("%s", reason);
    shop.attempts[0].raw = SLICE("{\"to\":\"r0@x.example\",\"sender\":\"news@shop.example\"}");
    shop.attempts[1].raw = SLICE("{\"to\":\"r1@x.example\",\"sender\":\"news@other.example\"}");
    shop.attempts[2].raw = SLICE("{\"to\":\"r2@x.example\",\"sender\":\"news@mail.shop.example\"}");
    assert_int_equal(press_first(&shop, 2, WALL), PRESS_DONE);
    sell(&shop, 0, 1, 0);
    sell(&shop, 1, 0, 0);
    sell(&shop, 2, 1, 0);
    close_shop(&shop);
}

/* A campaign whose envelope cannot be written is not complete, and says why. */
static void a_return_path_must_be_an_address(void **state)
{
    (void)state;
    static const struct {
        const char *from, *return_path, *expected; /* the return path, or the beginning of the reason */
    } cases[] = {
        {"Shop <news@shop.example>", "", "news@shop.example"},
        {"news@shop.example",
         "bounce@b\xC3\xBC"
         "cher.example",
         "bounce@xn--bcher-kva.example"},
        {"news@shop.example", "bounce", "return_path: "},
        {"news@shop.example", "bounce@-.example", "return_path: "},
        {"{{sender}}", "", "return_path: is needed"},
        {"", "bounce@shop.example", "from: missing"},
    };
    struct editions editions = {NULL, false};
    for (size_t i = 0; i < countof(cases); i++) {
        struct slice items[] = {SLICE("from"), slice_of(cases[i].from), SLICE("text"),
                                SLICE("Hi"),   SLICE("return_path"),    slice_of(cases[i].return_path)};
        char reason[256] = "";
        struct edition *edition = edition_make(&editions, items, countof(items), reason, sizeof reason);
        const char *got = edition ? edition->return_path : reason;
        if (strncmp(got, cases[i].expected, strlen(cases[i].expected)) != 0)
            fail_msg("%s, %s: %s", cases[i].from, cases[i].return_path, got);
        assert_int_equal(!edition, strchr(cases[i].expected, ' ') != NULL);
        if (edition)
            edition_release(edition);
        assert_null(editions.first);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_is_signed_as_it_leaves),
        cmocka_unit_test(what_is_shared_is_copied_for_nobody),
        cmocka_unit_test(an_edition_lives_as_long_as_its_messages),
        cmocka_unit_test(nothing_is_sent_that_is_old_or_from_the_future),
        cmocka_unit_test(other_keys_sign_from_now_on),
        cmocka_unit_test(who_waits_keeps_nobody_from_starting),
        cmocka_unit_test(one_who_is_invalid_is_alone_with_it),
        cmocka_unit_test(a_sender_that_varies_is_looked_up_each_time),
        cmocka_unit_test(a_return_path_must_be_an_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
