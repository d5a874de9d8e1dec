#!/bin/sh
# Turns configuration files into a C header, so that they travel inside the executable: embed.sh OUTPUT INPUT...
set -eu
output=$1
shift
{
    echo "static const struct embedded_file {"
    echo "    const char *name, *text;"
    echo "} embedded_files[] = {"
    for input; do
        directory=${input%/*}
        echo "    {\"deploy/${directory##*/}/${input##*/}\","
        sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/^/     "/' -e 's/$/\\n"/' "$input"
        echo "     \"\"},"
    done
    echo "};"
} >"$output"
