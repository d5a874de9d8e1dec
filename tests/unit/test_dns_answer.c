/* test_dns_answer.c - raw DNS answers, well-formed, unusual and broken. */
#include "net/dns_answer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- a packet, written piece by piece ---- */

enum { FLAGS_OK = 0x8180, FLAGS_NXDOMAIN = 0x8183, FLAGS_SERVFAIL = 0x8182, FLAGS_AUTHORITATIVE = 0x8580 };
enum { SECTION_ANSWER = 6, SECTION_AUTHORITY = 8 }; /* where the header counts them */

static uint8_t packet[16384];
static size_t length;

static void put(uint32_t value, size_t octets)
{
    for (size_t i = octets; i-- > 0;)
        packet[length++] = (uint8_t)(value >> (8 * i));
}

/* "mx.example" in labels; "@" for a pointer to the question's name. */
static void put_name(const char *text)
{
    if (strcmp(text, "@") == 0) {
        put(0xc00c, 2);
        return;
    }
    while (*text) {
        size_t n = strcspn(text, ".");
        put((uint32_t)n, 1);
        memcpy(packet + length, text, n);
        length += n;
        text += n + (text[n] == '.');
    }
    put(0, 1);
}

static void begin(unsigned flags, enum dns_type type)
{
    length = 0;
    put(7, 2);
    put(flags, 2);
    put(1, 2);
    for (unsigned i = 0; i < 3; i++)
        put(0, 2);
    put_name("x.example");
    put(type, 2);
    put(1, 2);
}

/* Begins a record and returns where its length stands. */
static size_t record(unsigned section, const char *owner, enum dns_type type, uint32_t ttl_s)
{
    packet[section + 1]++;
    put_name(owner);
    put(type, 2);
    put(1, 2);
    put(ttl_s, 4);
    put(0, 2);
    return length;
}

static void end(size_t data)
{
    packet[data - 2] = (uint8_t)((length - data) >> 8);
    packet[data - 1] = (uint8_t)(length - data);
}

static void put_mx(const char *owner, uint16_t preference, const char *host, uint32_t ttl_s)
{
    size_t data = record(SECTION_ANSWER, owner, DNS_TYPE_MX, ttl_s);
    put(preference, 2);
    put_name(host);
    end(data);
}

static void put_cname(const char *owner, const char *to, uint32_t ttl_s)
{
    size_t data = record(SECTION_ANSWER, owner, DNS_TYPE_CNAME, ttl_s);
    put_name(to);
    end(data);
}

static void put_a(const char *owner, uint32_t address, uint32_t ttl_s)
{
    size_t data = record(SECTION_ANSWER, owner, DNS_TYPE_A, ttl_s);
    put(address, 4);
    end(data);
}

static void put_soa(uint32_t ttl_s, uint32_t minimum_s)
{
    size_t data = record(SECTION_AUTHORITY, "@", DNS_TYPE_SOA, ttl_s);
    put_name("ns.x.example");
    put_name("@");
    for (unsigned i = 0; i < 4; i++)
        put(i, 4);
    put(minimum_s, 4);
    end(data);
}

static struct resolver_answer *read_bytes(size_t n, enum dns_type type)
{
    static struct resolver_answer answer;
    memset(&answer, 0xee, sizeof answer);
    dns_answer_read((struct slice){(const char *)packet, n}, type, &answer);
    return &answer;
}

static struct resolver_answer *read_as(enum dns_type type) { return read_bytes(length, type); }

/* ---- */

static void hosts_come_in_order_with_the_smallest_ttl(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_MX);
    put_mx("@", 20, "B.Example", 50);
    put_mx("X.EXAMPLE", 10, "a.example", 40);
    put_mx("other.example", 1, "not-ours.example", 1);
    put_mx("@", 30, "@", 60);
    struct resolver_answer *answer = read_as(DNS_TYPE_MX);
    assert_int_equal(answer->status, RESOLVER_OK);
    assert_int_equal(answer->ttl_s, 40);
    assert_int_equal(answer->mx_count, 3);
    assert_string_equal(answer->mx[0].host, "a.example");
    assert_string_equal(answer->mx[1].host, "b.example");
    assert_string_equal(answer->mx[2].host, "x.example");
    assert_int_equal(answer->mx[2].preference, 30);
}

