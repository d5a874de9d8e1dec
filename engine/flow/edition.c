/* What a campaign says to everybody is worked out once, and lives for as long as anything that was made of it. */
#include "flow/edition.h"

#include <stdio.h>
#include <stdlib.h>

#include "net/idn.h"
#include "proto/smtp/address.h"
#include "sign/token.h"

static void drop(struct edition *edition)
{
    struct editions *all = edition->all;
    *(edition->prev ? &edition->prev->next : &all->first) = edition->next;
    if (edition->next)
        edition->next->prev = edition->prev;
    free(edition->stuffed);
    free(edition);
}

static bool take_return_path(struct edition *edition, struct slice given, char *reason, size_t cap)
{
    struct slice from = given.n ? given : message_plan_sender(edition->plan);
    const char *name = given.n ? "return_path" : "from";
    struct address address;
    struct address_fault fault;
    char domain[LIMIT_DOMAIN + 1];
    if (!from.n) {
        snprintf(reason, cap, "return_path: is needed, because the address in from holds merge fields");
        return false;
    }
    if (!address_parse(from, &address, &fault)) {
        snprintf(reason, cap, "%s: %s, at byte %zu", name, fault.reason, fault.position);
        return false;
    }
    if (!idn_to_ascii(address.domain, domain)) {
        snprintf(reason, cap, "%s: the domain is no host name", name);
        return false;
    }
    int n = snprintf(edition->return_path, sizeof edition->return_path, "%.*s@%s", (int)address.local.n,
                     address.local.p, domain);
    if (n < 0 || (size_t)n >= sizeof edition->return_path) {
        snprintf(reason, cap, "%s: is longer than %d octets", name, LIMIT_ADDRESS);
        return false;
    }
    edition->return_local = address.local.n;
    return true;
}

/* The token must fit into the local part, and the whole into a path (RFC 5321 §4.5.3.1). */
static bool take_verp(struct edition *edition, struct slice given, char *reason, size_t cap)
{
    edition->verp = slice_equal(given, SLICE("1"));
    if (!edition->verp)
        return true;
    const char *path = edition->return_path;
    if (edition->return_local <= TOKEN_PREFIX_MAX && strlen(path) + 1 + TOKEN_TEXT <= LIMIT_ADDRESS && path[0] != '"')
        return true;
    snprintf(reason, cap,
             "verp: the return path must have at most %d octets, without quotes, before its @, and %d in "
             "all, to leave room for a token",
             TOKEN_PREFIX_MAX, LIMIT_ADDRESS - 1 - TOKEN_TEXT);
    return false;
}

/* Only a message inside the message has dots to be stuffed (message_plan_dotted). */
static bool take_shared(struct edition *edition, char *reason, size_t cap)
{
    struct slice plain = message_plan_shared(edition->plan);
    edition->shared = plain;
    edition->shared_octets = plain.n;
    edition->shared_line = WRITE_LINE_START;
    dkim_body_init(&edition->body);
    dkim_body_update(&edition->body, plain);
    if (!message_plan_dotted(edition->plan) || write_is_plain(plain, &edition->shared_line))
        return true;
    size_t room = 2 * plain.n + 8;
    edition->stuffed = malloc(room);
    if (!edition->stuffed) {
        snprintf(reason, cap, "no memory for a message of %zu bytes", plain.n);
        return false;
    }
    edition->shared.p = edition->stuffed;
    edition->shared.n = write_stuffed(edition->stuffed, room, &plain, &edition->shared_line);
    sluice_assert(plain.n == 0);
    return true;
}

/* One block: the edition, the slices of the hash, the bytes they point to, and behind them the plan. */
static struct edition *make(const struct slice *items, unsigned count, size_t *plan_at, size_t *room)
{
    size_t bytes = sizeof(struct edition) + count * sizeof(struct slice);
    for (unsigned i = 0; i < count; i++)
        bytes += items[i].n;
    *room = message_plan_room(items, count);
    *plan_at = (bytes + 63) & ~(size_t)63;
    struct edition *edition = aligned_alloc(64, (*plan_at + *room + 63) & ~(size_t)63);
    if (!edition)
        return NULL;
    memset(edition, 0, sizeof *edition);
    struct slice *copies = (struct slice *)(edition + 1);
    char *at = (char *)(copies + count);
    for (unsigned i = 0; i < count; i++) {
        if (items[i].n)
            memcpy(at, items[i].p, items[i].n);
        copies[i] = (struct slice){at, items[i].n};
        at += items[i].n;
    }
    return edition;
}

struct edition *edition_make(struct editions *all, const struct slice *items, unsigned count, char *reason, size_t cap)
{
    size_t plan_at, room;
    struct edition *edition = make(items, count, &plan_at, &room);
    if (!edition) {
        snprintf(reason, cap, "no memory for its message");
        return NULL;
    }
    edition->all = all;
    edition->holds = 1;
    edition->next = all->first;
    if (edition->next)
        edition->next->prev = edition;
    all->first = edition;
    struct message_error error;
    const struct slice *copies = (const struct slice *)(edition + 1);
    edition->plan = message_plan_make(copies, count, (char *)edition + plan_at, room, NULL, &error);
    if (!edition->plan)
        message_error_text(&error, reason, cap);
    if (edition->plan && take_return_path(edition, slice_field(copies, count, SLICE("return_path")), reason, cap) &&
        take_verp(edition, slice_field(copies, count, SLICE("verp")), reason, cap) && take_shared(edition, reason, cap))
        return edition;
    drop(edition);
    return NULL;
}

struct edition *edition_hold(struct edition *edition)
{
    edition->holds++;
    return edition;
}

void edition_release(struct edition *edition)
{
    sluice_assert(edition->holds > 0);
    if (--edition->holds == 0)
        drop(edition);
}

void edition_retire(struct edition *edition)
{
    edition->old = true;
    edition->all->retired = true;
    edition_release(edition);
}

void editions_drop(struct editions *all)
{
    while (all->first)
        drop(all->first);
}
