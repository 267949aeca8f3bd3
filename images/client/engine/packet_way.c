#define _GNU_SOURCE
#include "engine/packet_way.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

enum { ARP_TRIES = 20, ARP_WAIT_MS = 100 };

struct own_address {
    char interface[IF_NAMESIZE];
    struct in_addr address, mask;
};

static bool same_net(struct in_addr one, struct in_addr other, struct in_addr mask)
{
    return ((one.s_addr ^ other.s_addr) & mask.s_addr) == 0;
}

/* Does this address belong to what --interface asks for? */
static bool wanted(const char *interface, const char *name, struct in_addr address, struct in_addr mask, struct in_addr target)
{
    struct in_addr asked;
    if (!interface)
        return same_net(address, target, mask);
    if (strncmp(interface, "address:", 8) == 0)
        return inet_pton(AF_INET, interface + 8, &asked) == 1 && asked.s_addr == address.s_addr;
    return strcmp(interface, name) == 0;
}

static int find_own(struct own_address *own, const struct engine_settings *settings)
{
    struct ifaddrs *all;
    int found = -1;
    if (getifaddrs(&all) < 0)
        return -1;
    for (const struct ifaddrs *each = all; each && found < 0; each = each->ifa_next) {
        if (!each->ifa_addr || !each->ifa_netmask || each->ifa_addr->sa_family != AF_INET)
            continue;
        struct in_addr address = ((struct sockaddr_in *)each->ifa_addr)->sin_addr;
        struct in_addr mask = ((struct sockaddr_in *)each->ifa_netmask)->sin_addr;
        if (!wanted(settings->interface, each->ifa_name, address, mask, settings->target))
            continue;
        snprintf(own->interface, sizeof own->interface, "%s", each->ifa_name);
        own->address = address;
        own->mask = mask;
        found = 0;
    }
    freeifaddrs(all);
    return found;
}

/* The address that the target's frames go to first: the target itself, or a gateway from the kernel's routes. */
static int next_hop(const struct own_address *own, struct in_addr target, struct in_addr *hop)
{
    *hop = target;
    if (same_net(own->address, target, own->mask))
        return 0;
    FILE *routes = fopen("/proc/net/route", "r");
    if (!routes)
        return -1;
    char line[256], name[64];
    unsigned destination, gateway, mask, best_mask = 0;
    int found = -1;
    while (fgets(line, sizeof line, routes)) {
        if (sscanf(line, "%63s %x %x %*x %*d %*d %*d %x", name, &destination, &gateway, &mask) != 4)
            continue;
        if (strcmp(name, own->interface) != 0 || gateway == 0 || (target.s_addr & mask) != destination)
            continue;
        if (found == 0 && ntohl(mask) < ntohl(best_mask))
            continue;
        best_mask = mask;
        hop->s_addr = gateway;
        found = 0;
    }
    fclose(routes);
    return found;
}

struct arp_request {
    struct arphdr header;
    uint8_t sender_mac[6], sender[4], target_mac[6], target[4];
} __attribute__((packed));

static int arp_exchange(int descriptor, const struct packet_way *way, const struct own_address *own, struct in_addr hop, uint8_t *mac)
{
    struct arp_request request = {
        .header = {.ar_hrd = htons(ARPHRD_ETHER), .ar_pro = htons(ETH_P_IP), .ar_hln = 6, .ar_pln = 4, .ar_op = htons(ARPOP_REQUEST)}};
    memcpy(request.sender_mac, way->mac, 6);
    memcpy(request.sender, &own->address, 4);
    memcpy(request.target, &hop, 4);
    struct sockaddr_ll everyone = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP), .sll_ifindex = way->interface, .sll_halen = 6};
    memset(everyone.sll_addr, 0xff, 6);
    for (int i = 0; i < ARP_TRIES; i++) {
        if (sendto(descriptor, &request, sizeof request, 0, (struct sockaddr *)&everyone, sizeof everyone) < 0 && errno != ENOBUFS)
            return -1;
        uint64_t until = clock_now_ns() + ARP_WAIT_MS * NS_PER_MS;
        for (uint64_t now; (now = clock_now_ns()) < until;) {
            struct pollfd ready = {.fd = descriptor, .events = POLLIN};
            struct arp_request answer;
            if (poll(&ready, 1, (int)((until - now) / NS_PER_MS) + 1) <= 0)
                continue;
            if (recv(descriptor, &answer, sizeof answer, MSG_DONTWAIT) != (ssize_t)sizeof answer)
                continue;
            if (answer.header.ar_op != htons(ARPOP_REPLY) || memcmp(answer.sender, &hop, 4) != 0)
                continue;
            memcpy(mac, answer.sender_mac, 6);
            return 0;
        }
    }
    errno = EHOSTUNREACH;
    return -1;
}

