#define _GNU_SOURCE
#include "engine/socket_dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/address_pairs.h"

enum { PAIR_TRIES = 64 }; /* host and port may be taken, by TIME_WAIT or by somebody else */

enum engine_error socket_error(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return ENGINE_REFUSED;
    case ECONNRESET:
    case EPIPE:
        return ENGINE_RESET;
    case ETIMEDOUT:
        return ENGINE_TIMED_OUT;
    case EMFILE:
    case ENFILE:
        return ENGINE_NO_DESCRIPTOR;
    case EADDRNOTAVAIL:
    case EADDRINUSE:
        return ENGINE_NO_ADDRESS;
    default:
        return ENGINE_OTHER;
    }
}

int socket_dial(const struct engine_settings *settings, uint64_t *next_pair)
{
    struct sockaddr_in target = {.sin_family = AF_INET, .sin_port = htons(settings->port), .sin_addr = settings->target};
    for (int i = 0; i < PAIR_TRIES; i++) {
        int on = 1, buffer = (int)settings->receive_buffer;
        int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (descriptor < 0)
            return -1;
        uint32_t host;
        uint16_t port;
        pairs_next(next_pair, settings, &host, &port);
        struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(host)};
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (settings->manual_read)
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        if (bind(descriptor, (struct sockaddr *)&own, sizeof own) == 0 &&
            (connect(descriptor, (struct sockaddr *)&target, sizeof target) == 0 || errno == EINPROGRESS))
            return descriptor;
        int saved = errno;
        close(descriptor);
        errno = saved;
        if (saved != EADDRINUSE && saved != EADDRNOTAVAIL)
            return -1;
    }
    return -1;
}
