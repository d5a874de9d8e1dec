/* fuzz_zone.c - whatever a zone's file says, days follow one another without a gap, and no instant is of two. */
#include "proto/zone.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct zone_days days = {.length = 0};
    if (!zone_read(&days.zone, (struct slice){(const char *)data, size}))
        return 0;
    for (int64_t year = 1970; year < 2150; year += 45)
        for (days.starts = 0; days.starts < 24; days.starts += 11) {
            struct zone_day day = zone_day_number(&days, zone_date(year, 3, 1) + (int64_t)(size % 365));
            if (day.begins == day.ends) /* a date that was skipped */
                continue;
            sluice_assert(day.begins < day.ends && zone_day(&days, day.begins).number == day.number);
            struct zone_day last = zone_day(&days, day.ends - 1), next = zone_day(&days, day.ends);
            sluice_assert(last.number == day.number && next.number > day.number && next.begins == day.ends);
        }
    return 0;
}
