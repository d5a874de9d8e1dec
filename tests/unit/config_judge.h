/* config_judge.h - a text is a configuration, or is refused for the right reason. Included behind cmocka.h. */
#ifndef TESTS_UNIT_CONFIG_JUDGE_H
#define TESTS_UNIT_CONFIG_JUDGE_H

#include "control/config.h"

enum { ERROR_CAP = 4096 };

static inline struct config *parse(const char *text, char *error)
{
    return config_parse("dir/x.conf", slice_of(text), error, ERROR_CAP);
}

static inline struct config *accepted(const char *text)
{
    char error[ERROR_CAP] = "";
    struct config *config = parse(text, error);
    if (!config)
        fail_msg("refused: %s: %s", text, error);
    return config;
}

/* `where`: what the error begins with; `what`: words within it. */
static inline void refused_at(const char *text, const char *where, const char *what)
{
    char error[ERROR_CAP] = "";
    struct config *config = parse(text, error);
    if (config)
        fail_msg("accepted: %s", text);
    if (strncmp(error, where, strlen(where)) != 0 || !strstr(error, what))
        fail_msg("for <%s> expected <%s ... %s>, got <%s>", text, where, what, error);
}

#endif
