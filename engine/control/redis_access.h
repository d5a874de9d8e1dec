/* redis_access.h - whether what the configuration says of the way to Redis (redis, redis_ca, redis_cert ...) fits
 * together and can be used; for whoever starts with it. */
#ifndef CONTROL_REDIS_ACCESS_H
#define CONTROL_REDIS_ACCESS_H

#include "control/config.h"

/* False: `error` names the key, what is wrong and what is allowed. */
must_use bool redis_access_usable(const struct config *config, char *error, size_t error_cap);

#endif
