/* Tests of the resolver need real answers: well-formed, truncated, refused and missing. */
#include "name_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "name server: %s\n", what);
    abort();
}

int loopback_bind(int type, uint16_t *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t size = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;
    check(fd >= 0, "no socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0) {
        close(fd);
        return -1;
    }
    check(getsockname(fd, (struct sockaddr *)&at, &size) == 0, "no name of a socket");
    *port = ntohs(at.sin_port);
    return fd;
}

uint16_t loopback_port(void)
{
    for (;;) {
        uint16_t port = 0;
        int udp = loopback_bind(SOCK_DGRAM, &port), tcp = loopback_bind(SOCK_STREAM, &port);
        close(udp);
        if (tcp < 0)
            continue;
        close(tcp);
        return port;
    }
}

static void write_file(const struct name_server *server, const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", server->directory, name);
    FILE *file = fopen(path, "w");
    check(file && fputs(text, file) >= 0 && fclose(file) == 0, path);
}

static void write_config(const struct name_server *server)
{
    char text[2048];
    const char *directory = server->directory;
    snprintf(text, sizeof text,
             "server:\n ip-address: 127.0.0.1@%u\n server-count: 1\n database: \"\"\n username: \"\"\n"
             " zonesdir: \"%s\"\n pidfile: \"%s/pid\"\n xfrdfile: \"%s/xfrd\"\n zonelistfile: \"%s/list\"\n"
             " xfrdir: \"%s\"\n logfile: \"%s/log\"\n"
             "remote-control:\n control-enable: no\n"
             "zone:\n name: example\n zonefile: example.zone\n"
             "zone:\n name: broken\n zonefile: not-there.zone\n",
             server->port, directory, directory, directory, directory, directory, directory);
    write_file(server, "nsd.conf", text);
}

void name_server_start(struct name_server *server, const char *zone)
{
    snprintf(server->directory, sizeof server->directory, "/tmp/sluice-dns-XXXXXX");
    check(mkdtemp(server->directory) != NULL, "no directory in /tmp");
    server->port = loopback_port();
    write_file(server, "example.zone", zone);
    write_config(server);
    server->pid = fork();
    check(server->pid >= 0, "fork");
    if (server->pid == 0) {
        char path[128];
        int null = open("/dev/null", O_RDWR);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(null, 1);
        dup2(null, 2);
        snprintf(path, sizeof path, "%s/nsd.conf", server->directory);
        execlp("nsd", "nsd", "-d", "-c", path, (char *)NULL);
        execl("/usr/sbin/nsd", "nsd", "-d", "-c", path, (char *)NULL); /* where people's PATH does not lead */
        _exit(127);
    }
}

void name_server_check(const struct name_server *server)
{
    check(waitpid(server->pid, NULL, WNOHANG) == 0, "nsd has ended (package nsd; its log says why)");
}

void name_server_stop(struct name_server *server)
{
    char command[128];
    kill(server->pid, SIGTERM);
    waitpid(server->pid, NULL, 0);
    snprintf(command, sizeof command, "rm -rf '%s'", server->directory);
    check(system(command) == 0, command);
}
