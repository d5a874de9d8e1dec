/* letter.h - the message that one recipient of a campaign in Redis gets, made by the engine's own press. */
#ifndef CLI_LETTER_H
#define CLI_LETTER_H

#include "cli/cli.h"
#include "sluice/slice.h"

/* Writes it to standard output, octet for octet as a server would store it. `entry`: the recipient as it would be
 * pushed; p is NULL for the one with this seq in the list. CLI_OK, or the exit code and has said why. */
must_use int letter_print(struct cli *cli, const char *campaign, uint64_t seq, struct slice entry);

#endif
