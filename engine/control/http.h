/* http.h - /metrics, /health and /status for those who watch the engine.
 *
 *     GET /metrics  Prometheus' text format 0.0.4
 *     GET /health   200 "ok", or 503 with the reason in one line; 200 and a line about relays that have stopped
 *     GET /status   JSON, what `sluice status` shows
 *
 * A thread of its own (libmicrohttpd), which reads the metrics and the state of relays and nothing else of the engine.
 * It may take the time it needs: shards never wait for it. */
#ifndef CONTROL_HTTP_H
#define CONTROL_HTTP_H

#include "control/metrics.h"
#include "control/relays.h"
#include "io/io.h"

struct http;

struct http_config {
    struct io_address at;
    const struct metrics *metrics; /* borrows until http_close */
    struct relays *relays;         /* held until http_close */
    const char *engine;            /* the engine's id; borrows until http_close */
};

/* NULL on failure with a sentence in `error`. Its thread takes no signals. */
must_use struct http *http_open(const struct http_config *config, char *error, size_t error_cap);
/* A reload: it tells of these from now on. NULL http: does nothing. */
void http_relays(struct http *http, struct relays *relays);
void http_close(struct http *http); /* answers what was asked, then ends the thread; NULL: does nothing */

#endif
