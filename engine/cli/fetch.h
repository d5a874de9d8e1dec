/* fetch.h - asks a running engine. */
#ifndef CLI_FETCH_H
#define CLI_FETCH_H

#include "sluice/base.h"

/* What the engine at this address ("127.0.0.1:9125") answers to /status; the caller frees it. NULL: said why. */
must_use char *fetch_status(const char *address);

#endif
