/* idn.h - internationalised domain names as A-labels (RFC 5891, UTS 46 non-transitional), by libidn2. */
#ifndef NET_IDN_H
#define NET_IDN_H

#include "sluice/limits.h"
#include "sluice/slice.h"

/* The domain in lower case with its labels as A-labels. False: it is no domain name. Allocates while it works. */
must_use bool idn_to_ascii(struct slice domain, char to[LIMIT_DOMAIN + 1]);

#endif
