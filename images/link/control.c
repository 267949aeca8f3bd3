#define _GNU_SOURCE /* accept4, struct ucred */
#include "control.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_ROOM (64 * 1024)
#define ASKER_TIMEOUT_S 5
#define LISTENER_TIMEOUT_US 50000 /* a request is one packet and comes at once: nobody may hold the link up … */
#define ASKER_ATTEMPTS 5          /* … but on a busy machine an asker may not get a CPU for so long */

static socklen_t control_address(struct sockaddr_un *address, uint16_t queue)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "testbed-linkem-%u", queue);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

int control_listen(uint16_t queue)
{
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0)
        return -1;
    struct sockaddr_un address;
    socklen_t length = control_address(&address, queue);
    if (bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 8) == 0)
        return listener;
    int error = errno;
    close(listener);
    errno = error;
    return -1;
}

static int set_timeout(int connection, long microseconds)
{
    struct timeval time = {.tv_sec = microseconds / 1000000, .tv_usec = microseconds % 1000000};
    return setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time);
}

int control_accept(int listener, struct request *request)
{
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection < 0)
        return -1;
    struct ucred asker;
    socklen_t length = sizeof asker;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &asker, &length) == 0 &&
        (asker.uid == 0 || asker.uid == geteuid()) && set_timeout(connection, LISTENER_TIMEOUT_US) == 0 &&
        recv(connection, request, sizeof *request, 0) == (ssize_t)sizeof *request && request->size == sizeof *request)
        return connection;
    close(connection);
    return -1;
}

static int ask_once(uint16_t queue, const struct request *request)
{
    int connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (connection < 0)
        return -1;
    struct sockaddr_un address;
    socklen_t length = control_address(&address, queue);
    static char answer[ANSWER_ROOM];
    ssize_t got = -1;
    if (connect(connection, (struct sockaddr *)&address, length) == 0 &&
        set_timeout(connection, ASKER_TIMEOUT_S * 1000000L) == 0 &&
        send(connection, request, sizeof *request, MSG_NOSIGNAL) == (ssize_t)sizeof *request)
        got = recv(connection, answer, sizeof answer, 0);
    int error = got == 0 ? ECONNRESET : errno;
    close(connection);
    if (got > 0 && write(STDOUT_FILENO, answer, (size_t)got) == got)
        return 0;
    errno = error;
    return -1;
}

int control_ask(uint16_t queue, const struct request *request)
{
    for (int attempt = 1;; attempt++) {
        if (ask_once(queue, request) == 0)
            return 0;
        if ((errno != ECONNRESET && errno != EPIPE) || attempt == ASKER_ATTEMPTS)
            return -1;
    }
}
