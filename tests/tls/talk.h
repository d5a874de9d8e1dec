/* talk.h - a stream of ours and a TLS server of peer.h that talk through whichever io backend is linked.
 *
 * Both run on one io; everything a server does wrong is asked for in its config. Callbacks of the stream check that
 * none of them runs inside a call, and that each comes as often as stream.h says. */
#ifndef TESTS_TLS_TALK_H
#define TESTS_TLS_TALK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../io/backend.h"
#include "net/stream.h"
#include "peer.h"

enum { SERVED_MOST = 64 };

/* How a server is other than good. */
struct manners {
    struct slice raw;      /* sent in the clear, when the ClientHello has come */
    unsigned raw_times;    /* how often; 0: once */
    bool deaf;             /* what the client says is read and not understood: `raw` is all there is */
    bool close_after_raw;  /* else it stays open */
    size_t cut_after;      /* closes after so many bytes; 0: never */
    bool cut_before;       /* or after any number of bytes up to that, often within the handshake */
    bool reset;            /* closes with RST where it closes */
    unsigned piece_most;   /* sends at most so many bytes at once, and a random number of them; 0: all */
    bool echo;             /* says again what it hears */
    bool slow;             /* does not read before server_read */
    struct slice greeting; /* said as soon as the handshake is over */
};

struct house; /* all of one test */

struct served {
    struct house *house;
    int fd; /* -1: closed */
    struct io_recv recv;
    struct io_send send;
    struct peer peer;
    char out[65536];
    size_t sent, echoed, heard, all_heard, cut_after;
    uint8_t head[5]; /* of the ClientHello's record */
    unsigned raw_left;
    bool raw_begun, greeted, client_closed, closing;
};

struct talk {
    struct house *house;
    struct stream stream;
    struct tls_result result;
    unsigned connected, secured, sent, ended, closed;
    int connect_result, send_result, end_result;
    char *got;
    size_t got_n, got_cap, wanted;
    bool at_once;          /* implicit TLS: secures in `connected` */
    bool close_in_secured; /* closes within that callback */
    bool close_in_bytes;
    struct slice say_in_secured; /* sent within that callback */
    struct tls_demand demand;
};

struct house {
    struct backend *backend;
    struct io *io;
    bool turning;
    struct arena arena;
    struct tls *tls;
    nsec wall;
    struct party authority, stranger, mx; /* mx: issued by authority for DNS:mx.example, good now */
    char ca[64];
    SSL_CTX *server;
    struct manners manners;
    int fd;
    struct io_accept accept;
    struct io_address at;
    struct served *served[SERVED_MOST];
    unsigned served_count;
    uint64_t random;
};

void house_open(struct house *house);
/* Everything of every talk must have been closed; all buffers are back. */
void house_close(struct house *house);
/* The server from now on: `config->party` NULL is house->mx. */
void house_serve(struct house *house, const struct server_config *config, const struct manners *manners);
uint64_t house_random(struct house *house);
void house_until(struct house *house, bool (*condition)(void *context), void *context);
void house_wait(struct house *house, nsec duration);
/* As tls.h's config of the house: `ca` NULL is the authority's file. Ends and opens house->tls. */
void house_trust(struct house *house, const char *ca);

struct tls_demand demand_any(void);
struct tls_demand demand_pkix(void); /* for mx.example */

/* Connects and secures; returns when that is decided. Zeroed before. */
void talk_open(struct talk *talk, struct house *house, const struct tls_demand *demand);
/* Only begins. */
void talk_begin(struct talk *talk, struct house *house, const struct tls_demand *demand);
void talk_say(struct talk *talk, const void *bytes, size_t n); /* and waits until it was sent */
void talk_hear(struct talk *talk, size_t n);                   /* waits until so many bytes have come in all */
void talk_close(struct talk *talk);
struct served *talk_served(struct talk *talk); /* the last connection of the house */
void server_read(struct served *served);       /* that is slow */

bool served_is_left(void *served); /* the client has closed */
bool talk_is_secured(void *talk);  /* or refused */
bool talk_is_ended(void *talk);
bool talk_is_closed(void *talk);
bool talk_has_sent(void *talk);

/* The parts of the suite; the last one of each is all zero. */
enum { TLS_TESTS_MAX = 32 };
extern const struct CMUnitTest tls_stream_tests[TLS_TESTS_MAX], tls_refusal_tests[TLS_TESTS_MAX],
    tls_hostile_tests[TLS_TESTS_MAX];

#endif
