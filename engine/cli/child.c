/* Runs a second executable of the same objects, wherever the two were put. */
#include "cli/child.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Beside this executable in a build directory, in libexec where it is installed. */
static bool find(const char *name, char *path, size_t cap)
{
    char self[1024];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = 0;
        char *slash = strrchr(self, '/');
        if (slash) {
            *slash = 0;
            if (snprintf(path, cap, "%s/%s", self, name) < (int)cap && access(path, X_OK) == 0)
                return true;
        }
    }
    return snprintf(path, cap, "%s/%s", SLUICE_LIBEXEC, name) < (int)cap && access(path, X_OK) == 0;
}

static bool write_all(int fd, const char *text)
{
    size_t left = strlen(text);
    while (left) {
        ssize_t n = write(fd, text, left);
        if (n < 0 && errno != EINTR)
            return false;
        text += n > 0 ? n : 0;
        left -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

static char *read_all(int fd)
{
    size_t n = 0, cap = 64 * 1024;
    char *text = malloc(cap);
    ssize_t got;
    while (text && ((got = read(fd, text + n, cap - n - 1)) > 0 || (got < 0 && errno == EINTR))) {
        n += got > 0 ? (size_t)got : 0;
        if (cap - n < 4096) {
            char *grown = realloc(text, cap *= 2);
            if (!grown)
                free(text);
            text = grown;
        }
    }
    if (text)
        text[n] = 0;
    return text;
}

static bool spawn(const char *path, int in[2], int out[2], pid_t *pid)
{
    char *argv[] = {(char *)(uintptr_t)path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
    int error = posix_spawn(pid, path, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    errno = error;
    return error == 0;
}

char *child_run(const char *name, const char *input)
{
    char path[1100];
    int in[2], out[2] = {-1, -1}, status = -1;
    pid_t pid;
    char *said = NULL;
    if (!find(name, path, sizeof path)) {
        cli_error("%s stands neither beside this program nor in %s", name, SLUICE_LIBEXEC);
        return NULL;
    }
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || !spawn(path, in, out, &pid)) {
        cli_error("%s cannot be run: %s", path, strerror(errno));
        return NULL;
    }
    close(in[0]);
    close(out[1]);
    bool written = write_all(in[1], input);
    close(in[1]);
    if (written)
        said = read_all(out[0]);
    close(out[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (said && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return said;
    free(said);
    cli_error("%s failed", name); /* it has said why */
    return NULL;
}
