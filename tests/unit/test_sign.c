/* test_sign.c - which files are keys, whose keys sign, and signatures that OpenSSL's verifier and RFC 8463 agree with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/message/encode.h"
#include "sign/keys.h"
#include "sign/signer.h"
#include "tests/sim/dkim_judge.h"

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files of all kinds, made once ---- */

static char directory[] = "/tmp/sluice-sign-XXXXXX";
static char path_room[16][64];
static unsigned path_next;

static const char *path(const char *name)
{
    char *room = path_room[path_next++ % countof(path_room)];
    snprintf(room, sizeof path_room[0], "%s/%s", directory, name);
    return room;
}

static const char *write_text(const char *name, const char *text, mode_t mode)
{
    const char *file = path(name);
    FILE *stream = fopen(file, "w");
    assert_non_null(stream);
    assert_true(fputs(text, stream) >= 0);
    assert_int_equal(fclose(stream), 0);
    assert_int_equal(chmod(file, mode), 0);
    return file;
}

enum form { FORM_PKCS8, FORM_PKCS1, FORM_ENCRYPTED, FORM_PKCS1_ENCRYPTED, FORM_PUBLIC };

static const char *write_key(const char *name, EVP_PKEY *key, enum form form)
{
    BIO *bio = BIO_new(BIO_s_mem());
    unsigned char phrase[] = "secret";
    char *text;
    int written = 0;
    switch (form) {
    case FORM_PKCS8:
        written = PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
        break;
    case FORM_ENCRYPTED:
        written = PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_128_cbc(), (char *)phrase, 6, NULL, NULL);
        break;
    case FORM_PKCS1:
        written = PEM_write_bio_PrivateKey_traditional(bio, key, NULL, NULL, 0, NULL, NULL);
        break;
    case FORM_PKCS1_ENCRYPTED:
        written = PEM_write_bio_PrivateKey_traditional(bio, key, EVP_aes_128_cbc(), phrase, 6, NULL, NULL);
        break;
    case FORM_PUBLIC:
        written = PEM_write_bio_PUBKEY(bio, key);
        break;
    }
    assert_int_equal(written, 1);
    long n = BIO_get_mem_data(bio, &text);
    char *copy = strndup(text, (size_t)n);
    const char *file = write_text(name, copy, 0600);
    free(copy);
    BIO_free(bio);
    EVP_PKEY_free(key);
    return file;
}

/* A key with the public half of another: nobody could verify what it signs. */
static EVP_PKEY *mismatched(void)
{
    EVP_PKEY *one = EVP_RSA_gen(2048), *other = EVP_RSA_gen(2048), *mixed = NULL;
    OSSL_PARAM *private = NULL, *public = NULL;
    assert_int_equal(EVP_PKEY_todata(one, EVP_PKEY_KEYPAIR, &private), 1);
    assert_int_equal(EVP_PKEY_todata(other, EVP_PKEY_PUBLIC_KEY, &public), 1);
    OSSL_PARAM *to = OSSL_PARAM_locate(private, OSSL_PKEY_PARAM_RSA_N);
    const OSSL_PARAM *from = OSSL_PARAM_locate_const(public, OSSL_PKEY_PARAM_RSA_N);
    assert_int_equal(to->data_size, from->data_size);
    memcpy(to->data, from->data, from->data_size);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
    assert_int_equal(EVP_PKEY_fromdata(context, &mixed, EVP_PKEY_KEYPAIR, private), 1);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(private);
    OSSL_PARAM_free(public);
    EVP_PKEY_free(one);
    EVP_PKEY_free(other);
    return mixed;
}

