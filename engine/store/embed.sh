#!/bin/sh
# Turns the function library into a C header: embed.sh OUTPUT INPUT...
# The inputs are parts of one library, joined in their order; the first one begins with its name. That name gets a hash
# of its content, so that whatever bears a name has the same functions everywhere.
set -eu
output=$1
shift
name=sluice_$(cat "$@" | sha256sum | cut -c1-12)
{
    echo "static const char steps_library[] = \"$name\";"
    echo "static const char steps_source[] ="
    cat "$@" | sed -e "s/sluice_dev/$name/g" -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/    "/' -e 's/$/\\n"/'
    echo "    ;"
} >"$output"
