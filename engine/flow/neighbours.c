/* Whoever is taken for dead too early costs people doubts, too late costs them time: this file waits, and counts. */
#include "flow/neighbours.h"

enum { READS = 4 };

static const nsec every = 2 * NSEC_PER_S;
static const nsec forget_after = 60 * NSEC_PER_S;

/* What looks are told. */
static void list_dead(struct neighbours *n)
{
    n->dead_count = 0;
    for (unsigned i = 0; i < NEIGHBOURS && n->dead_count < NEIGHBOURS_DEAD; i++)
        if (n->list[i].named_at && n->list[i].dead)
            n->dead[n->dead_count++] = n->list[i].who;
}

static void say(struct neighbours *n, const struct neighbour *one, const char *what)
{
    if (n->log)
        log_warning(n->log, what, log_text("engine", one->who.engine),
                    log_number("incarnation", (int64_t)one->who.incarnation));
}

static void is_alive(struct neighbour *one)
{
    one->absent = 0;
    if (!one->dead)
        return;
    one->dead = false;
    list_dead(one->all);
    say(one->all, one, "an engine that was taken for dead is back");
}

static void is_absent(struct neighbour *one)
{
    one->absent_at = one->asked_at;
    if (!one->absent++)
        one->absent_since = one->asked_at;
    if (one->dead || one->absent < READS || one->asked_at - one->absent_since < one->all->life)
        return;
    one->dead = true;
    one->all->died++;
    list_dead(one->all);
    say(one->all, one, "an engine is dead: its leases are taken over");
}

/* A later incarnation of the same engine takes its old leases at once, if it serves their campaigns; what it has left
 * alone for a life is anybody's. */
static void on_read(struct store_request *request, const struct store_answer *answer)
{
    struct neighbour *one = container_of(request, struct neighbour, request);
    struct neighbours *n = one->all;
    n->due = 0;
    if (answer->result == STORE_OK && (uint64_t)answer->number == one->who.incarnation)
        is_alive(one);
    else if (answer->result == STORE_OK && n->sure_since && one->asked_at >= n->sure_since)
        is_absent(one);
    else
        one->absent = 0;
}

void neighbours_open(struct neighbours *n, struct io *io, struct store *store, struct log *log, nsec life)
{
    *n = (struct neighbours){.io = io, .store = store, .log = log, .life = life};
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        n->list[i].all = n;
        n->list[i].request.done = on_read;
    }
}

static struct neighbour *find(struct neighbours *n, struct slice engine, uint64_t incarnation)
{
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        struct neighbour *one = &n->list[i];
        if (one->named_at && one->who.incarnation == incarnation && slice_equal(slice_of(one->who.engine), engine))
            return one;
    }
    return NULL;
}

static struct neighbour *place_of(struct neighbours *n, const struct store_owner *who)
{
    struct neighbour *known = find(n, slice_of(who->engine), who->incarnation), *empty = NULL;
    if (known)
        return known;
    for (unsigned i = 0; i < NEIGHBOURS && !empty; i++)
        if (!n->list[i].named_at && !store_request_busy(&n->list[i].request))
            empty = &n->list[i];
    if (!empty)
        return NULL; /* they have their turn when others are forgotten */
    n->due = 0;
    empty->who = *who;
    empty->absent = 0;
    empty->dead = false;
    empty->asked_at = empty->absent_at = 0;
    return empty;
}

void neighbours_named(struct neighbours *n, const struct store_owner *owners, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct neighbour *one = place_of(n, &owners[i]);
        if (one)
            one->named_at = io_now(n->io);
    }
}

static void ask(struct neighbour *one, nsec now)
{
    one->asked_at = now;
    store_engine(one->all->store, &one->request, slice_of(one->who.engine));
}

enum neighbour_is neighbours_ask(struct neighbours *n, struct slice engine, uint64_t incarnation, nsec seen)
{
    struct neighbour *one = find(n, engine, incarnation);
    if (!one || !one->dead)
        return NEIGHBOUR_ALIVE;
    if (one->absent_at > seen)
        return NEIGHBOUR_DEAD;
    if (!store_request_busy(&one->request))
        ask(one, io_now(n->io));
    return NEIGHBOUR_UNKNOWN;
}

/* What was learned before is worth nothing: the others may have been as cut off as we were. */
static void begin_anew(struct neighbours *n)
{
    n->sure_since = n->due = 0;
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        n->list[i].absent = 0;
        n->list[i].dead = false;
    }
    list_dead(n);
}

nsec neighbours_turn(struct neighbours *n, nsec now, bool sure)
{
    bool slept = n->turned_at && now - n->turned_at > 2 * every;
    n->turned_at = now;
    if (n->sure_since && (slept || !sure))
        begin_anew(n);
    if (!sure)
        return NSEC_NEVER;
    if (!n->sure_since)
        n->sure_since = now;
    if (now < n->due)
        return n->due;
    n->due = NSEC_NEVER;
    for (unsigned i = 0; i < NEIGHBOURS; i++) {
        struct neighbour *one = &n->list[i];
        if (!one->named_at || store_request_busy(&one->request))
            continue;
        if (now - one->named_at >= forget_after) {
            one->named_at = 0;
            one->dead = false;
            list_dead(n);
            continue;
        }
        if (!one->asked_at || now >= one->asked_at + every) {
            ask(one, now);
        } else {
            n->due = nsec_min(n->due, one->asked_at + every);
        }
    }
    return n->due;
}

bool neighbours_owe(const struct neighbours *n)
{
    for (unsigned i = 0; i < NEIGHBOURS; i++)
        if (store_request_busy(&n->list[i].request))
            return true;
    return false;
}
