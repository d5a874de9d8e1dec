/* event.c - one table names the fields of an event, so that writer and reader cannot drift apart. */
#include "proto/event.h"

#include "proto/number.h"

enum form { FORM_SLICE = 1, FORM_U16, FORM_U32, FORM_U64, FORM_BOOL, FORM_TYPE };

struct row {
    struct slice name;
    size_t offset;
    enum form form;
    bool brief;  /* part of the brief form */
    bool always; /* written even when zero */
};

#define ROW(name, member, form, brief, always)                                                                         \
    {                                                                                                                  \
        {name, sizeof(name) - 1}, offsetof(struct event, member), form, brief, always                                  \
    }

static const struct row rows[] = {
    ROW("type", type, FORM_TYPE, true, true),
    ROW("seq", seq, FORM_U64, true, true),
    ROW("id", id, FORM_SLICE, true, false),
    ROW("to", to, FORM_SLICE, true, false),
    ROW("source", source, FORM_SLICE, true, false),
    ROW("isp", isp, FORM_SLICE, true, false),
    ROW("status", status, FORM_SLICE, true, false),
    ROW("code", code, FORM_U16, true, false),
    ROW("ms", ms, FORM_U64, true, false),
    ROW("started", started_us, FORM_U64, true, false),
    ROW("attempt", attempt, FORM_U32, true, false),
    ROW("final", final, FORM_BOOL, true, true),
    ROW("stage", stage, FORM_SLICE, false, false),
    ROW("class", class_, FORM_SLICE, false, false),
    ROW("kind", kind, FORM_SLICE, false, false),
    ROW("rule", rule, FORM_SLICE, false, false),
    ROW("reply", reply, FORM_SLICE, false, false),
    ROW("mx", mx, FORM_SLICE, false, false),
    ROW("ip", ip, FORM_SLICE, false, false),
    ROW("tls", tls, FORM_SLICE, false, false),
    ROW("bytes", bytes, FORM_U64, false, false),
    ROW("message_id", message_id, FORM_SLICE, false, false),
    ROW("next_at", next_at_ms, FORM_U64, false, false),
};
_Static_assert(countof(rows) == EVENT_FIELDS_MAX, "the header promises room for every row");

static const char *const type_names[EVENT_TYPE_COUNT] = {
    [EVENT_BROKEN] = "broken",   [EVENT_DELIVERED] = "delivered", [EVENT_DEFERRED] = "deferred",
    [EVENT_BOUNCED] = "bounced", [EVENT_EXPIRED] = "expired",     [EVENT_SUPPRESSED] = "suppressed",
    [EVENT_INVALID] = "invalid", [EVENT_CANCELLED] = "cancelled", [EVENT_IN_DOUBT] = "in_doubt",
};

struct slice event_type_name(enum event_type type)
{
    return slice_of(type_names[(unsigned)type < EVENT_TYPE_COUNT ? type : EVENT_BROKEN]);
}

enum event_type event_type_parse(struct slice name)
{
    for (unsigned type = EVENT_BROKEN + 1; type < EVENT_TYPE_COUNT; type++)
        if (slice_equal(name, event_type_name((enum event_type)type)))
            return (enum event_type)type;
    return EVENT_BROKEN;
}

static uint64_t row_number(const struct row *row, const struct event *event)
{
    const char *member = (const char *)event + row->offset;
    switch (row->form) {
    case FORM_U16:
        return *(const uint16_t *)(const void *)member;
    case FORM_U32:
        return *(const uint32_t *)(const void *)member;
    default:
        return *(const uint64_t *)(const void *)member;
    }
}

unsigned event_fields(const struct event *event, bool full, struct event_field *fields, unsigned cap, char *scratch,
                      size_t scratch_cap)
{
    sluice_assert(cap >= EVENT_FIELDS_MAX && scratch_cap >= EVENT_SCRATCH_MAX);
    bool brief = event->type == EVENT_DELIVERED && !full;
    unsigned n = 0;
    for (size_t i = 0; i < countof(rows); i++) {
        const struct row *row = &rows[i];
        struct slice value = {scratch, 0};
        if (brief && !row->brief)
            break; /* the brief rows come first */
        switch (row->form) {
        case FORM_SLICE:
            value = *(const struct slice *)(const void *)((const char *)event + row->offset);
            break;
        case FORM_TYPE:
            value = event_type_name(event->type);
            break;
        case FORM_BOOL:
            value = event->final ? SLICE("1") : SLICE("0");
            break;
        default: {
            uint64_t number = row_number(row, event);
            /* A message that took less than a millisecond did take place. */
            bool took = row->offset == offsetof(struct event, ms) && event->started_us;
            if (number || row->always || took) {
                value.n = number_write(scratch, number);
                scratch += value.n;
            }
        }
        }
        if (value.n)
            fields[n++] = (struct event_field){row->name, value};
    }
    return n;
}

static bool row_read(const struct row *row, struct slice value, struct event *event)
{
    static const uint64_t limits[] = {
        [FORM_U16] = UINT16_MAX, [FORM_U32] = UINT32_MAX, [FORM_U64] = UINT64_MAX, [FORM_BOOL] = 1};
    char *member = (char *)event + row->offset;
    if (row->form == FORM_SLICE) {
        *(struct slice *)(void *)member = value;
        return true;
    }
    if (row->form == FORM_TYPE) {
        event->type = event_type_parse(value);
        return event->type != EVENT_BROKEN;
    }
    uint64_t number = 0;
    if (!number_parse(value, limits[row->form], &number))
        return false;
    switch (row->form) {
    case FORM_U16:
        *(uint16_t *)(void *)member = (uint16_t)number;
        return true;
    case FORM_U32:
        *(uint32_t *)(void *)member = (uint32_t)number;
        return true;
    case FORM_BOOL:
        event->final = number != 0;
        return true;
    default:
        *(uint64_t *)(void *)member = number;
        return true;
    }
}

bool event_parse(const struct event_field *fields, unsigned n, struct event *event)
{
    uint32_t seen = 0;
    memset(event, 0, sizeof(*event));
    for (unsigned i = 0; i < n; i++) {
        for (unsigned r = 0; r < countof(rows); r++) {
            if (!slice_equal(fields[i].name, rows[r].name))
                continue;
            if (seen >> r & 1 || !row_read(&rows[r], fields[i].value, event))
                return false;
            seen |= (uint32_t)1 << r;
            break;
        }
    }
    return (seen & 3) == 3; /* type and seq are the first two rows */
}
