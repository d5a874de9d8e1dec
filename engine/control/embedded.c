/* Spares people the set-up of a Redis when all they want is to send. */
#include "control/embedded.h"

#include "proto/number.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 256, START_MS = 15000, STOP_MS = 60000, STEP_MS = 20, ANSWER_MS = 1000 };

struct embedded {
    struct log log;
    char dir[PATH_BYTES], socket[PATH_BYTES], log_file[PATH_BYTES];
    int lock;
    pid_t pid; /* 0: not running */
    struct log_trouble trouble;
};

static nsec now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (nsec)now.tv_sec * NSEC_PER_S + now.tv_nsec;
}

static void pause_ms(int ms) { poll(NULL, 0, ms); }

void embedded_url(const char *state_dir, char *url, size_t cap) { snprintf(url, cap, "unix:%s/redis.sock", state_dir); }

/* ---- state_dir and its locks ---- */

static bool make_dir(const char *dir, char *error, size_t cap)
{
    char path[PATH_BYTES];
    if (slice_copy(path, sizeof path, slice_of(dir)) != strlen(dir)) {
        snprintf(error, cap, "state_dir %s is too long", dir);
        return false;
    }
    for (char *p = path + 1;; p++) {
        char c = *p;
        if (c != '/' && c != 0)
            continue;
        *p = 0;
        if (mkdir(path, 0700) < 0 && errno != EEXIST) {
            snprintf(error, cap, "cannot make state_dir %s: %s; choose another one with state_dir in the configuration",
                     path, strerror(errno));
            return false;
        }
        *p = c;
        if (c == 0)
            return true;
    }
}

