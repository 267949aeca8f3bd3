/*
 * Level-triggered epoll with two epoll_ctl(2) a connection: ADD for reading and writing at once, DEL at close. What
 * a connection does not want at the moment is reported all the same, and the server discards (and counts) it.
 */
#include "epoll_set.h"

static int both_add(struct identity who, unsigned interest)
{
    return epoll_set_control(EPOLL_CTL_ADD, who, epoll_set_bits(interest));
}

static const struct mechanism epoll2_mechanism = {
    .name = "epoll2",
    .summary = "level-triggered epoll, reading and writing registered once",
    .fixed_interest = true,
    .open = epoll_set_open,
    .add = both_add,
    .del = epoll_set_del,
    .wait = epoll_set_wait,
    .close = epoll_set_close,
};
MECHANISM_REGISTER(epoll2_mechanism)
