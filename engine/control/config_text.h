/* config_text.h - makes a configuration's text safe for libConfuse's lexer.
 *
 * libConfuse 3.3 counts the line of a comment three times, drops characters that it does not know without a word, and
 * lets a string or a section run over the rest of the file. So comments are blanked, line ends kept, and what the lexer
 * would pass over is refused here, with its line. What remains has the lines of the original. */
#ifndef CONTROL_CONFIG_TEXT_H
#define CONTROL_CONFIG_TEXT_H

#include "sluice/base.h"
#include "sluice/slice.h"

/* Rewrites `text` in place; its length stays. 0, or the number of the line that is wrong, with `why`. */
must_use unsigned config_text_clean(char *text, size_t n, char *why, size_t why_cap);

#endif
