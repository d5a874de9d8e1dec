/* promised.h - what the settings of the configuration's Redis would not keep of our promises, for people. */
#ifndef CLI_PROMISED_H
#define CLI_PROMISED_H

#include "control/config.h"

/* On standard error, a line for each. Requires that the configuration names a Redis; says so where it does not answer.
 */
void promised_print(const struct config *config);

#endif
