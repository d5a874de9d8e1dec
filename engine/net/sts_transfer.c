/* sts_transfer.c - asks a policy host once, and takes nothing from it but what RFC 8461 §3.3 allows. */
#include "net/sts_transfer.h"

#include <stdio.h>

enum { WHOLE_S = 60, CONNECT_S = 20 };

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct sts_transfer *transfer = context;
    size_t n = size * count;
    if (n > sizeof transfer->body - transfer->n) {
        transfer->too_long = true;
        return 0; /* ends the transfer */
    }
    memcpy(transfer->body + transfer->n, bytes, n);
    transfer->n += n;
    return n;
}

bool sts_transfer_open(struct sts_transfer *transfer)
{
    transfer->easy = curl_easy_init();
    return transfer->easy != NULL;
}

void sts_transfer_close(struct sts_transfer *transfer)
{
    curl_slist_free_all(transfer->resolve);
    transfer->resolve = NULL;
    if (transfer->easy)
        curl_easy_cleanup(transfer->easy);
    transfer->easy = NULL;
}

static bool append(struct sts_transfer *transfer, const char *text)
{
    struct curl_slist *longer = curl_slist_append(transfer->resolve, text);
    if (longer)
        transfer->resolve = longer;
    return longer;
}

/* "mta-sts.shop.example:443:192.0.2.1,[2001:db8::1]", and "-mta-sts.before.example:443" in front of it: libcurl would
 * keep the addresses of every host that it was ever told of. */
static bool set_addresses(struct sts_transfer *transfer, const struct sts_fetch *fetch, uint16_t port)
{
    char text[LIMIT_DOMAIN + 32 + STS_FETCH_ADDRESSES * 48], address[128];
    int n = snprintf(text, sizeof text, "mta-sts.%s:%u:", fetch->domain, port);
    for (unsigned i = 0; i < fetch->address_count; i++) {
        bool six = fetch->addresses[i].storage.ss_family == AF_INET6;
        io_address_text(&fetch->addresses[i], address, sizeof address);
        n += snprintf(text + n, sizeof text - (size_t)n, "%s%s%s%s", i ? "," : "", six ? "[" : "", address,
                      six ? "]" : "");
    }
    bool set = (!transfer->told[0] || append(transfer, transfer->told)) && append(transfer, text);
    if (set)
        snprintf(transfer->told, sizeof transfer->told, "-mta-sts.%s:%u", fetch->domain, port);
    return set;
}

bool sts_transfer_begin(struct sts_transfer *transfer, CURLM *multi, const struct sts_fetch *fetch, const char *ca_file,
                        uint16_t port, void *private)
{
    char url[LIMIT_DOMAIN + 64];
    CURL *easy = transfer->easy;
    transfer->n = 0;
    transfer->too_long = false;
    transfer->error[0] = 0;
    snprintf(url, sizeof url, "https://mta-sts.%s:%u/.well-known/mta-sts.txt", fetch->domain, port);
    curl_easy_reset(easy);
    bool set = set_addresses(transfer, fetch, port);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    curl_easy_setopt(easy, CURLOPT_PRIVATE, private);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_RESOLVE, transfer->resolve);
    curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L); /* the next one there may be a day away */
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");          /* it would look up the host itself */
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L); /* "HTTP 3xx redirects MUST NOT be followed" */
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long)WHOLE_S); /* "A suggested timeout is one minute" */
    set = set && curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK &&
          curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https") == CURLE_OK &&
          curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
          curl_easy_setopt(easy, CURLOPT_USERAGENT, "sluice/" SLUICE_VERSION) == CURLE_OK &&
          (!ca_file[0] || (curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file) == CURLE_OK &&
                           curl_easy_setopt(easy, CURLOPT_CAPATH, NULL) == CURLE_OK));
    if (set && curl_multi_add_handle(multi, easy) == CURLM_OK)
        return true;
    curl_slist_free_all(transfer->resolve);
    transfer->resolve = NULL;
    snprintf(transfer->error, sizeof transfer->error, "no memory");
    return false;
}

/* "text/plain", with or without parameters. */
static bool is_text(const char *type)
{
    struct slice text = slice_of(type), plain = SLICE("text/plain");
    return text.n >= plain.n && slice_equal_nocase((struct slice){text.p, plain.n}, plain) &&
           (text.n == plain.n || strchr("; \t", text.p[plain.n]));
}

static bool is_answer(struct sts_transfer *transfer, CURLcode result)
{
    long status = 0;
    const char *type = NULL;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(transfer->easy, CURLINFO_CONTENT_TYPE, &type);
    if (transfer->too_long) {
        snprintf(transfer->error, sizeof transfer->error, "the policy is longer than %d octets", STS_FILE);
    } else if (result != CURLE_OK) {
        if (!transfer->error[0])
            snprintf(transfer->error, sizeof transfer->error, "%s", curl_easy_strerror(result));
    } else if (status != 200) {
        snprintf(transfer->error, sizeof transfer->error, "the policy host answers with status %ld", status);
    } else if (!is_text(type)) {
        snprintf(transfer->error, sizeof transfer->error, "the policy is %.64s, not text/plain",
                 type ? type : "of no type");
    } else {
        return true;
    }
    return false;
}

bool sts_transfer_end(struct sts_transfer *transfer, CURLM *multi, CURLcode result, struct sts_policy *policy)
{
    const char *why;
    bool good = is_answer(transfer, result);
    if (good && !sts_policy_read((struct slice){transfer->body, transfer->n}, policy, &why)) {
        snprintf(transfer->error, sizeof transfer->error, "the policy is malformed: %s", why);
        good = false;
    }
    curl_multi_remove_handle(multi, transfer->easy);
    curl_easy_setopt(transfer->easy, CURLOPT_RESOLVE, NULL);
    curl_slist_free_all(transfer->resolve);
    transfer->resolve = NULL;
    return good;
}
