/* gathered.h - the lines that a printer writes, as one text. The owner frees `text`. */
#ifndef TESTS_UNIT_GATHERED_H
#define TESTS_UNIT_GATHERED_H

#include "sluice/base.h"

#include <stdlib.h>
#include <string.h>

struct gathered {
    char *text;
    size_t n;
};

static inline void gather(void *context, const char *line)
{
    struct gathered *g = context;
    size_t n = strlen(line);
    g->text = realloc(g->text, g->n + n + 2);
    sluice_assert(g->text);
    memcpy(g->text + g->n, line, n);
    g->n += n;
    g->text[g->n++] = '\n';
    g->text[g->n] = 0;
}

#endif
