/* Finds what is wrong with a campaign before it is in Redis, where the engine would find it incomplete. */
#include "cli/compose.h"

#include "proto/message/message.h"

#include <stdlib.h>

int compose_set(struct compose *compose, struct slice name, struct slice value)
{
    for (unsigned i = 0; i < compose->count; i += 2)
        if (slice_equal(compose->fields[i], name))
            return cli_usage("send", SLICE_FORMAT " is given twice", SLICE_ARGS(name));
    if (compose->count == countof(compose->fields))
        return cli_usage("send", "there are more than %d fields", COMPOSE_FIELDS_MAX);
    compose->fields[compose->count++] = name;
    compose->fields[compose->count++] = value;
    return CLI_OK;
}

int compose_set_file(struct compose *compose, const char *name, const char *path)
{
    struct file file;
    int code = file_read(path, &file);
    if (code == CLI_OK)
        code = compose_set(compose, slice_of(name), file.bytes);
    if (code == CLI_OK)
        compose->files[compose->file_count++] = file;
    else
        file_free(&file);
    return code;
}

int compose_set_pair(struct compose *compose, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!equals || equals == text)
        return cli_usage("send", "--set takes FIELD=VALUE");
    struct slice name = {text, (size_t)(equals - text)};
    if (slice_equal(name, SLICE("state")) || slice_equal(name, SLICE("sealed")))
        return cli_usage("send", "--set " SLICE_FORMAT ": this command sets that itself", SLICE_ARGS(name));
    return compose_set(compose, name, slice_of(equals + 1));
}

int compose_check(const struct compose *compose)
{
    struct message_error error;
    char why[MESSAGE_ERROR_TEXT];
    size_t size = message_plan_room(compose->fields, compose->count);
    void *room = aligned_alloc(64, (size + 63) & ~(size_t)63);
    if (!room) {
        cli_error("no memory for a message of this size");
        return CLI_FAILED;
    }
    const struct message_plan *plan = message_plan_make(compose->fields, compose->count, room, size, NULL, &error);
    if (!plan) {
        message_error_text(&error, why, sizeof why);
        cli_error("the message cannot be sent: %s", why);
    }
    free(room);
    return plan ? CLI_OK : CLI_FAILED;
}

void compose_free(struct compose *compose)
{
    while (compose->file_count)
        file_free(&compose->files[--compose->file_count]);
}
