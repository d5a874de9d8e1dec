/* Certificates: which are good for which demand, and what is said of the others. */
#include "talk.h"

#define DAY (86400 * NSEC_PER_S)

/* What comes of this demand with a server of this party. */
static struct tls_result ask(struct house *house, const struct party *party, unsigned chain,
                             const struct tls_demand *demand)
{
    struct talk talk;
    house_serve(house, &(struct server_config){.party = party, .chain = chain, .tickets = 2},
                &(struct manners){.echo = true});
    talk_open(&talk, house, demand);
    if (talk.result.ok) {
        talk_say(&talk, "x", 1);
        talk_hear(&talk, 1);
    } else {
        assert_int_equal(talk.stream.state, STREAM_SPENT);
    }
    talk_close(&talk);
    assert_int_equal(talk.ended, 0);
    return talk.result;
}

static void accepted(struct house *house, const struct party *party, unsigned chain, const struct tls_demand *demand)
{
    struct tls_result result = ask(house, party, chain, demand);
    if (!result.ok)
        fail_msg("%s", result.reason);
}

/* Refused for its certificate, which nobody minds who accepts any. */
static void refused(struct house *house, const struct party *party, unsigned chain, const struct tls_demand *demand,
                    const char *reason)
{
    unsigned sessions = tls_counts(house->tls).sessions;
    struct tls_result result = ask(house, party, chain, demand);
    assert_false(result.ok);
    assert_true(result.certificate);
    assert_false(result.local);
    assert_string_equal(result.reason, reason);
    assert_int_equal(tls_counts(house->tls).sessions, sessions);
    struct tls_demand any = demand_any();
    any.key = house_random(house);
    accepted(house, party, chain, &any);
}

struct kind {
    const char *names, *common_name;
    const struct party *issuer;
    nsec from, until; /* from now */
    const char *reason;
    const char *host; /* NULL: mx.example */
};

static void party_of(struct party *party, struct house *house, const struct kind *kind)
{
    party_open(party, &(struct party_config){.issuer = kind->issuer,
                                             .common_name = kind->common_name,
                                             .names = kind->names,
                                             .from = house->wall + kind->from,
                                             .until = house->wall + kind->until});
}

static void certificates_are_checked(void **state)
{
    struct house *house = *state;
    const struct party *ca = &house->authority;
    const struct kind kinds[] = {
        {"DNS:mx.example", "", ca, -DAY, DAY, NULL, NULL},
        {"DNS:MX.Example", "", ca, -DAY, DAY, NULL, NULL},
        {"DNS:*.isp.example", "", ca, -DAY, DAY, NULL, "mx.isp.example"},
        {"DNS:a.example,DNS:mx.example", "", ca, -DAY, DAY, NULL, NULL},
        {"DNS:mx.example", "", ca, -2 * DAY, -DAY, "certificate: certificate has expired", NULL},
        {"DNS:mx.example", "", ca, DAY, 2 * DAY, "certificate: certificate is not yet valid", NULL},
        {"DNS:other.example", "", ca, -DAY, DAY, "certificate: hostname mismatch", NULL},
        {"DNS:m*.isp.example", "", ca, -DAY, DAY, "certificate: hostname mismatch", "mx.isp.example"},
        {"DNS:*.isp.example", "", ca, -DAY, DAY, "certificate: hostname mismatch", "a.mx.isp.example"},
        {"DNS:*.isp.example", "", ca, -DAY, DAY, "certificate: hostname mismatch", "isp.example"},
        {"DNS:other.example", "mx.example", ca, -DAY, DAY, "certificate: hostname mismatch", NULL},
        {"", "mx.example", ca, -DAY, DAY, "certificate: hostname mismatch", NULL},
        {"DNS:mx.example", "", &house->stranger, -DAY, DAY, "certificate: unable to get local issuer certificate",
         NULL},
        {"DNS:mx.example", "mx.example", NULL, -DAY, DAY, "certificate: self-signed certificate", NULL},
    };
    struct tls_demand demand = demand_pkix();
    for (size_t i = 0; i < countof(kinds); i++) {
        struct party party;
        party_of(&party, house, &kinds[i]);
        demand.key = 1000 + i;
        demand.names[0] = kinds[i].host ? kinds[i].host : "mx.example";
        if (!kinds[i].reason)
            accepted(house, &party, 0, &demand);
        else
            refused(house, &party, 0, &demand, kinds[i].reason);
        party_close(&party);
    }
}

/* An authority that the server sends along is not therefore trusted. */
static void an_authority_of_its_own(void **state)
{
    struct house *house = *state;
    struct party party;
    struct tls_demand demand = demand_pkix();
    party_of(&party, house, &(struct kind){"DNS:mx.example", "", &house->stranger, -DAY, DAY, NULL, NULL});
    struct tls_result result = ask(house, &party, 1, &demand);
    assert_false(result.ok);
    assert_true(result.certificate);
    party_close(&party);
}

