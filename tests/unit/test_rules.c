/* test_rules.c - the shipped rules and a configuration's, compiled, and who is asked first. */
#include "control/rules.h"
#include "proto/policy/verdict.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct config *parse(const char *text)
{
    char error[1024] = "";
    struct config *config = config_parse("test.conf", slice_of(text), error, sizeof error);
    if (!config || !rules_load(config, error, sizeof error))
        fail_msg("%s", error);
    return config;
}

static void shipped_rules_compile(void **state)
{
    (void)state;
    char error[1024] = "";
    struct rules *rules = rules_shipped(error, sizeof error);
    if (!rules)
        fail_msg("%s", error);
    rules_free(rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shipped_rules_compile),
    };
    (void)parse;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
