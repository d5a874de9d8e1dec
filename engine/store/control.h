/* control.h - what people have said by hand: which part of the sending rests, or goes more slowly, and until when.
 *
 * It stands in Redis in the hash `sluice:control`, one field for each scope, and holds for every engine. Each change is
 * an entry of `sluice:ops` too. A pause and a slow-down of one scope replace each other.
 *
 * Scopes: isp:NAME  source:NAME  lane:SOURCE/ISP  campaign:ID  pool:NAME */
#ifndef STORE_CONTROL_H
#define STORE_CONTROL_H

#include "store/store.h"

enum control_kind { CONTROL_BROKEN = 0, CONTROL_PAUSE, CONTROL_SLOW };

enum control_scope {
    CONTROL_SCOPE_BROKEN = 0,
    CONTROL_ISP,
    CONTROL_SOURCE,
    CONTROL_LANE, /* name: the source's, isp: the ISP's */
    CONTROL_CAMPAIGN,
    CONTROL_POOL,
};

enum { CONTROL_SCOPE_MAX = 160, CONTROL_BY_MAX = 64, CONTROL_REASON_MAX = 200, CONTROL_VALUE_MAX = 400 };
enum { CONTROL_ENTRIES_MAX = 512 }; /* an engine that finds more starts nothing and says so */

struct control_entry {
    enum control_scope scope;
    struct slice name, isp; /* of the scope's text */
    enum control_kind kind;
    unsigned percent; /* SLOW: 1 .. 99 */
    int64_t until_ms; /* UTC; 0: until somebody resumes it */
    int64_t at_ms;    /* UTC of the change */
    struct slice by, reason;
};

/* The scope of a text such as "isp:gmail". False: it is none. The slices borrow from the text. */
must_use bool control_scope_parse(struct slice text, struct control_entry *entry);
/* A field of the hash and its value. A value that nobody understands is a pause without an end: hardly anyone mistypes
 * because more should go. False: the scope is none, and nothing can come of it. */
must_use bool control_parse(struct slice scope, struct slice value, struct control_entry *entry);
/* Kind, percent, times, by (without spaces) and reason as a value; its length. */
size_t control_write(const struct control_entry *entry, char value[CONTROL_VALUE_MAX]);

/* What is told of a change while it is on its way; private. */
struct control_note {
    char scope[CONTROL_SCOPE_MAX + 1], change[64], by[CONTROL_BY_MAX + 1], reason[CONTROL_REASON_MAX + 1];
};

/* items: scope, value, scope, value, ... */
void store_control(struct store *store, struct store_request *r);
/* Sets the scope, tells the engines, and then `sluice:ops` (in this order: what was asked for in haste comes first).
 * The note is lent until done. */
void store_control_set(struct store *store, struct store_request *r, struct control_note *note, struct slice scope,
                       struct slice value);
/* Takes the scope out if its value still is `value`, so that what was said anew meanwhile stays. `by` and `why` go to
 * `sluice:ops`. number: 1 if it was taken out. */
void store_control_remove(struct store *store, struct store_request *r, struct control_note *note, struct slice scope,
                          struct slice value, struct slice by, struct slice why);
/* Was a word on sluice:wake about this? No campaign has such an id. */
#define STORE_CONTROL_WAKE ":control"
bool store_control_woken(struct slice message);

#endif
