/* The socket engine's start of a connection: a socket of the kernel, bound to an emulated host and a port of our choice. */
#ifndef SOCKET_DIAL_H
#define SOCKET_DIAL_H

#include <stdint.h>

#include "engine.h"

/* A bound, non-blocking socket on its way to the server; -1 with errno. */
int socket_dial(const struct engine_settings *settings, uint64_t *next_pair);
/* The class that an errno belongs to. */
enum engine_error socket_error(int error);

#endif
