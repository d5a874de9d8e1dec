/* test_verp.c - with verp each message has a return path of its own that tells whose it is, or the campaign is told why
 * it cannot have one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include <sys/stat.h>
#include <unistd.h>

#include "flow/press.h"
#include "sign/token.h"

#define WALL (1767225600 * NSEC_PER_S)

static char key_file[] = "/tmp/sluice-verp-XXXXXX";

static int write_key(void **state)
{
    (void)state;
    static const char key[] = "0123456789abcdef0123456789abcdef\n";
    int fd = mkstemp(key_file);
    bool good = fd >= 0 && write(fd, key, sizeof key - 1) == (ssize_t)(sizeof key - 1) && close(fd) == 0;
    return good ? 0 : -1;
}

static int remove_key(void **state)
{
    (void)state;
    return unlink(key_file);
}

static struct config *configure(bool with_key)
{
    char text[256], error[512];
    int n = snprintf(text, sizeof text, "pool p { source 192.0.2.1 { ehlo = a.example } }\n%s%s%s",
                     with_key ? "token_key = \"" : "", with_key ? key_file : "", with_key ? "\"\n" : "");
    struct config *config = config_parse("sluice.conf", (struct slice){text, (size_t)n}, error, sizeof error);
    if (!config)
        fail_msg("%s", error);
    return config;
}

/* A campaign's hash with these two fields; `reason` is empty if it is complete. */
static void compile(struct campaign *campaign, const struct config *config, struct editions *editions,
                    const char *return_path, const char *verp)
{
    struct slice items[] = {SLICE("from"),        SLICE("news@shop.example"), SLICE("text"), SLICE("hello"),
                            SLICE("return_path"), slice_of(return_path),      SLICE("verp"), slice_of(verp)};
    campaign->view.exists = true;
    campaign->version = 0;
    campaign_update(campaign, config, editions, items, countof(items));
}

static void a_bounce_tells_whose_it_is(void **state)
{
    (void)state;
    char error[512];
    struct config *config = configure(true);
    struct sign_keys *keys = sign_keys_load(config, NULL, NULL, error, sizeof error);
    assert_non_null(keys);
    struct arena arena;
    struct press press;
    struct editions editions = {.first = NULL};
    struct campaign campaign = {.id = "spring"};
    assert_true(arena_open(&arena, 8 << 20));
    assert_true(press_open(&press, &arena, 1 << 20, keys));
    compile(&campaign, config, &editions, "bounce@b.m\xC3\xBCller.example", "1");
    assert_string_equal(campaign.reason, "");
    for (uint64_t seq = 0; seq < 3; seq++) {
        struct attempt attempt = {.campaign = &campaign,
                                  .seq = seq,
                                  .raw = SLICE("ann@x.example"),
                                  .to = SLICE("ann@x.example"),
                                  .domain = SLICE("x.example")};
        struct slice reason;
        struct token token;
        assert_int_equal(press_batch(&press, &attempt, NULL, 0, WALL, &reason), PRESS_DONE);
        struct pressed *pressed = press_take(&press, &attempt);
        assert_int_equal(strlen(pressed->from), strlen("bounce+@b.xn--mller-kva.example") + TOKEN_TEXT);
        assert_int_equal(strncmp(pressed->from, "bounce+", 7), 0);
        assert_string_equal(pressed->from + 7 + TOKEN_TEXT, "@b.xn--mller-kva.example");
        assert_true(token_read(slice_of(pressed->from), &token));
        assert_true(token.seq == seq);
        assert_true(token_verify(sign_keys_tokens(keys), &token, SLICE("spring")));
        assert_false(token_verify(sign_keys_tokens(keys), &token, SLICE("summer")));
        press_give(&press, pressed);
    }
    campaign_drop(&campaign);
    press_close(&press);
    sign_keys_release(keys);
    arena_drop(&arena);
    config_free(config);
}

static void what_cannot_be_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *return_path, *verp;
        bool with_key;
        const char *reason;
    } rows[] = {
        {"b@b.example", "1", true, ""},
        {"b@b.example", "0", false, ""},
        {"b@b.example", "1", false, "verp: the engine's configuration names no token_key"},
        {"b@b.example", "yes", true, "verp: must be 0 or 1, is \"yes\""},
        {"123456789012345678901234@b.example", "1", true, ""},
        {"1234567890123456789012345@b.example", "1", true, "verp: the return path must have at most 24 octets"},
        {"\"b\"@b.example", "1", true, "verp: the return path must have"},
    };
    for (size_t i = 0; i < countof(rows); i++) {
        struct config *config = configure(rows[i].with_key);
        struct editions editions = {.first = NULL};
        struct campaign campaign = {.id = "spring"};
        compile(&campaign, config, &editions, rows[i].return_path, rows[i].verp);
        assert_int_equal(campaign.complete, rows[i].reason[0] == 0);
        if (strncmp(campaign.reason, rows[i].reason, strlen(rows[i].reason)) != 0)
            fail_msg("%s: %s", rows[i].return_path, campaign.reason);
        campaign_drop(&campaign);
        config_free(config);
    }
}

static void a_bad_key_is_refused_at_start(void **state)
{
    (void)state;
    char error[512];
    struct config *config = configure(true);
    assert_int_equal(chmod(key_file, 0644), 0);
    assert_null(sign_keys_load(config, NULL, NULL, error, sizeof error));
    assert_int_equal(strncmp(error, "token_key: /tmp/sluice-verp-", 28), 0);
    assert_non_null(strstr(error, "has mode 0644"));
    assert_int_equal(chmod(key_file, 0600), 0);
    config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bounce_tells_whose_it_is),
        cmocka_unit_test(what_cannot_be_is_said),
        cmocka_unit_test(a_bad_key_is_refused_at_start),
    };
    return cmocka_run_group_tests(tests, write_key, remove_key);
}
