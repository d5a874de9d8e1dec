/* ungated.c - the engine without its gate, for bench/run alone: a permit is granted in the turn in which it is asked for,
 * without a word to Redis. Stands in the place of flow/ledger.c; what differs between both programs is what the gate
 * costs. Nobody may send mail with it: after a crash nobody knows whose body had left. */
#include "flow/ledger.h"

static void unpin(struct ledger *ledger, struct attempt *attempt)
{
    sluice_assert(attempt->pins > 0);
    if (--attempt->pins == 0 && attempt->ended)
        ledger->on->unpinned(ledger->context, attempt);
}

bool ledger_open(struct ledger *ledger, struct arena *arena, struct store *store, const struct ledger_events *on,
                 void *context)
{
    (void)arena;
    *ledger = (struct ledger){.store = store, .on = on, .context = context};
    ledger->dirty_end = &ledger->dirty;
    return true;
}

void ledger_permit(struct ledger *ledger, struct attempt *attempt)
{
    attempt->permit_wanted = true;
    attempt->permit = PERMIT_ASKED;
    attempt->asks++;
    if (attempt->dirty)
        return;
    attempt->dirty = true;
    attempt->pins++; /* until the flush */
    attempt->dirty_next = NULL;
    *ledger->dirty_end = attempt;
    ledger->dirty_end = &attempt->dirty_next;
}

void ledger_withdraw(struct ledger *ledger, struct attempt *attempt)
{
    (void)ledger;
    attempt->permit_wanted = false;
    attempt->permit = PERMIT_NONE;
}

void ledger_forget(struct ledger *ledger, struct attempt *attempt)
{
    sluice_assert(!attempt->ended);
    attempt->ended = true;
    if (attempt->pins == 0)
        ledger->on->unpinned(ledger->context, attempt);
}

void ledger_flush(struct ledger *ledger)
{
    struct attempt *attempt;
    while ((attempt = ledger->dirty)) {
        ledger->dirty = attempt->dirty_next;
        if (!ledger->dirty)
            ledger->dirty_end = &ledger->dirty;
        attempt->dirty = false;
        if (!attempt->ended && attempt->permit_wanted && attempt->permit == PERMIT_ASKED) {
            attempt->permit = PERMIT_GRANTED;
            ledger->asked++;
            ledger->answered++;
            ledger->granted++;
            ledger->on->decided(ledger->context, attempt);
        }
        unpin(ledger, attempt);
    }
}