/* Only its size is looked at, and nobody waits for the primes of such a one. */
static EVP_PKEY *of_bits(int bits)
{
    BIGNUM *n = BN_new(), *e = BN_new();
    EVP_PKEY *key = NULL;
    assert_true(BN_set_bit(n, bits - 1) && BN_set_bit(n, 0) && BN_set_word(e, 65537));
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    assert_true(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
                OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) &&
                OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_D, e));
    static const char *const parts[] = {OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2,
                                        OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
                                        OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    for (size_t i = 0; i < countof(parts); i++)
        assert_int_equal(OSSL_PARAM_BLD_push_BN(build, parts[i], e), 1);
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    assert_int_equal(EVP_PKEY_fromdata_init(context), 1);
    assert_int_equal(EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, parameters), 1);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(build);
    BN_free(n);
    BN_free(e);
    return key;
}

static int make_files(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(directory));
    write_key("rsa.pem", EVP_RSA_gen(2048), FORM_PKCS8);
    write_key("pkcs1.pem", EVP_RSA_gen(2048), FORM_PKCS1);
    write_key("4096.pem", EVP_RSA_gen(4096), FORM_PKCS8);
    write_text("ed.pem", dkim_judge_pem(DKIM_JUDGE_ED25519), 0600);
    write_text("rfc.pem", dkim_judge_pem(DKIM_JUDGE_RSA), 0600);
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command);
}

/* ---- one key ---- */

static struct sign_key *load(const char *name)
{
    char error[1024] = "";
    struct sign_key *key = sign_key_load(path(name), error, sizeof error);
    if (!key)
        fail_msg("%s", error);
    return key;
}

static void good_keys(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum dkim_algorithm algorithm;
        unsigned bits;
        size_t signature;
    } cases[] = {{"rsa.pem", DKIM_RSA, 2048, 256},
                 {"pkcs1.pem", DKIM_RSA, 2048, 256},
                 {"4096.pem", DKIM_RSA, 4096, 512},
                 {"rfc.pem", DKIM_RSA, 1024, 128},
                 {"ed.pem", DKIM_ED25519, 256, 64}};
    for (size_t i = 0; i < countof(cases); i++) {
        struct sign_key *key = load(cases[i].name);
        char record[SIGN_KEY_RECORD];
        assert_int_equal(sign_key_algorithm(key), cases[i].algorithm);
        assert_int_equal(sign_key_signature_bytes(key), cases[i].signature);
        if (key && cases[i].algorithm == DKIM_RSA)
            assert_int_equal(sign_key_bits(key), cases[i].bits);
        sign_key_record(key, record, sizeof record);
        assert_true(strlen(record) + 1 < sizeof record);
        sign_key_release(key);
    }
}