static void one_name_of_several_will_do(void **state)
{
    struct house *house = *state;
    struct tls_demand demand = demand_pkix();
    demand.names[0] = "no.example";
    refused(house, &house->mx, 0, &demand, "certificate: hostname mismatch");
    demand.names[1] = "mx.example";
    demand.name_count = 2;
    accepted(house, &house->mx, 0, &demand);
}

static struct tls_demand demand_dane(uint8_t usage, uint8_t selector, const uint8_t digest[32])
{
    return (struct tls_demand){.check = TLS_CHECK_DANE,
                               .server_name = "mx.example",
                               .names = {"mx.example"},
                               .name_count = 1,
                               .tlsa = {{usage, selector, 1, {(const char *)digest, 32}}},
                               .tlsa_count = 1,
                               .key = 7};
}

static void dane_ee_alone_decides(void **state)
{
    struct house *house = *state;
    struct party odd;
    uint8_t digest[32];
    /* RFC 7672 §3.1.1: neither names nor validity nor issuer count. */
    party_of(&odd, house, &(struct kind){"DNS:other.example", "", NULL, -2 * DAY, -DAY, NULL, NULL});
    for (unsigned selector = 0; selector <= 1; selector++) {
        party_digest(&odd, selector, digest);
        struct tls_demand demand = demand_dane(3, (uint8_t)selector, digest);
        accepted(house, &odd, 0, &demand);
        /* A good certificate that is not the one does not help. */
        refused(house, &house->mx, 0, &demand, "certificate: no matching DANE TLSA records");
        digest[5] ^= 1;
        refused(house, &odd, 0, &demand, "certificate: no matching DANE TLSA records");
    }
    party_close(&odd);
}

static void dane_ta_needs_chain_name_and_validity(void **state)
{
    struct house *house = *state;
    struct party party;
    uint8_t digest[32];
    party_digest(&house->stranger, 0, digest); /* no authority of tls_ca: DANE needs none */
    struct tls_demand demand = demand_dane(2, 0, digest);
    party_of(&party, house, &(struct kind){"DNS:mx.example", "", &house->stranger, -DAY, DAY, NULL, NULL});
    accepted(house, &party, 1, &demand);
    demand.names[0] = "tlsa.example"; /* the TLSA base domain, then the next hop (RFC 7672 §3.2.2) */
    demand.server_name = "tlsa.example";
    refused(house, &party, 1, &demand, "certificate: hostname mismatch");
    demand.names[1] = "mx.example";
    demand.name_count = 2;
    accepted(house, &party, 1, &demand);
    party_close(&party);
    party_of(&party, house, &(struct kind){"DNS:mx.example", "", &house->stranger, -2 * DAY, -DAY, NULL, NULL});
    demand.key++;
    refused(house, &party, 1, &demand, "certificate: certificate has expired");
    party_close(&party);
    refused(house, &house->mx, 1, &demand, "certificate: no matching DANE TLSA records");
}

static void one_record_of_several_will_do(void **state)
{
    struct house *house = *state;
    uint8_t wrong[32] = {9}, right[32];
    party_digest(&house->mx, 1, right);
    struct tls_demand demand = demand_dane(3, 1, wrong);
    refused(house, &house->mx, 0, &demand, "certificate: no matching DANE TLSA records");
    demand.tlsa[1] = (struct tls_tlsa){3, 1, 1, {(const char *)right, 32}};
    demand.tlsa_count = 2;
    accepted(house, &house->mx, 0, &demand);
}

static void no_name_is_sent_for_an_address(void **state)
{
    static const char *const names[] = {"192.0.2.1", "2001:db8::1", NULL, ""};
    struct house *house = *state;
    for (size_t i = 0; i < countof(names); i++) {
        struct tls_demand demand = demand_any();
        struct talk talk;
        demand.server_name = names[i];
        talk_open(&talk, house, &demand);
        assert_true(talk.result.ok);
        assert_null(SSL_get_servername(talk_served(&talk)->peer.ssl, TLSEXT_NAMETYPE_host_name));
        talk_close(&talk);
    }
}

const struct CMUnitTest tls_refusal_tests[TLS_TESTS_MAX] = {
    cmocka_unit_test(certificates_are_checked),
    cmocka_unit_test(an_authority_of_its_own),
    cmocka_unit_test(one_name_of_several_will_do),
    cmocka_unit_test(dane_ee_alone_decides),
    cmocka_unit_test(dane_ta_needs_chain_name_and_validity),
    cmocka_unit_test(one_record_of_several_will_do),
    cmocka_unit_test(no_name_is_sent_for_an_address),
};
