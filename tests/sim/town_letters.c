/* What arrived, letter by letter: whether a receiver would believe who it is from, and when. */
#include "town.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "dkim_judge.h"

/* From pressing to the provider's verdict: what the press allows, and a session that is in no hurry. */
static const int64_t oldest_s = PRESS_GOOD_FOR_S + 600;

static void say(struct town *town, const char *fault, struct slice letter)
{
    if (!town->letters.fault[0])
        snprintf(town->letters.fault, sizeof town->letters.fault, "%s:\n%.*s", fault,
                 (int)(letter.n < 3000 ? letter.n : 3000), letter.p);
}

static bool holds(struct slice letter, const char *word)
{
    return memmem(letter.p, letter.n, word, strlen(word)) != NULL;
}

static void read_letter(void *context, const struct mx_ledger *ledger, const struct mx_accepted *record,
                        struct slice letter)
{
    static const char *const once[] = {"From", "To", "Date", "Message-ID", "Subject", "MIME-Version", "X-Campaign"};
    struct town *town = context;
    (void)ledger;
    (void)record;
    struct dkim_judge_result result = dkim_judge(letter);
    if (result.fault[0])
        say(town, result.fault, letter);
    else if (result.rsa != 1 || result.ed25519 != 1)
        say(town, "it has not two signatures", letter);
    for (unsigned i = 0; i < countof(once); i++)
        if (dkim_judge_count(letter, once[i]) != 1)
            say(town, once[i], letter);
    int64_t age_s = io_wall(town->mail->director) / NSEC_PER_S - (int64_t)result.signed_s;
    if (!town->wall_slack_ms && (age_s < 0 || age_s > oldest_s))
        say(town, age_s < 0 ? "it was signed in the future" : "it was signed long ago", letter);
    bool a = holds(letter, "edition-A"), b = holds(letter, "edition-B");
    if (a && b)
        say(town, "it is of two editions", letter);
    town->letters.of_a += a;
    town->letters.of_b += b;
    town->letters.count++;
}

static void write_key(char *file, enum dkim_judge_key key)
{
    const char *pem = dkim_judge_pem(key);
    int fd = mkstemp(file);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, pem, strlen(pem)), (ssize_t)strlen(pem));
    close(fd);
}

struct town *town_new_signing(uint64_t seed, unsigned shards, const char *settings)
{
    char rsa[] = "/tmp/sluice-town-XXXXXX", ed25519[] = "/tmp/sluice-town-XXXXXX", text[8192];
    write_key(rsa, DKIM_JUDGE_RSA);
    write_key(ed25519, DKIM_JUDGE_ED25519);
    snprintf(text, sizeof text,
             "%sdkim r { domain = shop.example  selector = r  key = %s }\n"
             "dkim e { domain = shop.example  selector = e  key = %s  ed25519 = yes }\n",
             settings, rsa, ed25519);
    struct town *town = town_new(seed, shards, text);
    unlink(rsa);
    unlink(ed25519);
    town->mail->ledger.keep_text = true;
    town->mail->ledger.on_accept = read_letter;
    town->mail->ledger.context = town;
    return town;
}

void town_judge_letters(struct town *town)
{
    if (town->letters.fault[0])
        fail_msg("seed %llu: a letter is not as it should be: %s", (unsigned long long)town->seed, town->letters.fault);
}
