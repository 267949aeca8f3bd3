#define _GNU_SOURCE /* struct ucred */
#include "control.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define ANSWER_ROOM (64 * 1024)
#define ASKER_TIMEOUT_S 10

static socklen_t control_address(struct sockaddr_un *address, uint16_t queue)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    int length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "testbed-linkem-%u", queue);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

int control_listen(uint16_t queue)
{
    int listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0)
        return -1;
    struct sockaddr_un address;
    socklen_t length = control_address(&address, queue);
    int one = 1;
    if (setsockopt(listener, SOL_SOCKET, SO_PASSCRED, &one, sizeof one) == 0 &&
        bind(listener, (struct sockaddr *)&address, length) == 0)
        return listener;
    int error = errno;
    close(listener);
    errno = error;
    return -1;
}

static bool may_ask(struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_CREDENTIALS) {
            struct ucred asker;
            memcpy(&asker, CMSG_DATA(part), sizeof asker);
            return asker.uid == 0 || asker.uid == geteuid();
        }
    }
    return false;
}

int control_accept(int listener, struct request *request)
{
    struct sockaddr_un asker;
    struct iovec part = {.iov_base = request, .iov_len = sizeof *request};
    union {
        struct cmsghdr align;
        unsigned char room[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct msghdr message = {.msg_name = &asker,
                             .msg_namelen = sizeof asker,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    if (recvmsg(listener, &message, MSG_DONTWAIT) != (ssize_t)sizeof *request || request->size != sizeof *request ||
        !may_ask(&message))
        return -1;
    int answer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (answer >= 0 && connect(answer, (struct sockaddr *)&asker, message.msg_namelen) != 0) {
        close(answer);
        return -1;
    }
    return answer;
}

int control_ask(uint16_t queue, const struct request *request)
{
    int asker = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (asker < 0)
        return -1;
    struct sockaddr_un address, own = {.sun_family = AF_UNIX};
    socklen_t length = control_address(&address, queue);
    const struct timeval patience = {.tv_sec = ASKER_TIMEOUT_S};
    static char answer[ANSWER_ROOM];
    ssize_t got = -1;
    /* Bound to a name that the kernel chooses: where the answer goes. It comes from a socket of its own. */
    if (bind(asker, (struct sockaddr *)&own, sizeof own.sun_family) == 0 &&
        setsockopt(asker, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
        sendto(asker, request, sizeof *request, MSG_NOSIGNAL, (struct sockaddr *)&address, length) ==
            (ssize_t)sizeof *request)
        got = recv(asker, answer, sizeof answer, 0);
    int error = got == 0 ? ECONNRESET : errno;
    close(asker);
    if (got > 0 && write(STDOUT_FILENO, answer, (size_t)got) == got)
        return 0;
    errno = error;
    return -1;
}
