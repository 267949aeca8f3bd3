/* What the epoll mechanisms share: one epoll descriptor, counted calls, and the translation of event bits. */
#ifndef USERVER_EPOLL_SET_H
#define USERVER_EPOLL_SET_H

#include <sys/epoll.h>

#include "mechanism.h"

/* 0, or -1 with errno. Room for `descriptors` events of one wait is taken too. */
int epoll_set_open(unsigned descriptors);
void epoll_set_close(void);
int epoll_set_descriptor(void);

/* EPOLLIN and EPOLLOUT for an interest. */
uint32_t epoll_set_bits(unsigned interest);

/* One counted epoll_ctl(2). 0, or -1 with errno. */
int epoll_set_control(int operation, struct identity who, uint32_t bits);
int epoll_set_del(struct identity who);

/* mechanism.wait by one counted epoll_wait(2). */
int epoll_set_wait(struct event *events, int room, int timeout_ms);

#endif
