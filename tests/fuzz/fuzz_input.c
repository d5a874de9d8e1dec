/* fuzz_input.c - whatever a file of recipients holds, each record of a CSV becomes a JSON object of strings that the
 * engine can read, or the file is refused in words; a line of JSON lines is passed on as it is.
 *
 * The first byte chooses the format: even is CSV. */
#include "cli/input.h"
#include "proto/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_object(struct slice entry)
{
    struct json_token tokens[1 + 2 * INPUT_COLUMNS_MAX];
    struct json json;
    struct json_error error;
    sluice_assert(json_scan(entry, tokens, countof(tokens), &json, &error));
    sluice_assert(tokens[0].type == JSON_OBJECT && json.count % 2 == 1);
    for (uint32_t i = 1; i < json.count; i++)
        sluice_assert(tokens[i].type == JSON_STRING);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice entry;
    if (size < 2)
        return 0;
    bool csv = data[0] % 2 == 0;
    FILE *stream = fmemopen((void *)(uintptr_t)(data + 1), size - 1, "r");
    struct input *input = stream ? input_open(stream, csv ? INPUT_CSV : INPUT_LINES) : NULL;
    sluice_assert(input);
    enum input_result result;
    size_t entries = 0;
    while ((result = input_next(input, &entry)) == INPUT_ENTRY) {
        sluice_assert(entry.n > 0 && ++entries <= size);
        if (csv)
            check_object(entry);
        else
            sluice_assert(!memchr(entry.p, '\n', entry.n));
    }
    sluice_assert(result == INPUT_END || (result == INPUT_FAULT && entry.n > 0));
    input_close(input);
    fclose(stream);
    return 0;
}
