#define _GNU_SOURCE /* recvmmsg */
#include "nfqueue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUTPUT_ROOM (256 * 1024)
#define RECEIVE_BUFFER (32 << 20)
#define HEADER_RANGE 64

static struct nlmsghdr *message_start(unsigned char *buffer, uint16_t kind, uint16_t flags, uint16_t queue)
{
    struct nlmsghdr *header = (struct nlmsghdr *)buffer;
    *header = (struct nlmsghdr){
        .nlmsg_len = NLMSG_LENGTH(sizeof(struct nfgenmsg)),
        .nlmsg_type = (NFNL_SUBSYS_QUEUE << 8) | kind,
        .nlmsg_flags = NLM_F_REQUEST | flags,
    };
    struct nfgenmsg *message = NLMSG_DATA(header);
    *message = (struct nfgenmsg){.nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0, .res_id = htons(queue)};
    return header;
}

static void attribute_add(struct nlmsghdr *header, uint16_t kind, const void *value, size_t length)
{
    unsigned char *place = (unsigned char *)header + NLMSG_ALIGN(header->nlmsg_len);
    struct nlattr attribute = {.nla_len = (uint16_t)(NLA_HDRLEN + length), .nla_type = kind};
    memcpy(place, &attribute, sizeof attribute);
    memcpy(place + NLA_HDRLEN, value, length);
    memset(place + NLA_HDRLEN + length, 0, NLA_ALIGN(length) - length);
    header->nlmsg_len = NLMSG_ALIGN(header->nlmsg_len) + (uint32_t)NLA_ALIGN(NLA_HDRLEN + length);
}

/* Sends a configuration message and reads its acknowledgement. Packets that come before it are left to the caller's
 * first read: there are none, for nothing is bound before the first configuration is done. */
static int configure(struct nfqueue *queue, struct nlmsghdr *header)
{
    if (send(queue->socket, header, header->nlmsg_len, 0) < 0)
        return -1;
    for (;;) {
        ssize_t length = recv(queue->socket, queue->inputs, NFQUEUE_MESSAGE, 0);
        if (length < 0)
            return -1;
        const struct nlmsghdr *answer = (const struct nlmsghdr *)queue->inputs;
        if (!NLMSG_OK(answer, (size_t)length) || answer->nlmsg_type != NLMSG_ERROR)
            continue;
        struct nlmsgerr error;
        memcpy(&error, NLMSG_DATA(answer), sizeof error);
        errno = -error.error;
        return error.error ? -1 : 0;
    }
}

static int bind_queue(struct nfqueue *queue, uint32_t most_held)
{
    unsigned char buffer[256];
    struct nlmsghdr *header = message_start(buffer, NFQNL_MSG_CONFIG, NLM_F_ACK, queue->number);
    struct nfqnl_msg_config_cmd command = {.command = NFQNL_CFG_CMD_BIND, .pf = htons(AF_INET)};
    attribute_add(header, NFQA_CFG_CMD, &command, sizeof command);
    if (configure(queue, header) != 0)
        return -1;
    header = message_start(buffer, NFQNL_MSG_CONFIG, NLM_F_ACK, queue->number);
    uint32_t length = htonl(most_held);
    attribute_add(header, NFQA_CFG_QUEUE_MAXLEN, &length, sizeof length);
    return configure(queue, header);
}

int nfqueue_set_copy(struct nfqueue *queue, enum nfqueue_copy copy)
{
    unsigned char buffer[256];
    struct nlmsghdr *header = message_start(buffer, NFQNL_MSG_CONFIG, 0, queue->number);
    struct nfqnl_msg_config_params parameters = {
        .copy_range = htonl(copy == NFQUEUE_CUT_ALL ? 0xffff : copy == NFQUEUE_CUT_HEADER ? HEADER_RANGE : 0),
        .copy_mode = copy == NFQUEUE_WHOLE_META ? NFQNL_COPY_META : NFQNL_COPY_PACKET,
    };
    attribute_add(header, NFQA_CFG_PARAMS, &parameters, sizeof parameters);
    uint32_t flags = htonl(copy == NFQUEUE_WHOLE_META ? NFQA_CFG_F_GSO : 0);
    uint32_t mask = htonl(NFQA_CFG_F_GSO);
    attribute_add(header, NFQA_CFG_FLAGS, &flags, sizeof flags);
    attribute_add(header, NFQA_CFG_MASK, &mask, sizeof mask);
    return send(queue->socket, header, header->nlmsg_len, 0) < 0 ? -1 : 0;
}

int nfqueue_open(struct nfqueue *queue, uint16_t number, uint32_t most_held)
{
    *queue = (struct nfqueue){.number = number, .socket = -1};
    queue->inputs = malloc((size_t)NFQUEUE_BATCH * NFQUEUE_MESSAGE);
    queue->output = malloc(OUTPUT_ROOM);
    queue->socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    if (!queue->inputs || !queue->output || queue->socket < 0)
        return -1;
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    socklen_t length = sizeof address;
    if (bind(queue->socket, (struct sockaddr *)&address, sizeof address) != 0 ||
        getsockname(queue->socket, (struct sockaddr *)&address, &length) != 0)
        return -1;
    queue->port = address.nl_pid;
    int one = 1, room = RECEIVE_BUFFER;
    if (setsockopt(queue->socket, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one) != 0)
        return -1;
    if (setsockopt(queue->socket, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room) != 0 &&
        setsockopt(queue->socket, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) != 0)
        return -1;
    return bind_queue(queue, most_held);
}

