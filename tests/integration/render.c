/* render.c - renders the message of one campaign for one recipient, for tests that read it with a parser of their own.
 *
 * usage: render DIRECTORY   each file of it is a field of the campaign's hash; the file "recipient" is the entry.
 * The message goes to standard output. Exit code 1 and the reason on standard error if there is none. */
#include "proto/message/message.h"
#include "proto/recipient.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

enum { FIELDS_MAX = 32 };

static struct slice read_file(const char *directory, const char *name)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(2);
    }
    long size = ftell(file);
    char *bytes = malloc((size_t)size + 1);
    rewind(file);
    size_t n = fread(bytes, 1, (size_t)size, file);
    fclose(file);
    return (struct slice){bytes, n};
}

static int refuse(const struct message_error *error)
{
    char text[MESSAGE_ERROR_TEXT];
    message_error_text(error, text, sizeof(text));
    fprintf(stderr, "%s\n", text);
    return 1;
}

static int render(const struct message_plan *plan, struct slice entry)
{
    static struct json_token tokens[RECIPIENT_TOKENS];
    static char room[RECIPIENT_ROOM];
    struct recipient recipient;
    struct recipient_fault fault;
    struct message_rendered rendered;
    if (!recipient_parse(entry, tokens, RECIPIENT_TOKENS, room, &recipient, &fault)) {
        fprintf(stderr, "recipient: %s, at byte %zu\n", fault.reason, fault.position);
        return 1;
    }
    struct message_recipient to = {.json = &recipient.json,
                                   .to = recipient.to,
                                   .campaign = SLICE("spring"),
                                   .seq = 7,
                                   .token = SLICE("k3x9"),
                                   .wall = 1795284000 * NSEC_PER_S};
    /* Twice: once to learn the size. */
    enum message_result result = message_render(plan, &to, NULL, 0, &rendered);
    if (result != MESSAGE_TOO_SMALL)
        return refuse(&rendered.error);
    char *message = malloc(rendered.n);
    sluice_assert(message_render(plan, &to, message, rendered.n, &rendered) == MESSAGE_OK);
    fwrite(message, 1, rendered.n, stdout);
    free(message);
    return 0;
}

int main(int argc, char **argv)
{
    struct slice items[2 * FIELDS_MAX], entry = SLICE("ann@x.example");
    unsigned count = 0;
    DIR *directory = argc == 2 ? opendir(argv[1]) : NULL;
    if (!directory) {
        fprintf(stderr, "usage: render DIRECTORY\n");
        return 2;
    }
    for (struct dirent *file; (file = readdir(directory)) && count < 2 * FIELDS_MAX;) {
        if (file->d_name[0] == '.')
            continue;
        struct slice value = read_file(argv[1], file->d_name);
        if (strcmp(file->d_name, "recipient") == 0) {
            entry = value;
            continue;
        }
        items[count++] = slice_of(strdup(file->d_name));
        items[count++] = value;
    }
    closedir(directory);
    struct message_error error;
    size_t size = message_plan_room(items, count);
    void *memory = malloc(size); /* the process ends with its work: nothing is freed */
    const struct message_plan *plan = message_plan_make(items, count, memory, size, NULL, &error);
    return plan ? render(plan, entry) : refuse(&error);
}
