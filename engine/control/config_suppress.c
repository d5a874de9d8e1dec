/* What puts an address on the suppression list, where a file says other than proto/policy/suppress.c. */
#include "control/config.h"

#include "control/config_build.h"
#include "proto/policy/suppress.h"

#include <stdlib.h>

/* The titles that there may be, as one phrase. */
static void allowed_titles(char *text, size_t cap)
{
    size_t n = (size_t)snprintf(text, cap, "hard");
    for (enum bounce_class class_ = BOUNCE_NONE; class_ < BOUNCE_CLASS_COUNT; class_++)
        if (suppress_may_count(class_) && n < cap)
            n += (size_t)snprintf(text + n, cap - n, ", %s", bounce_class_name(class_));
}

static bool find_class(struct config_suppress *suppress)
{
    if (strcmp(suppress->name, "hard") == 0)
        return true;
    for (enum bounce_class class_ = BOUNCE_NONE; class_ < BOUNCE_CLASS_COUNT; class_++)
        if (suppress_may_count(class_) && strcmp(suppress->name, bounce_class_name(class_)) == 0)
            suppress->class_ = class_;
    return suppress->class_ != BOUNCE_BROKEN;
}

static bool add_block(struct config_build *b, cfg_t *section, struct config_suppress *suppress)
{
    char allowed[256];
    slice_copy(suppress->name, sizeof suppress->name, slice_of(section->title));
    if (!find_class(suppress)) {
        allowed_titles(allowed, sizeof allowed);
        return config_build_fail(b, section->filename, (unsigned)section->line,
                                 "suppress %.60s: refusals of that class are not about the recipient, or there is no "
                                 "such class; it is one of %s",
                                 section->title, allowed);
    }
    return config_build_defaults(b, CONFIG_SUPPRESS, suppress) &&
           config_build_given(b, section, CONFIG_SUPPRESS, suppress);
}

bool config_build_suppresses(struct config_build *b)
{
    struct config *c = b->config;
    unsigned count = cfg_size(b->root, "suppress");
    c->suppresses = calloc(count + 1, sizeof *c->suppresses);
    if (!c->suppresses)
        return config_build_no_memory(b);
    for (unsigned i = 0; i < count; i++)
        if (!add_block(b, cfg_getnsec(b->root, "suppress", i), &c->suppresses[c->suppress_count++]))
            return false;
    return true;
}
