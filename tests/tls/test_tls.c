/* Streams with TLS over an io backend: that they do what stream.h and tls.h say, whatever the server does. TLS_SEED
 * chooses other splits of the bytes. */
#include "talk.h"

#include <stdio.h>
#include <stdlib.h>

static int set_up(void **state)
{
    struct house *house = test_calloc(1, sizeof *house);
    house_open(house);
    *state = house;
    return 0;
}

static int tear_down(void **state)
{
    house_close(*state);
    test_free(*state);
    return 0;
}

int main(void)
{
    const struct {
        const char *name;
        const struct CMUnitTest *tests;
    } parts[] = {{"tls: streams", tls_stream_tests},
                 {"tls: refusals", tls_refusal_tests},
                 {"tls: hostile servers", tls_hostile_tests}};
    struct CMUnitTest tests[TLS_TESTS_MAX];
    const char *seed = getenv("TLS_SEED");
    int failed = 0;
    printf("TLS_SEED=%s\n", seed ? seed : "20261121");
    for (size_t i = 0; i < countof(parts); i++) {
        size_t count = 0;
        for (; count < countof(tests) && parts[i].tests[count].test_func; count++) {
            tests[count] = parts[i].tests[count];
            tests[count].setup_func = set_up;
            tests[count].teardown_func = tear_down;
        }
        failed += _cmocka_run_group_tests(parts[i].name, tests, count, NULL, NULL);
    }
    return failed != 0;
}
