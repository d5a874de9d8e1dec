/* Fetches of MTA-STS policies from thousands of hosts, none of which answers: libcurl holds no more after the last than
 * after the first. */
#include "net/sts_transfer.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static long held; /* bytes of libcurl's */

static void *count(void *p)
{
    held += p ? (long)malloc_usable_size(p) : 0;
    return p;
}

static void *discount(void *p)
{
    held -= p ? (long)malloc_usable_size(p) : 0;
    return p;
}

static void *take(size_t n) { return count(malloc(n)); }
static void *take_zeroed(size_t a, size_t b) { return count(calloc(a, b)); }
static void *take_again(void *p, size_t n) { return count(realloc(discount(p), n)); }
static char *take_text(const char *text) { return count(strdup(text)); }
static void give(void *p) { free(discount(p)); }

static void fetch_once(struct sts_transfer *transfer, CURLM *multi, unsigned number)
{
    struct sts_fetch fetch = {.address_count = 1};
    struct sts_policy policy;
    int going = 1, left;
    snprintf(fetch.domain, sizeof fetch.domain, "d%u.example", number);
    assert_true(io_address_parse(&fetch.addresses[0], "127.0.0.1", 1));
    assert_true(sts_transfer_begin(transfer, multi, &fetch, "", 1, NULL));
    for (; going; curl_multi_poll(multi, NULL, 0, going ? 100 : 0, NULL))
        assert_int_equal(curl_multi_perform(multi, &going), CURLM_OK);
    CURLMsg *message = curl_multi_info_read(multi, &left);
    assert_non_null(message);
    assert_false(sts_transfer_end(transfer, multi, message->data.result, &policy));
    assert_non_null(strstr(transfer->error, "port 1 ")); /* it was asked where it was said to be */
}

static void what_is_over_is_forgotten(void **unused)
{
    struct sts_transfer transfer = {.easy = NULL};
    long early = 0;
    (void)unused;
    assert_int_equal(curl_global_init_mem(CURL_GLOBAL_DEFAULT, take, give, take_again, take_text, take_zeroed), 0);
    CURLM *multi = curl_multi_init();
    assert_non_null(multi);
    assert_true(sts_transfer_open(&transfer));
    for (unsigned i = 0; i < 1000; i++) {
        fetch_once(&transfer, multi, i);
        early = i == 100 ? held : early;
    }
    assert_in_range(held, 1, early + 1024);
    sts_transfer_close(&transfer);
    curl_multi_cleanup(multi);
    curl_global_cleanup();
    assert_int_equal(held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_over_is_forgotten)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
