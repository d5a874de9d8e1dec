/* dns.c - asks real name servers: c-ares does the asking, over UDP and TCP, and io.h tells it when to look. */
#include "io/left.h"
#include "net/dns_answer.h"
#include "net/dns_channel.h"
#include "net/dns_socket.h"
#include "net/resolver.h"

#include <stdio.h>
#include <stdlib.h>

/* How the parts fit. A query takes a slot, or waits for one. A slot asks c-ares one question, or two for addresses; the
 * last answer frees it and ends the query. c-ares calls back from ares_process_fd, which runs in a callback of io, so a
 * query is ended there and then; what ends inside a call that submits or cancels goes to a list that a timer empties in
 * the next turn.
 *
 * `done` may call anything, resolver_close included, but c-ares must not be destroyed by its own callback: `depth`
 * counts the entries into c-ares, and the last one out tears down. What io still polls outlives that until its own
 * done has come. */

enum {
    DNS_QUERIES = 256,   /* in flight, when the owner does not say */
    DNS_STARVED_MS = 10, /* how soon c-ares looks again when its sockets cannot be polled */
    DNS_LEGS = 2,
    DNS_LACK_MS = 500, /* how soon it is asked again what there was no socket for */
};

enum query_state {
    QUERY_IDLE = 0,
    QUERY_WAITING, /* for a slot; scratch holds its name */
    QUERY_FLYING,  /* scratch holds its slot */
    QUERY_ENDED,   /* done follows in the next turn with the status in `kind` */
};
enum query_scratch { SCRATCH_NAME, SCRATCH_SLOT };

enum want { WANT_MX = 1, WANT_IPV4 = 2, WANT_IPV6 = 4, WANT_TXT = 8, WANT_TLSA = 16 }; /* bits of a query's kind */

struct query_list {
    struct resolver_query *first, *last;
};

/* One question of a slot. */
struct leg {
    struct slot *slot;
    enum dns_type type;
    enum resolver_status status; /* RESOLVER_BROKEN: not asked, or no answer yet */
    uint32_t ttl_s;
    bool secure;
};

struct slot {
    struct resolver *resolver;
    struct slot *next_free;
    struct resolver_query *query; /* NULL: cancelled, its answers are awaited and dropped */
    unsigned asked, pending;      /* legs */
    struct leg legs[DNS_LEGS];
    unsigned address_count; /* found so far */
    struct io_address addresses[LIMIT_HOST_ADDRESSES];
    char name[LIMIT_DOMAIN + 1]; /* whose they are */
    char asked_name[LIMIT_DOMAIN + 1];
    bool lacked; /* this machine had no socket or memory to ask with */
};

struct resolver {
    struct io_left left; /* first: the block itself stays behind while io polls */
    struct io *io;
    ares_channel channel;
    nsec timeout;
    unsigned depth;      /* entries into c-ares, and deliveries: close waits for the last to return */
    unsigned submitting; /* calls that must not run `done` */
    bool closed, starved;
    struct io_timer timer, delivery; /* c-ares' time-outs; the ended list */
    nsec timer_at;
    nsec lacks_until; /* nothing is asked before */
    struct query_list waiting, ended;
    struct slot *slots, *free_slots;
    struct dns_sockets sockets;
};

static void list_append(struct query_list *list, struct resolver_query *query)
{
    query->next = NULL;
    query->prev = list->last;
    if (list->last)
        list->last->next = query;
    else
        list->first = query;
    list->last = query;
}

static void list_remove(struct query_list *list, struct resolver_query *query)
{
    if (query->prev)
        query->prev->next = query->next;
    else
        list->first = query->next;
    if (query->next)
        query->next->prev = query->prev;
    else
        list->last = query->prev;
}

/* ---- ending a query ---- */

static void end_now(struct resolver_query *query, const struct resolver_answer *answer)
{
    query->state = QUERY_IDLE;
    query->done(query, answer);
}

static void end_later(struct resolver *resolver, struct resolver_query *query, enum resolver_status status)
{
    query->state = QUERY_ENDED;
    query->kind = (uint8_t)status;
    list_append(&resolver->ended, query);
    if (!io_timer_is_set(&resolver->delivery))
        io_timer_set(resolver->io, &resolver->delivery, io_now(resolver->io));
}

/* ---- a slot's answers ---- */

static enum resolver_status status_of(int result)
{
    switch (result) {
    case ARES_ENODATA:
        return RESOLVER_NODATA;
    case ARES_ENOTFOUND:
    case ARES_EBADNAME: /* no such name can be in the DNS: an empty label, one over 63 octets */
        return RESOLVER_NXDOMAIN;
    case ARES_ETIMEOUT:
        return RESOLVER_TIMEOUT;
    default: /* SERVFAIL, REFUSED, a server that is not there, rubbish, no memory */
        return RESOLVER_SERVFAIL;
    }
}