void nfqueue_close(struct nfqueue *queue)
{
    if (queue->socket >= 0)
        close(queue->socket);
    free(queue->inputs);
    free(queue->output);
    *queue = (struct nfqueue){.socket = -1};
}

static bool parse_packet(const unsigned char *data, size_t length,
                         void (*take)(void *context, const struct nfqueue_packet *packet), void *context)
{
    struct nfqueue_packet packet = {0};
    bool has_id = false;
    while (length >= NLA_HDRLEN) {
        struct nlattr attribute;
        memcpy(&attribute, data, sizeof attribute);
        if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > length)
            return false;
        const unsigned char *value = data + NLA_HDRLEN;
        size_t size = attribute.nla_len - NLA_HDRLEN;
        uint32_t number;
        switch (attribute.nla_type & NLA_TYPE_MASK) {
        case NFQA_PACKET_HDR:
            if (size < sizeof(struct nfqnl_msg_packet_hdr))
                return false;
            memcpy(&number, value, sizeof number);
            packet.id = ntohl(number);
            has_id = true;
            break;
        case NFQA_CAP_LEN:
            if (size < sizeof number)
                return false;
            memcpy(&number, value, sizeof number);
            packet.length = ntohl(number);
            break;
        case NFQA_PAYLOAD:
            packet.payload = value;
            packet.payload_length = (uint32_t)size;
            break;
        default:
            break;
        }
        size_t step = NLA_ALIGN(attribute.nla_len);
        if (step >= length)
            break;
        data += step;
        length -= step;
    }
    if (!has_id)
        return false;
    if (packet.length < packet.payload_length)
        packet.length = packet.payload_length; /* no NFQA_CAP_LEN: it was copied whole */
    take(context, &packet);
    return true;
}

bool nfqueue_parse(const unsigned char *message, size_t length,
                   void (*take)(void *context, const struct nfqueue_packet *packet), void *context)
{
    bool understood = true;
    while (length >= sizeof(struct nlmsghdr)) {
        struct nlmsghdr header;
        memcpy(&header, message, sizeof header);
        if (header.nlmsg_len < sizeof header || header.nlmsg_len > length)
            return false;
        size_t skipped = NLMSG_LENGTH(sizeof(struct nfgenmsg));
        if (header.nlmsg_type == ((NFNL_SUBSYS_QUEUE << 8) | NFQNL_MSG_PACKET))
            understood = header.nlmsg_len >= skipped &&
                         parse_packet(message + skipped, header.nlmsg_len - skipped, take, context) && understood;
        size_t step = NLMSG_ALIGN(header.nlmsg_len);
        if (step >= length)
            break;
        message += step;
        length -= step;
    }
    return understood;
}

int nfqueue_read(struct nfqueue *queue, void (*take)(void *context, const struct nfqueue_packet *packet), void *context)
{
    struct mmsghdr messages[NFQUEUE_BATCH];
    struct iovec parts[NFQUEUE_BATCH];
    struct sockaddr_nl senders[NFQUEUE_BATCH];
    for (int i = 0; i < NFQUEUE_BATCH; i++) {
        parts[i] = (struct iovec){.iov_base = queue->inputs + (size_t)i * NFQUEUE_MESSAGE, .iov_len = NFQUEUE_MESSAGE};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &senders[i],
                                                   .msg_namelen = sizeof senders[i],
                                                   .msg_iov = &parts[i],
                                                   .msg_iovlen = 1}};
    }
    int count = recvmmsg(queue->socket, messages, NFQUEUE_BATCH, MSG_DONTWAIT, NULL);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -1;
    for (int i = 0; i < count; i++) {
        if (senders[i].nl_pid != 0) /* only the kernel is believed */
            continue;
        if (!nfqueue_parse(parts[i].iov_base, messages[i].msg_len, take, context)) {
            errno = EBADMSG;
            return -1;
        }
    }
    return 0;
}

int nfqueue_verdict(struct nfqueue *queue, uint32_t id, bool accept, const unsigned char *payload, uint32_t length)
{
    if (queue->output_length + length + 128 > OUTPUT_ROOM && nfqueue_flush(queue) != 0)
        return -1;
    struct nlmsghdr *header =
        message_start(queue->output + queue->output_length, NFQNL_MSG_VERDICT, 0, queue->number);
    struct nfqnl_msg_verdict_hdr verdict = {.verdict = htonl(accept ? NF_ACCEPT : NF_DROP), .id = htonl(id)};
    attribute_add(header, NFQA_VERDICT_HDR, &verdict, sizeof verdict);
    if (payload)
        attribute_add(header, NFQA_PAYLOAD, payload, length);
    queue->output_length += NLMSG_ALIGN(header->nlmsg_len);
    return 0;
}

int nfqueue_flush(struct nfqueue *queue)
{
    if (queue->output_length == 0)
        return 0;
    ssize_t sent = send(queue->socket, queue->output, queue->output_length, 0);
    queue->output_length = 0;
    return sent < 0 ? -1 : 0;
}
