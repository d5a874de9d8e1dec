/* engine.h - `sluice run`: a process with one shard per core, from start to SIGTERM. */
#ifndef CONTROL_ENGINE_H
#define CONTROL_ENGINE_H

#include "control/config.h"

/* Runs until SIGTERM or SIGINT, then finishes open messages within config->shutdown and gives the rest back; a second
 * signal ends it at once. SIGHUP reads the keys that sign again; if one is not good, all stay as they were. Says on
 * standard error what the machine lacks (io_uring, descriptors, ports, source addresses, memory) and how to allow it.
 * Returns the exit code: 0 after an orderly end, 1 when it could not start. `shards`: 0 for the configuration's. */
int engine_run(const struct config *config, unsigned shards);

#endif