/* OK if any leg is; a failure only if nothing was found; NXDOMAIN only if all say so. The TTL is the smallest of the
 * legs that say the same, and the answer is as secure as the least of them. */
static void merge(const struct slot *slot, struct resolver_answer *answer)
{
    enum resolver_status status = RESOLVER_NXDOMAIN;
    for (unsigned i = 0; i < slot->asked; i++) {
        enum resolver_status leg = slot->legs[i].status;
        bool failed = leg == RESOLVER_SERVFAIL || leg == RESOLVER_TIMEOUT;
        if (leg == RESOLVER_OK || (failed && status != RESOLVER_OK) ||
            (leg == RESOLVER_NODATA && status == RESOLVER_NXDOMAIN))
            status = leg;
    }
    answer->status = status;
    answer->ttl_s = UINT32_MAX;
    answer->secure = true;
    for (unsigned i = 0; i < slot->asked; i++) {
        const struct leg *leg = &slot->legs[i];
        if (leg->status != status && (status != RESOLVER_NODATA || leg->status != RESOLVER_NXDOMAIN))
            continue;
        answer->secure = answer->secure && leg->secure;
        if (leg->ttl_s < answer->ttl_s)
            answer->ttl_s = leg->ttl_s;
    }
    memcpy(answer->name, slot->name, sizeof answer->name);
    answer->address_count = status == RESOLVER_OK ? slot->address_count : 0;
    memcpy(answer->addresses, slot->addresses, answer->address_count * sizeof slot->addresses[0]);
}

static void free_slot(struct slot *slot)
{
    slot->next_free = slot->resolver->free_slots;
    slot->resolver->free_slots = slot;
}

/* c-ares looks at its time-outs when the timer fires. Asking it for the next one costs a walk over all of its queries,
 * so a new question only brings the timer forward to the first moment at which it can time out. */
static void wake_at(struct resolver *resolver, nsec at)
{
    if (io_timer_is_set(&resolver->timer) && resolver->timer_at <= at)
        return;
    resolver->timer_at = at;
    io_timer_set(resolver->io, &resolver->timer, at);
}

/* What this machine lacks says nothing of the name: the query waits, and nobody hears of it. */
static bool ask_again(struct resolver *resolver, struct resolver_query *query, const struct slot *slot)
{
    query->scratch[SCRATCH_NAME] = strdup(slot->asked_name);
    if (!query->scratch[SCRATCH_NAME])
        return false;
    query->state = QUERY_WAITING;
    list_append(&resolver->waiting, query);
    resolver->lacks_until = io_now(resolver->io) + DNS_LACK_MS * NSEC_PER_MS;
    wake_at(resolver, resolver->lacks_until);
    return true;
}

static void end_slot(struct slot *slot, struct resolver_answer *answer)
{
    struct resolver *resolver = slot->resolver;
    struct resolver_query *query = slot->query;
    free_slot(slot);
    if (!query)
        return;
    if (slot->lacked && ask_again(resolver, query, slot))
        return;
    if (slot->legs[0].type == DNS_TYPE_A || slot->legs[0].type == DNS_TYPE_AAAA)
        merge(slot, answer);
    /* Inside a submit c-ares ends nothing but failures, though one may be the second leg of a query whose first found
     * something: that is lost and asked again. */
    if (resolver->submitting)
        end_later(resolver, query, answer->status == RESOLVER_OK ? RESOLVER_SERVFAIL : answer->status);
    else
        end_now(query, answer);
}

/* c-ares has an answer, or has given up. */
static void on_answer(void *argument, int result, int timeouts, unsigned char *bytes, int length)
{
    (void)timeouts;
    struct leg *leg = argument;
    struct slot *slot = leg->slot;
    if (slot->resolver->closed)
        return;
    struct resolver_answer answer;
    dns_answer_plain(&answer, status_of(result));
    if (result == ARES_SUCCESS && bytes && length > 0)
        dns_answer_read((struct slice){(const char *)bytes, (size_t)length}, leg->type, &answer);
    slot->lacked = slot->lacked || dns_sockets_lacked(result);
    leg->status = answer.status;
    leg->ttl_s = answer.ttl_s;
    leg->secure = answer.secure;
    if (answer.status == RESOLVER_OK)
        memcpy(slot->name, answer.name, sizeof slot->name);
    slot->address_count = dns_answer_join(slot->addresses, slot->address_count, &answer);
    if (--slot->pending == 0)
        end_slot(slot, &answer);
}

/* ---- asking ---- */

