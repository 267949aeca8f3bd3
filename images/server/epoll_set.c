#include "epoll_set.h"

#include <stdlib.h>
#include <unistd.h>

#include "accounting.h"

static struct {
    int descriptor;
    struct epoll_event *buffer;
    int room;
} set = {.descriptor = -1};

static struct call_counter call_control = CALL_COUNTER("epoll_ctl");
static struct call_counter call_wait = WAIT_COUNTER("epoll_wait");

int epoll_set_open(unsigned descriptors)
{
    set.descriptor = epoll_create1(EPOLL_CLOEXEC);
    set.room = (int)descriptors;
    set.buffer = calloc(descriptors, sizeof *set.buffer);
    return set.descriptor >= 0 && set.buffer ? 0 : -1;
}

void epoll_set_close(void)
{
    close(set.descriptor);
    free(set.buffer);
}

int epoll_set_descriptor(void)
{
    return set.descriptor;
}

uint32_t epoll_set_bits(unsigned interest)
{
    return (interest & EVENT_READ ? EPOLLIN : 0u) | (interest & EVENT_WRITE ? EPOLLOUT : 0u);
}

int epoll_set_control(int operation, struct identity who, uint32_t bits)
{
    struct epoll_event event = {.events = bits, .data.u64 = identity_pack(who)};
    return (int)COUNTED(&call_control, epoll_ctl(set.descriptor, operation, who.descriptor, &event));
}

int epoll_set_del(struct identity who)
{
    return epoll_set_control(EPOLL_CTL_DEL, who, 0);
}

static unsigned from_epoll(uint32_t got)
{
    unsigned ready = (got & EPOLLIN ? EVENT_READ : 0) | (got & EPOLLOUT ? EVENT_WRITE : 0) | (got & EPOLLRDHUP ? EVENT_HANGUP : 0);
    if (got & (EPOLLERR | EPOLLHUP)) /* whichever the connection waits for will meet the error */
        ready |= EVENT_READ | EVENT_WRITE | EVENT_HANGUP;
    return ready;
}

int epoll_set_wait(struct event *events, int room, int timeout_ms)
{
    int most = room < set.room ? room : set.room;
    int count = (int)COUNTED(&call_wait, epoll_wait(set.descriptor, set.buffer, most, timeout_ms));
    for (int i = 0; i < count; i++)
        events[i] = (struct event){.who = identity_unpack(set.buffer[i].data.u64), .ready = from_epoll(set.buffer[i].events)};
    return count;
}
