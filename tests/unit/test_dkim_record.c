/* test_dkim_record.c - what a published record says of a key: by example, and cut or bent at any place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
// clang-format off
#include <cmocka.h>
// clang-format on

#include "proto/message/dkim_record.h"
#include "proto/message/encode.h"

/* RFC 8463 A.2. */
#define RSA_P                                                                                                          \
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91" \
    "y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
#define ED_P "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="

static char rsa_room[256], ed_room[64], bare_room[512];
static struct slice rsa, ed;

static int decode_keys(void **state)
{
    (void)state;
    rsa = (struct slice){rsa_room, decode_base64(SLICE(RSA_P), rsa_room)};
    ed = (struct slice){ed_room, decode_base64(SLICE(ED_P), ed_room)};
    assert_int_equal(rsa.n, 162);
    assert_int_equal(ed.n, 32);
    /* Made here rather than written down: v=DKIM1; p= and the last 140 octets of the DER. */
    char *to = bare_room + sprintf(bare_room, "p=");
    const unsigned char *bare = (const unsigned char *)rsa.p + 22;
    for (size_t i = 0; i < 140; i += 3)
        to += encode_base64_group(bare + i, 140 - i < 3 ? 140 - i : 3, to);
    *to = 0;
    return 0;
}

static void by_example(void **state)
{
    (void)state;
    static const struct {
        struct slice record;
        bool ed25519;
        enum dkim_record result;
        const char *why;
    } cases[] = {
        {SLICE("v=DKIM1; k=rsa; p=" RSA_P), false, DKIM_RECORD_OK, ""},
        {SLICE("v=DKIM1;k=rsa;p=" RSA_P ";"), false, DKIM_RECORD_OK, ""},
        {SLICE(" v = DKIM1 ;\t p = " RSA_P " ; "), false, DKIM_RECORD_OK, ""},
        {SLICE("p=" RSA_P), false, DKIM_RECORD_OK, ""},
        {SLICE("v=DKIM1; n=why not; x9_=1; t=s; h=sha1 : sha256; s=*; p=" RSA_P), false, DKIM_RECORD_OK, ""},
        {SLICE("v=DKIM1; s=tlsrpt:email; p=" RSA_P), false, DKIM_RECORD_OK, ""},
        {SLICE("v=DKIM1; t=s:y; p=" RSA_P), false, DKIM_RECORD_OK, "only being tested"},
        {SLICE("v=DKIM1; k=ed25519; p=" ED_P), true, DKIM_RECORD_OK, ""},
        {SLICE("v=DKIM1; k=rsa; p="), false, DKIM_RECORD_REVOKED, ""},
        {SLICE("v=DKIM1; k=rsa; p= ;"), false, DKIM_RECORD_REVOKED, ""},
        {SLICE("v=DKIM1; k=ed25519; p=" ED_P), false, DKIM_RECORD_OTHER_KEY, "another type"},
        {SLICE("v=DKIM1; p=" RSA_P), true, DKIM_RECORD_OTHER_KEY, "another type"},
        {SLICE("v=DKIM1; k=ed25519; p=AAAAAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="), true, DKIM_RECORD_OTHER_KEY, ""},
        {SLICE("v=DKIM1; p=AAAA"), false, DKIM_RECORD_OTHER_KEY, ""},
        {SLICE("v=DKIM1; p=" ED_P), false, DKIM_RECORD_OTHER_KEY, ""},
        {SLICE("v=DKIM1; p=QAB"), false, DKIM_RECORD_UNUSABLE, "no base64"},
        {SLICE("v=DKIM1; p=*" RSA_P), false, DKIM_RECORD_UNUSABLE, "no base64"},
        {SLICE("k=rsa; v=DKIM1; p=" RSA_P), false, DKIM_RECORD_UNUSABLE, "v= is not"},
        {SLICE("v=DKIM2; p=" RSA_P), false, DKIM_RECORD_UNUSABLE, "v= is not"},
        {SLICE("v=dkim1; p=" RSA_P), false, DKIM_RECORD_UNUSABLE, "v= is not"},
        {SLICE("v=DKIM1; h=sha1; p=" RSA_P), false, DKIM_RECORD_UNUSABLE, "h= does not"},
        {SLICE("v=DKIM1; s=tlsrpt; p=" RSA_P), false, DKIM_RECORD_UNUSABLE, "s= does not"},
        {SLICE("v=DKIM1; k=dsa; p=" RSA_P), false, DKIM_RECORD_UNUSABLE, "not known"},
        {SLICE("v=DKIM1; p=" RSA_P "; p=" RSA_P), false, DKIM_RECORD_UNUSABLE, "twice"},
        {SLICE("v=DKIM1; ; p=" RSA_P), false, DKIM_RECORD_UNUSABLE, "no list"},
        {SLICE("v=DKIM1; rsa; p=" RSA_P), false, DKIM_RECORD_UNUSABLE, "no list"},
        {SLICE("v=DKIM1; k=rsa"), false, DKIM_RECORD_UNUSABLE, "no p="},
        {SLICE("v=DKIM1"), false, DKIM_RECORD_UNUSABLE, "no p="},
        {SLICE("v=spf1 include:x.example -all"), false, DKIM_RECORD_MISSING, ""},
        {SLICE(""), false, DKIM_RECORD_MISSING, ""},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        const char *why;
        enum dkim_record got = dkim_record_check(&cases[i].record, 1, cases[i].ed25519 ? DKIM_ED25519 : DKIM_RSA,
                                                 cases[i].ed25519 ? ed : rsa, &why);
        if (got != cases[i].result || !strstr(why, cases[i].why) || !why[0] != !cases[i].why[0])
            fail_msg("%.*s: %s, <%s>", SLICE_ARGS(cases[i].record), dkim_record_name(got), why);
    }
}