static void fly(struct resolver *resolver, struct resolver_query *query, const char *name)
{
    struct slot *slot = resolver->free_slots;
    unsigned want = query->kind;
    resolver->free_slots = slot->next_free;
    slot->query = query;
    slot->address_count = 0;
    slot->name[0] = 0;
    slot->lacked = false;
    slice_copy(slot->asked_name, sizeof slot->asked_name, slice_of(name));
    slot->asked = 0;
    query->state = QUERY_FLYING;
    query->scratch[SCRATCH_SLOT] = slot;
    static const struct {
        unsigned want;
        enum dns_type type;
    } questions[] = {{WANT_MX, DNS_TYPE_MX},
                     {WANT_TXT, DNS_TYPE_TXT},
                     {WANT_TLSA, DNS_TYPE_TLSA},
                     {WANT_IPV6, DNS_TYPE_AAAA},
                     {WANT_IPV4, DNS_TYPE_A}};
    for (size_t i = 0; i < countof(questions); i++)
        if (want & questions[i].want)
            slot->legs[slot->asked++] = (struct leg){.slot = slot, .type = questions[i].type};
    sluice_assert(slot->asked > 0);
    unsigned asked = slot->pending = slot->asked;
    resolver->submitting++;
    for (unsigned i = 0; i < asked; i++) /* the slot may be free again after the last: c-ares may refuse at once */
        dns_channel_ask(resolver->channel, name, slot->legs[i].type, io_random(resolver->io), on_answer,
                        &slot->legs[i]);
    resolver->submitting--;
    wake_at(resolver, io_now(resolver->io) + resolver->timeout);
}

static void start_waiting(struct resolver *resolver)
{
    while (resolver->free_slots && resolver->waiting.first && io_now(resolver->io) >= resolver->lacks_until) {
        struct resolver_query *query = resolver->waiting.first;
        char *name = query->scratch[SCRATCH_NAME];
        list_remove(&resolver->waiting, query);
        fly(resolver, query, name);
        free(name);
    }
}

/* False: no name that DNS could hold, or one that c-ares would read otherwise than we mean it. */
static bool copy_name(char text[LIMIT_DOMAIN + 1], struct slice name)
{
    if (name.n == 0 || name.n > LIMIT_DOMAIN || memchr(name.p, 0, name.n) || memchr(name.p, '\\', name.n))
        return false;
    slice_copy(text, LIMIT_DOMAIN + 1, name);
    return true;
}

static void submit(struct resolver *resolver, struct resolver_query *query, struct slice name, unsigned want)
{
    char text[LIMIT_DOMAIN + 1];
    sluice_assert(query->state == QUERY_IDLE && query->done && !resolver->closed);
    query->resolver = resolver;
    query->kind = (uint8_t)want;
    if (!copy_name(text, name)) {
        end_later(resolver, query, RESOLVER_NXDOMAIN);
    } else if (want == 0) {
        end_later(resolver, query, RESOLVER_NODATA);
    } else if (resolver->free_slots && !resolver->waiting.first) {
        fly(resolver, query, text);
    } else {
        query->scratch[SCRATCH_NAME] = strdup(text); /* the one allocation here; c-ares makes several a question */
        query->state = QUERY_WAITING;
        if (query->scratch[SCRATCH_NAME])
            list_append(&resolver->waiting, query);
        else
            end_later(resolver, query, RESOLVER_SERVFAIL);
    }
}

void resolver_mx_query(struct resolver *resolver, struct resolver_query *query, struct slice name)
{
    submit(resolver, query, name, WANT_MX);
}

void resolver_address_query(struct resolver *resolver, struct resolver_query *query, struct slice name, bool want_ipv4,
                            bool want_ipv6)
{
    submit(resolver, query, name, (want_ipv4 ? WANT_IPV4 : 0u) | (want_ipv6 ? WANT_IPV6 : 0u));
}

void resolver_txt_query(struct resolver *resolver, struct resolver_query *query, struct slice name)
{
    submit(resolver, query, name, WANT_TXT);
}

void resolver_tlsa_query(struct resolver *resolver, struct resolver_query *query, struct slice name)
{
    submit(resolver, query, name, WANT_TLSA);
}

void resolver_cancel(struct resolver *resolver, struct resolver_query *query)
{
    switch ((enum query_state)query->state) {
    case QUERY_IDLE:
        return;
    case QUERY_WAITING:
        list_remove(&resolver->waiting, query);
        free(query->scratch[SCRATCH_NAME]);
        break;
    case QUERY_FLYING:
        ((struct slot *)query->scratch[SCRATCH_SLOT])->query = NULL;
        break;
    case QUERY_ENDED:
        query->kind = RESOLVER_CANCELED;
        return;
    }
    end_later(resolver, query, RESOLVER_CANCELED);
}

/* ---- coming in from io ---- */