static void records_of_rfc_8463(void **state)
{
    (void)state;
    char record[SIGN_KEY_RECORD];
    struct sign_key *rsa = load("rfc.pem"), *ed = load("ed.pem");
    sign_key_record(rsa, record, sizeof record);
    assert_string_equal(record,
                        "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6w"
                        "y5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9"
                        "PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB");
    sign_key_record(ed, record, sizeof record);
    assert_string_equal(record, "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    sign_key_release(rsa);
    sign_key_release(ed);
}

static void bad_key(const char *file, const char *reason)
{
    char error[1024] = "";
    struct sign_key *key = sign_key_load(file, error, sizeof error);
    if (key)
        fail_msg("%s is taken for a key", file);
    if (!strstr(error, reason) || !strstr(error, file))
        fail_msg("expected <... %s>, got <%s>", reason, error);
    assert_int_equal(ERR_peek_error(), 0);
}

static void bad_keys(void **state)
{
    (void)state;
    bad_key(path("missing.pem"), "No such file");
    bad_key(directory, "no regular file");
    bad_key(write_text("empty.pem", "", 0600), "is not PEM");
    bad_key(write_text("text.pem", "hello\n", 0600), "is not PEM");
    bad_key(write_text("certificate.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 0600),
            "no private key");
    bad_key(write_text("openssh.pem", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", 0600), "a key of OpenSSH");
    bad_key(write_text("broken.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", 0600),
            "is damaged");
    char half[401];
    snprintf(half, sizeof half, "%.400s", dkim_judge_pem(DKIM_JUDGE_RSA));
    bad_key(write_text("half.pem", half, 0600), "is damaged");
    bad_key(write_key("public.pem", EVP_RSA_gen(2048), FORM_PUBLIC), "a public key");
    bad_key(write_key("encrypted.pem", EVP_RSA_gen(2048), FORM_ENCRYPTED), "is encrypted");
    bad_key(write_key("encrypted1.pem", EVP_RSA_gen(2048), FORM_PKCS1_ENCRYPTED), "is encrypted");
    bad_key(write_key("ec.pem", EVP_EC_gen("P-256"), FORM_PKCS8), "is of type EC");
    bad_key(write_key("512.pem", of_bits(512), FORM_PKCS8), "RSA of 512 bits");
    bad_key(write_key("1016.pem", of_bits(1016), FORM_PKCS8), "RSA of 1016 bits");
    bad_key(write_key("4104.pem", of_bits(4104), FORM_PKCS8), "RSA of 4104 bits");
    bad_key(write_key("mismatched.pem", mismatched(), FORM_PKCS8), "do not fit together");
}

static void permissions(void **state)
{
    (void)state;
    static const mode_t bad[] = {0644, 0604, 0620, 0602, 0660, 0666, 0640 | 0001};
    struct sign_key *key;
    char error[1024];
    for (size_t i = 0; i < countof(bad); i++)
        bad_key(write_text("mode.pem", dkim_judge_pem(DKIM_JUDGE_RSA), bad[i]), "others can use it");
    const char *file = write_text("mode.pem", dkim_judge_pem(DKIM_JUDGE_RSA), 0400);
    assert_non_null(key = sign_key_load(file, error, sizeof error));
    sign_key_release(key);
    if (geteuid() != 0) {
        print_message("files of other users are tried by root alone\n");
        return;
    }
    assert_int_equal(chown(file, 65534, 65534), 0);
    bad_key(file, "belongs to another user");
}

/* ---- a configuration's keys ---- */

static void on_warning(void *context, const char *sentence) { snprintf(context, 512, "%s", sentence); }

static struct sign_keys *load_set(const char *text, struct config **config, char warning[512], char error[1024])
{
    char full[4096], *to = full;
    for (const char *p = text; *p; p++) /* @ stands for the directory */
        to += *p == '@' ? (size_t)sprintf(to, "%s", directory) : (*to = *p, 1);
    *to = 0;
    *config = config_parse("dir/x.conf", slice_of(full), error, 1024);
    if (!*config)
        fail_msg("%s", error);
    warning[0] = error[0] = 0;
    return sign_keys_load(*config, on_warning, warning, error, 1024);
}

static void sets_are_refused_with_the_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *error, *warning;
    } cases[] = {
        {"\n\ndkim x.example { selector = s\nkey = @/missing.pem }", "dir/x.conf:4: dkim x.example: /", ""},
        {"dkim x.example { selector = s key = @/ed.pem }", "dir/x.conf:1: dkim x.example: the key is Ed25519", ""},
        {"dkim x.example { selector = s key = @/ed.pem ed25519 = yes }", NULL, ""},
        {"dkim x.example { selector = s key = @/missing.pem enabled = no }", NULL, ""},
        {"dkim x.example { selector = s key = @/rfc.pem }", NULL,
         "dir/x.conf:1: dkim x.example: the key has 1024 bits"},
        {"dkim x.example { selector = s key = @/rsa.pem }", NULL, ""},
        {"", NULL, ""},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char error[1024], warning[512];
        struct config *config;
        struct sign_keys *keys = load_set(cases[i].text, &config, warning, error);
        if (!keys != (cases[i].error != NULL) ||
            (cases[i].error && strncmp(error, cases[i].error, strlen(cases[i].error))))
            fail_msg("%s: got <%s>", cases[i].text, error);
        if (strncmp(warning, cases[i].warning, strlen(cases[i].warning)) != 0 || !cases[i].warning[0] != !warning[0])
            fail_msg("%s: warned <%s>", cases[i].text, warning);
        sign_keys_release(keys);
        config_free(config);
    }
}

static void who_signs(void **state)
{
    (void)state;
    static const char text[] = "dkim example.com { selector = s key = @/rsa.pem }\n"
                               "dkim shop.example.com { selector = r key = @/rsa.pem expire = 7d }\n"
                               "dkim shop-ed { domain = shop.example.com selector = e key = @/ed.pem ed25519 = yes }\n"
                               "dkim esp { domain = esp.example selector = s key = @/rsa.pem always = yes }\n"
                               "dkim off { domain = b.example selector = s key = @/none enabled = no }\n";
    static const struct {
        struct slice from;
        const char *names;
    } cases[] = {
        {SLICE("example.com"), "example.com esp "},
        {SLICE("EXAMPLE.com"), "example.com esp "},
        {SLICE("news.example.com"), "example.com esp "},
        {SLICE("shop.example.com"), "shop.example.com shop-ed esp "},
        {SLICE("a.b.Shop.example.com"), "shop.example.com shop-ed esp "},
        {SLICE("workshop.example.com"), "example.com esp "},
        {SLICE("badexample.com"), "esp "},
        {SLICE("com"), "esp "},
        {SLICE("esp.example"), "esp "},
        {SLICE("b.example"), "esp "},
        {SLICE(""), "esp "},
    };
    char error[1024], warning[512];
    struct config *config;
    struct sign_keys *keys = load_set(text, &config, warning, error);
    assert_non_null(keys);
    assert_int_equal(sign_keys_count(keys), 4);
    assert_int_equal(sign_keys_at(keys, 1)->expire, 7 * 24 * 3600 * NSEC_PER_S);
    for (size_t i = 0; i < countof(cases); i++) {
        const struct sign_identity *found[DKIM_SIGNATURES_MAX];
        unsigned count = sign_keys_for(keys, cases[i].from, found);
        char names[512] = "";
        for (unsigned j = 0; j < count; j++)
            strcat(strcat(names, found[j]->name), " ");
        if (strcmp(names, cases[i].names) != 0)
            fail_msg("%.*s: %s", SLICE_ARGS(cases[i].from), names);
    }
    sign_keys_release(keys);
    config_free(config);
}

/* ---- signing ---- */

static bool verifies(const struct sign_key *key, const struct sign_job *job)
{
    struct slice der = sign_key_public(key);
    const unsigned char *p = (const unsigned char *)der.p;
    bool good;
    if (sign_key_algorithm(key) == DKIM_ED25519) {
        EVP_PKEY *public = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, p, der.n);
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestVerifyInit(context, NULL, NULL, NULL, public), 1);
        good = EVP_DigestVerify(context, job->signature, 64, job->digest, DKIM_HASH) == 1;
        EVP_MD_CTX_free(context);
        EVP_PKEY_free(public);
        return good;
    }
    EVP_PKEY *public = d2i_PUBKEY(NULL, &p, (long)der.n);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(public, NULL);
    assert_int_equal(EVP_PKEY_verify_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING), 1);
    assert_int_equal(EVP_PKEY_CTX_set_signature_md(context, EVP_sha256()), 1);
    good = EVP_PKEY_verify(context, job->signature, sign_key_signature_bytes(key), job->digest, DKIM_HASH) == 1;
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(public);
    return good;
}