static void a_ttl_with_its_highest_bit_is_zero(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_MX);
    put_mx("@", 1, "a.example", 0x80000001u);
    assert_int_equal(read_as(DNS_TYPE_MX)->ttl_s, 0);
}

static void the_root_is_an_empty_host_and_odd_bytes_show(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_MX);
    put_mx("@", 0, "", 60);
    put_mx("@", 1, "a b\\c.exa\x80mple", 60);
    struct resolver_answer *answer = read_as(DNS_TYPE_MX);
    assert_int_equal(answer->mx_count, 2);
    assert_string_equal(answer->mx[0].host, "");
    assert_string_equal(answer->mx[1].host, "a?b?c.exa?mple");
}

static void more_hosts_than_fit_keep_the_best(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_MX);
    for (unsigned i = 0; i < 40; i++)
        put_mx("@", (uint16_t)((i * 7) % 40), "a.example", 60 + i);
    struct resolver_answer *answer = read_as(DNS_TYPE_MX);
    assert_int_equal(answer->mx_count, LIMIT_MX_HOSTS);
    for (unsigned i = 0; i < LIMIT_MX_HOSTS; i++)
        assert_int_equal(answer->mx[i].preference, i);
}

static void aliases_are_followed_in_any_order(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_A);
    put_a("c.example", 0xc0000201, 90);
    put_cname("b.example", "C.example", 20);
    put_cname("@", "b.example", 30);
    put_a("b.example", 0xc0000202, 5);
    struct resolver_answer *answer = read_as(DNS_TYPE_A);
    assert_int_equal(answer->status, RESOLVER_OK);
    assert_int_equal(answer->address_count, 1);
    assert_int_equal(answer->ttl_s, 20);
    char text[128];
    io_address_text(&answer->addresses[0], text, sizeof text);
    assert_string_equal(text, "192.0.2.1");
}

static void an_alias_in_a_circle_is_a_failure(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_A);
    put_cname("@", "b.example", 30);
    put_cname("b.example", "@", 30);
    assert_int_equal(read_as(DNS_TYPE_A)->status, RESOLVER_SERVFAIL);
}

static void nothing_there_lasts_as_long_as_the_soa_says(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_MX);
    put_soa(500, 60);
    assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_NODATA);
    assert_int_equal(read_as(DNS_TYPE_MX)->ttl_s, 60);
    begin(FLAGS_NXDOMAIN, DNS_TYPE_MX);
    put_soa(50, 60);
    assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_NXDOMAIN);
    assert_int_equal(read_as(DNS_TYPE_MX)->ttl_s, 50);
    begin(FLAGS_OK, DNS_TYPE_MX);
    put_cname("@", "b.example", 30);
    put_soa(50, 60);
    assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_NODATA);
    assert_int_equal(read_as(DNS_TYPE_MX)->ttl_s, 30);
    begin(FLAGS_NXDOMAIN, DNS_TYPE_MX);
    assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_NXDOMAIN);
    assert_int_equal(read_as(DNS_TYPE_MX)->ttl_s, 0);
}

static void put_ns(void)
{
    size_t data = record(SECTION_AUTHORITY, "@", DNS_TYPE_NS, 60);
    put_name("ns.example");
    end(data);
}

static void a_referral_says_nothing_about_the_name(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_MX);
    put_ns();
    assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_SERVFAIL);
    begin(FLAGS_AUTHORITATIVE, DNS_TYPE_MX);
    put_ns();
    assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_NODATA);
    begin(FLAGS_OK, DNS_TYPE_MX);
    put_ns();
    put_soa(60, 60);
    assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_NODATA);
}

