#!/bin/sh
# Turns the function library into a C header: embed.sh INPUT OUTPUT
# The library's name gets a hash of its content, so that whatever bears a name has the same functions everywhere.
set -eu
name=sluice_$(sha256sum "$1" | cut -c1-12)
{
    echo "static const char steps_library[] = \"$name\";"
    echo "static const char steps_source[] ="
    sed -e "s/sluice_dev/$name/g" -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/    "/' -e 's/$/\\n"/' "$1"
    echo "    ;"
} >"$2"