static void signatures_of_rfc_8463(void **state)
{
    (void)state;
#define RFC_HEADER(algorithm, selector)                                                                                \
    "from:Joe SixPack <joe@football.example.com>\r\nto:Suzie Q <suzie@shopping.example.net>\r\n"                       \
    "subject:Is dinner ready?\r\ndate:Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"                                       \
    "message-id:<20030712040037.46341.5F8J@football.example.com>\r\n"                                                  \
    "dkim-signature:v=1; a=" algorithm "; c=relaxed/relaxed; d=football.example.com; i=@football.example.com; "        \
    "q=dns/txt; s=" selector "; t=1528637909; h=from : to : subject : date : message-id : from : subject : date; "     \
    "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b="
    static const struct {
        const char *name;
        struct slice header;
        struct slice signature;
    } cases[] = {
        {"ed.pem", SLICE(RFC_HEADER("ed25519-sha256", "brisbane")),
         SLICE("/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==")},
        {"rfc.pem", SLICE(RFC_HEADER("rsa-sha256", "test")),
         SLICE("F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaS"
               "GsgeefOsk2JzdA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=")},
    };
    struct signer *signer = signer_open();
    for (size_t i = 0; i < countof(cases); i++) {
        struct sign_key *key = load(cases[i].name);
        uint8_t signature[DKIM_SIGNATURE_BYTES];
        char expected[512];
        struct sign_job job = {.key = key, .signature = signature};
        EVP_Digest(cases[i].header.p, cases[i].header.n, job.digest, NULL, EVP_sha256(), NULL);
        assert_int_equal(sign_batch(signer, &job, 1), 0);
        size_t n = decode_base64(cases[i].signature, expected);
        assert_int_equal(n, sign_key_signature_bytes(key));
        assert_memory_equal(signature, expected, n);
        sign_key_release(key);
    }
    signer_close(signer);
}

