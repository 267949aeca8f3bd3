/* A second copy of a packet that was received: the queue can only let a packet go on once, so the copy comes in
 * through the loopback interface, from an AF_PACKET socket. */
#ifndef LINK_REPEAT_H
#define LINK_REPEAT_H

#include <stddef.h>

/* A socket for repeat_send, or -1 with errno set; EPERM too where strict rp_filter would drop every copy. */
int repeat_open(void);

/* Sends the copy of an IPv4 packet. Returns 0, or -1 with errno set. */
int repeat_send(int socket, const unsigned char *packet, size_t length);

#endif
