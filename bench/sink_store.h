/* sink_store.h - messages as they came, one file for each accepted recipient, for verifiers that we did not write.
 *
 * Byte for byte what DATA or BDAT carried, without stuffed dots and the final one. The name is
 * CAMPAIGN.SEQ.THREAD-CONNECTION-NUMBER.eml, "-" where there is no token and `_` for what a name should not hold;
 * NUMBER counts what THREAD has stored. A file that has this name is complete. What cannot be written ends the process.
 */
#ifndef BENCH_SINK_STORE_H
#define BENCH_SINK_STORE_H

#include "bench/mx.h"

void sink_store_message(const char *directory, unsigned thread, const struct mx_ledger *ledger,
                        const struct mx_accepted *record, uint64_t number, struct slice text);
/* A file of a text, new or in place of what was there. */
void sink_store_file(const char *path, struct slice text);

#endif
