/* fuzz_event.c - whatever a stream entry holds, the codec reads it or refuses it, and what it reads it can write and
 * read again. The input is one field a line, "name value". */
#include "proto/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct event_field fields[64], again[EVENT_FIELDS_MAX];
    char scratch[EVENT_SCRATCH_MAX];
    unsigned n = 0;
    const char *p = (const char *)data, *end = p + size;
    while (p < end && n < countof(fields)) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        if (!line)
            line = end;
        const char *space = memchr(p, ' ', (size_t)(line - p));
        if (!space)
            space = line;
        fields[n].name = (struct slice){p, (size_t)(space - p)};
        fields[n].value = (struct slice){space + (space < line), (size_t)(line - space - (space < line))};
        n++;
        p = line + 1;
    }
    struct event event, back;
    if (!event_parse(fields, n, &event))
        return 0;
    unsigned written = event_fields(&event, true, again, EVENT_FIELDS_MAX, scratch, sizeof(scratch));
    sluice_assert(event_parse(again, written, &back));
    sluice_assert(back.type == event.type && back.seq == event.seq && back.final == event.final);
    sluice_assert(back.bytes == event.bytes && back.next_at_ms == event.next_at_ms && back.code == event.code);
    sluice_assert(slice_equal(back.reply, event.reply) && slice_equal(back.to, event.to));
    return 0;
}