static void errors_and_answers_to_something_else_are_failures(void **state)
{
    (void)state;
    static const unsigned flags[] = {FLAGS_SERVFAIL,          0x8185, 0x8184, 0x8181,
                                     0x0180 /* a question */, 0x8380 /* truncated */};
    for (size_t i = 0; i < countof(flags); i++) {
        begin(flags[i], DNS_TYPE_MX);
        put_mx("@", 1, "a.example", 60);
        assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_SERVFAIL);
        assert_int_equal(read_as(DNS_TYPE_MX)->mx_count, 0);
    }
    begin(FLAGS_OK, DNS_TYPE_MX);
    assert_int_equal(read_as(DNS_TYPE_A)->status, RESOLVER_SERVFAIL);
    begin(FLAGS_OK, DNS_TYPE_MX);
    packet[5] = 2; /* two questions */
    assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_SERVFAIL);
}

static void names_that_lead_in_circles_or_out_are_failures(void **state)
{
    (void)state;
    static const uint16_t pointers[] = {0xc000 | 0x0fff, 0xffff};
    for (size_t i = 0; i < countof(pointers) + 3; i++) {
        begin(FLAGS_OK, DNS_TYPE_MX);
        size_t data = record(SECTION_ANSWER, "@", DNS_TYPE_MX, 60);
        put(1, 2);
        size_t here = length;
        if (i < countof(pointers))
            put(pointers[i], 2); /* beyond the end */
        else if (i == countof(pointers))
            put((uint32_t)(0xc000 | here), 2); /* to itself */
        else if (i == countof(pointers) + 1)
            put(0x40 << 8 | 1, 2); /* a kind of label that does not exist */
        else {
            put(1, 1);
            put('a', 1);
            put((uint32_t)(0xc000 | here), 2); /* to its own beginning: would grow for ever */
        }
        end(data);
        assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_SERVFAIL);
    }
}

static void a_name_over_255_octets_is_a_failure(void **state)
{
    (void)state;
    for (unsigned labels = 3; labels <= 4; labels++) {
        begin(FLAGS_OK, DNS_TYPE_MX);
        size_t data = record(SECTION_ANSWER, "@", DNS_TYPE_MX, 60);
        put(1, 2);
        for (unsigned i = 0; i < labels; i++) {
            put(63, 1);
            memset(packet + length, 'a', 63);
            length += 63;
        }
        put(0, 1);
        end(data);
        assert_int_equal(read_as(DNS_TYPE_MX)->status, labels == 3 ? RESOLVER_OK : RESOLVER_SERVFAIL);
    }
}

static void data_of_the_wrong_size_is_a_failure(void **state)
{
    (void)state;
    for (unsigned n = 0; n <= 20; n++) {
        begin(FLAGS_OK, DNS_TYPE_AAAA);
        size_t data = record(SECTION_ANSWER, "@", DNS_TYPE_AAAA, 60);
        memset(packet + length, 1, n);
        length += n;
        end(data);
        assert_int_equal(read_as(DNS_TYPE_AAAA)->status, n == 16 ? RESOLVER_OK : RESOLVER_SERVFAIL);
    }
    begin(FLAGS_OK, DNS_TYPE_MX);
    size_t data = record(SECTION_ANSWER, "@", DNS_TYPE_MX, 60);
    put(1, 2);
    put_name("a.example");
    put(0, 1); /* behind the name */
    end(data);
    assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_SERVFAIL);
}

static void every_truncation_is_a_failure(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_MX);
    put_mx("@", 1, "a.example", 60);
    put_cname("y.example", "@", 60);
    put_soa(60, 60);
    assert_int_equal(read_as(DNS_TYPE_MX)->status, RESOLVER_OK);
    for (size_t n = 0; n < length; n++)
        assert_int_equal(read_bytes(n, DNS_TYPE_MX)->status, RESOLVER_SERVFAIL);
}

