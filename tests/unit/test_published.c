/* test_published.c - the watch over published records, with a resolver that answers what the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "sign/published.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the seam: one query at a time, answered by the test ---- */

struct resolver {
    struct resolver_query *query; /* NULL: nothing is asked */
    char name[LIMIT_DOMAIN + 1];
    unsigned asked;
};

void resolver_txt_query(struct resolver *resolver, struct resolver_query *query, struct slice name)
{
    assert_null(resolver->query);
    resolver->query = query;
    resolver->asked++;
    slice_copy(resolver->name, sizeof resolver->name, name);
}

static struct resolver resolver;
static struct resolver_answer answer;

static void answer_with(const char *name, enum resolver_status status, const char *text)
{
    struct resolver_query *query = resolver.query;
    assert_non_null(query);
    assert_string_equal(resolver.name, name);
    resolver.query = NULL;
    answer = (struct resolver_answer){.status = status, .record_count = text != NULL};
    if (text)
        answer.records[0] = slice_of(text);
    query->done(query, &answer);
}

/* ---- a configuration of three keys ---- */

static char directory[] = "/tmp/sluice-published-XXXXXX";
static struct config *config;
static struct log log_;
static int log_fd;

static void write_key(const char *name)
{
    char path[128];
    EVP_PKEY *key = EVP_RSA_gen(1024);
    snprintf(path, sizeof path, "%s/%s.pem", directory, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fchmod(fileno(file), 0600), 0);
    assert_int_equal(PEM_write_PKCS8PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    EVP_PKEY_free(key);
}

static struct sign_keys *load_keys(void)
{
    char error[1024];
    struct sign_keys *keys = sign_keys_load(config, NULL, NULL, error, sizeof error);
    if (!keys)
        fail_msg("%s", error);
    return keys;
}

static int prepare(void **state)
{
    (void)state;
    char text[1024], error[1024], log_path[128];
    assert_non_null(mkdtemp(directory));
    write_key("a");
    write_key("b");
    write_key("c");
    snprintf(text, sizeof text,
             "dkim a.example { selector = s1 key = %s/a.pem }\ndkim b.example { selector = x.y key = %s/b.pem }\n"
             "dkim c.example { selector = s1 key = %s/c.pem }",
             directory, directory, directory);
    config = config_parse("x.conf", slice_of(text), error, sizeof error);
    if (!config)
        fail_msg("%s", error);
    snprintf(log_path, sizeof log_path, "%s/log", directory);
    FILE *file = fopen(log_path, "w+");
    assert_non_null(file);
    log_fd = dup(fileno(file));
    fclose(file);
    log_init(&log_, log_fd, LOG_LEVEL_INFO);
    return 0;
}

static int clean_up(void **state)
{
    (void)state;
    char command[128];
    config_free(config);
    close(log_fd);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

/* Lines logged since the last call that hold this text. */
static unsigned logged(const char *text)
{
    static char lines[64 * 1024];
    unsigned count = 0;
    ssize_t n = pread(log_fd, lines, sizeof lines - 1, 0);
    assert_true(n >= 0);
    lines[n] = 0;
    for (const char *p = lines; (p = strstr(p, text)); p++)
        count++;
    assert_int_equal(ftruncate(log_fd, 0), 0);
    assert_true(lseek(log_fd, 0, SEEK_SET) == 0);
    return count;
}

static const char *record_of(const struct sign_keys *keys, unsigned index)
{
    static char records[3][SIGN_KEY_RECORD];
    sign_key_record(sign_keys_at(keys, index)->key, records[index], sizeof records[index]);
    return records[index];
}

/* ---- the tests ---- */

static void a_round(void **state)
{
    (void)state;
    struct published p;
    struct sign_keys *keys = load_keys();
    nsec now = 5 * NSEC_PER_S;
    resolver = (struct resolver){.query = NULL};
    logged("level=");
    assert_true(published_open(&p, &resolver, &log_, keys));
    assert_int_equal(resolver.asked, 0);
    published_tick(&p, now);
    published_tick(&p, now); /* one at a time */
    answer_with("s1._domainkey.a.example", RESOLVER_OK, record_of(keys, 0));
    assert_int_equal(p.wrong, 0);
    assert_int_equal(logged("fits its key"), 1);
    answer_with("x.y._domainkey.b.example", RESOLVER_OK, record_of(keys, 0));
    assert_int_equal(p.wrong, 1);
    assert_int_equal(logged("found=\"other key\""), 1);
    answer_with("s1._domainkey.c.example", RESOLVER_NXDOMAIN, NULL);
    assert_int_equal(p.wrong, 2);
    assert_int_equal(logged("found=missing publish=\"v=DKIM1; k=rsa; p="), 1);
    assert_null(resolver.query);

    /* Again after a while: what is as before is not said again. */
    published_tick(&p, now);
    published_tick(&p, now + PUBLISHED_AGAIN_WRONG - 1);
    assert_null(resolver.query);
    now += PUBLISHED_AGAIN_WRONG;
    published_tick(&p, now);
    answer_with("s1._domainkey.a.example", RESOLVER_TIMEOUT, NULL);
    assert_int_equal(logged("could not be looked up"), 1);
    answer_with("x.y._domainkey.b.example", RESOLVER_OK, record_of(keys, 0));
    answer_with("s1._domainkey.c.example", RESOLVER_NODATA, NULL);
    assert_int_equal(logged("level="), 0);
    assert_int_equal(p.wrong, 3);

    /* All is well in the end, and the next look is far off. */
    published_tick(&p, now);
    published_tick(&p, now += PUBLISHED_AGAIN_WRONG);
    answer_with("s1._domainkey.a.example", RESOLVER_OK, record_of(keys, 0));
    answer_with("x.y._domainkey.b.example", RESOLVER_OK, record_of(keys, 1));
    answer_with("s1._domainkey.c.example", RESOLVER_OK, record_of(keys, 2));
    assert_int_equal(logged("fits its key"), 3);
    assert_int_equal(p.wrong, 0);
    published_tick(&p, now);
    published_tick(&p, now + PUBLISHED_AGAIN - 1);
    assert_null(resolver.query);
    published_tick(&p, now + PUBLISHED_AGAIN);
    assert_non_null(resolver.query);
    published_close(&p);
    sign_keys_release(keys);
}

/* A reload while a query is out: its answer is about a key that is no more. */
static void a_reload_in_between(void **state)
{
    (void)state;
    struct published p;
    struct sign_keys *before = load_keys();
    write_key("a");
    struct sign_keys *after = load_keys();
    resolver = (struct resolver){.query = NULL};
    logged("level=");
    assert_true(published_open(&p, &resolver, &log_, before));
    published_tick(&p, 1);
    published_rekey(&p, after);
    answer_with("s1._domainkey.a.example", RESOLVER_OK, record_of(before, 0));
    assert_int_equal(logged("level="), 0);
    answer_with("s1._domainkey.a.example", RESOLVER_OK, record_of(before, 0));
    assert_int_equal(logged("found=\"other key\""), 1);
    assert_int_equal(p.wrong, 1);
    /* One that is given up is asked again. */
    answer_with("x.y._domainkey.b.example", RESOLVER_CANCELED, NULL);
    answer_with("x.y._domainkey.b.example", RESOLVER_OK, record_of(after, 1));
    answer_with("s1._domainkey.c.example", RESOLVER_OK, record_of(after, 2));
    sign_keys_release(before);
    sign_keys_release(after);
    published_tick(&p, 2);
    published_rekey(&p, p.keys); /* at rest: a new round begins at once */
    published_tick(&p, 3);
    assert_non_null(resolver.query);
    published_close(&p);
    published_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_round),
        cmocka_unit_test(a_reload_in_between),
    };
    return cmocka_run_group_tests_name("published", tests, prepare, clean_up);
}
