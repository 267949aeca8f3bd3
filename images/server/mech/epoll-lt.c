/*
 * Level-triggered epoll, one epoll_ctl(2) per change of interest: ADD for reading at accept, MOD to writing when the
 * request is there, MOD back when the reply is out, DEL at close. Four a one-request connection.
 */
#include "epoll_set.h"

static int lt_add(struct identity who, unsigned interest)
{
    return epoll_set_control(EPOLL_CTL_ADD, who, epoll_set_bits(interest));
}

static int lt_mod(struct identity who, unsigned interest)
{
    return epoll_set_control(EPOLL_CTL_MOD, who, epoll_set_bits(interest));
}

static const struct mechanism epoll_lt_mechanism = {
    .name = "epoll-lt",
    .summary = "level-triggered epoll, one epoll_ctl per change of interest",
    .open = epoll_set_open,
    .add = lt_add,
    .mod = lt_mod,
    .del = epoll_set_del,
    .wait = epoll_set_wait,
    .close = epoll_set_close,
};
MECHANISM_REGISTER(epoll_lt_mechanism)
