/* why.h - where a campaign's, an ISP's or a recipient's time goes: why.c and whereabouts.c. */
#ifndef CLI_WHY_H
#define CLI_WHY_H

#include "cli/ask.h"

/* What was found about one recipient, printed; `campaign` NULL: in all campaigns. An exit code. `who`: an address, an
 * id or a seq. */
must_use int whereabouts(struct ask *ask, const char *campaign, const char *who, bool as_json);

#endif