static int take_lock(const char *dir, const char *name, const char *in_use, char *error, size_t cap)
{
    char path[2 * PATH_BYTES];
    if (!make_dir(dir, error, cap))
        return -1;
    snprintf(path, sizeof path, "%s/%s.lock", dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    if (fd >= 0 && errno == EWOULDBLOCK)
        snprintf(error, cap, "%s is locked: %s", path, in_use);
    else
        snprintf(error, cap, "cannot lock %s: %s; state_dir must be a directory of the user who runs the engine", path,
                 strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

int embedded_lock(const char *state_dir, const char *engine, uint64_t incarnation, uint64_t *previous, char *error,
                  size_t error_cap)
{
    char name[PATH_BYTES], before[32], now[32];
    snprintf(name, sizeof name, "engine-%s", engine);
    int fd = take_lock(state_dir, name, "an engine with this id runs already; each has an id (engine = ...) of its own",
                       error, error_cap);
    *previous = 0;
    if (fd < 0)
        return -1;
    ssize_t n = pread(fd, before, sizeof before, 0);
    if (n <= 0 || !number_parse((struct slice){before, (size_t)n}, UINT64_MAX, previous))
        *previous = 0; /* the first with this id here */
    int length = snprintf(now, sizeof now, "%llu", (unsigned long long)incarnation);
    if (pwrite(fd, now, (size_t)length, 0) == length && ftruncate(fd, length) == 0)
        return fd;
    snprintf(error, error_cap, "cannot write %s/%s.lock: %s", state_dir, name, strerror(errno));
    close(fd);
    return -1;
}

/* ---- talking to the server: one command, one answer, no library ---- */

static int dial(const struct embedded *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    slice_copy(at.sun_path, sizeof at.sun_path, slice_of(e->socket));
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* The start of the answer; false: nobody answers. */
static bool ask(const struct embedded *e, const char *command, char *answer, size_t cap)
{
    int fd = dial(e);
    ssize_t n = -1;
    if (fd < 0)
        return false;
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    if (send(fd, command, strlen(command), MSG_NOSIGNAL) == (ssize_t)strlen(command) &&
        poll(&readable, 1, ANSWER_MS) == 1)
        n = read(fd, answer, cap - 1);
    close(fd);
    answer[n > 0 ? n : 0] = 0;
    return n > 0;
}

/* Loading, or busy with a script, is alive. */
static bool is_alive(const struct embedded *e)
{
    char answer[128];
    return ask(e, "PING\r\n", answer, sizeof answer);
}

/* ---- starting ---- */

/* Runs in the child, between fork and exec: async-signal-safe calls alone. Reports errno through `report`. */
static void become_server(const struct embedded *e, pid_t parent, int report)
{
    static const char *const names[] = {"redis-server", "valkey-server"};
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t none;
    setsid(); /* so that Ctrl-C at the terminal reaches the engine alone, which needs Redis to end well */
    for (int signal = 1; signal < NSIG; signal++)
        sigaction(signal, &standard, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) /* it died before that was arranged */
        _exit(1);
    int out = open(e->log_file, O_WRONLY | O_CREAT | O_APPEND, 0600), in = open("/dev/null", O_RDONLY);
    if (out >= 0 && in >= 0) {
        dup2(in, 0);
        dup2(out, 1);
        dup2(out, 2);
    }
    for (size_t i = 0; i < countof(names); i++)
        execlp(names[i], names[i], "--port", "0", "--unixsocket", e->socket, "--unixsocketperm", "600", "--dir", e->dir,
               "--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--daemonize", "no", "--logfile",
               e->log_file, (char *)NULL);
    int failed = errno;
    if (write(report, &failed, sizeof failed) < 0)
        _exit(2);
    _exit(1);
}

/* 0, or the errno of what failed. The pipe closes itself when exec succeeds. */
static int spawn(struct embedded *e)
{
    int ends[2], failed = 0;
    pid_t parent = getpid();
    if (pipe2(ends, O_CLOEXEC) < 0)
        return errno;
    pid_t pid = fork();
    if (pid == 0)
        become_server(e, parent, ends[1]);
    if (pid < 0)
        failed = errno;
    close(ends[1]);
    if (pid > 0 && read(ends[0], &failed, sizeof failed) > 0)
        waitpid(pid, NULL, 0);
    close(ends[0]);
    e->pid = failed || pid < 0 ? 0 : pid;
    return failed;
}

static bool has_ended(struct embedded *e)
{
    if (e->pid && waitpid(e->pid, NULL, WNOHANG) == e->pid)
        e->pid = 0;
    return e->pid == 0;
}

static void last_words(const struct embedded *e, char *text, size_t cap)
{
    char tail[1024];
    int fd = open(e->log_file, O_RDONLY | O_CLOEXEC);
    ssize_t n = -1;
    if (fd >= 0) {
        lseek(fd, -(off_t)(sizeof tail - 1), SEEK_END); /* a shorter file is read from its beginning */
        n = read(fd, tail, sizeof tail - 1);
        close(fd);
    }
    while (n > 0 && tail[n - 1] == '\n')
        n--;
    tail[n > 0 ? n : 0] = 0;
    const char *line = strrchr(tail, '\n');
    slice_copy(text, cap, slice_of(line ? line + 1 : tail));
}

static bool start(struct embedded *e, char *error, size_t cap)
{
    char words[256];
    int failed = spawn(e);
    if (failed == ENOENT) {
        snprintf(error, cap,
                 "redis-server is not installed: apt-get install redis-server, or name a Redis with "
                 "redis = \"redis://host:6379\" in the configuration");
        return false;
    }
    if (failed) {
        snprintf(error, cap, "cannot start redis-server: %s", strerror(failed));
        return false;
    }
    nsec until = now_ns() + START_MS * NSEC_PER_MS;
    while (!is_alive(e)) {
        if (has_ended(e)) {
            last_words(e, words, sizeof words);
            snprintf(error, cap, "redis-server ended at once: %s (more in %s)", words, e->log_file);
            return false;
        }
        if (now_ns() > until) {
            snprintf(error, cap, "redis-server does not answer on %s (see %s)", e->socket, e->log_file);
            return false;
        }
        pause_ms(STEP_MS);
    }
    return true;
}

/* ---- stopping ---- */

static pid_t pid_of_leftover(const struct embedded *e)
{
    char answer[8192];
    const char *at = ask(e, "INFO server\r\n", answer, sizeof answer) ? strstr(answer, "process_id:") : NULL;
    return at ? (pid_t)strtol(at + strlen("process_id:"), NULL, 10) : 0;
}

/* An engine that was killed leaves a server to which the kernel has sent SIGTERM. It may answer for a little while yet:
 * going on with it would mean to lose it a moment later. */
static bool end_leftover(const struct embedded *e, char *error, size_t cap)
{
    if (!is_alive(e))
        return true;
    pid_t pid = pid_of_leftover(e);
    nsec until = now_ns() + STOP_MS * NSEC_PER_MS;
    log_info(&e->log, "a private redis of an earlier engine still runs; waiting for its end", log_number("pid", pid));
    if (pid > 0)
        kill(pid, SIGTERM);
    while (is_alive(e)) {
        if (now_ns() > until) {
            snprintf(error, cap, "a redis-server of an earlier engine (pid %d) does not end; end it by hand", (int)pid);
            return false;
        }
        pause_ms(STEP_MS);
    }
    return true;
}

static void stop(struct embedded *e)
{
    nsec until = now_ns() + STOP_MS * NSEC_PER_MS;
    if (has_ended(e))
        return;
    kill(e->pid, SIGTERM);
    while (!has_ended(e)) {
        if (now_ns() > until) {
            log_warning(&e->log, "the private redis does not end; it is left behind", log_number("pid", e->pid));
            return;
        }
        pause_ms(STEP_MS);
    }
}

/* ---- the life of it ---- */

struct embedded *embedded_open(const char *state_dir, const struct log *log, char *error, size_t error_cap)
{
    struct embedded *e = calloc(1, sizeof *e);
    if (!e) {
        snprintf(error, error_cap, "no memory");
        return NULL;
    }
    log_part(&e->log, log, "part=redis");
    snprintf(e->dir, sizeof e->dir, "%s", state_dir);
    snprintf(e->socket, sizeof e->socket, "%s/redis.sock", state_dir);
    snprintf(e->log_file, sizeof e->log_file, "%s/redis.log", state_dir);
    e->lock = take_lock(state_dir, "redis",
                        "the private Redis there belongs to an engine that runs; give each its own state_dir, or one "
                        "Redis to all with redis = ...",
                        error, error_cap);
    bool good = e->lock >= 0 && end_leftover(e, error, error_cap) && start(e, error, error_cap);
    if (!good) {
        stop(e);
        if (e->lock >= 0)
            close(e->lock);
        free(e);
        return NULL;
    }
    log_info(&e->log, "the private redis answers", log_number("pid", e->pid), log_text("socket", e->socket));
    return e;
}

void embedded_tend(struct embedded *embedded)
{
    char error[512];
    if (!has_ended(embedded))
        return;
    log_trouble(&embedded->log, &embedded->trouble, now_ns(), 60 * NSEC_PER_S, "the private redis ended by itself",
                embedded->log_file);
    if (start(embedded, error, sizeof error))
        log_trouble_over(&embedded->log, &embedded->trouble, now_ns(), "the private redis answers again");
    else
        log_trouble(&embedded->log, &embedded->trouble, now_ns(), 60 * NSEC_PER_S,
                    "the private redis cannot be started", error);
}

void embedded_close(struct embedded *embedded)
{
    if (!embedded)
        return;
    stop(embedded);
    close(embedded->lock);
    free(embedded);
}