static void tear_down(struct resolver *resolver)
{
    ares_destroy(resolver->channel); /* closes its sockets, and so takes them from under watch */
    while (resolver->waiting.first) {
        struct resolver_query *query = resolver->waiting.first;
        list_remove(&resolver->waiting, query);
        free(query->scratch[SCRATCH_NAME]);
    }
    free(resolver->slots);
    resolver->slots = NULL;
    if (resolver->sockets.polls == 0)
        free(resolver);
    else
        left_leave(resolver->io, &resolver->left);
}

static void enter(struct resolver *resolver) { resolver->depth++; }

/* To be called last: the resolver may be gone afterwards. */
static void leave(struct resolver *resolver)
{
    sluice_assert(resolver->depth > 0);
    if (--resolver->depth > 0)
        return;
    if (resolver->closed)
        tear_down(resolver);
    else
        start_waiting(resolver);
}

static void on_delivery(struct io_timer *timer)
{
    struct resolver *resolver = container_of(timer, struct resolver, delivery);
    struct resolver_query *query, *last = resolver->ended.last; /* what is added meanwhile comes in the next turn */
    enter(resolver);
    do {
        struct resolver_answer answer;
        query = resolver->ended.first;
        list_remove(&resolver->ended, query);
        dns_answer_plain(&answer, (enum resolver_status)query->kind);
        bool is_last = query == last;
        end_now(query, &answer);
        if (is_last)
            break;
    } while (!resolver->closed);
    leave(resolver);
}

static bool on_ready(void *context, int readable_fd, int writable_fd)
{
    struct resolver *resolver = context;
    enter(resolver);
    ares_process_fd(resolver->channel, readable_fd, writable_fd);
    bool goes_on = !resolver->closed;
    leave(resolver);
    return goes_on;
}

static void on_starved(void *context)
{
    struct resolver *resolver = context;
    resolver->starved = true;
    wake_at(resolver, io_now(resolver->io) + DNS_STARVED_MS * NSEC_PER_MS);
}

static void on_idle(void *context)
{
    struct resolver *resolver = context;
    if (!resolver->closed || resolver->depth > 0)
        return;
    left_take(&resolver->left);
    free(resolver);
}

static void on_socket(void *context, ares_socket_t fd, int readable, int writable)
{
    struct resolver *resolver = context;
    dns_sockets_want(&resolver->sockets, fd, readable, writable);
}

static void on_timer(struct io_timer *timer)
{
    struct resolver *resolver = container_of(timer, struct resolver, timer);
    struct timeval left;
    enter(resolver);
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    if (resolver->starved && !resolver->closed) {
        resolver->starved = false;
        (void)!dns_sockets_look(&resolver->sockets, resolver->channel);
    }
    if (!resolver->closed && resolver->waiting.first && resolver->lacks_until > io_now(resolver->io))
        wake_at(resolver, resolver->lacks_until);
    if (!resolver->closed && ares_timeout(resolver->channel, NULL, &left))
        wake_at(resolver, io_now(resolver->io) + left.tv_sec * NSEC_PER_S + left.tv_usec * NSEC_PER_US + NSEC_PER_MS);
    leave(resolver);
}

/* ---- opening and closing ---- */

struct resolver *resolver_open(struct io *io, const struct resolver_config *config, char *error, size_t error_cap)
{
    unsigned slots = config->queries_max ? config->queries_max : DNS_QUERIES;
    struct resolver *resolver = calloc(1, sizeof *resolver);
    struct slot *room = calloc(slots, sizeof *room);
    if (!resolver || !room) {
        snprintf(error, error_cap, "resolver: no memory for %u queries", slots);
        free(resolver);
        free(room);
        return NULL;
    }
    resolver->io = io;
    resolver->timeout = config->timeout > 0 ? config->timeout : 2 * NSEC_PER_S;
    resolver->timer.fire = on_timer;
    resolver->delivery.fire = on_delivery;
    resolver->slots = room;
    resolver->sockets.io = io;
    resolver->sockets.context = resolver;
    resolver->sockets.ready = on_ready;
    resolver->sockets.starved = on_starved;
    resolver->sockets.idle = on_idle;
    dns_sockets_init(&resolver->sockets);
    for (unsigned i = 0; i < slots; i++) {
        room[i].resolver = resolver;
        free_slot(&room[i]);
    }
    struct resolver_config asked = *config;
    asked.timeout = resolver->timeout;
    if (dns_channel_open(&resolver->channel, &asked, on_socket, resolver, error, error_cap))
        return resolver;
    free(room);
    free(resolver);
    return NULL;
}

void resolver_close(struct resolver *resolver)
{
    sluice_assert(!resolver->closed);
    resolver->closed = true;
    io_timer_clear(resolver->io, &resolver->timer);
    io_timer_clear(resolver->io, &resolver->delivery);
    if (resolver->depth == 0)
        tear_down(resolver);
}