/* More keys than are kept prepared, in turn and across a reload. */
static void batches(void **state)
{
    (void)state;
    enum { KEYS = 11, JOBS = 40 };
    struct signer *signer = signer_open();
    struct sign_key *keys[KEYS];
    static uint8_t signatures[JOBS][DKIM_SIGNATURE_BYTES];
    struct sign_job jobs[JOBS];
    for (unsigned i = 0; i < KEYS; i++) {
        static const char *const names[] = {"rsa.pem", "ed.pem", "rfc.pem"};
        keys[i] = load(names[i % 3]);
    }
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < JOBS; i++) {
            jobs[i] = (struct sign_job){.key = keys[i * 7 % KEYS], .signature = signatures[i], .failed = true};
            memset(jobs[i].digest, (int)(i + round), DKIM_HASH);
        }
        assert_int_equal(sign_batch(signer, jobs, JOBS), 0);
        for (unsigned i = 0; i < JOBS; i++) {
            assert_false(jobs[i].failed);
            assert_true(verifies(jobs[i].key, &jobs[i]));
            jobs[i].digest[31] ^= 1;
            assert_false(verifies(jobs[i].key, &jobs[i]));
        }
        signer_forget(signer);
    }
    assert_int_equal(sign_batch(signer, jobs, 0), 0);
    for (unsigned i = 0; i < KEYS; i++)
        sign_key_release(keys[i]);
    signer_close(signer);
}

/* A key that another thread lets go of while this one signs with it stays until then. */
static void *sign_in_thread(void *argument)
{
    struct sign_key *key = argument;
    struct signer *signer = signer_open();
    uint8_t signature[DKIM_SIGNATURE_BYTES];
    for (unsigned i = 0; i < 50; i++) {
        struct sign_job job = {.key = key, .signature = signature};
        memset(job.digest, (int)i, DKIM_HASH);
        assert_int_equal(sign_batch(signer, &job, 1), 0);
        assert_true(verifies(key, &job));
    }
    sign_key_release(key);
    signer_close(signer);
    return NULL;
}

static void threads_share_a_key(void **state)
{
    (void)state;
    pthread_t threads[3];
    struct sign_key *key = load("rsa.pem");
    for (size_t i = 0; i < countof(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, sign_in_thread, sign_key_hold(key)), 0);
    sign_key_release(key);
    for (size_t i = 0; i < countof(threads); i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_keys),
        cmocka_unit_test(records_of_rfc_8463),
        cmocka_unit_test(bad_keys),
        cmocka_unit_test(permissions),
        cmocka_unit_test(sets_are_refused_with_the_line),
        cmocka_unit_test(who_signs),
        cmocka_unit_test(signatures_of_rfc_8463),
        cmocka_unit_test(batches),
        cmocka_unit_test(threads_share_a_key),
    };
    return cmocka_run_group_tests_name("sign", tests, make_files, remove_files);
}