static void bare_rsa(void **state)
{
    (void)state;
    const char *why;
    struct slice record = slice_of(bare_room);
    assert_int_equal(dkim_record_check(&record, 1, DKIM_RSA, rsa, &why), DKIM_RECORD_OK);
    /* But no shorter end of it. */
    struct slice shorter = SLICE("p=AQAB");
    assert_int_equal(dkim_record_check(&shorter, 1, DKIM_RSA, rsa, &why), DKIM_RECORD_OTHER_KEY);
}

static void several(void **state)
{
    (void)state;
    const struct slice spf = SLICE("v=spf1 -all"), key = SLICE("p=" RSA_P), revoked = SLICE("v=DKIM1; p=");
    const struct slice both[] = {spf, key, spf}, two[] = {key, key}, mixed[] = {revoked, key};
    const char *why;
    assert_int_equal(dkim_record_check(NULL, 0, DKIM_RSA, rsa, &why), DKIM_RECORD_MISSING);
    assert_int_equal(dkim_record_check(both, 3, DKIM_RSA, rsa, &why), DKIM_RECORD_OK);
    assert_int_equal(dkim_record_check(two, 2, DKIM_RSA, rsa, &why), DKIM_RECORD_UNUSABLE);
    assert_string_equal(why, "there are several key records");
    assert_int_equal(dkim_record_check(mixed, 2, DKIM_RSA, rsa, &why), DKIM_RECORD_UNUSABLE);
}

/* Every record cut anywhere, and with each octet replaced by what means something: never another key's taken for ours,
 * and no octet outside is read. */
static void bent(void **state)
{
    (void)state;
    static const char record[] = "v=DKIM1; h=sha256; k=rsa; s=email; t=s; p=" RSA_P;
    static const char octets[] = "; =:\t\"\\v0\x80";
    const char *why;
    for (size_t n = 0; n < sizeof record; n++) {
        char *exact = malloc(n ? n : 1);
        memcpy(exact, record, n);
        struct slice cut = {exact, n};
        enum dkim_record got = dkim_record_check(&cut, 1, DKIM_RSA, rsa, &why);
        assert_int_equal(got == DKIM_RECORD_OK, n == sizeof record - 1);
        free(exact);
    }
    for (size_t at = 0; at < sizeof record - 1; at++)
        for (size_t i = 0; i < sizeof octets; i++) {
            char copy[sizeof record];
            memcpy(copy, record, sizeof record);
            copy[at] = octets[i];
            struct slice whole = {copy, sizeof record - 1};
            enum dkim_record got = dkim_record_check(&whole, 1, DKIM_RSA, rsa, &why);
            assert_true(got != DKIM_RECORD_BROKEN);
            /* Inside p= only white space is nothing. */
            bool in_key = at >= sizeof record - sizeof RSA_P;
            if (in_key && got == DKIM_RECORD_OK && copy[at] != record[at])
                fail_msg("octet %zu is %02x", at, (unsigned char)octets[i]);
        }
    char *huge = malloc(DKIM_RECORD_MAX + 1);
    memset(huge, 'a', DKIM_RECORD_MAX + 1);
    memcpy(huge, "p=", 2);
    struct slice long_one = {huge, DKIM_RECORD_MAX}, too_long = {huge, DKIM_RECORD_MAX + 1};
    assert_int_not_equal(dkim_record_check(&long_one, 1, DKIM_RSA, rsa, &why), DKIM_RECORD_OK);
    assert_int_equal(dkim_record_check(&too_long, 1, DKIM_RSA, rsa, &why), DKIM_RECORD_UNUSABLE);
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_example),
        cmocka_unit_test(bare_rsa),
        cmocka_unit_test(several),
        cmocka_unit_test(bent),
    };
    return cmocka_run_group_tests_name("dkim_record", tests, decode_keys, NULL);
}