static int ask_gateway(struct packet_way *way, const struct own_address *own, struct in_addr hop)
{
    int descriptor = socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, htons(ETH_P_ARP));
    if (descriptor < 0)
        return -1;
    struct sockaddr_ll here = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP), .sll_ifindex = way->interface};
    int result = bind(descriptor, (struct sockaddr *)&here, sizeof here);
    if (result == 0)
        result = arp_exchange(descriptor, way, own, hop, way->gateway_mac);
    int saved = errno;
    close(descriptor);
    errno = saved;
    return result;
}

static bool mac_parse(const char *text, uint8_t *mac)
{
    unsigned part[6];
    char rest;
    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &part[0], &part[1], &part[2], &part[3], &part[4], &part[5], &rest) != 6)
        return false;
    for (int i = 0; i < 6; i++)
        mac[i] = (uint8_t)part[i];
    return true;
}

static int read_interface(struct packet_way *way, const char *name)
{
    struct ifreq request;
    memset(&request, 0, sizeof request);
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0)
        return -1;
    int result = -1;
    if (ioctl(descriptor, SIOCGIFHWADDR, &request) == 0 && request.ifr_hwaddr.sa_family == ARPHRD_ETHER) {
        memcpy(way->mac, request.ifr_hwaddr.sa_data, 6);
        if (ioctl(descriptor, SIOCGIFMTU, &request) == 0) {
            way->mtu = (uint32_t)request.ifr_mtu;
            way->interface = (int)if_nametoindex(name);
            result = way->interface ? 0 : -1;
        }
    } else if (errno == 0) {
        errno = EMEDIUMTYPE; /* not an Ethernet interface */
    }
    int saved = errno;
    close(descriptor);
    errno = saved;
    return result;
}

int way_resolve(struct packet_way *way, const struct engine_settings *settings, char *problem, size_t room)
{
    struct own_address own;
    struct in_addr hop;
    char target[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, &settings->target, target, sizeof target);
    if (find_own(&own, settings) < 0) {
        snprintf(problem, room, "no interface with an IPv4 address for --interface %s and --target %s",
                 settings->interface ? settings->interface : "(the target's)", target);
        return -1;
    }
    errno = 0;
    if (read_interface(way, own.interface) < 0) {
        snprintf(problem, room, "interface %s: %s", own.interface, strerror(errno));
        return -1;
    }
    if (strcmp(settings->source_mac, "auto") != 0 && !mac_parse(settings->source_mac, way->mac)) {
        snprintf(problem, room, "--source-mac: '%s' is neither auto nor a MAC address", settings->source_mac);
        return -1;
    }
    if (strcmp(settings->gateway_mac, "auto") != 0) {
        if (mac_parse(settings->gateway_mac, way->gateway_mac))
            return 0;
        snprintf(problem, room, "--gateway-mac: '%s' is neither auto nor a MAC address", settings->gateway_mac);
        return -1;
    }
    if (next_hop(&own, settings->target, &hop) < 0) {
        snprintf(problem, room, "no route to %s through %s", target, own.interface);
        return -1;
    }
    if (ask_gateway(way, &own, hop) < 0) {
        snprintf(problem, room, "nobody on %s answers ARP for %s: %s", own.interface, inet_ntoa(hop), strerror(errno));
        return -1;
    }
    return 0;
}
