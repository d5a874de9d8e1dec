/* Reads what the system knows of a time zone's clocks. */
#include "control/zone_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 256 * 1024 };

/* A name such as America/Argentina/Ushuaia or Etc/GMT+3, and no way out of the directory. */
static bool is_name(const char *name)
{
    if (!ascii_is_alnum(name[0]))
        return false;
    for (const char *p = name; *p; p++)
        if (!ascii_is_alnum(*p) && !strchr("/_+-", *p))
            return false;
    return true;
}

static bool load(const char *path, struct zone *zone, char **bytes, char *why, size_t why_cap)
{
    FILE *file = fopen(path, "rbe");
    if (!file) {
        snprintf(why, why_cap, "%s cannot be read: %s; its name is one below that directory, from the package tzdata",
                 path, strerror(errno));
        return false;
    }
    *bytes = malloc(FILE_MAX);
    size_t n = *bytes ? fread(*bytes, 1, FILE_MAX, file) : 0;
    bool good = *bytes && n < FILE_MAX && zone_read(zone, (struct slice){*bytes, n});
    if (!good)
        snprintf(why, why_cap, "%s is no file of a time zone (RFC 8536) without leap seconds", path);
    fclose(file);
    return good;
}

bool zone_file_read(const char *name, struct zone *zone, char **bytes, char *why, size_t why_cap)
{
    char path[256];
    *bytes = NULL;
    zone_utc(zone);
    if (strcmp(name, "UTC") == 0)
        return true;
    if (!is_name(name)) {
        snprintf(why, why_cap, "\"%.64s\" is no name of a time zone, such as Europe/Paris or UTC", name);
        return false;
    }
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%.200s", name);
    if (load(path, zone, bytes, why, why_cap))
        return true;
    free(*bytes);
    *bytes = NULL;
    return false;
}

bool zone_file_windows(struct slice text, struct hours *hours, char **bytes, char *why, size_t why_cap)
{
    struct slice named;
    char name[64];
    *bytes = NULL;
    if (!windows_parse(&hours->windows, text, &named, why, why_cap))
        return false;
    slice_copy(name, sizeof name, named.n ? named : SLICE("UTC"));
    return zone_file_read(name, &hours->zone, bytes, why, why_cap);
}
