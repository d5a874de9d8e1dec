/* Stands between people's files and libConfuse's lexer, so that a line number in an error is the line, and a stray
 * character is an error and not nothing. */
#include "control/config_text.h"

#include <stdio.h>

enum { DEPTH_MAX = 8 }; /* a list in a source in a pool needs three */

struct scan {
    char *p, *end;
    unsigned line;
    unsigned depth, opened[DEPTH_MAX]; /* open braces and their lines */
    unsigned wrong;                    /* line of the first fault; 0: none */
    char *why;
    size_t why_cap;
};

static void fault(struct scan *s, unsigned line, const char *why)
{
    s->wrong = line;
    snprintf(s->why, s->why_cap, "%s", why);
}

static void blank_line_comment(struct scan *s)
{
    while (s->p < s->end && *s->p != '\n')
        *s->p++ = ' ';
}

static void blank_block_comment(struct scan *s)
{
    unsigned began = s->line;
    for (; s->p < s->end; s->p++) {
        if (*s->p == '*' && s->p + 1 < s->end && s->p[1] == '/') {
            s->p[0] = s->p[1] = ' ';
            s->p += 2;
            return;
        }
        if (*s->p == '\n')
            s->line++;
        else
            *s->p = ' ';
    }
    fault(s, began, "a comment begins here that never ends; it ends with */");
}

/* "${NAME}" or "${NAME:-default}": the lexer takes everything up to the brace, line ends and quotes included. */
static void pass_variable(struct scan *s)
{
    char *p = s->p;
    while (p < s->end && *p != '}' && *p != '\n' && *p)
        p++;
    if (p == s->end || *p != '}') {
        fault(s, s->line, "${ has no } on its line; it is written ${NAME} or ${NAME:-default}");
        return;
    }
    s->p = p + 1;
}

static void pass_string(struct scan *s)
{
    char quote = *s->p++;
    while (s->p < s->end && !s->wrong) {
        char c = *s->p;
        if (c == '\n' || c == 0)
            break;
        if (c == quote) {
            s->p++;
            return;
        }
        if (c == '\\' && s->p + 1 < s->end && s->p[1] != '\n' && s->p[1]) {
            s->p += 2;
        } else if (quote == '"' && c == '$' && s->p + 1 < s->end && s->p[1] == '{') {
            pass_variable(s);
        } else {
            s->p++;
        }
    }
    if (!s->wrong)
        fault(s, s->line, "a string has no closing quote; it ends on the line where it begins");
}

static bool is_word(char c)
{
    unsigned char u = (unsigned char)c;
    return u > ' ' && u != 0x7f && !strchr("#\"'={}()+,*", c);
}

/* libConfuse takes the end of the file for the end of every section that is open. One } too many it finds itself. */
static void pass_brace(struct scan *s)
{
    if (*s->p == '{' && s->depth == DEPTH_MAX)
        fault(s, s->line, "braces are nested too deeply");
    else if (*s->p == '{')
        s->opened[s->depth++] = s->line;
    else if (s->depth)
        s->depth--;
    s->p++;
}

static void pass_one(struct scan *s)
{
    char c = *s->p;
    char after = s->p + 1 < s->end ? s->p[1] : 0;
    if (c == '#' || (c == '/' && after == '/')) {
        blank_line_comment(s);
    } else if (c == '/' && after == '*') {
        blank_block_comment(s);
    } else if (c == '"' || c == '\'') {
        pass_string(s);
    } else if (c == '$' && after == '{') {
        pass_variable(s);
    } else if (c == '\n') {
        s->line++;
        s->p++;
    } else if (c == ' ' || c == '\t' || c == '\r') {
        *s->p++ = ' ';
    } else if (c == '+' && after == '=') {
        s->p += 2;
    } else if (c == '{' || c == '}') {
        pass_brace(s);
    } else if (c && strchr("=(),", c)) {
        s->p++;
    } else if (is_word(c)) {
        /* The whole word, for "//" and "#" begin a comment only where a word could begin. */
        while (s->p < s->end && is_word(*s->p))
            s->p++;
    } else if (c == '*' || c == '+') {
        fault(s, s->line,
              "the characters * and + stand in quotes only (a suffix of host names is written .example.com)");
    } else {
        fault(s, s->line, "there is a control character outside quotes; this is no text file");
    }
}

unsigned config_text_clean(char *text, size_t n, char *why, size_t why_cap)
{
    struct scan s = {.p = text, .end = text + n, .line = 1, .why = why, .why_cap = why_cap};
    /* A byte order mark is what some editors leave in front. */
    if (n >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        memset(text, ' ', 3);
    while (s.p < s.end && !s.wrong)
        pass_one(&s);
    if (!s.wrong && s.depth)
        fault(&s, s.opened[s.depth - 1], "a { stands here that no } closes");
    return s.wrong;
}
