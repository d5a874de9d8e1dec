/* zone_file.h - the file of a time zone, read once, when the configuration is. */
#ifndef CONTROL_ZONE_FILE_H
#define CONTROL_ZONE_FILE_H

#include "proto/window.h"

/* The zone of this name (Europe/Paris) from /usr/share/zoneinfo; it borrows *bytes, which the caller frees, as long as
 * it is used. UTC needs no file, and leaves *bytes NULL. False, with a sentence in `why`: there is no such file, or it
 * is none of a zone. */
must_use bool zone_file_read(const char *name, struct zone *zone, char **bytes, char *why, size_t why_cap);
/* The windows that a campaign names, with their zone, which borrows *bytes as above. */
must_use bool zone_file_windows(struct slice text, struct hours *hours, char **bytes, char *why, size_t why_cap);

#endif
