#include "repeat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netpacket/packet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int setting(const char *path)
{
    FILE *file = fopen(path, "re");
    int value = 0;
    if (!file)
        return 0;
    if (fscanf(file, "%d", &value) != 1)
        value = 0;
    fclose(file);
    return value;
}

int repeat_open(void)
{
    int all = setting("/proc/sys/net/ipv4/conf/all/rp_filter");
    int loopback = setting("/proc/sys/net/ipv4/conf/lo/rp_filter");
    if ((all > loopback ? all : loopback) == 1) { /* strict: a foreign source on lo is dropped */
        errno = EPERM;
        return -1;
    }
    int descriptor = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* protocol 0: it receives nothing */
    if (descriptor < 0)
        return -1;
    struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex("lo")};
    if (address.sll_ifindex != 0 && bind(descriptor, (struct sockaddr *)&address, sizeof address) == 0)
        return descriptor;
    int error = errno;
    close(descriptor);
    errno = error;
    return -1;
}

int repeat_send(int descriptor, const unsigned char *packet, size_t length)
{
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET,
        .sll_protocol = htons(ETHERTYPE_IP),
        .sll_ifindex = (int)if_nametoindex("lo"),
        .sll_halen = ETHER_ADDR_LEN, /* all zero: loopback's own */
    };
    ssize_t sent = sendto(descriptor, packet, length, MSG_DONTWAIT, (struct sockaddr *)&address, sizeof address);
    return sent == (ssize_t)length ? 0 : -1;
}
