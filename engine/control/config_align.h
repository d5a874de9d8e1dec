/* config_align.h - a reload: a new configuration takes the place of the one in force, and all indices stay what they are.
 *
 * What bears the same name has the same index in both: sources, pools, ISPs, relays. What is new comes behind. What is
 * gone stays as a name that is `removed`, in no pool and with no suffixes, so that whoever still holds its index finds
 * what it was; it comes back to life when a later configuration names it again. */
#ifndef CONTROL_CONFIG_ALIGN_H
#define CONTROL_CONFIG_ALIGN_H

#include "control/config.h"

/* Changes `next`, which nobody else may hold yet, as said above. Keys that only a restart can change keep the value
 * that is in force; `changed` names those that the file gives otherwise ("shards, http"; "": none). False: `error` is a
 * sentence, and `next` is good for nothing but config_free. */
must_use bool config_align(struct config *next, const struct config *now, char *changed, size_t changed_cap, char *error,
                           size_t error_cap);
/* Does this key at the top take a restart? */
bool config_is_fixed(const char *key);

/* Of two aligned ones: does any mail exchanger belong to another ISP than before? May hosts have come to this ISP that
 * were another's? */
bool config_regroups(const struct config *next, const struct config *now);
bool config_isp_gains(const struct config *next, const struct config *now, struct slice isp);

#endif
