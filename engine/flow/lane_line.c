/* Lanes that share something wait for it in a line; one that is forgotten leaves it. */
#include "flow/lane.h"

void lane_line_add(struct lane_line *line, struct lane *lane)
{
    if (lane->waits)
        return;
    lane->waits = line;
    lane->wait_next = NULL;
    lane->wait_prev = line->last;
    *(line->last ? &line->last->wait_next : &line->first) = lane;
    line->last = lane;
    line->count++;
}

void lane_line_leave(struct lane *lane)
{
    struct lane_line *line = lane->waits;
    if (!line)
        return;
    *(lane->wait_prev ? &lane->wait_prev->wait_next : &line->first) = lane->wait_next;
    *(lane->wait_next ? &lane->wait_next->wait_prev : &line->last) = lane->wait_prev;
    lane->waits = NULL;
    line->count--;
}
