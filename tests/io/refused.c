/* What io_open says on a machine that forbids or lacks what it needs: in words, naming the way out.
 *
 * Each case runs in a process of its own, under a seccomp filter as containers have them or with few descriptors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SESSIONS = 256, TEXT = 512 };

/* From now on the system call `number` fails with `problem`. */
static bool forbid(unsigned number, unsigned problem)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (problem & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {countof(code), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static bool limit_descriptors(unsigned to, unsigned unused)
{
    struct rlimit limit = {to, to};
    (void)unused;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/* What io_open says in a child that has first done `restrain`; "" if it opened. In memory shared with the child. */
static char *said_after(bool (*restrain)(unsigned a, unsigned b), unsigned a, unsigned b)
{
    char *text = mmap(NULL, TEXT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(text != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        struct io_group *group = io_group_open(1);
        struct io_config config = {.group = group, .sessions_max = SESSIONS};
        if (!group || (restrain && !restrain(a, b)))
            _exit(1);
        struct io *io = io_open(&config, text, TEXT);
        if (io)
            io_close_all(io);
        io_group_close(group);
        _exit(io && text[0] ? 2 : 0);
    }
    int status;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    return text;
}

static void expect(char *text, const char *first, const char *second)
{
    if (!strstr(text, first) || !strstr(text, second))
        fail_msg("\"%s\" should say \"%s\" and \"%s\"", text, first, second);
    munmap(text, TEXT);
}

static void opens_where_nothing_forbids_it(void **state)
{
    (void)state;
    char *text = said_after(NULL, 0, 0);
    assert_string_equal(text, "");
    munmap(text, TEXT);
}

static void a_container_that_forbids_it_is_named(void **state)
{
    (void)state;
    expect(said_after(forbid, __NR_io_uring_setup, EPERM), "forbidden", "seccomp");
    expect(said_after(forbid, __NR_io_uring_register, EPERM), "forbidden", "io_uring_register");
}

static void a_kernel_without_it_is_named(void **state)
{
    (void)state;
    expect(said_after(forbid, __NR_io_uring_setup, ENOSYS), "no io_uring", "Linux 6.1");
    expect(said_after(forbid, __NR_io_uring_setup, EINVAL), "too old", "Linux 6.1");
}

static void too_little_is_named_with_the_limit_to_raise(void **state)
{
    (void)state;
    expect(said_after(forbid, __NR_io_uring_setup, ENOMEM), "memory", "LimitMEMLOCK");
    expect(said_after(limit_descriptors, SESSIONS / 2, 0), "128 descriptors", "LimitNOFILE");
}

static void anything_else_is_told_as_it_is(void **state)
{
    (void)state;
    expect(said_after(forbid, __NR_io_uring_setup, EFAULT), "cannot be opened", strerror(EFAULT));
}

/* A host that slept for a day, to this process and its children: only CLOCK_BOOTTIME knows. */
static bool has_slept(int day_s)
{
    enum { NEW_USER = 0x10000000, NEW_TIME = 0x80 };
    char text[64];
    int n = snprintf(text, sizeof text, "boottime %d 0\n", day_s);
    if (syscall(SYS_unshare, NEW_TIME) != 0 && syscall(SYS_unshare, NEW_USER | NEW_TIME) != 0)
        return false;
    int fd = open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, (size_t)n) == n;
    return close(fd) == 0 && written;
}

static nsec read_clock(clockid_t clock)
{
    struct timespec time;
    return clock_gettime(clock, &time) == 0 ? time.tv_sec * NSEC_PER_S + time.tv_nsec : -1;
}

enum { CLOCK_RIGHT, CLOCK_WRONG, CLOCK_UNTRIED };

/* io_now against the clock that goes on while a host sleeps. */
static int look_at_the_clock(void)
{
    char text[TEXT];
    struct io_config config = {.group = io_group_open(1), .sessions_max = SESSIONS};
    struct io *io = config.group ? io_open(&config, text, TEXT) : NULL;
    if (!io)
        return CLOCK_WRONG;
    nsec before = read_clock(CLOCK_BOOTTIME), now = io_now(io), after = read_clock(CLOCK_BOOTTIME);
    io_close_all(io);
    io_group_close(config.group);
    return before <= now && now <= after ? CLOCK_RIGHT : CLOCK_WRONG;
}

/* Who slept must know how old his heartbeat is. */
static void the_clock_goes_on_while_the_host_sleeps(void **state)
{
    enum { DAY_S = 86400 };
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (!has_slept(DAY_S))
            _exit(CLOCK_UNTRIED);
        pid_t slept = fork(); /* the namespace is its children's */
        if (slept == 0)
            _exit(read_clock(CLOCK_BOOTTIME) < DAY_S * NSEC_PER_S ? CLOCK_UNTRIED : look_at_the_clock());
        bool ended = slept > 0 && waitpid(slept, &status, 0) == slept && WIFEXITED(status);
        _exit(ended ? WEXITSTATUS(status) : CLOCK_WRONG);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CLOCK_UNTRIED) {
        print_message("no time namespace may be made here: no host that sleeps was tried\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), CLOCK_RIGHT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_where_nothing_forbids_it), cmocka_unit_test(a_container_that_forbids_it_is_named),
        cmocka_unit_test(a_kernel_without_it_is_named),   cmocka_unit_test(too_little_is_named_with_the_limit_to_raise),
        cmocka_unit_test(anything_else_is_told_as_it_is),  cmocka_unit_test(the_clock_goes_on_while_the_host_sleeps),
    };
    return cmocka_run_group_tests_name("io refused", tests, NULL, NULL);
}
