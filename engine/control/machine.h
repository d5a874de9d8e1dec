/* machine.h - what this machine allows an engine, and what that is too little for. */
#ifndef CONTROL_MACHINE_H
#define CONTROL_MACHINE_H

#include "control/config.h"

enum { MACHINE_SESSIONS_LEAST = 8, MACHINE_SAID = 512 };

/* `asked`, else the configuration's, else a shard for each core that this process may use. */
unsigned machine_shards(const struct config *config, unsigned asked);
/* Sessions of each shard for which descriptors are allowed, sessions_max at most; the soft limit is raised to the hard
 * one. If they are fewer, `said` names what is needed and what is allowed; with fewer than MACHINE_SESSIONS_LEAST no
 * engine starts. Else `said` is "". */
unsigned machine_sessions(const struct config *config, unsigned shards, char said[MACHINE_SAID]);
/* Are there as many local ports as a source may have connections to one provider? If not, `said` is why that is too
 * few; else "". */
void machine_ports(const struct config *config, char said[MACHINE_SAID]);

#endif
