/* The first commands of a connection go one at a time, for each depends on how the one before was answered. */
#include "store/greeting.h"

#include <stdio.h>

static void write_words(struct resp_command *command, const char *const *words, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (words[i][0])
            resp_text(command, slice_of(words[i]));
}

bool greeting_write(enum greeting step, const struct redis_config *config, struct resp_command *command)
{
    const char *const auth[] = {"AUTH", config->url.user, config->url.password};
    const char *const server[] = {"INFO", "server"};
    const char *const list[] = {"FUNCTION", "LIST", "LIBRARYNAME", config->library};
    const char *const load[] = {"FUNCTION", "LOAD", config->library_source};
    const char *const subscribe[] = {"SUBSCRIBE", config->channel};
    switch (step) {
    case GREETING_AUTH:
        if (config->url.password[0])
            write_words(command, auth, countof(auth));
        return config->url.password[0] != 0;
    case GREETING_SELECT:
        if (config->url.database) {
            resp_text(command, SLICE("SELECT"));
            resp_unsigned(command, config->url.database);
        }
        return config->url.database != 0;
    case GREETING_ROLE:
        if (config->master)
            resp_text(command, SLICE("ROLE"));
        return config->master;
    case GREETING_SERVER:
        if (config->library)
            write_words(command, server, countof(server));
        return config->library != NULL;
    case GREETING_LIST:
        if (config->library)
            write_words(command, list, countof(list));
        return config->library != NULL;
    case GREETING_LOAD:
        if (config->library)
            write_words(command, load, countof(load));
        return config->library != NULL;
    case GREETING_SUBSCRIBE:
        if (config->channel)
            write_words(command, subscribe, countof(subscribe));
        return config->channel != NULL;
    case GREETING_DONE:
    case GREETING_BROKEN:
        break;
    }
    sluice_assert(!"no such step");
    return false;
}

bool greeting_answer(enum greeting *step, const struct resp_node *answer, char *error, size_t error_cap)
{
    struct slice text = resp_to_text(answer);
    bool is_error = answer->type == RESP_ERROR;
    /* Another connection was faster: a library of this name has this content. */
    if (*step == GREETING_LOAD && slice_starts_with(text, SLICE("ERR Library")))
        is_error = false;
    if (*step == GREETING_SERVER) /* we may not be told; what else is wrong the next step says, too */
        is_error = false;
    if (is_error) {
        bool old = *step == GREETING_LIST && slice_starts_with(text, SLICE("ERR unknown command"));
        snprintf(error, error_cap, SLICE_FORMAT "%s", SLICE_ARGS(text),
                 old ? " (Redis 7.0 or later, or Valkey, is needed)" : "");
        return false;
    }
    if (*step == GREETING_ROLE && !slice_equal(resp_to_text(resp_member(answer, 0)), SLICE("master"))) {
        snprintf(error, error_cap, "ROLE " SLICE_FORMAT ", and the master is wanted",
                 SLICE_ARGS(resp_to_text(resp_member(answer, 0))));
        return false;
    }
    if (*step == GREETING_LIST && answer->type == RESP_ARRAY && answer->count > 0)
        *step = GREETING_LOAD; /* it is there: passed over */
    (*step)++;
    return true;
}

struct slice greeting_info(struct slice text, struct slice name)
{
    for (size_t at = 0; at + name.n < text.n; at++) {
        if ((at && text.p[at - 1] != '\n') || memcmp(text.p + at, name.p, name.n) != 0 || text.p[at + name.n] != ':')
            continue;
        size_t from = at + name.n + 1, to = from;
        while (to < text.n && text.p[to] != '\r' && text.p[to] != '\n')
            to++;
        return (struct slice){text.p + from, to - from};
    }
    return SLICE("");
}

struct slice greeting_server(const struct resp_node *answer)
{
    return greeting_info(answer->type == RESP_STRING ? answer->text : SLICE(""), SLICE("run_id"));
}
