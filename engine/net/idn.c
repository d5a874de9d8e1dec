/* The one place that knows libidn2. */
#include "net/idn.h"

#include <idn2.h>

bool idn_to_ascii(struct slice domain, char to[LIMIT_DOMAIN + 1])
{
    char name[4 * LIMIT_DOMAIN + 1];
    if (domain.n >= sizeof name)
        return false;
    slice_copy(name, sizeof name, domain);
    char *ascii = NULL;
    if (idn2_to_ascii_8z(name, &ascii, IDN2_NONTRANSITIONAL | IDN2_NFC_INPUT) != IDN2_OK)
        return false;
    size_t n = strlen(ascii);
    bool fits = n && n <= LIMIT_DOMAIN;
    if (fits)
        memcpy(to, ascii, n + 1);
    idn2_free(ascii);
    return fits;
}
