/*
 * Edge-triggered epoll: registered once for reading and writing, then only transitions are reported and the server
 * keeps what is still readable and writable. The listener stays level-triggered, so an accept limit leaves nothing behind.
 *
 * EPOLLRDHUP is asked for because a short read ends the readable state: without it, an end of stream that was
 * already there when the event was fetched would never be reported again.
 */
#include "epoll_set.h"

static int edge_add(struct identity who, unsigned interest)
{
    uint32_t edge = interest & EVENT_LISTENER ? 0 : EPOLLET | EPOLLRDHUP;
    return epoll_set_control(EPOLL_CTL_ADD, who, epoll_set_bits(interest) | edge);
}

static const struct mechanism epoll_et_mechanism = {
    .name = "epoll-et",
    .summary = "edge-triggered epoll, reading and writing registered once",
    .fixed_interest = true,
    .edge_triggered = true,
    .open = epoll_set_open,
    .add = edge_add,
    .del = epoll_set_del,
    .wait = epoll_set_wait,
    .close = epoll_set_close,
};
MECHANISM_REGISTER(epoll_et_mechanism)
