#!/bin/sh
# Turns a text file into a C string constant: embed.sh INPUT OUTPUT
set -eu
{
    echo "static const char steps_source[] ="
    sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/    "/' -e 's/$/\\n"/' "$1"
    echo "    ;"
} >"$2"