static void joined_addresses_share_the_room(void **state)
{
    (void)state;
    static const struct {
        unsigned first, more, kept_first, together;
    } cases[] = {{0, 0, 0, 0},    {3, 4, 3, 7},   {16, 0, 16, 16}, {16, 16, 8, 16},
                 {16, 3, 13, 16}, {4, 16, 4, 16}, {0, 16, 0, 16},  {9, 8, 8, 16}};
    for (size_t i = 0; i < countof(cases); i++) {
        struct io_address addresses[LIMIT_HOST_ADDRESSES] = {{0}};
        static struct resolver_answer more;
        more.address_count = cases[i].more;
        for (unsigned j = 0; j < LIMIT_HOST_ADDRESSES; j++) {
            addresses[j].length = 1;
            more.addresses[j].length = 2;
        }
        assert_int_equal(dns_answer_join(addresses, cases[i].first, &more), cases[i].together);
        for (unsigned j = 0; j < cases[i].together; j++)
            assert_int_equal(addresses[j].length, j < cases[i].kept_first ? 1 : 2);
    }
}

static void put_txt(const char *owner, const char *const *strings, uint32_t ttl_s)
{
    size_t data = record(SECTION_ANSWER, owner, DNS_TYPE_TXT, ttl_s);
    for (; *strings; strings++) {
        put((uint32_t)strlen(*strings), 1);
        memcpy(packet + length, *strings, strlen(*strings));
        length += strlen(*strings);
    }
    end(data);
}

static void strings_of_a_text_are_put_together(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_TXT);
    put_cname("@", "y.example", 200);
    put_txt("y.example", (const char *const[]){"v=STSv1; ", "", "id=a", NULL}, 60);
    put_txt("z.example", (const char *const[]){"of somebody else", NULL}, 1);
    put_txt("y.example", (const char *const[]){"", NULL}, 70);
    put_txt("y.example", (const char *const[]){NULL}, 80); /* no string at all */
    struct resolver_answer *answer = read_as(DNS_TYPE_TXT);
    assert_int_equal(answer->status, RESOLVER_OK);
    assert_int_equal(answer->ttl_s, 60);
    assert_string_equal(answer->name, "y.example");
    assert_int_equal(answer->record_count, 3);
    assert_false(answer->records_left_out);
    assert_true(slice_equal(answer->records[0], SLICE("v=STSv1; id=a")));
    assert_int_equal(answer->records[1].n + answer->records[2].n, 0);
}

static void more_text_than_fits_is_told(void **state)
{
    (void)state;
    char string[256];
    memset(string, 'x', 255);
    string[255] = 0;
    begin(FLAGS_OK, DNS_TYPE_TXT);
    for (unsigned i = 0; i < 4; i++)
        put_txt("@", (const char *const[]){string, string, string, NULL}, 60);
    put_txt("@", (const char *const[]){"a", NULL}, 60);
    struct resolver_answer *answer = read_as(DNS_TYPE_TXT);
    assert_int_equal(answer->record_count, 5);
    assert_false(answer->records_left_out);
    assert_int_equal(answer->records[3].n, 3 * 255);
    put_txt("@", (const char *const[]){string, string, string, string, string, NULL}, 60);
    answer = read_as(DNS_TYPE_TXT);
    assert_int_equal(answer->record_count, 5);
    assert_true(answer->records_left_out);
    begin(FLAGS_OK, DNS_TYPE_TXT);
    for (unsigned i = 0; i < RESOLVER_RECORDS + 1; i++)
        put_txt("@", (const char *const[]){"a", NULL}, 60);
    answer = read_as(DNS_TYPE_TXT);
    assert_int_equal(answer->record_count, RESOLVER_RECORDS);
    assert_true(answer->records_left_out);
}

