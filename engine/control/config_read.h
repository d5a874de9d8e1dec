/* config_read.h - a configuration and what it includes, as libConfuse's tree with checked values.
 *
 * Private to config*.c. Every option of the tree is a pointer to a struct config_value; sections are `defaults`, `isp`,
 * `relay`, `route`, `pool`, and `source` within `pool`. A section's `line` is that of its closing brace. */
#ifndef CONTROL_CONFIG_READ_H
#define CONTROL_CONFIG_READ_H

#include "sluice/base.h"
#include "sluice/slice.h"

#include <confuse.h>

/* The caller owns the tree (cfg_free). NULL on failure, with "FILE:LINE: ..." in `error`. `text.p` NULL: the file is
 * read. One tree at a time: libConfuse's lexer is global, and cfg_free makes it forget a text that ended early. */
must_use cfg_t *config_read(const char *file, struct slice text, char *error, size_t error_cap);

#endif
