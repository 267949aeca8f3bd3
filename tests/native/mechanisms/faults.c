/*
 * Makes chosen calls of the server fail, for its tests: FAULTS="accept:103:2,sendfile:short:0" lets the next two
 * accept() fail with errno 103, and every sendfile() move at most a few bytes. The program's own definition
 * goes before the C library's, so the server needs to know nothing of it.
 *
 *     FAULTS = CALL:WHAT:TIMES[,…]    WHAT: an errno, or `short`; TIMES 0: always; every second call is let through
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHORT (-1)
#define SHORT_BYTES 7

struct fault {
    char call[16];
    int what;
    long left; /* -1: always */
    unsigned turn;
};

static struct fault faults[8];
static int fault_count = -1;

static void parse(void)
{
    fault_count = 0;
    const char *at = getenv("FAULTS");
    while (at && *at && fault_count < 8) {
        struct fault *fault = &faults[fault_count++];
        size_t length = strcspn(at, ":");
        memcpy(fault->call, at, length < sizeof fault->call ? length : sizeof fault->call - 1);
        at += length + 1;
        fault->what = strncmp(at, "short", 5) == 0 ? SHORT : atoi(at);
        at += strcspn(at, ":") + 1;
        fault->left = atol(at) ? atol(at) : -1;
        at += strcspn(at, ",");
        at += *at == ',';
    }
}

/* 0: go on; SHORT; or the errno to fail with. */
static int next_fault(const char *call)
{
    if (fault_count < 0)
        parse();
    for (int i = 0; i < fault_count; i++) {
        struct fault *fault = &faults[i];
        if (strcmp(fault->call, call) != 0 || fault->left == 0)
            continue;
        if (fault->turn++ % 2 == 1 && fault->what != SHORT)
            return 0;
        if (fault->left > 0)
            fault->left--;
        return fault->what;
    }
    return 0;
}

static bool is_socket(int descriptor)
{
    struct stat status;
    return fstat(descriptor, &status) == 0 && S_ISSOCK(status.st_mode);
}

/* Only connections are to suffer: not the files that are cached at start, nor the reports. */
static bool fails(const char *call, int descriptor, size_t *length)
{
    int what = is_socket(descriptor) ? next_fault(call) : 0;
    if (what == SHORT && length && *length > SHORT_BYTES)
        *length = SHORT_BYTES;
    if (what > 0)
        errno = what;
    return what > 0;
}

int accept(int listener, struct sockaddr *address, socklen_t *length)
{
    return fails("accept", listener, NULL) ? -1 : (int)syscall(SYS_accept4, listener, address, length, 0);
}

ssize_t read(int descriptor, void *buffer, size_t room)
{
    return fails("read", descriptor, &room) ? -1 : syscall(SYS_read, descriptor, buffer, room);
}

ssize_t write(int descriptor, const void *data, size_t length)
{
    return fails("write", descriptor, &length) ? -1 : syscall(SYS_write, descriptor, data, length);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t length)
{
    return fails("sendfile", out, &length) ? -1 : syscall(SYS_sendfile, out, in, offset, length);
}