static void a_string_longer_than_its_record_is_no_answer(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_TXT);
    size_t data = record(SECTION_ANSWER, "@", DNS_TYPE_TXT, 60);
    put(5, 1);
    put(0x61616161, 4);
    end(data);
    put_txt("@", (const char *const[]){"behind it", NULL}, 60);
    assert_int_equal(read_as(DNS_TYPE_TXT)->status, RESOLVER_SERVFAIL);
    assert_int_equal(read_as(DNS_TYPE_TXT)->record_count, 0);
}

static void tlsa_comes_as_it_is(void **state)
{
    (void)state;
    begin(FLAGS_OK, DNS_TYPE_TLSA);
    size_t data = record(SECTION_ANSWER, "@", DNS_TYPE_TLSA, 60);
    put(0x03010105, 4);
    end(data);
    end(record(SECTION_ANSWER, "@", DNS_TYPE_TLSA, 60)); /* empty: there, and of no use */
    struct resolver_answer *answer = read_as(DNS_TYPE_TLSA);
    assert_int_equal(answer->status, RESOLVER_OK);
    assert_int_equal(answer->record_count, 2);
    assert_true(slice_equal(answer->records[0], SLICE("\3\1\1\5")));
    assert_int_equal(answer->records[1].n, 0);
}

/* The AD bit counts with an answer, and with a proof that there is none; with a failure it means nothing. */
static void an_answer_is_as_secure_as_the_server_says(void **state)
{
    (void)state;
    enum { AUTHENTIC = 0x20 };
    static const struct {
        unsigned flags;
        bool record, soa, secure;
        enum resolver_status status;
    } cases[] = {
        {FLAGS_OK, true, false, false, RESOLVER_OK},
        {FLAGS_OK | AUTHENTIC, true, false, true, RESOLVER_OK},
        {FLAGS_OK, false, true, false, RESOLVER_NODATA},
        {FLAGS_OK | AUTHENTIC, false, true, true, RESOLVER_NODATA},
        {FLAGS_NXDOMAIN | AUTHENTIC, false, true, true, RESOLVER_NXDOMAIN},
        {FLAGS_NXDOMAIN, false, true, false, RESOLVER_NXDOMAIN},
        {FLAGS_SERVFAIL | AUTHENTIC, true, false, false, RESOLVER_SERVFAIL},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        begin(cases[i].flags, DNS_TYPE_A);
        if (cases[i].record)
            put_a("@", 0x01020304, 60);
        if (cases[i].soa)
            put_soa(60, 60);
        struct resolver_answer *answer = read_as(DNS_TYPE_A);
        assert_int_equal(answer->status, cases[i].status);
        assert_int_equal(answer->secure, cases[i].secure);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_come_in_order_with_the_smallest_ttl),
        cmocka_unit_test(a_ttl_with_its_highest_bit_is_zero),
        cmocka_unit_test(the_root_is_an_empty_host_and_odd_bytes_show),
        cmocka_unit_test(more_hosts_than_fit_keep_the_best),
        cmocka_unit_test(aliases_are_followed_in_any_order),
        cmocka_unit_test(an_alias_in_a_circle_is_a_failure),
        cmocka_unit_test(nothing_there_lasts_as_long_as_the_soa_says),
        cmocka_unit_test(a_referral_says_nothing_about_the_name),
        cmocka_unit_test(errors_and_answers_to_something_else_are_failures),
        cmocka_unit_test(names_that_lead_in_circles_or_out_are_failures),
        cmocka_unit_test(a_name_over_255_octets_is_a_failure),
        cmocka_unit_test(data_of_the_wrong_size_is_a_failure),
        cmocka_unit_test(every_truncation_is_a_failure),
        cmocka_unit_test(joined_addresses_share_the_room),
        cmocka_unit_test(strings_of_a_text_are_put_together),
        cmocka_unit_test(more_text_than_fits_is_told),
        cmocka_unit_test(a_string_longer_than_its_record_is_no_answer),
        cmocka_unit_test(tlsa_comes_as_it_is),
        cmocka_unit_test(an_answer_is_as_secure_as_the_server_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
