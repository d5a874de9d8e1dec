/* json.h - one JSON value (RFC 8259) as a tape of tokens that the caller lends.
 *
 * The scanner checks everything once: grammar, UTF-8, escapes (a surrogate without its other half is refused), nothing
 * behind the value but white space, at most JSON_DEPTH_MAX containers inside each other. Nothing is copied: tokens are
 * offsets into the text, and strings stay escaped until somebody asks for them. No recursion, no allocation.
 *
 * On the tape a container comes first, then all that is in it; an object's members are a key (a JSON_STRING) and its
 * value in turn. `next` of a token is the index behind the token and all that is in it: the sibling, or the end of the
 * container. So `for (i = c + 1; i < tokens[c].next; i = tokens[i].next)` walks the elements of an array, and the keys
 * and values of an object. */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include "sluice/slice.h"

enum { JSON_DEPTH_MAX = 32 };
/* Tokens that certainly suffice for a text of so many bytes: "[1,1,1]" has no more than one for two bytes. */
#define JSON_TOKENS_MAX(bytes) ((bytes) / 2 + 1)
#define JSON_NONE              UINT32_MAX /* no such token */

enum json_type {
    JSON_BROKEN = 0,
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

struct json_token {
    uint32_t start, end; /* offsets of its bytes; a string's are those between its quotes */
    uint32_t next;
    uint8_t type;    /* enum json_type */
    uint8_t escaped; /* a string that holds backslashes */
};

/* Borrows text and tokens for as long as it is used. Token 0 is the value itself. */
struct json {
    struct slice text;
    const struct json_token *tokens;
    uint32_t count;
};

struct json_error {
    const char *reason; /* a constant: "expected ',' or '}'" */
    size_t position;    /* of the offending byte; the text's length when it ends too soon */
};

must_use bool json_scan(struct slice text, struct json_token *tokens, uint32_t cap, struct json *json,
                        struct json_error *error);

/* The token's bytes as they stand in the text: a number's digits, a string still escaped. */
static inline struct slice json_raw(const struct json *json, uint32_t index)
{
    const struct json_token *token = &json->tokens[index];
    return (struct slice){json->text.p + token->start, token->end - token->start};
}

/* The value of an object's member, or JSON_NONE; JSON_NONE too if `object` is none. Of members with equal names the
 * last counts, as in the JSON libraries that producers use. */
uint32_t json_member(const struct json *json, uint32_t object, struct slice name);

/* Whether a string, un-escaped, is these bytes. */
bool json_string_equal(const struct json *json, uint32_t index, struct slice bytes);

/* Writes the un-escaped string, which is never longer than its raw form, to `to`; returns its bytes. */
size_t json_text(const struct json *json, uint32_t index, char *to);

/* The next piece of a scanned string: a run of plain bytes, borrowed from `*p`, or one character that was escaped, in
 * `room`. Never splits a character. Requires *p < end; moves *p behind the piece. */
struct slice json_string_piece(const char **p, const char *end, char room[4]);

#endif
