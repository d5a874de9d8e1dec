/* fuzz_message.c - whatever a campaign's hash and a recipient hold, the message is refused with a reason or fit to be
 * sent: 7-bit, CRLF alone, no line too long, no header more than planned, and the same in a room of exactly its size.
 * The input is "@@name" lines, each followed by the value; the recipient's entry is called "recipient". */
#include "proto/message/message.h"
#include "proto/recipient.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct json_token tokens[RECIPIENT_TOKENS];

/* Names and values in turn; the recipient's entry apart. */
static unsigned read_items(struct slice input, struct slice *items, unsigned cap, struct slice *entry)
{
    unsigned count = 0;
    while (input.n > 2 && memcmp(input.p, "@@", 2) == 0 && count + 2 <= cap) {
        const char *end = input.p + input.n, *line_end = memchr(input.p, '\n', input.n);
        if (!line_end)
            break;
        struct slice name = {input.p + 2, (size_t)(line_end - input.p - 2)};
        const char *next = memmem(line_end, (size_t)(end - line_end), "\n@@", 3);
        const char *stop = next && next > line_end ? next : end;
        struct slice value = {line_end + 1, stop > line_end ? (size_t)(stop - line_end - 1) : 0};
        if (slice_equal(name, SLICE("recipient"))) {
            *entry = value;
        } else {
            items[count++] = name;
            items[count++] = value;
        }
        if (!next || next == line_end)
            break;
        input = (struct slice){next + 1, (size_t)(end - next - 1)};
    }
    return count;
}

static void check(const struct message_rendered *rendered, const char *message)
{
    size_t column = 0;
    unsigned from = 0;
    for (size_t i = 0; i < rendered->n; i++) {
        unsigned char c = (unsigned char)message[i];
        sluice_assert(c && (c < 0x80 || (rendered->utf8 && i < rendered->body)));
        sluice_assert(c != '\r' || (i + 1 < rendered->n && message[i + 1] == '\n'));
        sluice_assert(c != '\n' || (i > 0 && message[i - 1] == '\r'));
        if (column == 0 && i < rendered->body) {
            from += rendered->n - i > 5 && memcmp(message + i, "From:", 5) == 0;
            sluice_assert(rendered->n - i < 4 || memcmp(message + i, "Bcc:", 4) != 0);
        }
        column = c == '\n' ? 0 : column + 1;
        sluice_assert(column <= LIMIT_TEXT_LINE + 1);
    }
    sluice_assert(from == 1 && rendered->body >= 4 && memcmp(message + rendered->body - 4, "\r\n\r\n", 4) == 0);
    sluice_assert(rendered->message_id.p[0] == '<' && rendered->message_id.p[rendered->message_id.n - 1] == '>');
}

static void render(const struct message_plan *plan, const struct recipient *recipient)
{
    static char out[1 << 20];
    struct message_rendered rendered, again;
    struct message_recipient to = {.json = &recipient->json,
                                   .to = recipient->to,
                                   .campaign = SLICE("c"),
                                   .seq = 1,
                                   .token = SLICE("t"),
                                   .wall = 1795284000 * NSEC_PER_S};
    enum message_result result = message_render(plan, &to, out, sizeof(out), &rendered);
    if (result == MESSAGE_INVALID)
        sluice_assert(rendered.error.reason);
    if (result != MESSAGE_OK)
        return;
    check(&rendered, out);
    char *exact = malloc(rendered.n);
    sluice_assert(message_render(plan, &to, exact, rendered.n, &again) == MESSAGE_OK && again.n == rendered.n);
    sluice_assert(memcmp(exact, out, rendered.n) == 0);
    free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice items[32], entry = SLICE("a@b.example");
    if (size > 32768)
        return 0;
    unsigned count = read_items((struct slice){(const char *)data, size}, items, countof(items), &entry);
    struct message_error error = {.reason = NULL};
    size_t room = message_plan_room(items, count), used = 0;
    void *memory = malloc(room);
    const struct message_plan *plan = message_plan_make(items, count, memory, room, &used, &error);
    sluice_assert(used <= room && (plan || error.reason));
    if (!plan)
        sluice_assert(strcmp(error.reason, "the room for its plan is too small") != 0);
    char text[MESSAGE_ERROR_TEXT], recipient_room[RECIPIENT_ROOM];
    if (!plan)
        message_error_text(&error, text, sizeof(text));
    struct recipient recipient;
    struct recipient_fault fault;
    if (plan && recipient_parse(entry, tokens, RECIPIENT_TOKENS, recipient_room, &recipient, &fault))
        render(plan, &recipient);
    free(memory);
    return 0;
}
